/* SPDX-License-Identifier: Apache-2.0 */
/* Bias correction: every quantized layer is given back the mean that its output has in FP32 (method of Nagel
 * et al., ICCV 2019, section 4.2, with the means measured on distilled images). */
#ifndef ZQ_QUANT_CORRECT_H
#define ZQ_QUANT_CORRECT_H

#include "quant/align.h"
#include "quant/distill.h"
#include "quant/layers.h"
#include "quant/quantizer.h"

/* Walks the quantized graph once, in order, and changes the bias of each layer so that the expected output is
 * that of the FP32 layer: the mean of each input channel is compared between the two networks. Later layers
 * see the corrections of earlier ones. graph: FP32, simplified; weights: [layers->n]; quantized: what
 * zq_rewrite made of them, aligned like that (NULL: not at all). *corrected_out: a copy of graph (owned by
 * the caller) with the new biases, for another zq_rewrite. */
zq_status zq_correct_biases(zq_graph *graph, const zq_layers *layers, const zq_weights *weights,
                            zq_graph *quantized, const zq_alignment *aligned, const zq_images *images,
                            zq_graph **corrected_out, zq_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Sensitivities to second order. A distance of outputs is 1/2 dz' F dz for a small change dz, and where v has
 * covariance F, that is 1/2 mean (v' dz)^2. With g the gradient of v' z at a layer's output,
 * v' dz = <g, change of that output>: one backward pass for each v serves all layers and widths, where eq. 2
 * runs half of the network for each of them. F is the Fisher information of the softmax. */
#ifndef ZQ_QUANT_FISHER_H
#define ZQ_QUANT_FISHER_H

#include "quant/sensitivity.h"

/* omega: [n_layers, n_widths], written. weights: [n_layers, n_widths] what the layers' weights would become.
 * ZQ_ERR_UNSUPPORTED where the network has no gradient. callback: (done, total). */
zq_status zq_fisher_measure(zq_graph *graph, const zq_layers *layers, const zq_images *images, int n_widths,
                            const zq_weights *weights, zq_step_callback callback, void *user, double *omega,
                            zq_error *err);

#endif

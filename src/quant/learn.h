/* SPDX-License-Identifier: Apache-2.0 */
/* Learned rounding: the weights, scales and biases of all layers at once follow the gradients of what the
 * quantized network is off by, at its outputs and at those of its layers. Block reconstruction (BRECQ, Li et
 * al., ICLR 2021) with the network as the one block, since not every graph falls into blocks; what its layers
 * are off by keeps it from serving the outputs on a few images alone. */
#ifndef ZQ_QUANT_LEARN_H
#define ZQ_QUANT_LEARN_H

#include "quant/rounding.h"

typedef struct zq_learn_options {
    int n_steps;
    int64_t n_images;          /* of a step; at most those that there are, fewer where memory is short */
    uint64_t seed;             /* of their order */
    zq_step_callback callback; /* NULL: none */
    void *user;
} zq_learn_options;

/* weights: [n_layers] to begin with. start: the calibration network with the biases to begin with; NULL: its
 * own. rounding: begun (zq_rounding_start), gets the widths that weights have. learned_out: the calibration
 * network with other biases, owned by the caller. The graph's batch has to be free. ZQ_ERR_UNSUPPORTED: an
 * operator without a gradient. */
zq_status zq_rounding_learn(const zq_rounder *rounder, const zq_images *images, const zq_weights *weights,
                            const zq_graph *start, const zq_learn_options *options, zq_rounding *rounding,
                            zq_graph **learned_out, zq_error *err);

/* Bytes beside its two plans. */
size_t zq_learn_bytes(const zq_layers *layers);

#endif

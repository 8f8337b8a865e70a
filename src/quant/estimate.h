/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics for a network whose BatchNormalization was folded away: estimates, not what training saw. */
#ifndef ZQ_QUANT_ESTIMATE_H
#define ZQ_QUANT_ESTIMATE_H

#include "quant/distill.h"

/* Gives the output of every Conv that another weighted node reads, at once or later, the mean and deviation
 * that its channels have on random images with edges (leaves.h) inside the box. Photos excite deep features
 * more than such images do, and shallow ones less, so deviations are multiplied by a factor that grows with
 * depth. A graph in which any value carries stats is left alone. *n_out: values that got some. */
zq_status zq_estimate_stats(zq_graph *graph, const zq_box *box, uint64_t seed, int *n_out, zq_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The damage of several layers narrowed at once, again and again: only what lies behind the first layer that
 * differs from the measurement before runs. */
#ifndef ZQ_QUANT_JOINT_H
#define ZQ_QUANT_JOINT_H

#include "quant/rounding.h"

typedef struct zq_joint zq_joint;

/* On as many of the images as fit into memory. All arguments are borrowed. */
zq_status zq_joint_new(zq_graph *graph, const zq_layers *layers, const zq_images *images,
                       const zq_rounding *rounding, zq_joint **joint_out, zq_error *err);
void zq_joint_drop(zq_joint *joint); /* NULL is allowed */

/* Mean distance (quant/sensitivity.h) with the weights of the rounding in the first n layers, at the widths
 * that choice [n] says by number, and the network's own in the others. */
zq_status zq_joint_measure(zq_joint *joint, int n, const uint8_t *choice, double *damage_out, zq_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Values that keep 8 bits whatever width activations have. */
#ifndef ZQ_QUANT_WIDE_H
#define ZQ_QUANT_WIDE_H

#include "graph/graph.h"

/* The network's inputs, since pixels come in bytes; and what lies inside a layer, between its sums and what
 * its activation function makes of them: nothing reads such a value but functions of it alone, element by
 * element (LeakyRelu, Sigmoid, HardSwish ...), with constants, times a function of itself (SiLU), or behind
 * nodes that only move elements. A runtime that computes a layer at once never stores it. The widths that the
 * literature gives for activations are those of what the functions return. When out of memory: false. */
bool zq_is_wide(const zq_graph *graph, int value);

#endif

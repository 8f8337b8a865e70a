/* SPDX-License-Identifier: Apache-2.0 */
/* What a quantized graph is put together from. Networks of many small layers are mostly names, so what is
 * added gets short ones: a letter and a number, or what a shared constant holds. */
#ifndef ZQ_QUANT_BLOCKS_H
#define ZQ_QUANT_BLOCKS_H

#include "graph/graph.h"

/* A value named prefix and number ("q17"); -1 when out of memory. */
int zq_block_value(zq_graph *graph, const char *prefix, int number, zq_dtype dtype, const zq_shape *shape);

/* A node with one output. An input or output of -1, from an allocation that failed, is ZQ_ERR_MEMORY.
 * attribute: the name of an integer attribute of that value, NULL: none. */
zq_status zq_block_node(zq_graph *graph, const char *op, int n_inputs, const int *inputs, int output,
                        const char *attribute, int64_t value, zq_error *err);

/* A constant that several nodes share by name, unless the model has something else of that name. Takes tensor
 * in every case; -1 when out of memory. */
int zq_block_share(zq_graph *graph, const char *name, zq_tensor *tensor);

#endif

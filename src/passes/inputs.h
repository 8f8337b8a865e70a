/* SPDX-License-Identifier: Apache-2.0 */
/* The shapes that the graph inputs declare, with those that the user gives. */
#ifndef ZQ_PASSES_INPUTS_H
#define ZQ_PASSES_INPUTS_H

#include "graph/graph.h"

/* Fixes free dimensions by text ("NAME=1,3,224,224;...", NULL: none) and sets graph->free_batch. Afterwards
 * only dimension 0 can be -1, and only where free_batch is true. *one_image_out: the text gives batch 1 to
 * every input. */
zq_status zq_inputs_declare(zq_graph *graph, const char *text, bool *one_image_out, zq_error *err);

/* The option that gives one image to the first input, "--shape x=1,3,224,224", into buffer; returns buffer.
 */
enum { ZQ_INPUTS_TEXT = 512 };
char *zq_inputs_option(const zq_graph *graph, int input, char buffer[ZQ_INPUTS_TEXT]);

#endif

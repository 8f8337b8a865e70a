/* SPDX-License-Identifier: Apache-2.0 */
/* The window of a Conv or pooling node in a plan, in the terms of engine/onednn. */
#ifndef ZQ_ENGINE_WINDOW_H
#define ZQ_ENGINE_WINDOW_H

#include "engine/onednn/onednn.h"
#include "engine/step.h"

/* pooling: the node has no weight */
zq_status zq_engine_window(const zq_plan *plan, const zq_node *node, zq_window *out, zq_error *err);

#endif

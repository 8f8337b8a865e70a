/* SPDX-License-Identifier: Apache-2.0 */
/* A oneDNN primitive with the memory objects that it runs on: made once, run often. */
#ifndef ZQ_ENGINE_ONEDNN_STEP_H
#define ZQ_ENGINE_ONEDNN_STEP_H

#include "base/error.h"

#include <oneapi/dnnl/dnnl.h>

#include <stdbool.h>
#include <stddef.h>

enum { ZQ_DNN_MAX_ARGS = 5 };

typedef struct zq_dnn_step {
    dnnl_primitive_t primitive;            /* NULL: an empty step */
    dnnl_exec_arg_t args[ZQ_DNN_MAX_ARGS]; /* the last one may be the scratchpad */
    const void *pointers[ZQ_DNN_MAX_ARGS]; /* what the memory objects point to now */
    size_t bytes[ZQ_DNN_MAX_ARGS];         /* size of each argument */
    int n_args;                            /* without the scratchpad */
    void *scratchpad;                      /* owned */
    char kernel[64];                       /* the implementation's name */
} zq_dnn_step;

/* The process's engine on the CPU; made at the first call, by whichever thread comes first. */
zq_status zq_dnn_engine(dnnl_engine_t *engine_out, zq_error *err);

/* Attributes that every primitive here needs: the scratchpad is the step's own, so that a step may be made
 * in one thread and run in another. Owned by the caller: dnnl_primitive_attr_destroy. */
zq_status zq_dnn_attributes_new(dnnl_primitive_attr_t *attributes_out, zq_error *err);

/* Takes desc (destroys it, also on failure). arg_ids: n_args (at most 4) DNNL_ARG_* in the order in which
 * zq_dnn_step_run will be given the pointers. step must be zeroed; drop it on failure too. */
zq_status zq_dnn_step_new(dnnl_primitive_desc_t desc, int n_args, const int *arg_ids, zq_dnn_step *step,
                          zq_error *err);
void zq_dnn_step_drop(zq_dnn_step *step);
void zq_dnn_step_run(zq_dnn_step *step, const void *const *pointers);

/* Whether an implementation's name is one that may be used: not a reference kernel. */
bool zq_dnn_accepts(const char *implementation);

/* The status and sentence for a failed call of the library. what: "a convolution 3x3 of 16 channels". */
zq_status zq_dnn_fail(dnnl_status_t status, const char *what, zq_error *err);

#endif

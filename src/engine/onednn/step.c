/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/onednn/step.h"

#include "base/memory.h"
#include "engine/onednn/compat.h"
#include "engine/onednn/onednn.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static dnnl_engine_t process_engine;
static dnnl_stream_t process_stream;
static char version_text[32];

/* Engine and stream live as long as the process: a CPU stream holds no state between calls, so all threads
 * may share it. */
static void start_library(void) {
    if (dnnl_engine_create(&process_engine, dnnl_cpu, 0) != dnnl_success)
        process_engine = NULL;
    else if (dnnl_stream_create(&process_stream, process_engine, dnnl_stream_default_flags) != dnnl_success)
        process_stream = NULL;
}

zq_status zq_dnn_engine(dnnl_engine_t *engine_out, zq_error *err) {
    pthread_once(&once, start_library);
    if (process_engine == NULL || process_stream == NULL)
        return zq_fail(err, ZQ_ERR_INTERNAL, "oneDNN can't be started on this processor");
    *engine_out = process_engine;
    return ZQ_OK;
}

bool zq_dnn_has_half(void) {
    const unsigned wanted = dnnl_cpu_isa_avx512_core_bf16;
    return ((unsigned)dnnl_get_effective_cpu_isa() & wanted) == wanted;
}

static void write_version(void) {
    const dnnl_version_t *version = dnnl_version();
    snprintf(version_text, sizeof version_text, "oneDNN %d.%d.%d", version->major, version->minor,
             version->patch);
}

const char *zq_dnn_version(void) {
    static pthread_once_t written = PTHREAD_ONCE_INIT;
    pthread_once(&written, write_version);
    return version_text;
}

zq_status zq_dnn_attributes_new(dnnl_primitive_attr_t *attributes_out, zq_error *err) {
    *attributes_out = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(attributes_out);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(*attributes_out, dnnl_scratchpad_mode_user);
    return status == dnnl_success ? ZQ_OK : zq_dnn_fail(status, "attributes", err);
}

/* Adds the memory object of one argument, pointing nowhere. Empty descriptors (no scratchpad) add nothing. */
static zq_status add_argument(const_dnnl_primitive_desc_t desc, int arg_id, zq_dnn_step *step, int *n_added,
                              zq_error *err) {
    const compat_desc memory_desc = dnnl_primitive_desc_query_md(desc, dnnl_query_exec_arg_md, arg_id);
    *n_added = 0;
    if (memory_desc == NULL || dnnl_memory_desc_get_size(memory_desc) == 0)
        return ZQ_OK;
    dnnl_exec_arg_t *arg = &step->args[step->n_args];
    const dnnl_status_t status =
        dnnl_memory_create(&arg->memory, memory_desc, process_engine, DNNL_MEMORY_NONE);
    if (status != dnnl_success) {
        arg->memory = NULL;
        return zq_dnn_fail(status, "a memory object", err);
    }
    arg->arg = arg_id;
    step->bytes[step->n_args++] = dnnl_memory_desc_get_size(memory_desc);
    *n_added = 1;
    return ZQ_OK;
}

static zq_status add_scratchpad(const_dnnl_primitive_desc_t desc, zq_dnn_step *step, zq_error *err) {
    int n_added;
    ZQ_TRY(add_argument(desc, DNNL_ARG_SCRATCHPAD, step, &n_added, err));
    if (n_added == 0)
        return ZQ_OK;
    const int i = --step->n_args; /* stays behind the arguments, see drop and run */
    step->scratchpad = zq_alloc_raw(step->bytes[i], 1);
    if (step->scratchpad == NULL)
        return zq_fail_memory(err);
    dnnl_memory_set_data_handle(step->args[i].memory, step->scratchpad);
    return ZQ_OK;
}

static zq_status fill(const_dnnl_primitive_desc_t desc, int n_args, const int *arg_ids, zq_dnn_step *step,
                      zq_error *err) {
    snprintf(step->kernel, sizeof step->kernel, "%s", compat_implementation(desc));
    for (int i = 0; i < n_args; i++) {
        int n_added;
        ZQ_TRY(add_argument(desc, arg_ids[i], step, &n_added, err));
        if (n_added == 0)
            return zq_fail(err, ZQ_ERR_INTERNAL, "oneDNN's %s takes no argument %d", step->kernel,
                           arg_ids[i]);
    }
    ZQ_TRY(add_scratchpad(desc, step, err));
    const dnnl_status_t status = dnnl_primitive_create(&step->primitive, desc);
    if (status != dnnl_success) {
        step->primitive = NULL;
        return zq_dnn_fail(status, step->kernel, err);
    }
    return ZQ_OK;
}

zq_status zq_dnn_step_new(dnnl_primitive_desc_t desc, int n_args, const int *arg_ids, zq_dnn_step *step,
                          zq_error *err) {
    const zq_status status = fill(desc, n_args, arg_ids, step, err);
    dnnl_primitive_desc_destroy(desc);
    return status;
}

void zq_dnn_step_drop(zq_dnn_step *step) {
    if (step->primitive != NULL)
        dnnl_primitive_destroy(step->primitive);
    for (int i = 0; i < ZQ_DNN_MAX_ARGS; i++)
        if (step->args[i].memory != NULL)
            dnnl_memory_destroy(step->args[i].memory);
    zq_free(step->scratchpad);
    memset(step, 0, sizeof *step);
}

void zq_dnn_step_run(zq_dnn_step *step, const void *const *pointers) {
    for (int i = 0; i < step->n_args; i++) {
        if (step->pointers[i] == pointers[i])
            continue;
        step->pointers[i] = pointers[i];
        dnnl_memory_set_data_handle(step->args[i].memory, (void *)pointers[i]);
    }
    dnnl_primitive_execute(step->primitive, process_stream, step->n_args + (step->scratchpad != NULL),
                           step->args);
}

bool zq_dnn_accepts(const char *implementation) {
    return strstr(implementation, "ref") == NULL;
}

zq_status zq_dnn_fail(dnnl_status_t status, const char *what, zq_error *err) {
    switch (status) {
    case dnnl_out_of_memory:
        return zq_fail_memory(err);
    case dnnl_unimplemented:
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "oneDNN has no fast kernel for %s", what);
    case dnnl_invalid_arguments:
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "oneDNN doesn't take %s", what);
    default:
        return zq_fail(err, ZQ_ERR_INTERNAL, "oneDNN failed with status %d for %s", (int)status, what);
    }
}

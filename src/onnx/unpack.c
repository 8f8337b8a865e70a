/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/unpack.h"

#include "base/memory.h"

/* failed: NULL, or a bool to be set. */
static void *allocate(void *failed, size_t size) {
    void *memory = zq_alloc_raw(size, 1);
    if (memory == NULL && failed != NULL)
        *(bool *)failed = true;
    return memory;
}

static void release(void *failed, void *memory) {
    (void)failed;
    zq_free(memory);
}

zq_status zq_unpack_model(const void *bytes, size_t n_bytes, Onnx__ModelProto **model_out, zq_error *err) {
    bool failed = false;
    ProtobufCAllocator allocator = {allocate, release, &failed};
    *model_out = onnx__model_proto__unpack(&allocator, n_bytes, bytes);
    if (*model_out != NULL)
        return ZQ_OK;
    return failed ? zq_fail_memory(err) : zq_fail(err, ZQ_ERR_FORMAT, "is damaged or not an ONNX file");
}

void zq_unpack_drop(Onnx__ModelProto *model) {
    ProtobufCAllocator allocator = {allocate, release, NULL};
    if (model != NULL)
        onnx__model_proto__free_unpacked(model, &allocator);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Range: start, start + delta, ... up to but without limit. */
#include "ops/infer.h"

#include <math.h>

static zq_status check_inputs(const zq_io *io, zq_error *err) {
    static const char *const names[] = {"start", "limit", "delta"};
    char text[ZQ_NODE_TEXT];
    const zq_dtype dtype = io->in[0]->dtype;
    if (dtype != ZQ_F32 && dtype != ZQ_I64 && dtype != ZQ_I32)
        return zq_infer_refuse_dtype(io, dtype, "float, int64 or int32", err);
    for (int i = 0; i < 3; i++) {
        if (io->in[i]->dtype != dtype || zq_shape_count(&io->in[i]->shape) != 1)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: its input %d (%s) must be one %s",
                           zq_node_text(io->node, text), i, names[i], zq_dtype_name(dtype));
        if (io->in[i]->data == NULL)
            return zq_fail(
                err, ZQ_ERR_UNSUPPORTED,
                "%s: its input %d (%s) is computed at run time from the data; only shapes that follow from "
                "the input size are supported",
                zq_node_text(io->node, text), i, names[i]);
    }
    return ZQ_OK;
}

/* Elements, at most ZQ_MAX_ELEMENTS + 1; delta isn't 0. Unsigned, since the distance may not fit an int64_t.
 */
static int64_t count_ints(int64_t start, int64_t limit, int64_t delta) {
    if (delta > 0 ? start >= limit : start <= limit)
        return 0;
    const uint64_t distance =
        delta > 0 ? (uint64_t)limit - (uint64_t)start : (uint64_t)start - (uint64_t)limit;
    const uint64_t n = (distance - 1) / (delta > 0 ? (uint64_t)delta : 0 - (uint64_t)delta) + 1;
    return n > (uint64_t)ZQ_MAX_ELEMENTS ? ZQ_MAX_ELEMENTS + 1 : (int64_t)n;
}

static int64_t count_floats(double start, double limit, double delta) {
    const double n = ceil((limit - start) / delta);
    return !(n > 0) ? 0 : n > (double)ZQ_MAX_ELEMENTS ? ZQ_MAX_ELEMENTS + 1 : (int64_t)n;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    ZQ_TRY(check_inputs(io, err));
    if (zq_tensor_item(io->in[2], 0) == 0)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its delta is 0", zq_node_text(io->node, text));
    const int64_t n = io->in[0]->dtype == ZQ_F32
                          ? count_floats(zq_tensor_item(io->in[0], 0), zq_tensor_item(io->in[1], 0),
                                         zq_tensor_item(io->in[2], 0))
                          : count_ints(zq_tensor_item_i64(io->in[0], 0), zq_tensor_item_i64(io->in[1], 0),
                                       zq_tensor_item_i64(io->in[2], 0));
    const zq_shape shape = zq_shape_of(1, &n);
    return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const zq_tensor *dst = io->out[0];
    const bool is_float = dst->dtype == ZQ_F32;
    const double start = zq_tensor_item(io->in[0], 0), delta = zq_tensor_item(io->in[2], 0);
    const int64_t first = is_float ? 0 : zq_tensor_item_i64(io->in[0], 0);
    const int64_t step = is_float ? 0 : zq_tensor_item_i64(io->in[2], 0);
    for (int64_t i = 0; i < dst->shape.dims[0]; i++) {
        const int64_t value = (int64_t)((uint64_t)first + (uint64_t)i * (uint64_t)step); /* the sum fits */
        if (is_float)
            ((zq_real *)dst->data)[i] = (zq_real)(start + (double)i * delta);
        else if (dst->dtype == ZQ_I64)
            ((int64_t *)dst->data)[i] = value;
        else
            ((int32_t *)dst->data)[i] = (int32_t)value;
    }
    return ZQ_OK;
}

const zq_op zq_op_range = {
    .name = "Range",
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .forward = forward,
};

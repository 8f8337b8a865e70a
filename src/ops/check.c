/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/check.h"

#include "ops/elementwise.h"
#include "ops/infer.h"

zq_status zq_check_float(const zq_io *io, int input, int min_rank, int max_rank, zq_error *err) {
    const zq_tensor *tensor = zq_infer_input(io, input);
    char name[ZQ_NODE_TEXT], shape[ZQ_SHAPE_TEXT];
    if (tensor == NULL)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: input %d is missing", zq_node_text(io->node, name), input);
    if (tensor->dtype != ZQ_F32)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s: input %d is of type %s; float is supported",
                       zq_node_text(io->node, name), input, zq_dtype_name(tensor->dtype));
    const int rank = tensor->shape.rank;
    if (rank < min_rank || rank > max_rank)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: input %d has shape %s of %d dimensions; expected %d to %d",
                       zq_node_text(io->node, name), input, zq_shape_text(&tensor->shape, shape), rank,
                       min_rank, max_rank);
    if (zq_shape_count(&tensor->shape) <= 0)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: input %d has shape %s; expected at least one element",
                       zq_node_text(io->node, name), input, zq_shape_text(&tensor->shape, shape));
    return ZQ_OK;
}

zq_status zq_check_vector(const zq_io *io, int input, int64_t n, const char *what, zq_error *err) {
    char name[ZQ_NODE_TEXT], shape[ZQ_SHAPE_TEXT];
    ZQ_TRY(zq_check_float(io, input, 0, ZQ_MAX_RANK, err));
    const zq_shape *found = &io->in[input]->shape;
    if (found->rank != 1 || found->dims[0] != n)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: the %s has shape %s; expected [%lld], one for each channel",
                       zq_node_text(io->node, name), what, zq_shape_text(found, shape), (long long)n);
    return ZQ_OK;
}

zq_status zq_check_single_output(const zq_node *node, const char *what, zq_error *err) {
    char name[ZQ_NODE_TEXT];
    for (int k = 1; k < node->n_outputs; k++)
        if (node->outputs[k] >= 0)
            return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s: output %d (%s) is used; only output 0 is supported",
                           zq_node_text(node, name), k, what);
    return ZQ_OK;
}

zq_status zq_check_result(const zq_io *io, const zq_shape *shape, zq_error *err) {
    char name[ZQ_NODE_TEXT], text[ZQ_SHAPE_TEXT];
    if (zq_shape_count(shape) == 0)
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "%s: the output would have shape %s; expected at least one element",
                       zq_node_text(io->node, name), zq_shape_text(shape, text));
    return zq_infer_output(io, 0, ZQ_F32, shape, err);
}

bool zq_check_gradient(const zq_io *io) {
    if (io->d_out[0] == NULL)
        zq_elementwise_zero_gradients(io);
    return io->d_out[0] != NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What weights are multiplied with, as a matrix. */
#include "engine/patches.h"
#include "graph/op.h"

#include <string.h>

enum { CHUNK = 16 }; /* positions at a time: a cache line of each row that is written */

zq_strides zq_strides_of(const zq_slot *slot) {
    const int64_t image = slot->channels * slot->positions;
    return slot->last ? (zq_strides){image, 1, slot->channels} : (zq_strides){image, slot->positions, 1};
}

bool zq_plan_map_channels(zq_plan *plan, int value, int64_t first, const float *scale, const float *shift) {
    zq_slot *slot = &plan->slots[value];
    if (slot->data == NULL || slot->dtype != ZQ_F32 || slot->constant != NULL || slot->half)
        return false;
    slot->summed = false;
    const zq_strides s = zq_strides_of(slot);
    float *const x = slot->data;
#pragma omp parallel for schedule(static)
    for (int64_t image = first; image < slot->images; image++)
        for (int64_t p = 0; p < slot->positions; p++)
            for (int64_t c = 0; c < slot->channels; c++) {
                float *at = &x[image * s.image + p * s.position + c * s.channel];
                *at = *at * scale[c] + shift[c];
            }
    return true;
}

static bool is_op(const zq_node *node, const char *name) {
    return strcmp(node->op->name, name) == 0;
}

bool zq_is_matrix_product(const zq_node *node) {
    int64_t transposed = 0;
    if (is_op(node, "Gemm"))
        return zq_node_int(node, "transA", 0, &transposed, NULL) == ZQ_OK && transposed == 0;
    return is_op(node, "MatMul");
}

static int64_t last_dimension(const zq_slot *slot) {
    return slot->shape.rank > 0 ? slot->shape.dims[slot->shape.rank - 1] : 1;
}

static int64_t volume(int n, const int64_t *dims) {
    int64_t product = 1;
    for (int i = 0; i < n; i++)
        product *= dims[i];
    return product;
}

int64_t zq_plan_positions(const zq_plan *plan, int n) {
    const zq_node *node = &plan->graph->nodes[n];
    const zq_slot *src = &plan->slots[node->inputs[0]];
    zq_window w;
    if (src->data == NULL || src->dtype != ZQ_F32)
        return 0;
    if (zq_is_matrix_product(node))
        return last_dimension(src) > 0 ? (int64_t)src->n / last_dimension(src) : 0;
    if (!is_op(node, "Conv") || zq_engine_window(plan, node, &w, NULL) != ZQ_OK)
        return 0;
    return w.n_images * volume(w.n_spatial, w.out);
}

/* Elements of a matrix in the slot's memory: its rows are the last dimension. */
static void rows_of_matrix(const zq_slot *src, int64_t n, const int64_t *positions, float *dst) {
    const int64_t k = last_dimension(src);
    const zq_strides s = zq_strides_of(src);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < k; i++) {
            const int64_t at = positions[r] * k + i, inside = at % s.image;
            const int64_t c = inside / src->positions, p = inside % src->positions;
            dst[i * n + r] =
                ((const float *)src->data)[at / s.image * s.image + c * s.channel + p * s.position];
        }
}

int64_t zq_patch_cells(const zq_window *w) {
    return volume(w->n_spatial, w->kernel);
}

int64_t zq_patch_cell(const zq_window *w, const zq_strides *s, int64_t position, int64_t cell) {
    int64_t at = 0, step = s->position;
    for (int d = w->n_spatial - 1; d >= 0; d--) {
        const int64_t x =
            position % w->out[d] * w->stride[d] - w->pad_lo[d] + cell % w->kernel[d] * w->dilation[d];
        if (x < 0 || x >= w->in[d])
            return -1;
        at += x * step;
        step *= w->in[d];
        position /= w->out[d];
        cell /= w->kernel[d];
    }
    return at + position * s->image; /* what is left is the image */
}

/* One cell of the window at up to CHUNK positions, n_channels from the first one on. */
static void gather_cell(const zq_window *w, const zq_strides *s, const float *src, int64_t n_cells,
                        int64_t cell, int64_t first_channel, int64_t n_channels, int64_t n, int64_t count,
                        const int64_t *positions, float *dst) {
    static const float zero = 0;
    const float *from[CHUNK];
    int64_t step[CHUNK];
    for (int64_t r = 0; r < count; r++) {
        const int64_t at = zq_patch_cell(w, s, positions[r], cell);
        from[r] = at < 0 ? &zero : src + at + first_channel * s->channel;
        step[r] = at < 0 ? 0 : s->channel;
    }
    for (int64_t i = 0; i < n_channels; i++)
        for (int64_t r = 0; r < count; r++)
            dst[(i * n_cells + cell) * n + r] = from[r][i * step[r]];
}

zq_status zq_plan_patches(const zq_plan *plan, int n_node, int64_t group, int64_t n_groups, int64_t n,
                          const int64_t *positions, float *dst, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[n_node];
    const zq_slot *src = &plan->slots[node->inputs[0]];
    zq_window w;
    if (zq_is_matrix_product(node)) {
        rows_of_matrix(src, n, positions, dst);
        return ZQ_OK;
    }
    ZQ_TRY(zq_engine_window(plan, node, &w, err));
    const zq_strides s = zq_strides_of(src);
    const int64_t n_cells = zq_patch_cells(&w), of_group = w.c_in / w.groups;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n; r += CHUNK)
        for (int64_t cell = 0; cell < n_cells; cell++)
            gather_cell(&w, &s, src->data, n_cells, cell, group * of_group, n_groups * of_group, n,
                        n - r < CHUNK ? n - r : CHUNK, positions + r, dst + r);
    return ZQ_OK;
}

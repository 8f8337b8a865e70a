/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of weights. Positions are summed in a fixed number of parts, so that nothing depends on the
 * number of threads. */
#include "base/memory.h"
#include "engine/onednn/onednn.h"
#include "engine/patches.h"
#include "graph/op.h"

#include <string.h>

enum {
    PARTS = 8,   /* of the positions, each with sums of its own */
    CHUNK = 256, /* positions at a time: what they read stays in the cache */
};

/* The node, as a product of d_y [n, c_out] with rows of inputs [n, n_cells, c_in] of each group. */
typedef struct problem {
    zq_window window;
    zq_strides strides;
    const float *x, *d_y;
    int64_t n, n_cells, of_group, out_of_group; /* of_group: input channels of one */
    bool depthwise;
    bool in_place; /* rows of inputs lie in memory as they are needed */
} problem;

static bool are_rows(const zq_slot *slot) {
    return slot->last || slot->channels == 1 || slot->positions == 1;
}

static zq_status refuse(const zq_node *node, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    return zq_fail(err, ZQ_ERR_UNSUPPORTED, "the gradient of the weights of %s isn't known",
                   zq_node_text(node, text));
}

static zq_status describe_matrix(const zq_plan *plan, const zq_node *node, problem *p, zq_error *err) {
    const zq_slot *src = &plan->slots[node->inputs[0]], *dst = &plan->slots[node->outputs[0]];
    if (src->last || dst->last || src->shape.rank < 1 || dst->shape.rank < 1)
        return refuse(node, err);
    p->window = (zq_window){.c_in = src->shape.dims[src->shape.rank - 1],
                            .c_out = dst->shape.dims[dst->shape.rank - 1],
                            .groups = 1};
    p->n_cells = 1;
    p->n = p->window.c_in > 0 ? (int64_t)src->n / p->window.c_in : 0;
    p->in_place = true;
    return ZQ_OK;
}

static bool is_pointwise(const zq_window *w) {
    bool pointwise = w->groups == 1;
    for (int d = 0; d < w->n_spatial; d++)
        pointwise =
            pointwise && w->kernel[d] == 1 && w->stride[d] == 1 && w->pad_lo[d] == 0 && w->pad_hi[d] == 0;
    return pointwise;
}

static zq_status describe_conv(const zq_plan *plan, const zq_node *node, problem *p, zq_error *err) {
    const zq_slot *src = &plan->slots[node->inputs[0]], *dst = &plan->slots[node->outputs[0]];
    if (strcmp(node->op->name, "Conv") != 0 || !are_rows(src) || !are_rows(dst))
        return refuse(node, err);
    ZQ_TRY(zq_engine_window(plan, node, &p->window, err));
    p->strides = zq_strides_of(src);
    if (!src->last) /* the same in memory */
        p->strides = (zq_strides){p->strides.image, 1, src->channels};
    p->n_cells = zq_patch_cells(&p->window);
    p->n = (int64_t)dst->n / p->window.c_out;
    p->in_place = is_pointwise(&p->window);
    p->depthwise = p->window.groups == p->window.c_in && p->window.c_in == p->window.c_out;
    return ZQ_OK;
}

static zq_status describe(const zq_plan *plan, const zq_node *node, const float *d_y, problem *p,
                          zq_error *err) {
    const zq_slot *src = &plan->slots[node->inputs[0]], *dst = &plan->slots[node->outputs[0]];
    if (src->data == NULL || !src->kept || src->dtype != ZQ_F32 || dst->n == 0)
        return refuse(node, err);
    ZQ_TRY(zq_is_matrix_product(node) ? describe_matrix(plan, node, p, err)
                                      : describe_conv(plan, node, p, err));
    p->x = src->data;
    p->d_y = d_y;
    p->of_group = p->window.c_in / p->window.groups;
    p->out_of_group = p->window.c_out / p->window.groups;
    return ZQ_OK;
}

/* sums: [n_cells, channels] */
static void add_depthwise(const problem *p, int64_t first, int64_t n, float *restrict sums) {
    const int64_t n_channels = p->window.c_out;
    for (int64_t r = first; r < first + n; r++)
        for (int64_t cell = 0; cell < p->n_cells; cell++) {
            const int64_t at = zq_patch_cell(&p->window, &p->strides, r, cell);
            if (at < 0)
                continue;
            const float *const x = p->x + at, *const d_y = p->d_y + r * n_channels;
            float *const sum = sums + cell * n_channels;
#pragma omp simd
            for (int64_t c = 0; c < n_channels; c++)
                sum[c] += x[c] * d_y[c];
        }
}

/* rows: [n, n_cells, of_group] */
static void gather(const problem *p, int64_t group, int64_t first, int64_t n, float *rows) {
    const int64_t length = p->of_group;
    for (int64_t r = 0; r < n; r++)
        for (int64_t cell = 0; cell < p->n_cells; cell++) {
            const int64_t at = zq_patch_cell(&p->window, &p->strides, first + r, cell);
            float *const dst = rows + (r * p->n_cells + cell) * length;
            if (at < 0)
                memset(dst, 0, (size_t)length * sizeof *dst);
            else
                memcpy(dst, p->x + at + group * length, (size_t)length * sizeof *dst);
        }
}

/* sums: [c_out, n_cells, of_group]; rows: room for CHUNK */
static zq_status add_chunk(const problem *p, int64_t first, int64_t n, float *rows, float *sums,
                           zq_error *err) {
    const int64_t k = p->n_cells * p->of_group, m = p->out_of_group, c_out = p->window.c_out;
    for (int64_t g = 0; g < p->window.groups; g++) {
        const float *x = rows;
        if (p->in_place)
            x = p->x + first * k;
        else
            gather(p, g, first, n, rows);
        ZQ_TRY(zq_dnn_gemm_inside(true, false, m, k, n, 1, p->d_y + first * c_out + g * m, c_out, x, k, 1,
                                  sums + g * m * k, k, err));
    }
    return ZQ_OK;
}

static void add_rows(const problem *p, int64_t first, int64_t n, float *restrict sums) {
    const int64_t n_channels = p->window.c_out;
    for (int64_t r = first; r < first + n; r++)
#pragma omp simd
        for (int64_t c = 0; c < n_channels; c++)
            sums[c] += p->d_y[r * n_channels + c];
}

/* sums: of the weights and, behind them, of the biases */
static zq_status add_part(const problem *p, int64_t part, float *sums, zq_error *err) {
    const int64_t begin = p->n * part / PARTS, end = p->n * (part + 1) / PARTS;
    const int64_t k = p->n_cells * p->of_group;
    float *rows = zq_alloc_raw(p->depthwise || p->in_place ? 0 : (size_t)(CHUNK * k), sizeof *rows);
    zq_status status = rows == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (int64_t first = begin; status == ZQ_OK && first < end; first += CHUNK) {
        const int64_t n = end - first < CHUNK ? end - first : CHUNK;
        if (p->depthwise)
            add_depthwise(p, first, n, sums);
        else
            status = add_chunk(p, first, n, rows, sums, err);
        add_rows(p, first, n, sums + p->window.c_out * k);
    }
    zq_free(rows);
    return status;
}

static float sum_parts(const float *sums, int64_t of_part, int64_t at) {
    float sum = 0;
    for (int64_t part = 0; part < PARTS; part++)
        sum += sums[part * of_part + at];
    return sum;
}

/* Channels first, and cells last. */
static void arrange(const problem *p, const float *sums, float *d_w, float *d_bias) {
    const int64_t k = p->n_cells * p->of_group, count = p->window.c_out * k,
                  of_part = count + p->window.c_out;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < p->window.c_out; c++) {
        for (int64_t i = 0; i < p->of_group; i++)
            for (int64_t cell = 0; cell < p->n_cells; cell++)
                d_w[c * k + i * p->n_cells + cell] =
                    sum_parts(sums, of_part,
                              p->depthwise ? cell * p->window.c_out + c : c * k + cell * p->of_group + i);
        d_bias[c] = sum_parts(sums, of_part, count + c);
    }
}

zq_status zq_plan_weight_gradient(const zq_plan *plan, int n_node, const float *d_y, float *d_w,
                                  float *d_bias, zq_error *err) {
    problem p = {.n = 0};
    ZQ_TRY(describe(plan, &plan->graph->nodes[n_node], d_y, &p, err));
    const size_t of_part = (size_t)(p.window.c_out * (p.n_cells * p.of_group + 1));
    float *sums = zq_alloc(of_part, PARTS * sizeof *sums);
    zq_status status = sums == NULL ? zq_fail_memory(err) : ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t part = 0; part < PARTS; part++) {
        zq_error own = {0};
        const zq_status done = sums == NULL ? ZQ_OK : add_part(&p, part, sums + (size_t)part * of_part, &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_weight_gradient)
            {
                status = done;
                *err = own;
            }
        }
    }
    if (status == ZQ_OK)
        arrange(&p, sums, d_w, d_bias);
    zq_free(sums);
    return status;
}

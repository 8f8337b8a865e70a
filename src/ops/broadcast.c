/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/broadcast.h"

#include "ops/elementwise.h"
#include "ops/infer.h"

#include <string.h>

enum {
    ROW_BLOCK = 4096,      /* elements of a row that one thread takes at once */
    GRADIENT_BLOCK = 1024, /* the same where partial sums live on the stack */
};

bool zq_broadcast_shape(const zq_shape *a, const zq_shape *b, zq_shape *out) {
    zq_shape shape = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int d = 0; d < shape.rank; d++) {
        const int in_a = d - (shape.rank - a->rank), in_b = d - (shape.rank - b->rank);
        const int64_t size_a = in_a >= 0 ? a->dims[in_a] : 1, size_b = in_b >= 0 ? b->dims[in_b] : 1;
        if (size_a != size_b && size_a != 1 && size_b != 1)
            return false;
        shape.dims[d] = size_a == 1 ? size_b : size_a;
    }
    *out = shape;
    return true;
}

/* ---- walking over the output, row by row */

/* The dimensions of the output without those of size 1, neighbours joined where both inputs allow it: what is
 * left is mostly one dimension (equal shapes) or two or three (per channel). Steps are in elements; 0:
 * broadcast. */
typedef struct walk {
    int rank; /* at least 1 */
    int64_t dims[ZQ_MAX_RANK], y[ZQ_MAX_RANK], a[ZQ_MAX_RANK], b[ZQ_MAX_RANK];
} walk;

static void input_steps(const zq_shape *shape, int rank, int64_t *steps) {
    int64_t step = 1;
    for (int d = rank - 1; d >= 0; d--) {
        const int own = d - (rank - shape->rank);
        const int64_t size = own >= 0 ? shape->dims[own] : 1;
        steps[d] = size == 1 ? 0 : step;
        step *= size;
    }
}

static walk new_walk(const zq_shape *out, const zq_shape *a, const zq_shape *b) {
    int64_t a_steps[ZQ_MAX_RANK], b_steps[ZQ_MAX_RANK], step = 1;
    walk reversed = {0}, w = {.rank = 1, .dims = {1}};
    if (zq_shape_count(out) == 0) {
        w.dims[0] = 0;
        return w;
    }
    input_steps(a, out->rank, a_steps);
    input_steps(b, out->rank, b_steps);
    for (int d = out->rank - 1; d >= 0; step *= out->dims[d], d--) {
        const int last = reversed.rank - 1;
        if (out->dims[d] == 1)
            continue;
        if (last >= 0 && a_steps[d] == reversed.a[last] * reversed.dims[last] &&
            b_steps[d] == reversed.b[last] * reversed.dims[last]) {
            reversed.dims[last] *= out->dims[d];
            continue;
        }
        reversed.dims[last + 1] = out->dims[d];
        reversed.y[last + 1] = step;
        reversed.a[last + 1] = a_steps[d];
        reversed.b[last + 1] = b_steps[d];
        reversed.rank++;
    }
    for (int d = 0; d < reversed.rank; d++) {
        const int from = reversed.rank - 1 - d;
        w.dims[d] = reversed.dims[from];
        w.y[d] = reversed.y[from];
        w.a[d] = reversed.a[from];
        w.b[d] = reversed.b[from];
    }
    w.rank = reversed.rank > 0 ? reversed.rank : 1;
    return w;
}

/* Some dimensions of a walk, and where the n-th of their positions is. */
typedef struct axes {
    int n;
    int64_t count; /* positions */
    int axis[ZQ_MAX_RANK];
} axes;

typedef struct offsets {
    int64_t y, a, b;
} offsets;

static void add_axis(const walk *w, axes *list, int axis) {
    list->axis[list->n++] = axis;
    list->count *= w->dims[axis];
}

static offsets position(const walk *w, const axes *list, int64_t n) {
    offsets at = {0};
    for (int k = list->n - 1; k >= 0; k--) {
        const int axis = list->axis[k];
        const int64_t i = n % w->dims[axis];
        n /= w->dims[axis];
        at.y += i * w->y[axis];
        at.a += i * w->a[axis];
        at.b += i * w->b[axis];
    }
    return at;
}

static int64_t block_count(int64_t n, int64_t block) {
    return (n + block - 1) / block;
}

static int64_t block_size(int64_t n, int64_t block, int64_t start) {
    return n - start < block ? n - start : block;
}

/* ---- forward */

static zq_row *row_of(const zq_binary *binary, zq_dtype dtype) {
    return dtype == ZQ_F32   ? binary->f32
           : dtype == ZQ_I64 ? binary->i64
           : dtype == ZQ_I32 ? binary->i32
                             : NULL;
}

zq_status zq_broadcast_infer(const zq_io *io, const zq_binary *binary, zq_error *err) {
    char text[ZQ_NODE_TEXT], a_text[ZQ_SHAPE_TEXT], b_text[ZQ_SHAPE_TEXT];
    const zq_tensor *a = io->in[0], *b = io->in[1];
    zq_shape shape;
    if (a->dtype != b->dtype)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its inputs are %s and %s, expected the same type",
                       zq_node_text(io->node, text), zq_dtype_name(a->dtype), zq_dtype_name(b->dtype));
    if (row_of(binary, a->dtype) == NULL)
        return zq_infer_refuse_dtype(io, a->dtype, binary->i64 != NULL ? "float, int64 or int32" : "float",
                                     err);
    if (!zq_broadcast_shape(&a->shape, &b->shape, &shape))
        return zq_fail(
            err, ZQ_ERR_FORMAT, "%s: the shapes %s and %s of its inputs can't be broadcast to one another",
            zq_node_text(io->node, text), zq_shape_text(&a->shape, a_text), zq_shape_text(&b->shape, b_text));
    return zq_infer_output(io, 0, a->dtype, &shape, err);
}

zq_status zq_broadcast_forward(const zq_io *io, const zq_binary *binary, zq_error *err) {
    const zq_tensor *in_a = io->in[0], *in_b = io->in[1];
    const walk w = new_walk(&io->out[0]->shape, &in_a->shape, &in_b->shape);
    const size_t bytes = zq_dtype_bytes(in_a->dtype);
    const char *a = in_a->data, *b = in_b->data;
    char *y = io->out[0]->data;
    zq_row *row = row_of(binary, in_a->dtype);
    if (row == NULL)
        return zq_infer_refuse_dtype(io, in_a->dtype, "float", err);
    const int inner = w.rank - 1;
    axes outer = {.count = 1};
    for (int d = 0; d < inner; d++)
        add_axis(&w, &outer, d);
    const int64_t length = w.dims[inner], blocks = block_count(length, ROW_BLOCK),
                  jobs = outer.count * blocks;
#pragma omp parallel for schedule(static) if (outer.count * length >= ZQ_PARALLEL_MIN)
    for (int64_t job = 0; job < jobs; job++) {
        const int64_t start = job % blocks * ROW_BLOCK;
        offsets at = position(&w, &outer, job / blocks);
        at.y += start;
        at.a += start * w.a[inner];
        at.b += start * w.b[inner];
        row(block_size(length, ROW_BLOCK, start), a + (size_t)at.a * bytes, w.a[inner],
            b + (size_t)at.b * bytes, w.b[inner], NULL, y + (size_t)at.y * bytes);
    }
    return ZQ_OK;
}

/* ---- backward */

typedef struct gradient {
    const walk *w;
    zq_row *row;
    const zq_real *a, *b, *d_y;
    const int64_t *steps; /* of the input whose gradient this is: w->a or w->b */
    axes kept, summed;    /* the outer dimensions along which that input varies, and the others */
    zq_real *d_x;
} gradient;

static void gradient_row(const gradient *g, offsets kept, offsets summed, int64_t start, int64_t n,
                         zq_real *dst) {
    const walk *w = g->w;
    const int inner = w->rank - 1;
    g->row(n, g->a + kept.a + summed.a + start * w->a[inner], w->a[inner],
           g->b + kept.b + summed.b + start * w->b[inner], w->b[inner], g->d_y + kept.y + summed.y + start,
           dst);
}

/* One block of a row of d_x, summed over the dimensions in which x was repeated. */
static void gradient_block(const gradient *g, offsets kept, int64_t start, int64_t n, zq_real *d_x) {
    if (g->summed.n == 0) {
        gradient_row(g, kept, (offsets){0}, start, n, d_x);
        return;
    }
    double sum[GRADIENT_BLOCK] = {0};
    zq_real part[GRADIENT_BLOCK];
    for (int64_t s = 0; s < g->summed.count; s++) {
        gradient_row(g, kept, position(g->w, &g->summed, s), start, n, part);
        for (int64_t i = 0; i < n; i++)
            sum[i] += (double)part[i];
    }
    for (int64_t i = 0; i < n; i++)
        d_x[i] = (zq_real)sum[i];
}

/* One element of d_x: x was repeated along the rows. */
static zq_real gradient_sum(const gradient *g, offsets kept) {
    const int64_t length = g->w->dims[g->w->rank - 1];
    zq_real part[GRADIENT_BLOCK];
    double sum = 0;
    for (int64_t s = 0; s < g->summed.count; s++) {
        const offsets summed = position(g->w, &g->summed, s);
        for (int64_t start = 0; start < length; start += GRADIENT_BLOCK) {
            const int64_t n = block_size(length, GRADIENT_BLOCK, start);
            gradient_row(g, kept, summed, start, n, part);
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < n; i++)
                sum += (double)part[i];
        }
    }
    return (zq_real)sum;
}

static void run_gradient(gradient *g) {
    const walk *w = g->w;
    const int inner = w->rank - 1;
    const bool along_rows = g->steps[inner] != 0;
    g->kept.count = g->summed.count = 1;
    for (int d = 0; d < inner; d++)
        add_axis(w, g->steps[d] != 0 ? &g->kept : &g->summed, d);
    const int64_t length = along_rows ? w->dims[inner] : 1, blocks = block_count(length, GRADIENT_BLOCK);
    const int64_t jobs = g->kept.count * blocks;
#pragma omp parallel for schedule(static) if (jobs > 1 && w->y[0] * w->dims[0] >= ZQ_PARALLEL_MIN)
    for (int64_t job = 0; job < jobs; job++) {
        const offsets kept = position(w, &g->kept, job / blocks);
        const int64_t start = job % blocks * GRADIENT_BLOCK;
        zq_real *d_x = g->d_x + (g->steps == w->a ? kept.a : kept.b) + start;
        if (along_rows)
            gradient_block(g, kept, start, block_size(length, GRADIENT_BLOCK, start), d_x);
        else
            *d_x = gradient_sum(g, kept);
    }
}

zq_status zq_broadcast_backward(const zq_io *io, const zq_binary *binary, zq_error *err) {
    (void)err;
    if (io->d_out[0] == NULL) {
        zq_elementwise_zero_gradients(io);
        return ZQ_OK;
    }
    const walk w = new_walk(&io->out[0]->shape, &io->in[0]->shape, &io->in[1]->shape);
    for (int i = 0; i < 2; i++)
        if (io->d_in[i] != NULL && zq_shape_count(&io->out[0]->shape) == 0)
            zq_elementwise_zero_gradients(io); /* a size of 0 met a size of 1: a sum of nothing */
        else if (io->d_in[i] != NULL)
            run_gradient(&(gradient){.w = &w,
                                     .row = i == 0 ? binary->d_a : binary->d_b,
                                     .a = io->in[0]->data,
                                     .b = io->in[1]->data,
                                     .d_y = io->d_out[0]->data,
                                     .steps = i == 0 ? w.a : w.b,
                                     .d_x = io->d_in[i]->data});
    return ZQ_OK;
}

ZQ_ROW_GRADIENT(copy_row, d_y)

void zq_broadcast_sum(const zq_shape *shape, const zq_real *d_y, const zq_shape *src_shape, zq_real *d_src) {
    const walk w = new_walk(shape, src_shape, shape);
    if (zq_shape_count(shape) == 0)
        memset(d_src, 0, (size_t)zq_shape_count(src_shape) * sizeof *d_src);
    else /* copy_row doesn't use a and b; whatever can be read serves */
        run_gradient(&(gradient){
            .w = &w, .row = copy_row, .a = d_y, .b = d_y, .d_y = d_y, .steps = w.a, .d_x = d_src});
}

zq_status zq_broadcast_check_divisor(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const zq_tensor *b = io->in[1];
    const int64_t n = b->dtype == ZQ_F32 ? 0 : zq_shape_count(&b->shape);
    for (int64_t i = 0; i < n; i++)
        if (zq_tensor_item_i64(b, i) == 0)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: divides an integer by zero",
                           zq_node_text(io->node, text));
    return ZQ_OK;
}

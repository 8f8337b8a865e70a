/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that move elements: of any type, and their gradients back. */
#include "ops/one_op.h"

#include "base/random.h"
#include "ops/move.h"

static const float f12[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static const int64_t i12[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static void transpose_permutes(void **state) {
    (void)state;
    one_op op = op_of("Transpose");
    zq_node_set_ints(&op.node, "perm", 3, (int64_t[]){1, 2, 0});
    add_f32(&op, SHAPE(2, 3, 2), f12);
    run(&op);
    expect_f32(&op, 0, SHAPE(3, 2, 2), (float[]){0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11});
    run_backward(&op, 1, f12);
    expect_gradient(&op, 0, (float[]){0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11});
    op_drop(&op);

    one_op reversed = op_of("Transpose");
    add_f32(&reversed, SHAPE(2, 3), f12);
    run(&reversed);
    expect_f32(&reversed, 0, SHAPE(3, 2), (float[]){0, 3, 1, 4, 2, 5});
    op_drop(&reversed);
}

/* Every width of element has its own loop. */
static void any_type_is_moved(void **state) {
    (void)state;
    static const zq_dtype dtypes[] = {ZQ_I64, ZQ_I32, ZQ_U8, ZQ_BOOL, ZQ_I4, ZQ_U2};
    for (size_t k = 0; k < sizeof dtypes / sizeof dtypes[0]; k++) {
        one_op op = op_of("Transpose");
        add_int(&op, dtypes[k], SHAPE(2, 6), i12);
        run(&op);
        expect_int(&op, 0, dtypes[k], SHAPE(6, 2), (int64_t[]){0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11});
        op_drop(&op);
    }
}

static void bad_permutations_are_refused(void **state) {
    (void)state;
    static const int64_t bad[][2] = {{0, 0}, {0, 2}, {-1, 0}};
    for (int k = 0; k < 3; k++) {
        one_op op = op_of("Transpose");
        zq_node_set_ints(&op.node, "perm", 2, bad[k]);
        add_shape(&op, ZQ_F32, SHAPE(2, 3));
        expect_refused(&op, ZQ_ERR_FORMAT, "not a permutation of 0 to 1");
    }
    one_op op = op_of("Transpose");
    zq_node_set_ints(&op.node, "perm", 2, (int64_t[]){1, 0});
    add_shape(&op, ZQ_F32, SHAPE(2, 3, 4));
    expect_refused(&op, ZQ_ERR_FORMAT, "perm has 2 entries, but its input is [2,3,4]");
}

/* ---- Slice */

typedef struct slice_case {
    int64_t start, end, step;
    int64_t n, first; /* expected of 0..4: n elements, the first of them */
} slice_case;

static void slice_follows_numpy(void **state) {
    (void)state;
    static const slice_case cases[] = {
        {0, 5, 1, 5, 0},
        {1, 4, 2, 2, 1},
        {-2, INT64_MAX, 1, 2, 3},
        {0, -1, 1, 4, 0},
        {3, 3, 1, 0, 0},
        {4, 2, 1, 0, 0},
        {9, 12, 1, 0, 0},
        {-9, 2, 1, 2, 0},
        {4, INT64_MIN, -1, 5, 4},
        {-1, -6, -2, 3, 4},
        {9, 0, -1, 4, 4},
        {0, 5, -1, 0, 0},
        {INT64_MAX, INT64_MIN, INT64_MIN, 1, 4},
        {INT64_MIN, INT64_MAX, INT64_MAX, 1, 0},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        const slice_case *c = &cases[k];
        one_op op = op_of("Slice");
        add_f32(&op, SHAPE(5), f12);
        add_i64(&op, 1, &c->start);
        add_i64(&op, 1, &c->end);
        add_none(&op);
        add_i64(&op, 1, &c->step);
        run(&op);
        float expected[5] = {0}, gradient[5] = {0};
        for (int i = 0; i < c->n; i++) {
            expected[i] = (float)c->first + (float)i * (c->n > 1 ? (float)c->step : 0);
            gradient[(int)expected[i]] = (float)(i + 1);
        }
        expect_f32(&op, 0, SHAPE(c->n), expected);
        run_backward(&op, 1, (float[]){1, 2, 3, 4, 5});
        expect_gradient(&op, 0, gradient);
        op_drop(&op);
    }
}

static void slice_takes_named_axes(void **state) {
    (void)state;
    one_op op = op_of("Slice");
    add_int(&op, ZQ_I8, SHAPE(2, 2, 3), i12);
    add_int(&op, ZQ_I32, SHAPE(2), (int64_t[]){2, 1});
    add_int(&op, ZQ_I32, SHAPE(2), (int64_t[]){-4, 2});
    add_i64(&op, 2, (int64_t[]){-1, 0});
    add_i64(&op, 2, (int64_t[]){-2, 1});
    run(&op);
    expect_int(&op, 0, ZQ_I8, SHAPE(1, 2, 2), (int64_t[]){8, 6, 11, 9});
    op_drop(&op);
}

static one_op slice_of(const int64_t *axes, const int64_t *steps, int64_t n_ends) {
    one_op op = op_of("Slice");
    add_shape(&op, ZQ_F32, SHAPE(2, 3));
    add_i64(&op, 2, (int64_t[]){0, 0});
    add_i64(&op, n_ends, (int64_t[]){1, 1, 1});
    add_i64(&op, 2, axes);
    add_i64(&op, 2, steps);
    return op;
}

static void bad_slices_are_refused(void **state) {
    (void)state;
    one_op zero = slice_of((int64_t[]){0, 1}, (int64_t[]){1, 0}, 2);
    expect_refused(&zero, ZQ_ERR_FORMAT, "the step of axis 1 is 0");
    one_op twice = slice_of((int64_t[]){1, -1}, (int64_t[]){1, 1}, 2);
    expect_refused(&twice, ZQ_ERR_FORMAT, "axis 1 is named twice");
    one_op axis = slice_of((int64_t[]){0, 2}, (int64_t[]){1, 1}, 2);
    expect_refused(&axis, ZQ_ERR_FORMAT, "axis 2 doesn't exist in a tensor of 2 dimensions");
    one_op counts = slice_of((int64_t[]){0, 1}, (int64_t[]){1, 1}, 3);
    expect_refused(&counts, ZQ_ERR_FORMAT, "2 starts, 3 ends, 2 axes and 2 steps");
    one_op late = slice_of((int64_t[]){0, 1}, (int64_t[]){1, 1}, 2);
    late.at_run_time[1] = true;
    expect_refused(&late, ZQ_ERR_UNSUPPORTED, "input 1 (starts) is computed at run time from the data");
}

/* ---- Concat and Split */

static void concat_joins_and_cuts_the_gradient(void **state) {
    (void)state;
    one_op op = op_of("Concat");
    zq_node_set_int(&op.node, "axis", -1);
    add_f32(&op, SHAPE(2, 2), f12);
    add_f32(&op, SHAPE(2, 0), f12);
    add_f32(&op, SHAPE(2, 1), (float[]){20, 30});
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 3), (float[]){0, 1, 20, 2, 3, 30});
    run_backward(&op, 3, (float[]){1, 2, 3, 4, 5, 6});
    expect_gradient(&op, 0, (float[]){1, 2, 4, 5});
    expect_gradient(&op, 2, (float[]){3, 6});
    op_drop(&op);
}

static void bad_concats_are_refused(void **state) {
    (void)state;
    one_op axis = op_of("Concat");
    add_shape(&axis, ZQ_F32, SHAPE(2));
    expect_refused(&axis, ZQ_ERR_FORMAT, "'axis' is missing");

    one_op shapes = op_of("Concat");
    zq_node_set_int(&shapes.node, "axis", 0);
    add_shape(&shapes, ZQ_F32, SHAPE(2, 3));
    add_shape(&shapes, ZQ_F32, SHAPE(2, 4));
    expect_refused(&shapes, ZQ_ERR_FORMAT, "[2,3] and [2,4] of its inputs can't be joined along axis 0");

    one_op types = op_of("Concat");
    zq_node_set_int(&types.node, "axis", 0);
    add_shape(&types, ZQ_F32, SHAPE(2));
    add_shape(&types, ZQ_I64, SHAPE(2));
    expect_refused(&types, ZQ_ERR_FORMAT, "float and int64");

    one_op huge = op_of("Concat");
    zq_node_set_int(&huge.node, "axis", 0);
    add_shape(&huge, ZQ_F32, SHAPE(INT64_MAX));
    add_shape(&huge, ZQ_F32, SHAPE(INT64_MAX));
    expect_refused(&huge, ZQ_ERR_LIMIT, "too large");

    one_op empty = op_of("Concat");
    zq_node_set_int(&empty.node, "axis", 0);
    add_shape(&empty, ZQ_F32, SHAPE(1));
    add_none(&empty);
    expect_refused(&empty, ZQ_ERR_FORMAT, "input 1 is empty");
}

static void split_cuts_and_joins_the_gradient(void **state) {
    (void)state;
    one_op op = op_of("Split");
    zq_node_set_int(&op.node, "axis", 1);
    add_f32(&op, SHAPE(2, 4), f12);
    add_i64(&op, 3, (int64_t[]){1, 2, 1});
    op.n_out = 3;
    op.unwanted[2] = true;
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 1), (float[]){0, 4});
    expect_f32(&op, 1, SHAPE(2, 2), (float[]){1, 2, 5, 6});
    op.d_out[1] = f32_of(SHAPE(2, 2), (float[]){3, 4, 5, 6});
    run_backward(&op, 1, (float[]){1, 2});
    expect_gradient(&op, 0, (float[]){1, 3, 4, 0, 2, 5, 6, 0});
    op_drop(&op);

    one_op equal = op_of("Split");
    add_int(&equal, ZQ_U8, SHAPE(4), i12);
    equal.n_out = 2;
    run(&equal);
    expect_int(&equal, 0, ZQ_U8, SHAPE(2), (int64_t[]){0, 1});
    expect_int(&equal, 1, ZQ_U8, SHAPE(2), (int64_t[]){2, 3});
    op_drop(&equal);
}

static void bad_splits_are_refused(void **state) {
    (void)state;
    static const int64_t bad[][2] = {{1, 2}, {3, 2}, {-1, 5}, {INT64_MAX, INT64_MAX}};
    for (int k = 0; k < 4; k++) {
        one_op op = op_of("Split");
        add_shape(&op, ZQ_F32, SHAPE(4));
        add_i64(&op, 2, bad[k]);
        op.n_out = 2;
        expect_refused(&op, ZQ_ERR_FORMAT, "sizes don't add up to dimension 0, which is 4");
    }
    one_op equal = op_of("Split");
    add_shape(&equal, ZQ_F32, SHAPE(5));
    equal.n_out = 2;
    expect_refused(&equal, ZQ_ERR_FORMAT, "of size 5 can't be cut into 2 equal parts");

    one_op count = op_of("Split");
    add_shape(&count, ZQ_F32, SHAPE(5));
    add_i64(&count, 1, (int64_t[]){5});
    count.n_out = 2;
    expect_refused(&count, ZQ_ERR_FORMAT, "has 2 outputs, but its input 1 gives 1 sizes");

    one_op late = op_of("Split");
    add_shape(&late, ZQ_F32, SHAPE(5));
    add_i64(&late, 2, (int64_t[]){2, 3});
    late.at_run_time[1] = true;
    late.n_out = 2;
    expect_refused(&late, ZQ_ERR_UNSUPPORTED, "input 1 (split) is computed at run time");
}

/* ---- Pad */

static one_op pad_of(const char *mode, const int64_t *pads) {
    one_op op = op_of("Pad");
    zq_node_set_string(&op.node, "mode", mode);
    add_f32(&op, SHAPE(2, 3), (float[]){1, 2, 3, 4, 5, 6});
    add_i64(&op, 4, pads);
    return op;
}

static void pad_fills_or_repeats(void **state) {
    (void)state;
    const int64_t pads[] = {1, 2, 0, 1};
    const float ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

    one_op value = pad_of("constant", pads);
    add_f32(&value, SCALAR, (float[]){9});
    run(&value);
    expect_f32(&value, 0, SHAPE(3, 6), (float[]){9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 9, 9, 9, 4, 5, 6, 9});
    run_backward(&value, 1, ones);
    expect_gradient(&value, 0, ones);
    op_drop(&value);

    one_op reflect = pad_of("reflect", pads);
    run(&reflect);
    expect_f32(&reflect, 0, SHAPE(3, 6), (float[]){6, 5, 4, 5, 6, 5, 3, 2, 1, 2, 3, 2, 6, 5, 4, 5, 6, 5});
    run_backward(&reflect, 1, ones);
    expect_gradient(&reflect, 0, (float[]){1, 3, 2, 2, 6, 4});
    op_drop(&reflect);

    one_op edge = pad_of("edge", pads);
    run(&edge);
    expect_f32(&edge, 0, SHAPE(3, 6), (float[]){1, 1, 1, 2, 3, 3, 1, 1, 1, 2, 3, 3, 4, 4, 4, 5, 6, 6});
    run_backward(&edge, 1, ones);
    expect_gradient(&edge, 0, (float[]){6, 2, 4, 3, 1, 2});
    op_drop(&edge);
}

static void negative_pads_cut(void **state) {
    (void)state;
    one_op op = pad_of("constant", (int64_t[]){0, -1, -1, 1});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 3), (float[]){2, 3, 0});
    run_backward(&op, 1, (float[]){5, 6, 7});
    expect_gradient(&op, 0, (float[]){0, 5, 6, 0, 0, 0});
    op_drop(&op);

    one_op edge = pad_of("edge", (int64_t[]){0, -1, -1, 1});
    run(&edge);
    expect_f32(&edge, 0, SHAPE(1, 3), (float[]){2, 3, 3});
    op_drop(&edge);

    one_op reflect = pad_of("reflect", (int64_t[]){0, -1, -1, 1});
    run(&reflect);
    expect_f32(&reflect, 0, SHAPE(1, 3), (float[]){2, 3, 2});
    run_backward(&reflect, 1, (float[]){5, 6, 7});
    expect_gradient(&reflect, 0, (float[]){0, 12, 6, 0, 0, 0});
    op_drop(&reflect);

    one_op all = pad_of("constant", (int64_t[]){0, 2, 0, -3});
    run(&all);
    expect_f32(&all, 0, SHAPE(2, 2), (float[]){0, 0, 0, 0});
    op_drop(&all);
}

static void bad_pads_are_refused(void **state) {
    (void)state;
    one_op deep = pad_of("reflect", (int64_t[]){0, 3, 0, 0});
    expect_refused(&deep, ZQ_ERR_FORMAT, "dimension 1 has 3 elements, too few to pad with them");
    one_op rest = pad_of("reflect", (int64_t[]){0, -1, 0, 2});
    expect_refused(&rest, ZQ_ERR_FORMAT, "dimension 1 has 2 elements, too few to pad with them");
    one_op nothing = pad_of("edge", (int64_t[]){0, -3, 0, 2});
    expect_refused(&nothing, ZQ_ERR_FORMAT, "dimension 1 has 0 elements, too few to pad with them");
    one_op cut = pad_of("constant", (int64_t[]){-1, 0, -2, 0});
    expect_refused(&cut, ZQ_ERR_FORMAT, "would cut more off dimension 0 than its 2 elements");
    one_op huge = pad_of("constant", (int64_t[]){INT64_MAX, 0, INT64_MAX, 0});
    expect_refused(&huge, ZQ_ERR_LIMIT, "pads dimension 0 by more than");
    one_op large = pad_of("constant", (int64_t[]){1 << 20, 1 << 20, 0, 0});
    expect_refused(&large, ZQ_ERR_LIMIT, "[1048578,1048579]");
    one_op low = pad_of("edge", (int64_t[]){INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN});
    expect_refused(&low, ZQ_ERR_FORMAT, "would cut more");
    one_op mode = pad_of("mirror", (int64_t[]){0, 0, 0, 0});
    expect_refused(&mode, ZQ_ERR_UNSUPPORTED, "mode 'mirror'");

    one_op count = op_of("Pad");
    add_shape(&count, ZQ_F32, SHAPE(2, 3));
    add_i64(&count, 3, (int64_t[]){0, 0, 0});
    expect_refused(&count, ZQ_ERR_FORMAT, "has 3 pads for 2 dimensions, expected 4");

    one_op value = pad_of("constant", (int64_t[]){0, 0, 0, 0});
    add_i64(&value, -1, (int64_t[]){0});
    expect_refused(&value, ZQ_ERR_FORMAT, "must be one float");
}

/* ---- Gather and Expand */

static void gather_takes_and_gives_back(void **state) {
    (void)state;
    one_op op = op_of("Gather");
    zq_node_set_int(&op.node, "axis", 1);
    add_f32(&op, SHAPE(2, 3, 2), f12);
    add_i64(&op, 3, (int64_t[]){2, -3, 2});
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 3, 2), (float[]){4, 5, 0, 1, 4, 5, 10, 11, 6, 7, 10, 11});
    run_backward(&op, 1, f12);
    expect_gradient(&op, 0, (float[]){2, 3, 0, 0, 4, 6, 8, 9, 0, 0, 16, 18});
    op_drop(&op);

    one_op scalar = op_of("Gather"); /* the dimension disappears: how exporters read a size */
    add_i64(&scalar, 4, (int64_t[]){1, 3, 224, 225});
    add_int(&scalar, ZQ_I32, SCALAR, (int64_t[]){-1});
    run(&scalar);
    expect_int(&scalar, 0, ZQ_I64, SCALAR, (int64_t[]){225});
    op_drop(&scalar);
}

static void bad_indices_are_refused(void **state) {
    (void)state;
    static const int64_t bad[] = {2, -3, INT64_MIN, INT64_MAX};
    for (int k = 0; k < 4; k++) {
        one_op op = op_of("Gather");
        add_f32(&op, SHAPE(2), f12);
        add_i64(&op, 1, &bad[k]);
        expect_refused(&op, ZQ_ERR_FORMAT, "doesn't exist in dimension 0 of size 2");

        one_op late = op_of("Gather");
        add_f32(&late, SHAPE(2), f12);
        add_i64(&late, 1, &bad[k]);
        late.at_run_time[1] = true;
        expect_forward_refused(&late, ZQ_ERR_FORMAT, "doesn't exist in dimension 0 of size 2");
    }
    one_op type = op_of("Gather");
    add_shape(&type, ZQ_F32, SHAPE(2));
    add_shape(&type, ZQ_F32, SHAPE(2));
    expect_refused(&type, ZQ_ERR_UNSUPPORTED, "takes int64 or int32 indices, but was given float");

    one_op rank = op_of("Gather");
    add_shape(&rank, ZQ_F32, SHAPE(1, 1, 1, 1, 1));
    add_shape(&rank, ZQ_I64, SHAPE(1, 1, 1, 1, 1));
    expect_refused(&rank, ZQ_ERR_UNSUPPORTED, "9 dimensions");

    one_op scalar = op_of("Gather");
    add_shape(&scalar, ZQ_F32, SCALAR);
    add_shape(&scalar, ZQ_I64, SHAPE(1));
    expect_refused(&scalar, ZQ_ERR_FORMAT, "axis 0 doesn't exist in a tensor of 0 dimensions");
}

static void expand_repeats_and_sums(void **state) {
    (void)state;
    one_op op = op_of("Expand");
    add_f32(&op, SHAPE(2, 1), (float[]){3, 4});
    add_i64(&op, 3, (int64_t[]){2, 1, 3});
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2, 3), (float[]){3, 3, 3, 4, 4, 4, 3, 3, 3, 4, 4, 4});
    run_backward(&op, 1, f12);
    expect_gradient(&op, 0, (float[]){0 + 1 + 2 + 6 + 7 + 8, 3 + 4 + 5 + 9 + 10 + 11});
    op_drop(&op);

    one_op bad = op_of("Expand");
    add_shape(&bad, ZQ_F32, SHAPE(2, 3));
    add_i64(&bad, 2, (int64_t[]){2, 2});
    expect_refused(&bad, ZQ_ERR_FORMAT, "[2,3] can't be broadcast to [2,2]");

    one_op huge = op_of("Expand");
    add_shape(&huge, ZQ_F32, SHAPE(1));
    add_i64(&huge, 2, (int64_t[]){1LL << 40, 1LL << 40});
    expect_refused(&huge, ZQ_ERR_LIMIT, "more than the 2147483648 elements");

    one_op negative = op_of("Expand");
    add_shape(&negative, ZQ_F32, SHAPE(1));
    add_i64(&negative, 1, (int64_t[]){-5});
    expect_refused(&negative, ZQ_ERR_FORMAT, "negative dimension");
}

/* ---- the strided copy, against index arithmetic */

static void boxes_are_copied(void **state) {
    (void)state;
    const uint64_t seed = 7;
    uint64_t counter = 0;
    print_message("seed %d\n", (int)seed);
    for (int k = 0; k < 200; k++) {
        const int rank = (int)(zq_random_uniform(seed, counter++) * 5);
        zq_box box = {.rank = rank};
        int order[] = {0, 1, 2, 3}, count = 1, step = 1;
        for (int d = 0; d < rank; d++) {
            const int other = (int)(zq_random_uniform(seed, counter++) * rank), kept = order[d];
            order[d] = order[other];
            order[other] = kept;
        }
        for (int d = rank - 1; d >= 0; d--) {
            box.dims[d] = 1 + (int)(zq_random_uniform(seed, counter++) * 5);
            box.dst_steps[d] = count;
            count *= (int)box.dims[d];
        }
        for (int d = 0; d < rank; d++) { /* src: the same dimensions in another order */
            box.src_steps[order[d]] = step;
            step *= (int)box.dims[order[d]];
        }
        int32_t src[625], dst[626];
        for (int i = 0; i < 625; i++)
            src[i] = i;
        memset(dst, 255, sizeof dst);
        zq_move_box(&box, sizeof *src, src, dst);
        for (int i = 0; i < count; i++) {
            int64_t from = 0, rest = i;
            for (int d = 0; d < rank; d++) {
                from += rest / box.dst_steps[d] * box.src_steps[d];
                rest %= box.dst_steps[d];
            }
            assert_int_equal(dst[i], from);
        }
        assert_int_equal(dst[count], -1);
    }
}

static void boxes_without_elements_are_skipped(void **state) {
    (void)state;
    char byte = 1;
    const zq_box box = {.rank = 3, .dims = {1LL << 62, 1LL << 62, 0}};
    zq_move_box(&box, 8, &byte, &byte);
    assert_int_equal(byte, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transpose_permutes),
        cmocka_unit_test(any_type_is_moved),
        cmocka_unit_test(bad_permutations_are_refused),
        cmocka_unit_test(slice_follows_numpy),
        cmocka_unit_test(slice_takes_named_axes),
        cmocka_unit_test(bad_slices_are_refused),
        cmocka_unit_test(concat_joins_and_cuts_the_gradient),
        cmocka_unit_test(bad_concats_are_refused),
        cmocka_unit_test(split_cuts_and_joins_the_gradient),
        cmocka_unit_test(bad_splits_are_refused),
        cmocka_unit_test(pad_fills_or_repeats),
        cmocka_unit_test(negative_pads_cut),
        cmocka_unit_test(bad_pads_are_refused),
        cmocka_unit_test(gather_takes_and_gives_back),
        cmocka_unit_test(bad_indices_are_refused),
        cmocka_unit_test(expand_repeats_and_sums),
        cmocka_unit_test(boxes_are_copied),
        cmocka_unit_test(boxes_without_elements_are_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

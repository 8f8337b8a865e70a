/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "engine/plan.h"
#include "quant/distill.h"
#include "tiny_net.h"

enum { SIDE = 32, MOST = 24 };

static size_t bytes_of(zq_graph *graph, int64_t n_images) {
    const zq_plan_options options = {.n_images = n_images};
    zq_plan *plan;
    assert_int_equal(zq_plan_new(graph, &options, &plan, NULL), ZQ_OK);
    const size_t bytes = zq_plan_bytes(plan);
    zq_plan_drop(plan);
    return bytes;
}

static zq_status fit(zq_graph *graph, const zq_plan_room *room, int64_t *n_images) {
    zq_plan_options options = {.n_images = *n_images};
    zq_plan *plan;
    zq_error err;
    const zq_status status = zq_plan_fit(graph, &options, room, &plan, &err);
    *n_images = options.n_images;
    zq_plan_drop(status == ZQ_OK ? plan : NULL);
    return status;
}

static void as_many_images_as_fit(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(1, SIDE, 0);
    int64_t n = MOST;
    assert_int_equal(fit(graph, &(zq_plan_room){0}, &n), ZQ_OK);
    assert_int_equal(n, MOST);
    assert_int_equal(fit(graph, &(zq_plan_room){.most = bytes_of(graph, 11)}, &n), ZQ_OK);
    assert_int_equal(n, 6); /* 24, 12, 6 */
    n = MOST;
    assert_int_equal(fit(graph, &(zq_plan_room){.divides = MOST, .most = bytes_of(graph, 9)}, &n), ZQ_OK);
    assert_int_equal(n, 8);
    n = MOST;
    assert_int_equal(
        fit(graph, &(zq_plan_room){.divides = MOST, .copies = 3, .most = bytes_of(graph, 9)}, &n), ZQ_OK);
    assert_int_equal(n, 3);
    zq_graph_drop(graph);
}

static void a_limit_is_kept(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(1, SIDE, 0);
    const size_t held = zq_memory_held(), one = bytes_of(graph, 1), twelve = bytes_of(graph, 12);
    assert_int_equal(zq_memory_left(), SIZE_MAX);
    zq_memory_set_limit(held + twelve + 100000);
    assert_true(zq_memory_left() == twelve + 100000);
    int64_t n = MOST;
    assert_int_equal(fit(graph, &(zq_plan_room){0}, &n), ZQ_OK);
    assert_int_equal(n, 12);
    assert_int_equal(fit(graph, &(zq_plan_room){.spare = 200000}, &n), ZQ_OK); /* for other things */
    assert_int_equal(n, 6);
    assert_null(zq_alloc_raw(twelve + 200000, 1));
    zq_memory_set_limit(held + one / 2);
    assert_int_equal(fit(graph, &(zq_plan_room){0}, &n), ZQ_ERR_MEMORY);
    zq_memory_set_limit(0);
    assert_int_equal(zq_memory_held(), held); /* nothing was lost */
    zq_graph_drop(graph);
}

/* Fewer images at once: the sums of a group are made in another order, and no more. */
static void images_are_nearly_the_same(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(2, SIDE, 0);
    const zq_distill_options options = {.n_images = 16, .n_steps = 4};
    zq_box box;
    zq_images all, few;
    zq_error err;
    assert_int_equal(zq_box_estimate(graph, &box, &err), ZQ_OK);
    assert_int_equal(zq_distill(graph, &box, &options, &all, &err), ZQ_OK);
    zq_memory_set_limit(zq_memory_held() + 1500000);
    const zq_status status = zq_distill(graph, &box, &options, &few, &err);
    zq_memory_set_limit(0);
    if (status != ZQ_OK)
        fail_msg("%s", err.text);
    double most = 0;
    for (int64_t i = 0; i < zq_shape_count(&all.shape); i++)
        most = fmax(most, fabs((double)all.data[i] - few.data[i]));
    print_message("largest difference %g\n", most);
    assert_true(most < 0.05);
    zq_images_clear(&all);
    zq_images_clear(&few);
    zq_box_clear(&box);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_images_as_fit),
        cmocka_unit_test(a_limit_is_kept),
        cmocka_unit_test(images_are_nearly_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The fast plan against the plain operators, on random networks. Each seed is a network; a failure names it.
 */
#include "engine/plan.h"
#include "network.h"

#include <string.h>

enum { N_NETWORKS = 100, N_IMAGES = 4 };

typedef struct block {
    int value;
    int64_t c, h, w;
} block;

static int64_t out_size(int64_t in, int64_t kernel, int64_t stride, int64_t pad) {
    return (in + 2 * pad - kernel) / stride + 1;
}

static block add_conv(network *net, block x) {
    const int64_t kernel = draw(net, 2) ? 3 : 1, stride = 1 + (int64_t)draw(net, 2) * (x.h > 4);
    conv_shape s = {.c_in = x.c,
                    .c_out = 4 + (int64_t)draw(net, 5) * 4,
                    .kernel = kernel,
                    .stride = stride,
                    .pad = kernel / 2,
                    .groups = 1,
                    .bias = draw(net, 2),
                    .statistics = draw(net, 2)};
    if (draw(net, 3) == 0)
        s.groups = s.c_out = x.c;
    x.value = network_conv(net, x.value, &s);
    x.c = s.c_out;
    x.h = out_size(x.h, kernel, stride, s.pad);
    x.w = out_size(x.w, kernel, stride, s.pad);
    return x;
}

static block add_activation(network *net, block x) {
    static const char *const names[] = {"Relu", "Relu", "Relu", "LeakyRelu", "Sigmoid", "HardSwish"};
    const uint64_t at = draw(net, 7);
    x.value = at == 6 ? network_clip(net, x.value, 0, 1) : network_unary(net, names[at], x.value);
    return x;
}

static block add_residual(network *net, block x) {
    const conv_shape s = {.c_in = x.c,
                          .c_out = x.c,
                          .kernel = 3,
                          .stride = 1,
                          .pad = 1,
                          .groups = 1,
                          .bias = true,
                          .statistics = draw(net, 2)};
    int y = network_unary(net, "Relu", network_conv(net, x.value, &s));
    if (draw(net, 2))
        y = network_conv(net, y, &s);
    x.value = draw(net, 2) ? network_binary(net, "Add", x.value, y) : network_binary(net, "Add", y, x.value);
    if (draw(net, 2))
        x.value = network_unary(net, "Relu", x.value);
    return x;
}

static block add_gate(network *net, block x) {
    const conv_shape s = {.c_in = x.c, .c_out = x.c, .kernel = 1, .stride = 1, .groups = 1, .bias = true};
    const int pooled = network_unary(net, "GlobalAveragePool", x.value);
    const int gate = network_unary(net, "Sigmoid", network_conv(net, pooled, &s));
    x.value =
        draw(net, 2) ? network_binary(net, "Mul", x.value, gate) : network_binary(net, "Mul", gate, x.value);
    return x;
}

static block add_arithmetic(network *net, block x) {
    static const char *const names[] = {"Add", "Sub", "Mul", "Div"};
    const char *op = names[draw(net, 4)];
    const float one = 1.5f;
    if (draw(net, 3) == 0)
        x.value = network_binary(net, op, x.value, network_floats(net, -1, &one));
    else if (draw(net, 2))
        x.value = network_binary(
            net, op, x.value,
            network_binary(net, "Add", network_unary(net, "Sigmoid", x.value), network_floats(net, 1, &one)));
    else {
        const int c = network_unary(net, "Exp", network_random(net, 3, (const int64_t[]){x.c, 1, 1}, 0.2f));
        x.value = network_binary(net, op, x.value, c);
    }
    return x;
}

/* A value of x's shape from x: one of its readers. */
static int other_reader(network *net, block x) {
    switch (draw(net, 4)) {
    case 0:
        return network_pool(net, "MaxPool", x.value, 3, 1, 1);
    case 1:
        return network_pool(net, "AveragePool", x.value, 3, 1, 1);
    case 2:
        return network_concat(net, 2,
                              (const int[]){network_slice(net, x.value, 1, x.c / 2, INT64_MAX, 1),
                                            network_slice(net, x.value, 1, 0, x.c / 2, 1)},
                              1);
    default:
        return network_unary(net, "Relu", x.value);
    }
}

static block add_branches(network *net, block x) {
    if (x.c > 32) /* the plain operators are slow */
        return x;
    const conv_shape s = {.c_in = x.c, .c_out = 8, .kernel = 1, .stride = 1, .groups = 1};
    const int branches[] = {x.value, network_conv(net, x.value, &s), other_reader(net, x)};
    const int n = 2 + (int)draw(net, 2);
    x.value = network_concat(net, n, branches, 1);
    x.c += 8 + (n == 3 ? x.c : 0);
    return x;
}

static block add_halves(network *net, block x) {
    int halves[2];
    if (x.c % 2 != 0)
        return x;
    if (draw(net, 2)) {
        network_split(net, x.value, x.c, halves);
    } else {
        halves[0] = network_slice(net, x.value, 1, 0, x.c / 2, 1);
        halves[1] = network_slice(net, x.value, 1, x.c / 2, INT64_MAX, 1);
    }
    halves[1] = network_unary(net, "Relu", halves[1]);
    x.value = network_concat(net, 2, halves, 1);
    x.value = network_shuffle(net, x.value, 2, x.c, x.h, x.w);
    return x;
}

static block add_pool(network *net, block x) {
    if (x.h < 4 || x.w < 4)
        return x;
    x.value = network_pool(net, draw(net, 2) ? "MaxPool" : "AveragePool", x.value, 3, 2, 1);
    x.h = out_size(x.h, 3, 2, 1);
    x.w = out_size(x.w, 3, 2, 1);
    return x;
}

static block add_movement(network *net, block x) {
    int parts[2];
    switch (draw(net, 5)) {
    case 3:
        x.value =
            network_resize(net, x.value, draw(net, 2) ? "linear" : "nearest", (const float[]){1, 1, 2, 1.5f});
        x.h *= 2;
        x.w = x.w * 3 / 2;
        break;
    case 4: /* the channel shuffle of networks that index its halves */
        if (x.c % 2 != 0)
            break;
        x.value = network_reshape(net, x.value, 5, (const int64_t[]){0, x.c / 2, 2, x.h, x.w});
        parts[0] = network_gather(net, x.value, 2, 0);
        parts[1] = network_unary(net, "Relu", network_gather(net, x.value, 2, -1));
        x.value = network_concat(net, 2, parts, 1);
        break;
    case 0:
        x.value = network_pad(net, x.value, (const int64_t[]){0, 0, 1, 0, 0, 2, 0, 1});
        x.c += 2;
        x.h++;
        x.w++;
        break;
    case 1:
        x.value = network_transpose(net, x.value, 4, (const int64_t[]){0, 1, 3, 2});
        x = (block){x.value, x.c, x.w, x.h};
        break;
    default:
        x.value = network_slice(net, x.value, 2, 0, INT64_MAX, 2);
        x.h = (x.h + 1) / 2;
    }
    return x;
}

static block add_block(network *net, block x) {
    switch (draw(net, 12)) {
    case 0:
        return add_residual(net, x);
    case 1:
        return add_gate(net, x);
    case 2:
        return add_arithmetic(net, x);
    case 3:
        return add_branches(net, x);
    case 4:
        return add_halves(net, x);
    case 5:
        return add_pool(net, x);
    case 6:
        return add_movement(net, x);
    case 7:
        return add_conv(net, x);
    default:
        return add_activation(net, add_conv(net, x));
    }
}

static network random_network(uint64_t seed) {
    network net = network_new(seed);
    const int64_t h = 5 + (int64_t)draw(&net, 6), w = 5 + (int64_t)draw(&net, 6);
    block x = {network_input(&net, 3, h, w), 3, h, w};
    x = add_conv(&net, x);
    for (uint64_t n = 2 + draw(&net, 5); n > 0; n--)
        x = add_block(&net, x);
    if (draw(&net, 4) != 0) {
        x.value = network_unary(&net, "GlobalAveragePool", x.value);
        x.value = network_unary(&net, "Flatten", x.value);
        x.value = network_gemm(&net, x.value, x.c, 7, draw(&net, 2));
    }
    assert_true(zq_graph_add_output(net.graph, x.value));
    return net;
}

/* ---- running */

static zq_plan *new_plan(const network *net, const zq_plan_options *options) {
    zq_error err = {0};
    zq_plan *plan = NULL;
    if (zq_plan_new(net->graph, options, &plan, &err) != ZQ_OK)
        fail_msg("seed %llu: %s", (unsigned long long)net->seed, err.text);
    return plan;
}

static void check(const network *net, zq_status status, const zq_error *err) {
    if (status != ZQ_OK)
        fail_msg("seed %llu: %s", (unsigned long long)net->seed, err->text);
}

static size_t count_of(const zq_plan *plan, int value) {
    return (size_t)zq_shape_count(zq_plan_shape(plan, value));
}

static float *random_floats(uint64_t seed, size_t n) {
    float *x = zq_alloc(n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)zq_random_normal(seed, i);
    return x;
}

static void feed(zq_plan *plan, const network *net) {
    float *x = random_floats(net->seed + 1000, count_of(plan, net->graph->inputs[0]));
    zq_plan_set_input(plan, 0, x);
    zq_free(x);
}

static void run(zq_plan *plan, const network *net) {
    zq_error err = {0};
    feed(plan, net);
    check(net, zq_plan_forward(plan, &err), &err);
}

static float *read_value(zq_plan *plan, int value) {
    float *x = zq_alloc(count_of(plan, value), sizeof *x);
    assert_non_null(x);
    zq_plan_read(plan, value, x);
    return x;
}

static void compare(const network *net, const char *what, size_t n, const float *a, const float *b) {
    double error = 0, size = 1e-3;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i]))
            fail_msg("seed %llu: %s [%zu] is %g, expected %g", (unsigned long long)net->seed, what, i,
                     (double)a[i], (double)b[i]);
        error = fmax(error, fabs((double)a[i] - b[i]));
        size = fmax(size, fabs((double)b[i]));
    }
    if (error > 2e-4 * size)
        fail_msg("seed %llu: %s differs by %g of %g", (unsigned long long)net->seed, what, error, size);
}

static void compare_value(const network *net, zq_plan *a, zq_plan *b, int value) {
    float *x = read_value(a, value), *y = read_value(b, value);
    char what[300];
    snprintf(what, sizeof what, "value %d '%s'", value, net->graph->values[value].name);
    compare(net, what, count_of(a, value), x, y);
    zq_free(x);
    zq_free(y);
}

static const zq_plan_options fast = {.n_images = N_IMAGES};
static const zq_plan_options fast_keep = {.n_images = N_IMAGES, .keep_values = true};
static const zq_plan_options fast_gradient = {.n_images = N_IMAGES, .gradient = true};
static const zq_plan_options plain = {.n_images = N_IMAGES, .reference = true, .gradient = true};

static void forward_of(const network *net) {
    zq_plan *reference = new_plan(net, &plain);
    run(reference, net);
    const zq_plan_options *const options[] = {&fast, &fast_keep, &fast_gradient};
    for (int i = 0; i < 3; i++) {
        zq_plan *plan = new_plan(net, options[i]);
        run(plan, net);
        run(plan, net); /* the second time meets what the first left behind */
        for (int value = 0; value < net->graph->n_values; value++) {
            size_t n;
            if (net->graph->values[value].constant == NULL && zq_plan_peek(plan, value, &n) != NULL) {
                assert_int_equal(n, count_of(plan, value));
                compare_value(net, plan, reference, value);
            }
        }
        assert_non_null(zq_plan_peek(plan, net->graph->outputs[0], &(size_t){0}));
        for (int s = 0; s < net->n_statistics && i == 2; s++)
            assert_non_null(zq_plan_peek(plan, net->statistics[s], &(size_t){0}));
        zq_plan_drop(plan);
    }
    zq_plan_drop(reference);
}

static void forward_is_that_of_the_plain_operators(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= N_NETWORKS; seed++) {
        network net = random_network(seed);
        forward_of(&net);
        zq_graph_drop(net.graph);
    }
}

/* ---- backward */

typedef struct seeds {
    int n;
    zq_plan_seed items[65];
    float *memory[65];
} seeds;

/* At some of the values with statistics, and sometimes at the output. */
static seeds random_seeds(network *net, const zq_plan *plan) {
    seeds s = {0};
    for (int i = 0; i < net->n_statistics; i++) {
        const int value = net->statistics[i];
        if (draw(net, 3) == 0)
            continue;
        const bool dense = draw(net, 4) == 0;
        const size_t n = dense ? count_of(plan, value) : (size_t)zq_plan_shape(plan, value)->dims[1];
        float *memory = s.memory[s.n] = random_floats(net->seed * 100 + (uint64_t)i, 3 * n);
        s.items[s.n] = (zq_plan_seed){.value = value, .c1 = memory, .c2 = memory + n, .mean = memory + 2 * n};
        if (dense)
            s.items[s.n] = (zq_plan_seed){.value = value, .dense = memory};
        s.n++;
    }
    if (s.n == 0 || draw(net, 2)) {
        const int value = net->graph->outputs[0];
        for (int i = 0; i < s.n; i++)
            if (s.items[i].value == value)
                return s;
        s.memory[s.n] = random_floats(net->seed * 100 + 99, count_of(plan, value));
        s.items[s.n] = (zq_plan_seed){.value = value, .dense = s.memory[s.n]};
        s.n++;
    }
    return s;
}

static void drop_seeds(seeds *s) {
    for (int i = 0; i < s->n; i++)
        zq_free(s->memory[i]);
}

/* The scalar whose gradients the seeds are. */
static double scalar_of(zq_plan *plan, const seeds *s) {
    double total = 0;
    for (int i = 0; i < s->n; i++) {
        const zq_plan_seed *seed = &s->items[i];
        const zq_shape *shape = zq_plan_shape(plan, seed->value);
        float *z = read_value(plan, seed->value);
        const size_t n = count_of(plan, seed->value);
        size_t inner = 1;
        for (int d = 2; d < shape->rank; d++)
            inner *= (size_t)shape->dims[d];
        for (size_t k = 0; k < n; k++) {
            const size_t c = k / inner % (size_t)shape->dims[1];
            if (seed->dense != NULL)
                total += (double)seed->dense[k] * z[k];
            else
                total +=
                    (double)seed->c1[c] * z[k] + 0.5 * seed->c2[c] * pow((double)z[k] - seed->mean[c], 2);
        }
        zq_free(z);
    }
    return total;
}

/* The slope along a direction, from two evaluations, against the gradient's. Kinks of Relu make it coarse. */
static double slope_error(const network *net, zq_plan *plan, const seeds *s, size_t n,
                          const float *gradient) {
    const float step = 1e-3f;
    float *x = random_floats(net->seed + 1000, n), *direction = random_floats(net->seed + 2000, n);
    double values[2], expected = 0, norm = 0;
    for (int side = 0; side < 2; side++) {
        zq_error err = {0};
        float *moved = zq_alloc(n, sizeof *moved);
        for (size_t i = 0; i < n; i++)
            moved[i] = x[i] + (side == 0 ? -step : step) * direction[i];
        zq_plan_set_input(plan, 0, moved);
        check(net, zq_plan_forward(plan, &err), &err);
        values[side] = scalar_of(plan, s);
        zq_free(moved);
    }
    for (size_t i = 0; i < n; i++) {
        expected += (double)gradient[i] * direction[i];
        norm += (double)gradient[i] * gradient[i];
    }
    zq_free(x);
    zq_free(direction);
    return fabs((values[1] - values[0]) / (2 * (double)step) - expected) / sqrt(norm + 1e-6);
}

/* *n_coarse counts networks whose slope doesn't fit the gradient well. */
static void backward_of(network *net, int *n_coarse) {
    zq_error err = {0};
    zq_plan *reference = new_plan(net, &plain), *plan = new_plan(net, &fast_gradient);
    const size_t n = count_of(plan, net->graph->inputs[0]);
    float *expected = zq_alloc(n, sizeof *expected), *found = zq_alloc(n, sizeof *found);
    run(reference, net);
    run(plan, net);
    for (int round = 0; round < 3; round++) {
        seeds s = random_seeds(net, plan);
        check(net, zq_plan_backward(reference, s.n, s.items, expected, &err), &err);
        check(net, zq_plan_backward(plan, s.n, s.items, found, &err), &err);
        compare(net, "gradient", n, found, expected);
        if (round == 2) {
            *n_coarse += slope_error(net, reference, &s, n, expected) > 0.1;
        }
        drop_seeds(&s);
    }
    zq_free(expected);
    zq_free(found);
    zq_plan_drop(reference);
    zq_plan_drop(plan);
}

static void gradient_is_that_of_the_plain_operators(void **state) {
    (void)state;
    int n_coarse = 0;
    for (uint64_t seed = 1; seed <= N_NETWORKS; seed++) {
        network net = random_network(seed);
        backward_of(&net, &n_coarse);
        zq_graph_drop(net.graph);
    }
    assert_in_range(n_coarse, 0, N_NETWORKS / 20);
}

/* ---- bfloat16 */

static const zq_plan_options half_forward = {.n_images = N_IMAGES, .half = true, .statistics = true};
static const zq_plan_options half_gradient = {.n_images = N_IMAGES, .half = true, .gradient = true};

/* Root mean square of the difference by that of b. */
static double relative_error(size_t n, const float *a, const float *b) {
    double error = 0, size = 1e-12;
    for (size_t i = 0; i < n; i++) {
        error += pow((double)a[i] - b[i], 2);
        size += pow(b[i], 2);
    }
    return sqrt(error / size);
}

static bool has_half(const network *net, const zq_plan *plan) {
    bool any = false;
    for (int node = 0; node < net->graph->n_nodes; node++)
        any = any || (zq_plan_kernel(plan, node) != NULL && strstr(zq_plan_kernel(plan, node), "bf16"));
    return any;
}

/* Of the output and of n values with statistics. */
static double worst_value(const network *net, int n, zq_plan *plan, zq_plan *reference) {
    double worst = 0;
    for (int i = -1; i < n; i++) {
        const int value = i < 0 ? net->graph->outputs[0] : net->statistics[i];
        float *x = read_value(plan, value), *y = read_value(reference, value);
        worst = fmax(worst, relative_error(count_of(plan, value), x, y));
        zq_free(x);
        zq_free(y);
    }
    return worst;
}

static double gradient_error(network *net, zq_plan *plan, zq_plan *reference) {
    zq_error err = {0};
    const size_t n = count_of(plan, net->graph->inputs[0]);
    float *expected = zq_alloc(n, sizeof *expected), *found = zq_alloc(n, sizeof *found);
    seeds s = random_seeds(net, plan);
    check(net, zq_plan_backward(reference, s.n, s.items, expected, &err), &err);
    check(net, zq_plan_backward(plan, s.n, s.items, found, &err), &err);
    const double error = relative_error(n, found, expected);
    drop_seeds(&s);
    zq_free(expected);
    zq_free(found);
    return error;
}

/* bfloat16 has 8 bits of precision; a Relu whose input is next to 0 may pass the one gradient and not the
 * other. */
static void halves_are_near_floats(void **state) {
    (void)state;
    int n_half = 0, n_coarse = 0, n_far = 0;
    if (!zq_plan_takes_half())
        skip();
    for (uint64_t seed = 1; seed <= N_NETWORKS; seed++) {
        network net = random_network(seed);
        zq_plan *reference = new_plan(&net, &plain);
        zq_plan *forward = new_plan(&net, &half_forward), *plan = new_plan(&net, &half_gradient);
        run(reference, &net);
        run(forward, &net);
        run(plan, &net);
        run(plan, &net); /* the second time meets what the first left behind */
        n_half += has_half(&net, plan);
        n_far += worst_value(&net, 0, forward, reference) > 0.03 ||
                 worst_value(&net, net.n_statistics, plan, reference) > 0.03;
        n_coarse += gradient_error(&net, plan, reference) > 0.1;
        zq_plan_drop(reference);
        zq_plan_drop(forward);
        zq_plan_drop(plan);
        zq_graph_drop(net.graph);
    }
    /* in the others, steps that take floats alone lie between all of them */
    assert_in_range(n_half, N_NETWORKS / 6, N_NETWORKS);
    assert_in_range(n_far, 0, N_NETWORKS / 50);
    assert_in_range(n_coarse, 0, N_NETWORKS / 10);
}

/* Convolutions with statistics and Relus between them: backward needs what carries statistics, no Relu's
 * output and nothing of the pooling. */
static network chain(uint64_t seed) {
    network net = network_new(seed);
    block x = {network_input(&net, 3, 12, 12), 3, 12, 12};
    for (int i = 0; i < 4; i++) {
        const conv_shape s = {
            .c_in = x.c, .c_out = 8, .kernel = 3, .stride = 1, .pad = 1, .groups = 1, .statistics = true};
        x.value = network_unary(&net, "Relu", network_conv(&net, x.value, &s));
        x.c = 8;
    }
    x.value = network_unary(&net, "GlobalAveragePool", x.value);
    assert_true(zq_graph_add_output(net.graph, x.value));
    return net;
}

static void a_gradient_keeps_only_what_it_needs(void **state) {
    (void)state;
    network net = chain(1);
    const zq_plan_options keep = {.n_images = N_IMAGES, .gradient = true, .keep_values = true};
    zq_plan *all = new_plan(&net, &keep), *few = new_plan(&net, &fast_gradient);
    const size_t n = count_of(all, net.graph->inputs[0]),
                 value_bytes = N_IMAGES * 8 * 12 * 12 * sizeof(float);
    float *expected = zq_alloc(n, sizeof *expected), *found = zq_alloc(n, sizeof *found);
    zq_error err = {0};
    run(all, &net);
    run(few, &net);
    for (int round = 0; round < 2; round++) { /* a backward pass leaves what the next one needs */
        seeds s = random_seeds(&net, few);
        check(&net, zq_plan_backward(all, s.n, s.items, expected, &err), &err);
        check(&net, zq_plan_backward(few, s.n, s.items, found, &err), &err);
        assert_memory_equal(found, expected, n * sizeof *found);
        drop_seeds(&s);
    }
    assert_true(zq_plan_bytes(all) >= zq_plan_bytes(few) + 2 * value_bytes);
    const int relu = net.graph->nodes[1].outputs[0];
    const float numbers[8] = {0};
    const zq_plan_seed seed = {.value = relu, .c1 = numbers, .c2 = numbers, .mean = numbers};
    assert_null(zq_plan_peek(few, relu, &(size_t){0}));
    assert_int_equal(zq_plan_backward(few, 1, &seed, found, &err), ZQ_ERR_INTERNAL);
    assert_non_null(strstr(err.text, "doesn't keep it"));
    zq_free(expected);
    zq_free(found);
    zq_plan_drop(all);
    zq_plan_drop(few);
    zq_graph_drop(net.graph);
}

/* <gradient at a node's output, what other weights change there> is what they change the seeded output by. */
typedef struct slopes {
    int node;
    const float *response;
    double sum;
} slopes;

static zq_status take_slope(void *user, zq_plan *plan, int node, int value, size_t n, float *gradient,
                            zq_error *err) {
    slopes *s = user;
    (void)plan, (void)value, (void)err;
    for (size_t i = 0; i < n && node == s->node; i++)
        s->sum += (double)gradient[i] * s->response[i];
    return ZQ_OK;
}

static void responses_meet_gradients(void **state) {
    (void)state;
    network net = chain(4);
    const zq_plan_options options = {
        .n_images = N_IMAGES, .gradient = true, .keep_values = true, .separate = true};
    zq_plan *plan = new_plan(&net, &options);
    const int output = net.graph->outputs[0];
    zq_error err = {0};
    run(plan, &net);
    float *before = read_value(plan, output), *dense = random_floats(5, count_of(plan, output));
    const zq_plan_seed seed = {.value = output, .dense = dense};
    for (int node = 0; node < net.graph->n_nodes; node++) {
        if ((net.graph->nodes[node].op->traits & ZQ_OP_WEIGHTED) == 0)
            continue;
        const zq_tensor *weight = net.graph->values[net.graph->nodes[node].inputs[1]].constant;
        const size_t n_weights = (size_t)zq_shape_count(&weight->shape);
        float *other = random_floats((uint64_t)node, n_weights);
        for (size_t i = 0; i < n_weights; i++)
            other[i] = (float)zq_tensor_item(weight, (int64_t)i) + 2e-5f * other[i];
        float *response = zq_alloc(count_of(plan, net.graph->nodes[node].outputs[0]), sizeof *response);
        check(&net, zq_plan_response(plan, node, other, response, &err), &err);
        slopes found = {.node = node, .response = response};
        check(&net, zq_plan_backward_hooked(plan, 1, &seed, take_slope, &found, NULL, &err), &err);
        const zq_plan_override override = {
            .node = node, .n_variants = 1, .weights = (const float *[]){other}};
        check(&net, zq_plan_forward_override(plan, &override, &err), &err);
        float *after = read_value(plan, output);
        double expected = 0;
        for (size_t i = 0; i < count_of(plan, output); i++)
            expected += (double)dense[i] * ((double)after[i] - before[i]);
        print_message("node %d: %g, expected %g\n", node, found.sum, expected);
        assert_true(fabs(found.sum - expected) < 0.01 * fabs(expected));
        check(&net, zq_plan_forward(plan, &err), &err);
        zq_free(other);
        zq_free(response);
        zq_free(after);
    }
    zq_free(before);
    zq_free(dense);
    zq_plan_drop(plan);
    zq_graph_drop(net.graph);
}

/* ---- replaced weights */

static bool is_weighted(const network *net, int node) {
    return (net->graph->nodes[node].op->traits & ZQ_OP_WEIGHTED) != 0;
}

/* Outputs with a node's weights replaced for all images, by a plan that does nothing else. */
static float *expected_output(const network *net, zq_plan *reference, int node, const float *weights) {
    zq_error err = {0};
    check(net, zq_plan_set_weights(reference, node, weights, &err), &err);
    check(net, zq_plan_forward(reference, &err), &err);
    check(net, zq_plan_set_weights(reference, node, NULL, &err), &err);
    return read_value(reference, net->graph->outputs[0]);
}

static void override_of(network *net, zq_plan *plan, zq_plan *reference, int node, int n_variants) {
    const int weight = net->graph->nodes[node].inputs[1];
    const size_t n = count_of(plan, weight), n_out = count_of(plan, net->graph->outputs[0]);
    float *weights[4];
    const float *list[4];
    for (int k = 0; k < n_variants; k++)
        list[k] = weights[k] = random_floats(net->counter++, n);
    zq_error err = {0};
    const zq_plan_override override = {.node = node, .n_variants = n_variants, .weights = list};
    check(net, zq_plan_forward_override(plan, &override, &err), &err);
    float *found = read_value(plan, net->graph->outputs[0]);
    const size_t part = n_out / (size_t)n_variants;
    for (int k = 0; k < n_variants; k++) {
        float *expected = expected_output(net, reference, node, weights[k]);
        compare(net, "output with other weights", part, found + (size_t)k * part,
                expected + (size_t)k * part);
        zq_free(expected);
        zq_free(weights[k]);
    }
    zq_free(found);
}

/* Weights of one or two nodes for good: only what is behind them runs. */
static void changes_of(network *net, zq_plan *plan, zq_plan *reference) {
    zq_error err = {0};
    for (int k = 0; k < 2; k++) {
        const int node = (int)draw(net, (uint64_t)net->graph->n_nodes);
        if (!is_weighted(net, node))
            continue;
        float *weights = random_floats(net->counter++, count_of(plan, net->graph->nodes[node].inputs[1]));
        const float *chosen = draw(net, 4) == 0 ? NULL : weights;
        check(net, zq_plan_set_weights(plan, node, chosen, &err), &err);
        check(net, zq_plan_set_weights(reference, node, chosen, &err), &err);
        zq_free(weights);
    }
    check(net, zq_plan_forward_changed(plan, &err), &err);
    check(net, zq_plan_forward(reference, &err), &err);
    compare_value(net, plan, reference, net->graph->outputs[0]);
}

static void changed_weights_run_what_is_behind_them(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= N_NETWORKS; seed++) {
        network net = random_network(seed);
        zq_plan *plan = new_plan(&net, &fast_keep), *reference = new_plan(&net, &plain);
        run(plan, &net);
        run(reference, &net);
        for (int round = 0; round < 6; round++)
            changes_of(&net, plan, reference);
        zq_plan_drop(plan);
        zq_plan_drop(reference);
        zq_graph_drop(net.graph);
    }
}

static void overrides_of(network *net) {
    zq_plan *plan = new_plan(net, &fast_keep), *reference = new_plan(net, &plain);
    run(plan, net);
    run(reference, net);
    for (int round = 0; round < 8; round++) {
        const int node = (int)draw(net, (uint64_t)net->graph->n_nodes);
        const int n_variants[] = {1, 2, 4};
        if (is_weighted(net, node))
            override_of(net, plan, reference, node, n_variants[draw(net, 3)]);
    }
    run(plan, net); /* forward undoes it all */
    run(reference, net);
    compare_value(net, plan, reference, net->graph->outputs[0]);
    zq_plan_drop(plan);
    zq_plan_drop(reference);
}

static void replaced_weights_reach_their_images_in_any_order(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= N_NETWORKS; seed++) {
        network net = random_network(seed);
        overrides_of(&net);
        zq_graph_drop(net.graph);
    }
}

/* ---- changed values */

typedef struct halving {
    const network *net;
    int n, *values;
} halving;

static zq_status halve(void *user, zq_plan *plan, int value, zq_error *err) {
    size_t n;
    float *x = zq_plan_poke(plan, value, &n);
    (void)user;
    (void)err;
    for (size_t i = 0; x != NULL && i < n; i++)
        x[i] *= 0.5F;
    return ZQ_OK;
}

/* Where every node is a step. */
static zq_status halve_behind(void *user, zq_plan *plan, int node, zq_error *err) {
    const halving *h = user;
    for (int k = 0; k < h->n; k++)
        if (h->net->graph->values[h->values[k]].producer == node)
            halve(NULL, plan, h->values[k], err);
    return ZQ_OK;
}

/* Values that a plan which keeps all has: none that it fused away, and all of one type. */
static int draw_values(network *net, zq_plan *plan, int *values) {
    int n = 0;
    for (int k = 0; k < 2; k++) {
        const int value = (int)draw(net, (uint64_t)net->graph->n_values);
        size_t n_elements;
        if (zq_plan_poke(plan, value, &n_elements) != NULL && net->graph->values[value].producer >= 0 &&
            (n == 0 || values[0] != value))
            values[n++] = value;
    }
    return n;
}

/* In any order, only what lies behind the values runs, and earlier changes leave nothing behind. */
static void changed_values_reach_what_is_behind_them(void **state) {
    (void)state;
    int n_changed = 0;
    for (uint64_t seed = 1; seed <= N_NETWORKS; seed++) {
        network net = random_network(seed);
        zq_plan *plan = new_plan(&net, &fast_keep), *reference = new_plan(&net, &plain);
        zq_error err = {0};
        int values[2];
        run(plan, &net);
        run(reference, &net);
        for (int round = 0; round < 6; round++) {
            halving h = {.net = &net, .n = draw_values(&net, plan, values), .values = values};
            const zq_plan_visitor visitor = {.after = halve_behind, .user = &h};
            n_changed += h.n;
            check(&net, zq_plan_forward_changing(plan, h.n, values, halve, NULL, &err), &err);
            check(&net, zq_plan_forward_visited(reference, &visitor, &err), &err);
            compare_value(&net, plan, reference, net.graph->outputs[0]);
        }
        zq_plan_drop(plan);
        zq_plan_drop(reference);
        zq_graph_drop(net.graph);
    }
    assert_true(n_changed > 100);
}

static void a_changed_input_reaches_everything(void **state) {
    (void)state;
    network net = chain(4);
    const int input = net.graph->inputs[0], output = net.graph->outputs[0];
    zq_plan *plan = new_plan(&net, &fast_keep);
    zq_error err = {0};
    assert_int_equal(zq_plan_forward_changing(plan, 1, &input, halve, NULL, &err), ZQ_ERR_INTERNAL);
    run(plan, &net);
    check(&net, zq_plan_forward_changing(plan, 1, &input, halve, NULL, &err), &err);
    float *found = read_value(plan, output);
    check(&net, zq_plan_forward(plan, &err), &err); /* on the input as it is now */
    float *expected = read_value(plan, output);
    compare(&net, "output", count_of(plan, output), found, expected);
    zq_free(found);
    zq_free(expected);
    zq_plan_drop(plan);
    zq_graph_drop(net.graph);
}

/* ---- statistics */

static void statistics_of(const network *net, zq_plan *plan, int value) {
    const zq_shape *shape = zq_plan_shape(plan, value);
    const size_t c_count = (size_t)shape->dims[1], n = count_of(plan, value);
    const size_t inner = n / (size_t)shape->dims[0] / c_count;
    float *z = read_value(plan, value), *found = zq_alloc(2 * c_count, sizeof *found);
    float *images = zq_alloc(2 * c_count * N_IMAGES, sizeof *images);
    zq_plan_statistics(plan, value, found, found + c_count);
    zq_plan_image_statistics(plan, value, images, images + N_IMAGES * c_count);
    for (size_t c = 0; c < c_count; c++) {
        double total = 0, square = 0, first = 0;
        for (size_t image = 0; image < N_IMAGES; image++)
            for (size_t i = 0; i < inner; i++) {
                const double x = z[(image * c_count + c) * inner + i];
                total += x;
                square += x * x;
                first += image == 0 ? x : 0;
            }
        const double mean = total / (double)(N_IMAGES * inner);
        assert_float_equal(found[c], mean, 1e-4);
        assert_float_equal(found[c_count + c], square / (double)(N_IMAGES * inner) - mean * mean, 1e-3);
        assert_float_equal(images[c], first / (double)inner, 1e-4);
        (void)net;
    }
    zq_free(z);
    zq_free(found);
    zq_free(images);
}

static void statistics_are_those_of_the_channels(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= N_NETWORKS; seed++) {
        network net = random_network(seed);
        zq_plan *plan = new_plan(&net, &fast_gradient);
        run(plan, &net);
        for (int i = 0; i < net.n_statistics; i++)
            statistics_of(&net, plan, net.statistics[i]);
        for (int i = 0; i < net.n_statistics; i++) { /* of what it was changed to, too */
            size_t n = 0;
            float *const x = zq_plan_poke(plan, net.statistics[i], &n);
            for (size_t k = 0; k < n; k++)
                x[k] = 2 * x[k] + 1;
            statistics_of(&net, plan, net.statistics[i]);
        }
        zq_plan_drop(plan);
        zq_graph_drop(net.graph);
    }
}

/* ---- failures */

/* Every allocation fails once: a status, no crash and no leak. */
static void planning_survives_every_failed_allocation(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        network net = random_network(seed);
        const zq_plan_options *const options = seed % 2 == 0 ? &fast_gradient : &half_gradient;
        zq_status status = ZQ_ERR_MEMORY;
        for (long n = 1; status != ZQ_OK && n < 5000; n++) {
            zq_plan *plan = NULL;
            zq_alloc_fail_at(n);
            status = zq_plan_new(net.graph, options, &plan, NULL);
            zq_alloc_fail_at(0);
            assert_true(status == ZQ_OK || status == ZQ_ERR_MEMORY);
            assert_true((status == ZQ_OK) == (plan != NULL));
            zq_plan_drop(plan);
        }
        assert_int_equal(status, ZQ_OK);
        zq_graph_drop(net.graph);
    }
}

static void an_integer_input_is_refused(void **state) {
    (void)state;
    network net = network_new(1);
    const int x = network_input(&net, 3, 4, 4);
    assert_true(zq_graph_add_output(net.graph, network_unary(&net, "Relu", x)));
    net.graph->values[x].dtype = ZQ_U8;
    zq_plan *plan = NULL;
    zq_error err = {0};
    assert_int_equal(zq_plan_new(net.graph, &fast, &plan, &err), ZQ_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "'input' holds uint8"));
    assert_null(plan);
    zq_graph_drop(net.graph);
}

static void replacing_weights_says_what_is_wrong(void **state) {
    (void)state;
    network net = network_new(1);
    const conv_shape s = {.c_in = 3, .c_out = 4, .kernel = 1, .stride = 1, .groups = 1};
    const int y = network_conv(&net, network_input(&net, 3, 4, 4), &s);
    assert_true(zq_graph_add_output(net.graph, network_unary(&net, "Relu", y)));
    zq_plan *plan = new_plan(&net, &fast_keep);
    zq_error err = {0};
    const float *weights[3] = {0};
    const zq_plan_override early = {.node = 0, .n_variants = 1, .weights = weights};
    assert_int_equal(zq_plan_forward_override(plan, &early, &err), ZQ_ERR_INTERNAL);
    run(plan, &net);
    const zq_plan_override uneven = {.node = 0, .n_variants = 3, .weights = weights};
    assert_int_equal(zq_plan_forward_override(plan, &uneven, &err), ZQ_ERR_USAGE);
    const zq_plan_override relu = {.node = 1, .n_variants = 1, .weights = weights};
    assert_int_equal(zq_plan_forward_override(plan, &relu, &err), ZQ_ERR_USAGE);
    assert_non_null(strstr(err.text, "no weights"));
    zq_plan_drop(plan);
    zq_graph_drop(net.graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_that_of_the_plain_operators),
        cmocka_unit_test(gradient_is_that_of_the_plain_operators),
        cmocka_unit_test(halves_are_near_floats),
        cmocka_unit_test(a_gradient_keeps_only_what_it_needs),
        cmocka_unit_test(responses_meet_gradients),
        cmocka_unit_test(replaced_weights_reach_their_images_in_any_order),
        cmocka_unit_test(changed_weights_run_what_is_behind_them),
        cmocka_unit_test(changed_values_reach_what_is_behind_them),
        cmocka_unit_test(a_changed_input_reaches_everything),
        cmocka_unit_test(statistics_are_those_of_the_channels),
        cmocka_unit_test(planning_survives_every_failed_allocation),
        cmocka_unit_test(an_integer_input_is_refused),
        cmocka_unit_test(replacing_weights_says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

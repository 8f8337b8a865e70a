/* SPDX-License-Identifier: Apache-2.0 */
/* backward of every operator against central differences of its forward, in double (ZQ_REAL). The scalar is
 * the sum of all outputs, each element times a random number. */
#include "gradient/cases.h"

#include "base/memory.h"
#include "base/random.h"
#include "graph/op.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8 };
static const double STEP = 1e-5, TOLERANCE = 1e-6;

typedef struct problem {
    zq_graph *graph;
    zq_node *node;
    int n_in, n_out;
    zq_tensor *in[MOST];
    bool checked[MOST];     /* the gradient of this input is compared */
    zq_tensor *out[MOST];   /* results */
    zq_tensor *d_out[MOST]; /* the random numbers */
    zq_tensor *d_in[MOST];
} problem;

static uint64_t seed, counter;

static zq_real *data(const zq_tensor *tensor) {
    return tensor->data;
}

/* ---- random numbers
 * Data keep away from the kinks of any operator here: their distance to each multiple of 1/8 is 0.04 or more,
 * and any two of a tensor differ by more than two steps (the golden ratio spreads the last digits), so no
 * maximum changes hands. */

static void fill_random(zq_tensor *tensor, bool positive) {
    const int64_t n = zq_shape_count(&tensor->shape);
    for (int64_t i = 0; i < n; i++) {
        const double cell = floor(8 * zq_random_normal(seed, counter++));
        const double spread = fmod((double)(i + 1) * 0.6180339887498949, 1);
        const double value = (cell + 0.5) / 8 + 0.04 * (spread - 0.5);
        data(tensor)[i] = positive ? fabs(value) + 0.25 : value;
    }
}

/* ---- from text */

/* "2x3x4" */
static zq_tensor *random_tensor(const char *text) {
    zq_shape shape = {0};
    char *end = (char *)text;
    if (strncmp(text, "scalar", 6) == 0)
        end += 6;
    else
        do
            shape.dims[shape.rank++] = strtol(end + (*end == 'x'), &end, 10);
        while (*end == 'x');
    assert_true(*end == '\0' || strcmp(end, "+") == 0);
    zq_tensor *tensor = zq_tensor_new(ZQ_F32, &shape);
    assert_non_null(tensor);
    fill_random(tensor, *end == '+');
    return tensor;
}

/* "i[1,2]", "f(0.5)" */
static zq_tensor *constant_tensor(const char *text) {
    int64_t ints[16];
    float floats[16];
    int n = 0;
    char *end = (char *)text + 1;
    do {
        floats[n] = strtof(end + 1, &end);
        ints[n] = (int64_t)floats[n];
        n++;
    } while (*end == ',');
    const int64_t count = text[1] == '(' ? -1 : n;
    return text[0] == 'i' ? zq_tensor_new_i64(count, ints) : zq_tensor_new_f32(count, floats);
}

static void add_input(problem *p, const char *text) {
    const bool constant = text[0] == 'f' || text[0] == 'i', omitted = strcmp(text, "-") == 0;
    assert_true(p->n_in < MOST);
    p->checked[p->n_in] = !constant && !omitted;
    p->in[p->n_in++] = omitted ? NULL : constant ? constant_tensor(text) : random_tensor(text);
    assert_true(omitted || p->in[p->n_in - 1] != NULL);
}

/* "axis=1", "pads=[1,1]", "alpha=0.5", "mode=linear" */
static void add_attribute(zq_node *node, char *text) {
    char *value = strchr(text, '=');
    assert_non_null(value);
    *value++ = '\0';
    if (*value == '[') {
        int64_t ints[16];
        size_t n = 0;
        do
            ints[n++] = strtol(value + 1, &value, 10);
        while (*value == ',');
        assert_true(zq_node_set_ints(node, text, n, ints));
    } else if (strspn(value, "-0123456789") == strlen(value))
        assert_true(zq_node_set_int(node, text, strtol(value, NULL, 10)));
    else if (strspn(value, "-.0123456789") == strlen(value))
        assert_true(zq_node_set_float(node, text, strtof(value, NULL)));
    else
        assert_true(zq_node_set_string(node, text, value));
}

static void add_node(problem *p, const gradient_case *c) {
    int inputs[MOST], outputs[MOST];
    const zq_shape unknown = {0};
    p->graph = zq_graph_new();
    assert_non_null(p->graph);
    for (int k = 0; k < p->n_in; k++)
        inputs[k] =
            p->in[k] == NULL ? -1 : zq_graph_add_value(p->graph, "x", p->in[k]->dtype, &p->in[k]->shape);
    for (int k = 0; k < p->n_out; k++)
        outputs[k] = zq_graph_add_value(p->graph, "y", ZQ_F32, &unknown);
    const zq_op *op = zq_op_find(c->op);
    if (op == NULL || op->backward == NULL)
        fail_msg("the table of operators has no %s with backward", c->op);
    const int node = zq_graph_add_node(p->graph, op, c->op, p->n_in, inputs, p->n_out, outputs);
    assert_true(node >= 0);
    p->node = &p->graph->nodes[node];
    char text[256];
    snprintf(text, sizeof text, "%s", c->attributes);
    for (char *rest = NULL, *word = strtok_r(text, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest))
        add_attribute(p->node, word);
}

/* ---- running */

static zq_io io_of(problem *p) {
    return (zq_io){.node = p->node,
                   .n_in = p->n_in,
                   .n_out = p->n_out,
                   .in = (const zq_tensor *const *)p->in,
                   .out = p->out,
                   .d_out = (const zq_tensor *const *)p->d_out,
                   .d_in = p->d_in};
}

/* Shapes as the library finds them: only constants show their data. */
static void infer(problem *p) {
    zq_error err = {0};
    zq_tensor seen[MOST], results[MOST] = {{0}};
    const zq_tensor *in[MOST] = {NULL};
    zq_tensor *out[MOST];
    for (int k = 0; k < p->n_in; k++)
        if (p->in[k] != NULL) {
            seen[k] = *p->in[k];
            seen[k].data = p->checked[k] ? NULL : seen[k].data;
            in[k] = &seen[k];
        }
    for (int k = 0; k < p->n_out; k++)
        out[k] = &results[k];
    zq_io io = io_of(p);
    io.in = in;
    io.out = out;
    if (zq_node_parse(p->node, &err) != ZQ_OK || p->node->op->infer(&io, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    for (int k = 0; k < p->n_out; k++) {
        p->out[k] = zq_tensor_new(results[k].dtype, &results[k].shape);
        p->d_out[k] = zq_tensor_new(results[k].dtype, &results[k].shape);
        assert_true(p->out[k] != NULL && p->d_out[k] != NULL && results[k].dtype == ZQ_F32);
        fill_random(p->d_out[k], false);
    }
}

static double forward(problem *p) {
    zq_error err = {0};
    const zq_io io = io_of(p);
    if (p->node->op->forward(&io, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    double sum = 0;
    for (int k = 0; k < p->n_out; k++)
        for (int64_t i = 0; i < zq_shape_count(&p->out[k]->shape); i++)
            sum += data(p->out[k])[i] * data(p->d_out[k])[i];
    return sum;
}

/* Gradients are overwritten, so what was there before must not matter. */
static void backward(problem *p) {
    zq_error err = {0};
    for (int k = 0; k < p->n_in; k++)
        for (int64_t i = 0; p->d_in[k] != NULL && i < zq_shape_count(&p->d_in[k]->shape); i++)
            data(p->d_in[k])[i] = 99;
    const zq_io io = io_of(p);
    if (p->node->op->backward(&io, &err) != ZQ_OK)
        fail_msg("%s", err.text);
}

static double numeric_gradient(problem *p, int input, int64_t i) {
    const zq_real kept = data(p->in[input])[i];
    data(p->in[input])[i] = kept + STEP;
    const double above = forward(p);
    data(p->in[input])[i] = kept - STEP;
    const double below = forward(p);
    data(p->in[input])[i] = kept;
    return (above - below) / (2 * STEP);
}

/* ---- checks */

static void compare(const gradient_case *c, int input, int64_t i, double found, double expected) {
    if (!(fabs(found - expected) <= TOLERANCE * fmax(1, fabs(expected))))
        fail_msg("%s {%s} {%s}: input %d, element %d: %.12g, expected %.12g (seed %llu)", c->op,
                 c->attributes, c->inputs, input, (int)i, found, expected, (unsigned long long)seed);
}

static void check_differences(problem *p, const gradient_case *c) {
    forward(p);
    backward(p);
    for (int k = 0; k < p->n_in; k++)
        for (int64_t i = 0; p->checked[k] && i < zq_shape_count(&p->in[k]->shape); i++)
            compare(c, k, i, data(p->d_in[k])[i], numeric_gradient(p, k, i));
    forward(p); /* out as it was before the last step */
}

/* Each gradient alone is what it was together with the others. */
static void check_alone(problem *p, const gradient_case *c) {
    zq_tensor *all[MOST];
    memcpy(all, p->d_in, sizeof all);
    for (int k = 0; k < p->n_in; k++) {
        if (!p->checked[k])
            continue;
        memset(p->d_in, 0, sizeof p->d_in);
        zq_tensor *alone = p->d_in[k] = zq_tensor_new(ZQ_F32, &p->in[k]->shape);
        assert_non_null(alone);
        backward(p);
        for (int64_t i = 0; i < zq_shape_count(&alone->shape); i++)
            compare(c, k, i, data(alone)[i], data(all[k])[i]);
        zq_tensor_drop(alone);
    }
    memcpy(p->d_in, all, sizeof all);
}

/* Without a gradient of output 0, and then of any output, the result is as if it were zero. */
static void check_missing(problem *p, const gradient_case *c) {
    for (int o = 0; o < p->n_out; o++) {
        zq_tensor_drop(p->d_out[o]);
        p->d_out[o] = zq_tensor_new(ZQ_F32, &p->out[o]->shape);
        assert_non_null(p->d_out[o]);
        backward(p);
        zq_tensor *expected[MOST] = {NULL};
        for (int k = 0; k < p->n_in; k++)
            if (p->checked[k])
                expected[k] = zq_tensor_copy(p->d_in[k]);
        zq_tensor_drop(p->d_out[o]);
        p->d_out[o] = NULL;
        backward(p);
        for (int k = 0; k < p->n_in; k++) {
            for (int64_t i = 0; expected[k] != NULL && i < zq_shape_count(&expected[k]->shape); i++)
                compare(c, k, i, data(p->d_in[k])[i], data(expected[k])[i]);
            zq_tensor_drop(expected[k]);
        }
    }
}

static void check_case(const gradient_case *c) {
    problem p = {.n_out = 1};
    char text[256];
    snprintf(text, sizeof text, "%s", c->inputs);
    for (char *rest = NULL, *word = strtok_r(text, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest))
        if (word[0] == '>')
            p.n_out = atoi(word + 1);
        else
            add_input(&p, word);
    add_node(&p, c);
    infer(&p);
    for (int k = 0; k < p.n_in; k++)
        if (p.checked[k]) {
            p.d_in[k] = zq_tensor_new(ZQ_F32, &p.in[k]->shape);
            assert_non_null(p.d_in[k]);
        }
    check_differences(&p, c);
    check_alone(&p, c);
    check_missing(&p, c);
    for (int k = 0; k < MOST; k++) {
        zq_tensor_drop(p.in[k]);
        zq_tensor_drop(p.out[k]);
        zq_tensor_drop(p.d_in[k]);
        zq_tensor_drop(p.d_out[k]);
    }
    zq_graph_drop(p.graph);
}

static void gradients_are_central_differences(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
        check_case(&cases[k]);
}

static void every_operator_with_backward_has_a_case(void **state) {
    (void)state;
    for (int n = 0; zq_op_at(n) != NULL; n++) {
        bool found = zq_op_at(n)->backward == NULL;
        for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
            found = found || strcmp(cases[k].op, zq_op_at(n)->name) == 0;
        if (!found)
            fail_msg("%s has backward, but no line in cases.h", zq_op_at(n)->name);
    }
}

int main(void) {
    const char *text = getenv("ZQ_TEST_SEED");
    seed = text != NULL ? strtoull(text, NULL, 10) : 1;
    print_message("seed %llu (ZQ_TEST_SEED)\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_central_differences),
        cmocka_unit_test(every_operator_with_backward_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

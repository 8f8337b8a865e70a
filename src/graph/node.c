/* SPDX-License-Identifier: Apache-2.0 */
/* A node and its attributes. */
#include "graph/graph.h"

#include "base/memory.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

static void clear_attr(zq_attr *attr) {
    zq_free(attr->name);
    zq_free(attr->s);
    zq_free(attr->ints);
    zq_free(attr->floats);
    zq_tensor_drop(attr->tensor);
    *attr = (zq_attr){0};
}

void zq_node_clear(zq_node *node) {
    for (int a = 0; a < node->n_attrs; a++)
        clear_attr(&node->attrs[a]);
    zq_free(node->attrs);
    zq_free(node->name);
    zq_free(node->inputs);
    zq_free(node->outputs);
    zq_free(node->params);
    *node = (zq_node){0};
}

const zq_attr *zq_node_attr(const zq_node *node, const char *name) {
    for (int a = 0; a < node->n_attrs; a++)
        if (strcmp(node->attrs[a].name, name) == 0)
            return &node->attrs[a];
    return NULL;
}

void zq_node_remove_attr(zq_node *node, const char *name) {
    for (int a = 0; a < node->n_attrs; a++)
        if (strcmp(node->attrs[a].name, name) == 0) {
            clear_attr(&node->attrs[a]);
            memmove(&node->attrs[a], &node->attrs[a + 1],
                    (size_t)(node->n_attrs - a - 1) * sizeof node->attrs[0]);
            node->n_attrs--;
            return;
        }
}

/* Takes what attr owns in every case. */
static bool put_attr(zq_node *node, const char *name, zq_attr attr, bool complete) {
    attr.name = zq_strdup(name);
    zq_attr *grown =
        complete && attr.name != NULL ? zq_alloc((size_t)node->n_attrs + 1, sizeof *grown) : NULL;
    if (grown == NULL) {
        clear_attr(&attr);
        return false;
    }
    zq_node_remove_attr(node, name);
    if (node->n_attrs > 0)
        memcpy(grown, node->attrs, (size_t)node->n_attrs * sizeof *grown);
    grown[node->n_attrs++] = attr;
    zq_free(node->attrs);
    node->attrs = grown;
    return true;
}

bool zq_node_set_int(zq_node *node, const char *name, int64_t value) {
    return put_attr(node, name, (zq_attr){.kind = ZQ_ATTR_INT, .i = value}, true);
}

bool zq_node_set_float(zq_node *node, const char *name, float value) {
    return put_attr(node, name, (zq_attr){.kind = ZQ_ATTR_FLOAT, .f = value}, true);
}

bool zq_node_set_string(zq_node *node, const char *name, const char *value) {
    char *copy = zq_strdup(value);
    return put_attr(node, name, (zq_attr){.kind = ZQ_ATTR_STRING, .s = copy}, copy != NULL);
}

bool zq_node_set_ints(zq_node *node, const char *name, size_t n, const int64_t *values) {
    int64_t *copy = zq_memdup(values, n * sizeof *values);
    return put_attr(node, name, (zq_attr){.kind = ZQ_ATTR_INTS, .n = n, .ints = copy}, copy != NULL);
}

bool zq_node_set_floats(zq_node *node, const char *name, size_t n, const float *values) {
    float *copy = zq_memdup(values, n * sizeof *values);
    return put_attr(node, name, (zq_attr){.kind = ZQ_ATTR_FLOATS, .n = n, .floats = copy}, copy != NULL);
}

bool zq_node_set_tensor(zq_node *node, const char *name, zq_tensor *tensor) {
    return put_attr(node, name, (zq_attr){.kind = ZQ_ATTR_TENSOR, .tensor = tensor}, tensor != NULL);
}

bool zq_node_copy_attrs(zq_node *node, const zq_node *from) {
    for (int a = 0; a < from->n_attrs; a++) {
        const zq_attr *attr = &from->attrs[a];
        bool done = false;
        switch (attr->kind) {
        case ZQ_ATTR_INT:
            done = zq_node_set_int(node, attr->name, attr->i);
            break;
        case ZQ_ATTR_FLOAT:
            done = zq_node_set_float(node, attr->name, attr->f);
            break;
        case ZQ_ATTR_STRING:
            done = zq_node_set_string(node, attr->name, attr->s);
            break;
        case ZQ_ATTR_INTS:
            done = zq_node_set_ints(node, attr->name, attr->n, attr->ints);
            break;
        case ZQ_ATTR_FLOATS:
            done = zq_node_set_floats(node, attr->name, attr->n, attr->floats);
            break;
        case ZQ_ATTR_TENSOR:
            done = zq_node_set_tensor(node, attr->name, zq_tensor_copy(attr->tensor));
            break;
        }
        if (!done)
            return false;
    }
    return true;
}

char *zq_node_text(const zq_node *node, char buffer[ZQ_NODE_TEXT]) {
    snprintf(buffer, ZQ_NODE_TEXT, "%s node '%.200s'", node->op != NULL ? node->op->name : "removed",
             node->name != NULL ? node->name : "");
    return buffer;
}

static zq_status check_count(const zq_node *node, const char *what, int n, int least, int most,
                             zq_error *err) {
    char text[ZQ_NODE_TEXT];
    if (n >= least && (most < 0 || n <= most))
        return ZQ_OK;
    if (most == least)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s has %d %s, expected %d", zq_node_text(node, text), n, what,
                       least);
    if (most < 0)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s has %d %s, expected at least %d", zq_node_text(node, text), n,
                       what, least);
    return zq_fail(err, ZQ_ERR_FORMAT, "%s has %d %s, expected %d to %d", zq_node_text(node, text), n, what,
                   least, most);
}

zq_status zq_node_parse(zq_node *node, zq_error *err) {
    const zq_op *op = node->op;
    char text[ZQ_NODE_TEXT];
    ZQ_TRY(check_count(node, "inputs", node->n_inputs, op->min_in, op->max_in, err));
    ZQ_TRY(check_count(node, "outputs", node->n_outputs, op->min_out, op->max_out, err));
    for (int i = 0; i < op->min_in; i++)
        if (node->inputs[i] < 0)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: input %d is empty, but required",
                           zq_node_text(node, text), i);
    zq_free(node->params);
    node->params = NULL;
    if (op->params_bytes == 0)
        return ZQ_OK;
    node->params = zq_alloc(1, op->params_bytes);
    if (node->params == NULL)
        return zq_fail_memory(err);
    return op->parse(node, node->params, err);
}

static zq_status wrong_kind(const zq_node *node, const char *name, const char *expected, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    return zq_fail(err, ZQ_ERR_FORMAT, "%s: attribute '%s' is not %s", zq_node_text(node, text), name,
                   expected);
}

zq_status zq_node_int(const zq_node *node, const char *name, int64_t fallback, int64_t *out, zq_error *err) {
    const zq_attr *attr = zq_node_attr(node, name);
    if (attr != NULL && attr->kind != ZQ_ATTR_INT)
        return wrong_kind(node, name, "an integer", err);
    *out = attr != NULL ? attr->i : fallback;
    return ZQ_OK;
}

zq_status zq_node_float(const zq_node *node, const char *name, float fallback, float *out, zq_error *err) {
    const zq_attr *attr = zq_node_attr(node, name);
    if (attr != NULL && attr->kind != ZQ_ATTR_FLOAT)
        return wrong_kind(node, name, "a number", err);
    *out = attr != NULL ? attr->f : fallback;
    return ZQ_OK;
}

zq_status zq_node_string(const zq_node *node, const char *name, const char *fallback, const char **out,
                         zq_error *err) {
    const zq_attr *attr = zq_node_attr(node, name);
    if (attr != NULL && attr->kind != ZQ_ATTR_STRING)
        return wrong_kind(node, name, "a string", err);
    *out = attr != NULL ? attr->s : fallback;
    return ZQ_OK;
}

zq_status zq_node_ints(const zq_node *node, const char *name, int max, int64_t *values, int *n_out,
                       zq_error *err) {
    const zq_attr *attr = zq_node_attr(node, name);
    char text[ZQ_NODE_TEXT];
    *n_out = 0;
    if (attr == NULL)
        return ZQ_OK;
    if (attr->kind != ZQ_ATTR_INTS)
        return wrong_kind(node, name, "a list of integers", err);
    if (attr->n > (size_t)max)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: attribute '%s' holds %zu values, expected at most %d",
                       zq_node_text(node, text), name, attr->n, max);
    for (size_t k = 0; k < attr->n; k++)
        values[k] = attr->ints[k];
    *n_out = (int)attr->n;
    return ZQ_OK;
}

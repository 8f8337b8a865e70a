/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/cut.h"

#include "base/memory.h"
#include "onnx/sequence.h"

#include <stdio.h>
#include <string.h>

/* A share of the weights so small that leaving it in float costs next to nothing. */
static const double MOST_LEFT = 0.01;

static const char *text_of(const char *text) {
    return text != NULL ? text : "";
}

/* ---- names */

static void read_in_graph(const Onnx__GraphProto *graph, zq_name_visitor visit, void *user) {
    for (size_t n = 0; n < graph->n_node; n++)
        zq_names_read(graph->node[n], visit, user);
    for (size_t o = 0; o < graph->n_output; o++)
        visit(user, text_of(graph->output[o]->name));
}

void zq_names_read(const Onnx__NodeProto *node, zq_name_visitor visit, void *user) {
    for (size_t i = 0; i < node->n_input; i++)
        visit(user, node->input[i]);
    zq_names_read_inside(node, visit, user);
}

void zq_names_read_inside(const Onnx__NodeProto *node, zq_name_visitor visit, void *user) {
    for (size_t a = 0; a < node->n_attribute; a++) {
        if (node->attribute[a]->g != NULL)
            read_in_graph(node->attribute[a]->g, visit, user);
        for (size_t g = 0; g < node->attribute[a]->n_graphs; g++)
            read_in_graph(node->attribute[a]->graphs[g], visit, user);
    }
}

static void defined_in_graph(const Onnx__GraphProto *graph, zq_name_visitor visit, void *user) {
    for (size_t i = 0; i < graph->n_initializer; i++)
        visit(user, text_of(graph->initializer[i]->name));
    for (size_t i = 0; i < graph->n_input; i++)
        visit(user, text_of(graph->input[i]->name));
    for (size_t n = 0; n < graph->n_node; n++)
        zq_names_defined(graph->node[n], visit, user);
}

void zq_names_defined(const Onnx__NodeProto *node, zq_name_visitor visit, void *user) {
    for (size_t o = 0; o < node->n_output; o++)
        visit(user, node->output[o]);
    for (size_t a = 0; a < node->n_attribute; a++) {
        if (node->attribute[a]->g != NULL)
            defined_in_graph(node->attribute[a]->g, visit, user);
        for (size_t g = 0; g < node->attribute[a]->n_graphs; g++)
            defined_in_graph(node->attribute[a]->graphs[g], visit, user);
    }
}

/* ---- building */

/* Duplicates are the reader's to refuse. */
static zq_status add_name(zq_cut *cut, const char *name, zq_error *err) {
    return zq_graph_find_value(cut->names, name) < 0 &&
                   zq_graph_add_value(cut->names, name, ZQ_NONE, NULL) < 0
               ? zq_fail_memory(err)
               : ZQ_OK;
}

static zq_status add_names(zq_cut *cut, zq_error *err) {
    const Onnx__GraphProto *proto = cut->proto;
    for (size_t i = 0; i < proto->n_initializer; i++)
        ZQ_TRY(add_name(cut, text_of(proto->initializer[i]->name), err));
    for (size_t i = 0; i < proto->n_input; i++)
        ZQ_TRY(add_name(cut, text_of(proto->input[i]->name), err));
    for (size_t n = 0; n < proto->n_node; n++)
        for (size_t o = 0; o < proto->node[n]->n_output; o++)
            if (proto->node[n]->output[o][0] != '\0')
                ZQ_TRY(add_name(cut, proto->node[n]->output[o], err));
    return ZQ_OK;
}

static void find_origins(zq_cut *cut) {
    const Onnx__GraphProto *proto = cut->proto;
    for (int v = 0; v < cut->names->n_values; v++)
        cut->producer[v] = -1;
    for (size_t n = 0; n < proto->n_node; n++)
        for (size_t o = 0; o < proto->node[n]->n_output; o++)
            if (proto->node[n]->output[o][0] != '\0')
                cut->producer[zq_graph_find_value(cut->names, proto->node[n]->output[o])] = (int)n;
    for (size_t i = 0; i < proto->n_initializer; i++)
        cut->constant[zq_graph_find_value(cut->names, text_of(proto->initializer[i]->name))] =
            proto->initializer[i];
}

typedef struct edges {
    zq_cut *cut;
    int *at; /* [n_values + 1] */
    int node;
} edges;

static void count_edge(void *user, const char *name) {
    const edges *e = user;
    const int value = zq_graph_find_value(e->cut->names, name);
    if (value >= 0)
        e->at[value + 1]++;
}

static void store_edge(void *user, const char *name) {
    const edges *e = user;
    const int value = zq_graph_find_value(e->cut->names, name);
    if (value >= 0)
        e->cut->readers[e->at[value]++] = e->node;
}

static zq_status find_readers(zq_cut *cut, zq_error *err) {
    const size_t n_values = (size_t)cut->names->n_values;
    edges e = {.cut = cut, .at = cut->first};
    for (size_t n = 0; n < cut->proto->n_node; n++)
        zq_names_read(cut->proto->node[n], count_edge, &e);
    for (size_t v = 0; v < n_values; v++)
        cut->first[v + 1] += cut->first[v];
    cut->readers = zq_alloc((size_t)cut->first[n_values], sizeof *cut->readers);
    e.at = zq_memdup(cut->first, (n_values + 1) * sizeof *cut->first);
    zq_status status = cut->readers == NULL || e.at == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (; status == ZQ_OK && (size_t)e.node < cut->proto->n_node; e.node++)
        zq_names_read(cut->proto->node[e.node], store_edge, &e);
    zq_free(e.at);
    return status;
}

zq_status zq_cut_new(const Onnx__GraphProto *proto, zq_cut *cut, zq_error *err) {
    *cut = (zq_cut){.proto = proto, .names = zq_graph_new()};
    if (cut->names == NULL)
        return zq_fail_memory(err);
    ZQ_TRY(add_names(cut, err));
    const size_t n_values = (size_t)cut->names->n_values;
    cut->constant = zq_alloc(n_values, sizeof *cut->constant);
    cut->producer = zq_alloc(n_values, sizeof *cut->producer);
    cut->first = zq_alloc(n_values + 1, sizeof *cut->first);
    cut->left = zq_alloc(proto->n_node, sizeof *cut->left);
    cut->pulled = zq_alloc(proto->n_node, sizeof *cut->pulled);
    if (cut->constant == NULL || cut->producer == NULL || cut->first == NULL || cut->left == NULL ||
        cut->pulled == NULL)
        return zq_fail_memory(err);
    find_origins(cut);
    return find_readers(cut, err);
}

void zq_cut_clear(zq_cut *cut) {
    zq_graph_drop(cut->names);
    zq_free(cut->constant);
    zq_free(cut->producer);
    zq_free(cut->first);
    zq_free(cut->readers);
    zq_free(cut->left);
    zq_free(cut->pulled);
    *cut = (zq_cut){0};
}

/* ---- leaving nodes */

/* The constant that a name is, as an initializer or by a Constant node; NULL: none. */
static const Onnx__TensorProto *tensor_of(const zq_cut *cut, const char *name) {
    const int value = zq_graph_find_value(cut->names, name);
    if (value < 0 || cut->constant[value] != NULL || cut->producer[value] < 0)
        return value < 0 ? NULL : cut->constant[value];
    const Onnx__NodeProto *node = cut->proto->node[cut->producer[value]];
    return strcmp(text_of(node->op_type), "Constant") == 0 && node->n_attribute == 1 ? node->attribute[0]->t
                                                                                     : NULL;
}

/* Elements of a layer's weights; 0 for any other node. */
static double weights_of(const zq_cut *cut, const Onnx__NodeProto *node) {
    static const char *const weighted[] = {"Conv", "ConvTranspose", "Gemm", "MatMul", NULL};
    double most = 0;
    for (int w = 0; weighted[w] != NULL; w++) {
        if (strcmp(text_of(node->op_type), weighted[w]) != 0)
            continue;
        for (size_t i = 0; i < node->n_input && i < 2; i++) {
            const Onnx__TensorProto *weight = tensor_of(cut, node->input[i]);
            double count = weight == NULL ? 0 : 1;
            for (size_t d = 0; weight != NULL && d < weight->n_dims; d++)
                count *= (double)weight->dims[d];
            most = count > most ? count : most;
        }
    }
    return most;
}

/* Sets marks[n] for a node that isn't marked yet and all that depend on it. */
static zq_status mark_downstream(const zq_cut *cut, int node, bool *marks, zq_error *err) {
    int *queue = zq_alloc(cut->proto->n_node, sizeof *queue);
    if (queue == NULL)
        return zq_fail_memory(err);
    size_t n_queued = 0;
    if (!marks[node])
        queue[n_queued++] = node;
    marks[node] = true;
    for (size_t at = 0; at < n_queued; at++) {
        const Onnx__NodeProto *proto = cut->proto->node[queue[at]];
        for (size_t o = 0; o < proto->n_output; o++) {
            const int value = zq_graph_find_value(cut->names, proto->output[o]);
            for (int r = value < 0 ? 0 : cut->first[value]; value >= 0 && r < cut->first[value + 1]; r++)
                if (!marks[cut->readers[r]]) {
                    marks[cut->readers[r]] = true;
                    queue[n_queued++] = cut->readers[r];
                }
        }
    }
    zq_free(queue);
    return ZQ_OK;
}

static double marked_weights(const zq_cut *cut, const bool *marks) {
    double sum = 0;
    for (size_t n = 0; n < cut->proto->n_node; n++)
        if (marks == NULL || marks[n])
            sum += weights_of(cut, cut->proto->node[n]);
    return sum;
}

zq_status zq_cut_leave(zq_cut *cut, size_t node, const char *reason, zq_error *err) {
    if (cut->left[node])
        return ZQ_OK;
    ZQ_TRY(mark_downstream(cut, (int)node, cut->left, err));
    if (cut->reason[0] == '\0')
        snprintf(cut->reason, sizeof cut->reason, "%s", reason);
    cut->n_left = 0;
    for (size_t n = 0; n < cut->proto->n_node; n++)
        cut->n_left += cut->left[n];
    const double all = marked_weights(cut, NULL), lost = marked_weights(cut, cut->left);
    if (lost <= MOST_LEFT * all)
        return ZQ_OK;
    return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                   "%.500s; it can't be copied as it is, since %.0f %% of the weights lie behind it", reason,
                   100 * lost / all);
}

/* Elements of the weights of all layers that depend on an input. */
static zq_status weights_behind(const zq_cut *cut, int value, double *weights_out, zq_error *err) {
    bool *marks = zq_alloc(cut->proto->n_node, sizeof *marks);
    zq_status status = marks == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (int r = cut->first[value]; status == ZQ_OK && r < cut->first[value + 1]; r++)
        status = mark_downstream(cut, cut->readers[r], marks, err);
    *weights_out = status == ZQ_OK ? marked_weights(cut, marks) : 0;
    zq_free(marks);
    return status;
}

static zq_status leave_readers(zq_cut *cut, int value, zq_error *err) {
    char reason[300];
    snprintf(reason, sizeof reason, "input '%.200s' isn't the image", cut->names->values[value].name);
    for (int r = cut->first[value]; r < cut->first[value + 1]; r++)
        ZQ_TRY(zq_cut_leave(cut, (size_t)cut->readers[r], reason, err));
    return ZQ_OK;
}

zq_status zq_cut_side_inputs(zq_cut *cut, zq_error *err) {
    enum { MOST_INPUTS = 16 };
    int values[MOST_INPUTS], n_values = 0, n_weighted = 0;
    double weights[MOST_INPUTS];
    for (size_t i = 0; i < cut->proto->n_input; i++) {
        const int value = zq_graph_find_value(cut->names, text_of(cut->proto->input[i]->name));
        if (value < 0 || cut->constant[value] != NULL)
            continue;
        if (n_values == MOST_INPUTS)
            return ZQ_OK;
        ZQ_TRY(weights_behind(cut, value, &weights[n_values], err));
        n_weighted += weights[n_values] > 0;
        values[n_values++] = value;
    }
    for (int i = 0; i < n_values && n_values > 1 && n_weighted == 1; i++)
        if (weights[i] <= 0)
            ZQ_TRY(leave_readers(cut, values[i], err));
    return ZQ_OK;
}

/* ---- what is left */

bool zq_cut_is_initializer(const zq_cut *cut, const char *name) {
    const int value = zq_graph_find_value(cut->names, name);
    return value >= 0 && cut->constant[value] != NULL;
}

bool zq_cut_has_readers(const zq_cut *cut, const char *name) {
    const int value = zq_graph_find_value(cut->names, name);
    return value >= 0 && cut->first[value] < cut->first[value + 1];
}

bool zq_cut_leaves_value(const zq_cut *cut, const char *name) {
    const int value = zq_graph_find_value(cut->names, name);
    return value >= 0 && cut->producer[value] >= 0 && cut->left[cut->producer[value]];
}

bool zq_cut_copies_value(const zq_cut *cut, const char *name) {
    const int value = zq_graph_find_value(cut->names, name);
    return zq_cut_leaves_value(cut, name) ||
           (value >= 0 && cut->producer[value] >= 0 && cut->pulled[cut->producer[value]]);
}

bool zq_cut_leaves_readers(const zq_cut *cut, const char *name) {
    const int value = zq_graph_find_value(cut->names, name);
    if (!zq_cut_has_readers(cut, name))
        return false;
    for (int r = cut->first[value]; r < cut->first[value + 1]; r++)
        if (!cut->left[cut->readers[r]])
            return false;
    return true;
}

int zq_cut_count_inputs(const zq_cut *cut) {
    int n = 0;
    for (size_t i = 0; i < cut->proto->n_input; i++)
        n += !zq_cut_is_initializer(cut, text_of(cut->proto->input[i]->name));
    return n;
}

/* ---- pulling nodes */

typedef struct counter {
    const zq_cut *cut;
    int n; /* names that no initializer provides */
} counter;

static void count_computed(void *user, const char *name) {
    counter *c = user;
    const int value = zq_graph_find_value(c->cut->names, name);
    c->n += value >= 0 && c->cut->constant[value] == NULL;
}

/* One more input of each reader is known. */
static void resolve(const zq_cut *cut, int node, int *pending, int *queue, size_t *n_queued) {
    const Onnx__NodeProto *proto = cut->proto->node[node];
    for (size_t o = 0; o < proto->n_output; o++) {
        const int value = zq_graph_find_value(cut->names, proto->output[o]);
        for (int r = value < 0 ? 0 : cut->first[value]; value >= 0 && r < cut->first[value + 1]; r++)
            if (--pending[cut->readers[r]] == 0)
                queue[(*n_queued)++] = cut->readers[r];
    }
}

/* pending[n] becomes 0 for a node whose outputs depend on constants and shapes alone. */
static void find_shapes(const zq_cut *cut, int *pending, int *queue) {
    size_t n_queued = 0;
    for (size_t n = 0; n < cut->proto->n_node; n++) {
        const Onnx__NodeProto *node = cut->proto->node[n];
        counter c = {.cut = cut};
        zq_names_read(node, count_computed, &c);
        const bool is_shape =
            strcmp(text_of(node->op_type), "Shape") == 0 || strcmp(text_of(node->op_type), "Size") == 0;
        pending[n] = cut->left[n] ? -1 : is_shape ? 0 : c.n;
        if (pending[n] == 0)
            queue[n_queued++] = (int)n;
    }
    for (size_t at = 0; at < n_queued; at++)
        resolve(cut, queue[at], pending, queue, &n_queued);
}

typedef struct puller {
    zq_cut *cut;
    const int *pending;
    int *queue;
    size_t n_queued;
} puller;

static bool is_output(const zq_cut *cut, int value) {
    for (size_t o = 0; o < cut->proto->n_output; o++)
        if (strcmp(text_of(cut->proto->output[o]->name), cut->names->values[value].name) == 0)
            return true;
    return false;
}

static void pull(void *user, const char *name) {
    puller *p = user;
    const int value = zq_graph_find_value(p->cut->names, name);
    const int node = value < 0 ? -1 : p->cut->producer[value];
    if (node < 0 || p->cut->left[node] || p->cut->pulled[node])
        return;
    /* The graph that was read can't give a sequence: what takes it gets the split as well. */
    if (!zq_sequence_is_split(p->cut->proto, p->cut->proto->node[node]) &&
        (p->pending[node] > 0 || is_output(p->cut, value)))
        return;
    p->cut->pulled[node] = true;
    p->queue[p->n_queued++] = node;
}

zq_status zq_cut_finish(zq_cut *cut, zq_error *err) {
    const size_t n_nodes = cut->proto->n_node;
    int *pending = zq_alloc(n_nodes, sizeof *pending), *queue = zq_alloc(n_nodes, sizeof *queue);
    zq_status status = pending == NULL || queue == NULL ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK) {
        find_shapes(cut, pending, queue);
        puller p = {.cut = cut, .pending = pending, .queue = queue};
        for (size_t n = 0; n < n_nodes; n++)
            if (cut->left[n])
                zq_names_read(cut->proto->node[n], pull, &p);
        for (size_t at = 0; at < p.n_queued; at++)
            zq_names_read(cut->proto->node[queue[at]], pull, &p);
    }
    zq_free(pending);
    zq_free(queue);
    return status;
}

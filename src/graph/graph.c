/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/graph.h"

#include "base/memory.h"
#include "graph/op.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

zq_graph *zq_graph_new(void) {
    return zq_alloc(1, sizeof(zq_graph));
}

static void clear_value(zq_value *value) {
    zq_free(value->name);
    zq_tensor_drop(value->constant);
    zq_stats_drop(value->stats);
    *value = (zq_value){.producer = -1};
}

static void clear_attr(zq_attr *attr) {
    zq_free(attr->name);
    zq_free(attr->s);
    zq_free(attr->ints);
    zq_free(attr->floats);
    zq_tensor_drop(attr->tensor);
    *attr = (zq_attr){0};
}

static void clear_node(zq_node *node) {
    for (int a = 0; a < node->n_attrs; a++)
        clear_attr(&node->attrs[a]);
    zq_free(node->attrs);
    zq_free(node->name);
    zq_free(node->inputs);
    zq_free(node->outputs);
    zq_free(node->params);
    *node = (zq_node){0};
}

void zq_graph_drop(zq_graph *graph) {
    if (graph == NULL)
        return;
    for (int v = 0; v < graph->n_values; v++)
        clear_value(&graph->values[v]);
    for (int n = 0; n < graph->n_nodes; n++)
        clear_node(&graph->nodes[n]);
    zq_free(graph->values);
    zq_free(graph->nodes);
    zq_free(graph->inputs);
    zq_free(graph->outputs);
    zq_free(graph->name);
    zq_free(graph->file);
    zq_free(graph->producer);
    zq_free(graph->slots);
    zq_free(graph);
}

/* ---- values */

/* Value names are found through an open-addressing hash index, since a model from a stranger may hold many.
 * Renaming and compacting drop it; the next look-up builds it again. */
static uint64_t hash_name(const char *name) {
    uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-1a */
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3ULL;
    return hash ^ (hash >> 29);
}

static void drop_index(zq_graph *graph) {
    zq_free(graph->slots);
    graph->slots = NULL;
    graph->n_slots = 0;
}

static void index_value(zq_graph *graph, int value) {
    size_t slot = hash_name(graph->values[value].name) & (graph->n_slots - 1);
    while (graph->slots[slot] >= 0)
        slot = (slot + 1) & (graph->n_slots - 1);
    graph->slots[slot] = value;
}

/* At most half full, so that probing stays short. */
static bool build_index(zq_graph *graph) {
    size_t n_slots = 64;
    while (n_slots < 4 * (size_t)graph->n_values)
        n_slots *= 2;
    drop_index(graph);
    graph->slots = zq_alloc_raw(n_slots, sizeof *graph->slots);
    if (graph->slots == NULL)
        return false;
    graph->n_slots = n_slots;
    for (size_t slot = 0; slot < n_slots; slot++)
        graph->slots[slot] = -1;
    for (int v = 0; v < graph->n_values; v++)
        if (graph->values[v].name != NULL)
            index_value(graph, v);
    return true;
}

/* Without memory for the index. */
static int search_values(const zq_graph *graph, const char *name) {
    for (int v = 0; v < graph->n_values; v++)
        if (graph->values[v].name != NULL && strcmp(graph->values[v].name, name) == 0)
            return v;
    return -1;
}

int zq_graph_find_value(zq_graph *graph, const char *name) {
    if (graph->n_slots < 2 * (size_t)graph->n_values + 2 && !build_index(graph))
        return search_values(graph, name);
    size_t slot = hash_name(name) & (graph->n_slots - 1);
    for (; graph->slots[slot] >= 0; slot = (slot + 1) & (graph->n_slots - 1))
        if (strcmp(graph->values[graph->slots[slot]].name, name) == 0)
            return graph->slots[slot];
    return -1;
}

static char *unique_name(zq_graph *graph, const char *wanted) {
    if (zq_graph_find_value(graph, wanted) < 0)
        return zq_strdup(wanted);
    const size_t n = strlen(wanted) + 24;
    char *name = zq_alloc(n, 1);
    do {
        if (name != NULL)
            snprintf(name, n, "%s_%" PRIu64, wanted, ++graph->id_counter);
    } while (name != NULL && zq_graph_find_value(graph, name) >= 0);
    return name;
}

int zq_graph_add_value(zq_graph *graph, const char *name, zq_dtype dtype, const zq_shape *shape) {
    if (!zq_grow(&graph->values, &graph->values_capacity, (size_t)graph->n_values + 1,
                 sizeof graph->values[0]))
        return -1;
    char *own_name = unique_name(graph, name);
    if (own_name == NULL)
        return -1;
    graph->values[graph->n_values] = (zq_value){
        .name = own_name, .dtype = dtype, .shape = shape != NULL ? *shape : (zq_shape){0}, .producer = -1};
    if (graph->n_slots > 0)
        index_value(graph, graph->n_values); /* the look-up for a unique name left room */
    return graph->n_values++;
}

bool zq_graph_rename_value(zq_graph *graph, int value, const char *name) {
    if (strcmp(graph->values[value].name, name) == 0)
        return true;
    char *own_name = unique_name(graph, name);
    if (own_name == NULL)
        return false;
    zq_free(graph->values[value].name);
    graph->values[value].name = own_name;
    drop_index(graph);
    return true;
}

int zq_graph_add_constant(zq_graph *graph, const char *name, zq_tensor *tensor) {
    const int value = tensor == NULL ? -1 : zq_graph_add_value(graph, name, tensor->dtype, &tensor->shape);
    if (value < 0)
        zq_tensor_drop(tensor);
    else
        graph->values[value].constant = tensor;
    return value;
}

static bool append_index(int **list, size_t *capacity, int *n, int index) {
    if (!zq_grow(list, capacity, (size_t)*n + 1, sizeof **list))
        return false;
    (*list)[(*n)++] = index;
    return true;
}

bool zq_graph_add_input(zq_graph *graph, int value) {
    return append_index(&graph->inputs, &graph->inputs_capacity, &graph->n_inputs, value);
}

bool zq_graph_add_output(zq_graph *graph, int value) {
    return append_index(&graph->outputs, &graph->outputs_capacity, &graph->n_outputs, value);
}

zq_stats *zq_stats_new(int64_t n_channels) {
    zq_stats *stats = zq_alloc(1, sizeof *stats);
    if (stats == NULL)
        return NULL;
    stats->n_channels = n_channels;
    stats->mean = zq_alloc((size_t)n_channels, sizeof(float));
    stats->std = zq_alloc((size_t)n_channels, sizeof(float));
    if (stats->mean == NULL || stats->std == NULL) {
        zq_stats_drop(stats);
        return NULL;
    }
    return stats;
}

void zq_stats_drop(zq_stats *stats) {
    if (stats != NULL) {
        zq_free(stats->mean);
        zq_free(stats->std);
        zq_free(stats);
    }
}

void zq_value_set_stats(zq_value *value, zq_stats *stats) {
    if (value->stats != stats)
        zq_stats_drop(value->stats);
    value->stats = stats;
}

static zq_stats *copy_stats(const zq_stats *stats) {
    zq_stats *copy = zq_stats_new(stats->n_channels);
    if (copy != NULL) {
        memcpy(copy->mean, stats->mean, (size_t)stats->n_channels * sizeof(float));
        memcpy(copy->std, stats->std, (size_t)stats->n_channels * sizeof(float));
    }
    return copy;
}

/* ---- nodes */

int zq_graph_add_node(zq_graph *graph, const zq_op *op, const char *name, int n_inputs, const int *inputs,
                      int n_outputs, const int *outputs) {
    if (!zq_grow(&graph->nodes, &graph->nodes_capacity, (size_t)graph->n_nodes + 1, sizeof graph->nodes[0]))
        return -1;
    zq_node node = {.op = op, .name = zq_strdup(name), .n_inputs = n_inputs, .n_outputs = n_outputs};
    node.inputs = zq_memdup(inputs, (size_t)n_inputs * sizeof *inputs);
    node.outputs = zq_memdup(outputs, (size_t)n_outputs * sizeof *outputs);
    if (node.name == NULL || node.inputs == NULL || node.outputs == NULL) {
        clear_node(&node);
        return -1;
    }
    for (int o = 0; o < n_outputs; o++)
        if (outputs[o] >= 0)
            graph->values[outputs[o]].producer = graph->n_nodes;
    graph->nodes[graph->n_nodes] = node;
    return graph->n_nodes++;
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

/* ---- copying */

static bool copy_value(zq_value *value, const zq_value *from) {
    *value = *from;
    value->constant = NULL;
    value->stats = NULL;
    value->name = zq_strdup(from->name);
    if (from->constant != NULL)
        value->constant = zq_tensor_copy(from->constant);
    if (from->stats != NULL)
        value->stats = copy_stats(from->stats);
    return value->name != NULL && (from->constant == NULL || value->constant != NULL) &&
           (from->stats == NULL || value->stats != NULL);
}

static bool copy_node(zq_node *node, const zq_node *from) {
    *node = (zq_node){.op = from->op, .n_inputs = from->n_inputs, .n_outputs = from->n_outputs};
    node->name = zq_strdup(from->name);
    node->inputs = zq_memdup(from->inputs, (size_t)from->n_inputs * sizeof(int));
    node->outputs = zq_memdup(from->outputs, (size_t)from->n_outputs * sizeof(int));
    return node->name != NULL && node->inputs != NULL && node->outputs != NULL &&
           zq_node_copy_attrs(node, from) && (from->params == NULL || zq_node_parse(node, NULL) == ZQ_OK);
}

static bool copy_contents(zq_graph *copy, const zq_graph *graph) {
    copy->name = zq_strdup(graph->name);
    copy->file = zq_strdup(graph->file);
    copy->producer = zq_strdup(graph->producer);
    copy->free_batch = graph->free_batch;
    copy->opset = graph->opset;
    copy->ir_version = graph->ir_version;
    copy->file_bytes = graph->file_bytes;
    copy->id_counter = graph->id_counter;
    if (!zq_grow(&copy->values, &copy->values_capacity, (size_t)graph->n_values, sizeof copy->values[0]) ||
        !zq_grow(&copy->nodes, &copy->nodes_capacity, (size_t)graph->n_nodes, sizeof copy->nodes[0]))
        return false;
    for (; copy->n_values < graph->n_values; copy->n_values++)
        if (!copy_value(&copy->values[copy->n_values], &graph->values[copy->n_values])) {
            clear_value(&copy->values[copy->n_values]);
            return false;
        }
    for (; copy->n_nodes < graph->n_nodes; copy->n_nodes++)
        if (!copy_node(&copy->nodes[copy->n_nodes], &graph->nodes[copy->n_nodes])) {
            clear_node(&copy->nodes[copy->n_nodes]);
            return false;
        }
    for (int i = 0; i < graph->n_inputs; i++)
        if (!zq_graph_add_input(copy, graph->inputs[i]))
            return false;
    for (int o = 0; o < graph->n_outputs; o++)
        if (!zq_graph_add_output(copy, graph->outputs[o]))
            return false;
    return true;
}

zq_graph *zq_graph_copy(const zq_graph *graph) {
    zq_graph *copy = zq_graph_new();
    if (copy != NULL && !copy_contents(copy, graph)) {
        zq_graph_drop(copy);
        return NULL;
    }
    return copy;
}

/* ---- changing */

void zq_graph_replace_uses(zq_graph *graph, int value, int replacement) {
    for (int n = 0; n < graph->n_nodes; n++)
        for (int i = 0; i < graph->nodes[n].n_inputs; i++)
            if (graph->nodes[n].inputs[i] == value)
                graph->nodes[n].inputs[i] = replacement;
    for (int o = 0; o < graph->n_outputs; o++)
        if (graph->outputs[o] == value)
            graph->outputs[o] = replacement;
}

static bool reads(const zq_node *node, int value) {
    for (int i = 0; i < node->n_inputs; i++)
        if (node->inputs[i] == value)
            return true;
    return false;
}

int zq_graph_consumers(const zq_graph *graph, int value, int **nodes_out) {
    int n_found = 0;
    int *found = NULL;
    size_t capacity = 0;
    for (int n = 0; n < graph->n_nodes; n++)
        if (graph->nodes[n].op != NULL && reads(&graph->nodes[n], value)) {
            if (nodes_out == NULL)
                n_found++;
            else if (!append_index(&found, &capacity, &n_found, n)) {
                zq_free(found);
                return -1;
            }
        }
    if (nodes_out != NULL)
        *nodes_out = found;
    return n_found;
}

bool zq_graph_is_output(const zq_graph *graph, int value) {
    for (int o = 0; o < graph->n_outputs; o++)
        if (graph->outputs[o] == value)
            return true;
    return false;
}

void zq_graph_remove_node(zq_graph *graph, int node) {
    for (int o = 0; o < graph->nodes[node].n_outputs; o++) {
        const int value = graph->nodes[node].outputs[o];
        if (value >= 0 && graph->values[value].producer == node)
            graph->values[value].producer = -1;
    }
    clear_node(&graph->nodes[node]);
}

/* alive[v] for every value that some graph output depends on; nodes nobody needs are removed. Nodes are in
 * topological order, so one walk from the end suffices. */
static void remove_dead_nodes(zq_graph *graph, bool *alive) {
    for (int o = 0; o < graph->n_outputs; o++)
        alive[graph->outputs[o]] = true;
    for (int i = 0; i < graph->n_inputs; i++)
        alive[graph->inputs[i]] = true;
    for (int n = graph->n_nodes - 1; n >= 0; n--) {
        const zq_node *node = &graph->nodes[n];
        bool needed = false;
        for (int o = 0; o < node->n_outputs; o++)
            needed = needed || (node->outputs[o] >= 0 && alive[node->outputs[o]]);
        if (!needed) {
            zq_graph_remove_node(graph, n);
            continue;
        }
        for (int i = 0; i < node->n_inputs; i++)
            if (node->inputs[i] >= 0)
                alive[node->inputs[i]] = true;
        for (int o = 0; o < node->n_outputs; o++)
            if (node->outputs[o] >= 0)
                alive[node->outputs[o]] = true;
    }
}

static void renumber(int n, int *indices, const int *renumbered) {
    for (int k = 0; k < n; k++)
        if (indices[k] >= 0)
            indices[k] = renumbered[indices[k]];
}

static void compact(zq_graph *graph, const bool *alive, int *renumbered) {
    int n_values = 0, n_nodes = 0;
    drop_index(graph);
    for (int v = 0; v < graph->n_values; v++) {
        if (!alive[v]) {
            clear_value(&graph->values[v]);
            continue;
        }
        renumbered[v] = n_values;
        graph->values[n_values++] = graph->values[v];
    }
    for (int n = 0; n < graph->n_nodes; n++)
        if (graph->nodes[n].op != NULL)
            graph->nodes[n_nodes++] = graph->nodes[n];
    graph->n_values = n_values;
    graph->n_nodes = n_nodes;
    for (int v = 0; v < n_values; v++)
        graph->values[v].producer = -1;
    for (int n = 0; n < n_nodes; n++) {
        zq_node *node = &graph->nodes[n];
        renumber(node->n_inputs, node->inputs, renumbered);
        renumber(node->n_outputs, node->outputs, renumbered);
        for (int o = 0; o < node->n_outputs; o++)
            if (node->outputs[o] >= 0)
                graph->values[node->outputs[o]].producer = n;
    }
    renumber(graph->n_inputs, graph->inputs, renumbered);
    renumber(graph->n_outputs, graph->outputs, renumbered);
}

zq_status zq_graph_clean(zq_graph *graph, zq_error *err) {
    bool *alive = zq_alloc((size_t)graph->n_values, sizeof *alive);
    int *renumbered = zq_alloc((size_t)graph->n_values, sizeof *renumbered);
    zq_status status = alive == NULL || renumbered == NULL ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK) {
        remove_dead_nodes(graph, alive);
        compact(graph, alive, renumbered);
    }
    zq_free(alive);
    zq_free(renumbered);
    return status;
}

/* ---- topological order */

/* Value v can be read: it is a constant, a graph input, or its producer is placed already. */
static void mark_sources(const zq_graph *graph, bool *ready) {
    for (int v = 0; v < graph->n_values; v++)
        ready[v] = graph->values[v].constant != NULL;
    for (int i = 0; i < graph->n_inputs; i++)
        ready[graph->inputs[i]] = true;
}

static int first_missing(const zq_node *node, const bool *ready) {
    for (int i = 0; i < node->n_inputs; i++)
        if (node->inputs[i] >= 0 && !ready[node->inputs[i]])
            return node->inputs[i];
    return -1;
}

static zq_status explain_disorder(const zq_graph *graph, const bool *placed, const bool *ready,
                                  zq_error *err) {
    char text[ZQ_NODE_TEXT];
    for (int pass = 0; pass < 2; pass++)
        for (int n = 0; n < graph->n_nodes; n++) {
            const int missing = placed[n] ? -1 : first_missing(&graph->nodes[n], ready);
            if (missing < 0)
                continue;
            if (graph->values[missing].producer < 0)
                return zq_fail(err, ZQ_ERR_FORMAT,
                               "%s reads '%s', which no node, input or initializer provides",
                               zq_node_text(&graph->nodes[n], text), graph->values[missing].name);
            if (pass == 1)
                return zq_fail(err, ZQ_ERR_FORMAT,
                               "%s reads '%s', which depends on that node's own output: a cycle",
                               zq_node_text(&graph->nodes[n], text), graph->values[missing].name);
        }
    return zq_fail(err, ZQ_ERR_INTERNAL, "the graph can't be sorted");
}

/* Kahn's algorithm on counts of missing inputs would need consumer lists; instead nodes are visited depth
 * first from each node in the old order, with a stack of our own (graphs from strangers may be deep). */
static int sort_from(const zq_graph *graph, int start, bool *placed, bool *open, bool *ready, int *stack,
                     int *order, int n_order) {
    int depth = 0;
    stack[depth++] = start;
    open[start] = true;
    while (depth > 0) {
        const int n = stack[depth - 1];
        const zq_node *node = &graph->nodes[n];
        const int missing = first_missing(node, ready);
        if (missing >= 0) {
            const int producer = graph->values[missing].producer;
            if (producer < 0 || open[producer] || placed[producer])
                return -1;
            open[producer] = true;
            stack[depth++] = producer;
            continue;
        }
        for (int o = 0; o < node->n_outputs; o++)
            if (node->outputs[o] >= 0)
                ready[node->outputs[o]] = true;
        placed[n] = true;
        open[n] = false;
        order[n_order++] = n;
        depth--;
    }
    return n_order;
}

static zq_status apply_order(zq_graph *graph, const int *order, zq_error *err) {
    zq_node *sorted = zq_alloc(graph->nodes_capacity, sizeof *sorted);
    if (sorted == NULL)
        return zq_fail_memory(err);
    for (int n = 0; n < graph->n_nodes; n++) {
        sorted[n] = graph->nodes[order[n]];
        for (int o = 0; o < sorted[n].n_outputs; o++)
            if (sorted[n].outputs[o] >= 0)
                graph->values[sorted[n].outputs[o]].producer = n;
    }
    zq_free(graph->nodes);
    graph->nodes = sorted;
    return ZQ_OK;
}

zq_status zq_graph_sort(zq_graph *graph, zq_error *err) {
    const size_t n_nodes = (size_t)graph->n_nodes;
    bool *placed = zq_alloc(n_nodes, sizeof *placed), *open = zq_alloc(n_nodes, sizeof *open);
    bool *ready = zq_alloc((size_t)graph->n_values, sizeof *ready);
    int *stack = zq_alloc(n_nodes + 1, sizeof *stack), *order = zq_alloc(n_nodes, sizeof *order);
    zq_status status = ZQ_OK;
    if (placed == NULL || open == NULL || ready == NULL || stack == NULL || order == NULL) {
        status = zq_fail_memory(err);
        goto done;
    }
    mark_sources(graph, ready);
    int n_order = 0;
    for (int n = 0; n < graph->n_nodes && n_order >= 0; n++)
        if (!placed[n])
            n_order = sort_from(graph, n, placed, open, ready, stack, order, n_order);
    status = n_order < 0 ? explain_disorder(graph, placed, ready, err) : apply_order(graph, order, err);
done:
    zq_free(placed);
    zq_free(open);
    zq_free(ready);
    zq_free(stack);
    zq_free(order);
    return status;
}

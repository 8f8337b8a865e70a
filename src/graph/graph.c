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

void zq_graph_drop(zq_graph *graph) {
    if (graph == NULL)
        return;
    for (int v = 0; v < graph->n_values; v++)
        clear_value(&graph->values[v]);
    for (int n = 0; n < graph->n_nodes; n++)
        zq_node_clear(&graph->nodes[n]);
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

zq_tensor *zq_value_own_constant(zq_value *value) {
    if (value->constant->n_shared == 0)
        return value->constant;
    zq_tensor *own = zq_tensor_copy(value->constant);
    if (own != NULL) {
        zq_tensor_drop(value->constant);
        value->constant = own;
    }
    return own;
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
        zq_node_clear(&node);
        return -1;
    }
    for (int o = 0; o < n_outputs; o++)
        if (outputs[o] >= 0)
            graph->values[outputs[o]].producer = graph->n_nodes;
    graph->nodes[graph->n_nodes] = node;
    return graph->n_nodes++;
}

/* ---- copying */

static bool copy_value(zq_value *value, const zq_value *from) {
    *value = *from;
    value->constant = NULL;
    value->stats = NULL;
    value->name = zq_strdup(from->name);
    if (from->constant != NULL)
        value->constant = zq_tensor_share(from->constant);
    if (from->stats != NULL)
        value->stats = copy_stats(from->stats);
    return value->name != NULL && (from->stats == NULL || value->stats != NULL);
}

static bool copy_node(zq_node *node, const zq_node *from) {
    *node = (zq_node){.op = from->op,
                      .n_inputs = from->n_inputs,
                      .n_outputs = from->n_outputs,
                      .keeps_float = from->keeps_float};
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
    copy->fixed_batch = graph->fixed_batch;
    copy->opset = graph->opset;
    copy->ir_version = graph->ir_version;
    copy->file_bytes = graph->file_bytes;
    copy->file_hash = graph->file_hash;
    copy->tail = graph->tail;
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
            zq_node_clear(&copy->nodes[copy->n_nodes]);
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

static bool has_index(int n, const int *indices, int index) {
    for (int i = 0; i < n; i++)
        if (indices[i] == index)
            return true;
    return false;
}

bool zq_graph_is_input(const zq_graph *graph, int value) {
    return has_index(graph->n_inputs, graph->inputs, value);
}

bool zq_graph_is_output(const zq_graph *graph, int value) {
    return has_index(graph->n_outputs, graph->outputs, value);
}

int64_t zq_graph_images(const zq_graph *graph) {
    if (graph->free_batch || graph->n_inputs < 1)
        return 1;
    const zq_shape *shape = &graph->values[graph->inputs[0]].shape;
    return shape->rank > 0 && shape->dims[0] > 1 ? shape->dims[0] : 1;
}

void zq_graph_remove_node(zq_graph *graph, int node) {
    for (int o = 0; o < graph->nodes[node].n_outputs; o++) {
        const int value = graph->nodes[node].outputs[o];
        if (value >= 0 && graph->values[value].producer == node)
            graph->values[value].producer = -1;
    }
    zq_node_clear(&graph->nodes[node]);
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

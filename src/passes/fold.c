/* SPDX-License-Identifier: Apache-2.0 */
/* Constant folding. With a free batch the network is walked for two batch sizes side by side: a computed
 * constant that comes out the same is a constant, one that doesn't depends on the batch. The graph is changed
 * only after both walks have succeeded. */
#include "base/memory.h"
#include "graph/op.h"
#include "passes/inputs.h"
#include "passes/match.h"
#include "passes/passes.h"
#include "passes/walk.h"

#include <string.h>

/* Neither is a factor, or a size, that networks like. */
static const int64_t BATCHES[2] = {5, 7};

/* A small file from a stranger may ask for large constants: what goes beyond these bounds is left to run. */
static const int64_t EXTRA_ELEMENTS = (int64_t)1 << 24, TIMES_FILE = 8; /* and so often the file's own */
static const double MOST_MACS = 1e9;

/* What is known of a value before any image is seen. */
typedef enum knowledge {
    COMPUTED = 0, /* nothing but its shape */
    CONSTANT,
    BATCHED, /* its elements, for each batch size */
} knowledge;

typedef struct folding {
    zq_graph *graph;
    int n_walks;
    zq_walk walks[2];
    knowledge *known;      /* [n_values] */
    bool *evaluated;       /* [n_nodes] */
    bool *needed;          /* [n_values] some graph output depends on it, evaluated nodes left out */
    int64_t elements_left; /* that may be computed */
    double macs_left;
    bool refused; /* the network reads the batch size in a way that can't be kept */
} folding;

/* ---- walking */

static bool small_enough(folding *fold, int n) {
    const zq_node *node = &fold->graph->nodes[n];
    const zq_walk *walk = &fold->walks[fold->n_walks - 1]; /* the larger batch */
    int64_t n_elements = 0;
    double n_macs = 0;
    for (int o = 0; o < node->n_outputs; o++) {
        const int64_t count = node->outputs[o] >= 0 ? zq_shape_count(&walk->out[o]->shape) : 0;
        if (count > fold->elements_left - n_elements)
            return false;
        n_elements += count;
    }
    if (node->op->macs != NULL) {
        const zq_io io = {
            .node = node, .n_in = node->n_inputs, .n_out = node->n_outputs, .in = walk->in, .out = walk->out};
        n_macs = node->op->macs(&io) * fold->n_walks;
    }
    n_elements *= fold->n_walks;
    if (n_elements > fold->elements_left || n_macs > fold->macs_left)
        return false;
    fold->elements_left -= n_elements;
    fold->macs_left -= n_macs;
    return true;
}

/* *known_out is what evaluating the node would give. */
static bool can_evaluate(folding *fold, int n, knowledge *known_out) {
    const zq_node *node = &fold->graph->nodes[n];
    const bool shape = zq_match_op(node, "Shape");
    *known_out = shape && fold->n_walks > 1 ? BATCHED : CONSTANT;
    /* a dequantized weight stays as it is: the engine and the runtimes fuse it with its reader */
    if (node->op->forward == NULL || !zq_match_writes(node) || zq_match_op(node, "DequantizeLinear"))
        return false;
    for (int i = 0; i < node->n_inputs && !shape; i++) {
        const int value = node->inputs[i];
        if (value >= 0 && fold->known[value] == COMPUTED)
            return false;
        if (value >= 0 && fold->known[value] == BATCHED)
            *known_out = BATCHED;
    }
    return small_enough(fold, n);
}

static zq_status walk_node(folding *fold, int n, zq_error *err) {
    const zq_node *node = &fold->graph->nodes[n];
    knowledge known;
    for (int w = 0; w < fold->n_walks; w++)
        ZQ_TRY(zq_walk_infer(&fold->walks[w], n, err));
    if (!can_evaluate(fold, n, &known))
        return ZQ_OK;
    fold->evaluated[n] = true;
    for (int w = 0; w < (known == BATCHED ? fold->n_walks : 1); w++)
        ZQ_TRY(zq_walk_evaluate(&fold->walks[w], n, err));
    for (int o = 0; o < node->n_outputs; o++) {
        const int value = node->outputs[o];
        if (value < 0)
            continue;
        zq_tensor *first = &fold->walks[0].values[value];
        zq_tensor *second = fold->n_walks > 1 ? &fold->walks[1].values[value] : first;
        if (known == BATCHED && !zq_tensor_equal(first, second)) {
            fold->known[value] = BATCHED;
            continue;
        }
        fold->known[value] = CONSTANT;
        if (fold->n_walks > 1)
            *second = *first;
    }
    return ZQ_OK;
}

/* ---- what depends on the batch */

/* The target of a Reshape whose own target depends on the batch, without it: 0 where the dimension is that of
 * the input, -1 in one other place. False when that can't be said. */
static bool reshape_target(const folding *fold, const zq_node *node, int64_t *target) {
    const zq_walk *walks = fold->walks;
    const zq_tensor *asked[2], *src[2], *dst[2];
    for (int w = 0; w < 2; w++) {
        asked[w] = &walks[w].values[node->inputs[1]];
        src[w] = &walks[w].values[node->inputs[0]];
        dst[w] = &walks[w].values[node->outputs[0]];
    }
    const int rank = dst[0]->shape.rank;
    if (rank != dst[1]->shape.rank || fold->known[node->inputs[0]] == BATCHED)
        return false;
    int open = -1, asked_open = -1;
    for (int d = 0; d < rank; d++) {
        const int64_t size = dst[0]->shape.dims[d], size_2 = dst[1]->shape.dims[d];
        target[d] = size;
        if (size == size_2 && size == 0)
            return false; /* 0 would mean "copy" */
        if (zq_tensor_item_i64(asked[0], d) == -1 && zq_tensor_item_i64(asked[1], d) == -1)
            asked_open = d;
        else if (zq_tensor_item_i64(asked[0], d) == 0 && zq_tensor_item_i64(asked[1], d) == 0)
            target[d] = 0;
        else if (size != size_2) {
            const bool copied =
                d < src[0]->shape.rank && size == src[0]->shape.dims[d] && size_2 == src[1]->shape.dims[d];
            if (!copied && open >= 0)
                return false;
            open = copied ? open : d;
            target[d] = copied ? 0 : -1;
        }
    }
    /* a -1 of the file's own stays, unless the batch needs it */
    if (asked_open >= 0 && open < 0)
        target[asked_open] = -1;
    return asked_open < 0 || open < 0 || dst[0]->shape.dims[asked_open] == dst[1]->shape.dims[asked_open];
}

/* The scales of a Resize whose sizes depend on the batch. The operator computes the same float ratio from
 * sizes, so the result is the same where the ratio gives back the size. */
static bool resize_scales(const folding *fold, const zq_node *node, float *scales) {
    for (int w = 0; w < 2; w++) {
        const zq_shape *src = &fold->walks[w].values[node->inputs[0]].shape;
        const zq_shape *dst = &fold->walks[w].values[node->outputs[0]].shape;
        for (int d = 0; d < src->rank; d++) {
            const float scale = (float)dst->dims[d] / (float)src->dims[d];
            if ((w > 0 && scale != scales[d]) || (int64_t)(scale * (float)src->dims[d]) != dst->dims[d])
                return false;
            scales[d] = scale;
        }
    }
    return true;
}

/* Input of a node that depends on the batch and can be replaced by new_input(); -1: none. */
static int replaceable_input(const folding *fold, const zq_node *node) {
    const int input = zq_match_op(node, "Reshape") ? 1 : zq_match_op(node, "Resize") ? 3 : -1;
    const int value = input >= 0 ? zq_match_input(node, input) : -1;
    int64_t target[ZQ_MAX_RANK];
    float scales[ZQ_MAX_RANK];
    if (value < 0 || fold->known[value] != BATCHED || !zq_match_writes(node))
        return -1;
    return (input == 1 ? reshape_target(fold, node, target) : resize_scales(fold, node, scales)) ? input : -1;
}

static zq_status refuse_batched(folding *fold, const char *reader, int value, zq_error *err) {
    char option[ZQ_INPUTS_TEXT];
    fold->refused = true;
    return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                   "%s reads '%s', which depends on the number of images in a way that can't be kept; fix it "
                   "with %s, or export the model with a fixed batch",
                   reader, fold->graph->values[value].name, zq_inputs_option(fold->graph, 0, option));
}

static zq_status check_reader(folding *fold, const zq_node *node, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const int replaceable = replaceable_input(fold, node);
    for (int i = 0; i < node->n_inputs; i++) {
        const int value = node->inputs[i];
        if (value < 0 || i == replaceable)
            continue;
        if (fold->known[value] == BATCHED)
            return refuse_batched(fold, zq_node_text(node, text), value, err);
        fold->needed[value] = true;
    }
    return ZQ_OK;
}

/* Goes backwards over the nodes that will be left, so that dead ones may read what they like. */
static zq_status check_readers(folding *fold, zq_error *err) {
    const zq_graph *graph = fold->graph;
    for (int o = 0; o < graph->n_outputs; o++) {
        if (fold->known[graph->outputs[o]] == BATCHED)
            return refuse_batched(fold, "the caller of the model", graph->outputs[o], err);
        fold->needed[graph->outputs[o]] = true;
    }
    for (int n = graph->n_nodes - 1; n >= 0; n--) {
        const zq_node *node = &graph->nodes[n];
        bool needed = false;
        for (int o = 0; o < node->n_outputs && !fold->evaluated[n]; o++)
            needed = needed || (node->outputs[o] >= 0 && fold->needed[node->outputs[o]]);
        if (needed)
            ZQ_TRY(check_reader(fold, node, err));
    }
    return ZQ_OK;
}

/* Each output must hold its images along dimension 0: a Reshape to [1,-1] mixes them. */
static zq_status check_outputs(const folding *fold, zq_error *err) {
    for (int o = 0; o < fold->graph->n_outputs && fold->n_walks > 1; o++) {
        const int value = fold->graph->outputs[o];
        const zq_shape *a = &fold->walks[0].values[value].shape, *b = &fold->walks[1].values[value].shape;
        bool separate =
            a->rank == b->rank && a->rank > 0 && a->dims[0] * BATCHES[1] == b->dims[0] * BATCHES[0];
        for (int d = 1; d < a->rank && separate; d++)
            separate = a->dims[d] == b->dims[d];
        char text[ZQ_SHAPE_TEXT];
        if (!separate && fold->known[value] != CONSTANT)
            return zq_fail(err, ZQ_ERR_UNSUPPORTED, "output '%s' mixes images: %d of them make it %s",
                           fold->graph->values[value].name, (int)BATCHES[0], zq_shape_text(a, text));
    }
    return ZQ_OK;
}

/* ---- changing the graph */

static zq_status replace_target(folding *fold, zq_node *node, zq_error *err) {
    int64_t target[ZQ_MAX_RANK] = {0};
    zq_graph *graph = fold->graph;
    reshape_target(fold, node, target);
    const int rank = fold->walks[0].values[node->outputs[0]].shape.rank;
    const int value =
        zq_graph_add_constant(graph, graph->values[node->inputs[1]].name, zq_tensor_new_i64(rank, target));
    if (value < 0)
        return zq_fail_memory(err);
    node->inputs[1] = value;
    zq_node_remove_attr(node, "allowzero"); /* our 0 means "copy" */
    return zq_node_parse(node, err);
}

static zq_status replace_sizes(folding *fold, zq_node *node, zq_error *err) {
    float scales[ZQ_MAX_RANK] = {0};
    zq_graph *graph = fold->graph;
    resize_scales(fold, node, scales);
    const int rank = fold->walks[0].values[node->outputs[0]].shape.rank;
    const int value =
        zq_graph_add_constant(graph, graph->values[node->inputs[3]].name, zq_tensor_new_f32(rank, scales));
    if (value < 0)
        return zq_fail_memory(err);
    node->inputs[2] = value;
    node->inputs[3] = -1;
    return zq_node_parse(node, err);
}

static zq_status replace_batched(folding *fold, zq_error *err) {
    for (int n = 0; n < fold->graph->n_nodes; n++) {
        zq_node *node = &fold->graph->nodes[n];
        const int input = fold->evaluated[n] ? -1 : replaceable_input(fold, node);
        if (input == 1)
            ZQ_TRY(replace_target(fold, node, err));
        else if (input == 3)
            ZQ_TRY(replace_sizes(fold, node, err));
    }
    return ZQ_OK;
}

static void replace_constants(folding *fold) {
    for (int n = 0; n < fold->graph->n_nodes; n++) {
        zq_node *node = &fold->graph->nodes[n];
        bool left = false;
        for (int o = 0; o < node->n_outputs && fold->evaluated[n]; o++) {
            const int v = node->outputs[o];
            if (v < 0 || fold->known[v] != CONSTANT) {
                left = left || v >= 0;
                continue;
            }
            zq_value *value = &fold->graph->values[v];
            zq_tensor_drop(value->constant);
            value->constant = fold->walks[0].computed[v];
            value->producer = -1;
            fold->walks[0].computed[v] = NULL;
            node->outputs[o] = -1;
        }
        if (fold->evaluated[n] && !left)
            zq_graph_remove_node(fold->graph, n);
    }
}

static zq_status start(folding *fold, zq_error *err) {
    const zq_graph *graph = fold->graph;
    fold->known = zq_alloc((size_t)graph->n_values, sizeof *fold->known);
    fold->needed = zq_alloc((size_t)graph->n_values, sizeof *fold->needed);
    fold->evaluated = zq_alloc((size_t)graph->n_nodes, sizeof *fold->evaluated);
    zq_shape *shapes = zq_alloc((size_t)graph->n_inputs, sizeof *shapes);
    zq_status status = ZQ_OK;
    if (fold->known == NULL || fold->needed == NULL || fold->evaluated == NULL || shapes == NULL)
        status = zq_fail_memory(err);
    fold->elements_left = EXTRA_ELEMENTS;
    fold->macs_left = MOST_MACS;
    for (int v = 0; v < graph->n_values && status == ZQ_OK; v++)
        if (graph->values[v].constant != NULL) {
            fold->known[v] = CONSTANT;
            fold->elements_left += TIMES_FILE * zq_shape_count(&graph->values[v].shape);
        }
    for (int w = 0; w < fold->n_walks && status == ZQ_OK; w++) {
        for (int i = 0; i < graph->n_inputs; i++) {
            shapes[i] = graph->values[graph->inputs[i]].shape;
            if (fold->n_walks > 1)
                shapes[i].dims[0] = BATCHES[w];
        }
        status = zq_walk_start(&fold->walks[w], graph, shapes, err);
    }
    zq_free(shapes);
    return status;
}

/* *refused_out: it isn't the network that fails, but its use of a free batch that can't be kept. */
static zq_status fold_graph(zq_graph *graph, bool *refused_out, zq_error *err) {
    folding fold = {.graph = graph, .n_walks = graph->free_batch ? 2 : 1};
    zq_status status = start(&fold, err);
    for (int n = 0; n < graph->n_nodes && status == ZQ_OK; n++)
        status = walk_node(&fold, n, err);
    if (status == ZQ_OK)
        status = check_outputs(&fold, err);
    if (status == ZQ_OK)
        status = check_readers(&fold, err);
    if (status == ZQ_OK)
        status = replace_batched(&fold, err);
    if (status == ZQ_OK)
        replace_constants(&fold);
    *refused_out = fold.refused;
    for (int w = 0; w < fold.n_walks; w++)
        zq_walk_clear(&fold.walks[w]);
    zq_free(fold.known);
    zq_free(fold.needed);
    zq_free(fold.evaluated);
    return status;
}

/* Files of old tools name outputs that nobody reads, such as Dropout's mask, and operators refuse those. */
static zq_status drop_unread_outputs(zq_graph *graph, zq_error *err) {
    bool *read = zq_alloc((size_t)graph->n_values, sizeof *read);
    if (read == NULL)
        return zq_fail_memory(err);
    for (int o = 0; o < graph->n_outputs; o++)
        read[graph->outputs[o]] = true;
    for (int n = 0; n < graph->n_nodes; n++)
        for (int i = 0; i < graph->nodes[n].n_inputs; i++)
            if (graph->nodes[n].inputs[i] >= 0)
                read[graph->nodes[n].inputs[i]] = true;
    for (int n = 0; n < graph->n_nodes; n++)
        for (int o = 1; o < graph->nodes[n].n_outputs; o++) {
            int *value = &graph->nodes[n].outputs[o];
            if (*value >= 0 && !read[*value]) {
                graph->values[*value].producer = -1;
                *value = -1;
            }
        }
    zq_free(read);
    return ZQ_OK;
}

zq_status zq_fold_constants(zq_graph *graph, const char *input_shapes, zq_error *err) {
    bool one_image, refused;
    ZQ_TRY(zq_inputs_declare(graph, input_shapes, &one_image, err));
    ZQ_TRY(drop_unread_outputs(graph, err));
    zq_status status = fold_graph(graph, &refused, err);
    /* Some files declare a free batch, but hold a network for one image; and the user may have asked for one.
     */
    if (status != ZQ_OK && status != ZQ_ERR_MEMORY && graph->free_batch && (!refused || one_image)) {
        graph->free_batch = false;
        for (int i = 0; i < graph->n_inputs; i++)
            graph->values[graph->inputs[i]].shape.dims[0] = 1;
        status = fold_graph(graph, &refused, err);
    }
    if (status != ZQ_OK)
        return status;
    ZQ_TRY(zq_graph_clean(graph, err));
    return zq_walk_settle(graph, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes of a tail in another opset than that of their file. */
#include "onnx/tail.h"

#include <stdio.h>
#include <string.h>

/* What an opset did to an operator, other than to allow more. */
typedef enum change {
    MEANS_ELSE,  /* or its attributes have gone */
    TAKES_LIST,  /* the list in the attribute is now an input */
    COUNTS_PARTS /* num_outputs is wanted where sizes aren't given */
} change;

static const struct {
    const char *op_type;
    int opset;
    change what;
    const char *attr;
} changes[] = {
    {"BatchNormalization", 9, MEANS_ELSE, NULL},
    {"Scan", 9, MEANS_ELSE, NULL},
    {"Dropout", 12, MEANS_ELSE, NULL},
    {"Resize", 11, MEANS_ELSE, NULL},
    {"Slice", 10, MEANS_ELSE, NULL},
    {"TopK", 10, MEANS_ELSE, NULL},
    {"Upsample", 10, MEANS_ELSE, NULL},
    {"Clip", 11, MEANS_ELSE, NULL},
    {"Pad", 11, MEANS_ELSE, NULL},
    {"Scatter", 11, MEANS_ELSE, NULL},
    {"Hardmax", 13, MEANS_ELSE, NULL},
    {"LogSoftmax", 13, MEANS_ELSE, NULL},
    {"Softmax", 13, MEANS_ELSE, NULL},
    {"ReduceSum", 13, TAKES_LIST, "axes"},
    {"Split", 13, TAKES_LIST, "split"},
    {"Squeeze", 13, TAKES_LIST, "axes"},
    {"Unsqueeze", 13, TAKES_LIST, "axes"},
    {"RoiAlign", 16, MEANS_ELSE, NULL},
    {"ReduceL1", 18, TAKES_LIST, "axes"},
    {"ReduceL2", 18, TAKES_LIST, "axes"},
    {"ReduceLogSum", 18, TAKES_LIST, "axes"},
    {"ReduceLogSumExp", 18, TAKES_LIST, "axes"},
    {"ReduceMax", 18, TAKES_LIST, "axes"},
    {"ReduceMean", 18, TAKES_LIST, "axes"},
    {"ReduceMin", 18, TAKES_LIST, "axes"},
    {"ReduceProd", 18, TAKES_LIST, "axes"},
    {"ReduceSumSquare", 18, TAKES_LIST, "axes"},
    {"Split", 18, COUNTS_PARTS, NULL},
    {"DFT", 20, MEANS_ELSE, NULL},
    {"GridSample", 20, MEANS_ELSE, NULL},
    {"GroupNormalization", 21, MEANS_ELSE, NULL},
};
enum { N_CHANGES = sizeof changes / sizeof changes[0] };

static const char *text_of(const char *text) {
    return text != NULL ? text : "";
}

static Onnx__AttributeProto *attr_of(const Onnx__NodeProto *node, const char *name) {
    for (size_t a = 0; a < node->n_attribute; a++)
        if (strcmp(text_of(node->attribute[a]->name), name) == 0)
            return node->attribute[a];
    return NULL;
}

/* Whether change number c lies between the two opsets and touches the node. */
static bool is_touched(const Onnx__NodeProto *node, size_t c, int from, int to) {
    const char *domain = text_of(node->domain);
    if ((domain[0] != '\0' && strcmp(domain, "ai.onnx") != 0) || from >= changes[c].opset ||
        to < changes[c].opset || strcmp(text_of(node->op_type), changes[c].op_type) != 0)
        return false;
    switch (changes[c].what) {
    case TAKES_LIST:
        return attr_of(node, changes[c].attr) != NULL;
    case COUNTS_PARTS:
        return node->n_input < 2 && attr_of(node, "split") == NULL;
    case MEANS_ELSE:
        break;
    }
    const Onnx__AttributeProto *axis = attr_of(node, "axis");
    const bool is_softmax = changes[c].opset == 13;
    return !(is_softmax && axis != NULL && axis->i == -1); /* along the last axis it means the same */
}

/* ---- whether */

static zq_status check_graph(const zq_tail *tail, const Onnx__GraphProto *graph, int opset, bool is_inner,
                             zq_error *err);

static zq_status check_node(const zq_tail *tail, const Onnx__NodeProto *node, int opset, bool is_inner,
                            zq_error *err) {
    for (size_t c = 0; c < N_CHANGES; c++)
        if (is_touched(node, c, tail->opset, opset) && (is_inner || changes[c].what == MEANS_ELSE))
            return zq_fail(
                err, ZQ_ERR_UNSUPPORTED,
                "%s, so the nodes from there on are copied as they are; but %.100s node '%.200s' among them "
                "means something else from opset %d on, and the file written needs opset %d: "
                "export the model with opset %d or newer",
                tail->reason, node->op_type, text_of(node->name), changes[c].opset, opset, changes[c].opset);
    for (size_t a = 0; a < node->n_attribute; a++) {
        if (node->attribute[a]->g != NULL)
            ZQ_TRY(check_graph(tail, node->attribute[a]->g, opset, true, err));
        for (size_t g = 0; g < node->attribute[a]->n_graphs; g++)
            ZQ_TRY(check_graph(tail, node->attribute[a]->graphs[g], opset, true, err));
    }
    return ZQ_OK;
}

static zq_status check_graph(const zq_tail *tail, const Onnx__GraphProto *graph, int opset, bool is_inner,
                             zq_error *err) {
    for (size_t n = 0; n < graph->n_node; n++)
        ZQ_TRY(check_node(tail, graph->node[n], opset, is_inner, err));
    return ZQ_OK;
}

zq_status zq_tail_check(const zq_tail *tail, int opset, zq_error *err) {
    return tail == NULL ? ZQ_OK : check_graph(tail, tail->model->graph, opset, false, err);
}

/* ---- how */

/* The list in an attribute becomes the node's next input, an initializer of a name that only the node has. */
static bool list_to_input(Onnx__NodeProto *node, const char *attr_name, zq_scratch *scratch,
                          Onnx__GraphProto *graph) {
    Onnx__AttributeProto *attr = attr_of(node, attr_name);
    Onnx__TensorProto *tensor = zq_scratch_alloc(scratch, 1, sizeof *tensor);
    char **inputs = zq_scratch_alloc(scratch, node->n_input + 1, sizeof *inputs);
    const size_t n_name = strlen(node->output[0]) + 16;
    char *name = zq_scratch_alloc(scratch, n_name, 1);
    int64_t *dims = zq_scratch_alloc(scratch, 1, sizeof *dims);
    if (tensor == NULL || inputs == NULL || name == NULL || dims == NULL)
        return false;
    snprintf(name, n_name, "%s__%s", node->output[0], attr_name);
    dims[0] = (int64_t)attr->n_ints;
    onnx__tensor_proto__init(tensor);
    tensor->name = name;
    tensor->has_data_type = true;
    tensor->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    tensor->n_dims = 1;
    tensor->dims = dims;
    tensor->n_int64_data = attr->n_ints;
    tensor->int64_data = attr->ints;
    graph->initializer[graph->n_initializer++] = tensor;
    memcpy(inputs, node->input, node->n_input * sizeof *inputs);
    inputs[node->n_input++] = name;
    node->input = inputs;
    for (size_t a = 0; a < node->n_attribute; a++)
        if (node->attribute[a] == attr)
            node->attribute[a] = node->attribute[--node->n_attribute];
    return true;
}

static bool count_parts(Onnx__NodeProto *node, zq_scratch *scratch) {
    Onnx__AttributeProto *attr = zq_scratch_alloc(scratch, 1, sizeof *attr);
    if (attr == NULL)
        return false;
    onnx__attribute_proto__init(attr);
    attr->name = "num_outputs";
    attr->has_type = true;
    attr->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    attr->has_i = true;
    attr->i = (int64_t)node->n_output;
    node->attribute[node->n_attribute++] = attr;
    return true;
}

/* A copy whose attributes may be changed, with room for one more. */
static Onnx__NodeProto *own_node(const Onnx__NodeProto *node, zq_scratch *scratch) {
    Onnx__NodeProto *own = zq_scratch_alloc(scratch, 1, sizeof *own);
    Onnx__AttributeProto **attrs = zq_scratch_alloc(scratch, node->n_attribute + 1, sizeof *attrs);
    if (own == NULL || attrs == NULL)
        return NULL;
    *own = *node;
    if (node->n_attribute > 0)
        memcpy(attrs, node->attribute, node->n_attribute * sizeof *attrs);
    own->name = own->name == NULL ? "" : own->name;
    own->attribute = attrs;
    return own;
}

/* The node for that opset; NULL: out of memory. */
static Onnx__NodeProto *raise_node(const zq_tail *tail, size_t n, int opset, zq_scratch *scratch,
                                   Onnx__GraphProto *graph) {
    Onnx__NodeProto *node = own_node(tail->model->graph->node[n], scratch);
    for (size_t c = 0; c < N_CHANGES && node != NULL; c++) {
        if (changes[c].what == MEANS_ELSE || !is_touched(node, c, tail->opset, opset))
            continue; /* zq_tail_check refuses the former */
        const bool done = changes[c].what == TAKES_LIST ? list_to_input(node, changes[c].attr, scratch, graph)
                                                        : count_parts(node, scratch);
        if (!done)
            return NULL;
    }
    return node;
}

bool zq_tail_splice(const zq_tail *tail, int opset, zq_scratch *scratch, Onnx__ModelProto *model) {
    const Onnx__ModelProto *from = tail->model;
    Onnx__GraphProto *graph = model->graph;
    for (size_t i = 0; i < from->graph->n_initializer; i++)
        graph->initializer[graph->n_initializer++] = from->graph->initializer[i];
    for (size_t n = 0; n < from->graph->n_node; n++) {
        Onnx__NodeProto *node = raise_node(tail, n, opset, scratch, graph);
        if (node == NULL)
            return false;
        graph->node[graph->n_node++] = node;
    }
    for (size_t i = 0; i < from->n_opset_import; i++) {
        const char *domain = text_of(from->opset_import[i]->domain);
        if (domain[0] != '\0' && strcmp(domain, "ai.onnx") != 0)
            model->opset_import[model->n_opset_import++] = from->opset_import[i];
    }
    model->n_functions = from->n_functions;
    model->functions = from->functions;
    return true;
}

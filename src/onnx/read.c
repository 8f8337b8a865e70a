/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/onnx.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "graph/op.h"
#include "onnx/canonical.h"
#include "onnx/scan.h"
#include "onnx/sequence.h"
#include "onnx/tail.h"
#include "onnx/tensor_proto.h"
#include "onnx/unpack.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_OPSET = 7, LAST_OPSET = 28 };

typedef struct reader {
    const Onnx__GraphProto *proto;
    zq_graph *graph;
    zq_external external;
    bool may_leave; /* nodes that can't be read */
    zq_cut cut;     /* proto NULL: all nodes are to be read */
    int node;       /* being read; -1: none */
    zq_error *err;
} reader;

/* proto2 strings that are absent are NULL. */
static const char *text_of(const char *text) {
    return text != NULL ? text : "";
}

static bool is_left(const reader *read, size_t node) {
    return read->cut.proto != NULL && read->cut.left[node];
}

/* ---- model */

static zq_status read_opset(const Onnx__ModelProto *model, int *opset_out, zq_error *err) {
    const Onnx__OperatorSetIdProto *found = NULL;
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *import = model->opset_import[i];
        const char *domain = text_of(import->domain);
        if (domain[0] != '\0' && strcmp(domain, "ai.onnx") != 0)
            continue;
        if (found != NULL && found->version != import->version)
            return zq_fail(err, ZQ_ERR_FORMAT, "imports two opsets of ONNX, %" PRId64 " and %" PRId64,
                           found->version, import->version);
        found = import;
    }
    if (found == NULL)
        return zq_fail(err, ZQ_ERR_FORMAT, "doesn't say which opset of ONNX it uses (opset_import)");
    if (found->version < FIRST_OPSET)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "uses opset %" PRId64 ", which is older than %d: export it again with opset 13",
                       found->version, FIRST_OPSET);
    if (found->version > LAST_OPSET)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "uses opset %" PRId64 ", which is newer than %d: export it again with opset 13",
                       found->version, LAST_OPSET);
    *opset_out = (int)found->version;
    return ZQ_OK;
}

static zq_status read_header(reader *read, const Onnx__ModelProto *model) {
    zq_graph *graph = read->graph;
    const char *name = text_of(model->producer_name), *version = text_of(model->producer_version);
    const size_t n = strlen(name) + strlen(version) + 2;
    ZQ_TRY(read_opset(model, &graph->opset, read->err));
    graph->ir_version = model->ir_version > 0 && model->ir_version < INT32_MAX ? (int)model->ir_version : 0;
    graph->name = zq_strdup(text_of(model->graph->name));
    graph->producer = zq_alloc(n, 1);
    if (graph->name == NULL || graph->producer == NULL)
        return zq_fail_memory(read->err);
    snprintf(graph->producer, n, "%s%s%s", name, name[0] != '\0' && version[0] != '\0' ? " " : "", version);
    if (model->graph->n_sparse_initializer > 0)
        return zq_fail(read->err, ZQ_ERR_UNSUPPORTED,
                       "holds %zu sparse initializers, which zeroq does not support: export dense weights",
                       model->graph->n_sparse_initializer);
    return ZQ_OK;
}

/* ---- values */

static zq_status check_new_name(const reader *read, const char *what, const char *name) {
    if (name[0] == '\0')
        return zq_fail(read->err, ZQ_ERR_FORMAT, "has %s without a name", what);
    if (zq_graph_find_value(read->graph, name) >= 0)
        return zq_fail(read->err, ZQ_ERR_FORMAT, "defines '%.200s' twice (the second time as %s)", name,
                       what);
    return ZQ_OK;
}

static zq_status add_constant(reader *read, const char *name, zq_tensor *tensor) {
    return zq_graph_add_constant(read->graph, name, tensor) < 0 ? zq_fail_memory(read->err) : ZQ_OK;
}

static zq_status read_initializers(reader *read) {
    for (size_t i = 0; i < read->proto->n_initializer; i++) {
        const Onnx__TensorProto *proto = read->proto->initializer[i];
        zq_tensor *tensor;
        if (read->cut.proto != NULL && zq_cut_leaves_readers(&read->cut, text_of(proto->name)))
            continue;
        ZQ_TRY(check_new_name(read, "an initializer", text_of(proto->name)));
        ZQ_TRY(zq_tensor_proto_read(proto, &read->external, &tensor, read->err));
        ZQ_TRY(add_constant(read, proto->name, tensor));
    }
    return ZQ_OK;
}

/* Free dimensions (dim_param, nothing, or the 0 and -1 of some exporters) become -1. */
static zq_status read_shape(const reader *read, const char *what, const char *name,
                            const Onnx__TensorShapeProto *proto, zq_shape *shape) {
    if (proto->n_dim > ZQ_MAX_RANK)
        return zq_fail(read->err, ZQ_ERR_UNSUPPORTED,
                       "%s '%.200s' has %zu dimensions, zeroq takes at most %d", what, name, proto->n_dim,
                       ZQ_MAX_RANK);
    *shape = (zq_shape){.rank = (int)proto->n_dim};
    int64_t count = 1;
    for (size_t d = 0; d < proto->n_dim; d++) {
        const Onnx__TensorShapeProto__Dimension *dim = proto->dim[d];
        const bool fixed =
            dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && dim->dim_value > 0;
        shape->dims[d] = fixed ? dim->dim_value : -1;
        if (fixed && !zq_mul_i64(count, dim->dim_value, &count))
            return zq_fail(read->err, ZQ_ERR_FORMAT, "%s '%.200s' has an impossibly large shape", what, name);
    }
    return ZQ_OK;
}

static zq_status read_input(reader *read, const Onnx__ValueInfoProto *info) {
    const char *name = text_of(info->name);
    const Onnx__TypeProto *type = info->type;
    char text[ZQ_DATA_TYPE_TEXT];
    zq_shape shape;
    ZQ_TRY(check_new_name(read, "an input", name));
    if (type == NULL || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        return zq_fail(read->err, ZQ_ERR_UNSUPPORTED, "input '%.200s' is no tensor", name);
    const zq_dtype dtype = zq_data_type_exact(type->tensor_type->elem_type);
    if (dtype == ZQ_NONE)
        return zq_fail(
            read->err, ZQ_ERR_UNSUPPORTED,
            "input '%.200s' is %s, which zeroq does not support: export the model in 32-bit floats", name,
            zq_data_type_text(type->tensor_type->elem_type, text));
    if (type->tensor_type->shape == NULL)
        return zq_fail(read->err, ZQ_ERR_UNSUPPORTED,
                       "input '%.200s' has no shape: export the model with one, such as [N,3,224,224]", name);
    ZQ_TRY(read_shape(read, "input", name, type->tensor_type->shape, &shape));
    const int value = zq_graph_add_value(read->graph, name, dtype, &shape);
    return value < 0 || !zq_graph_add_input(read->graph, value) ? zq_fail_memory(read->err) : ZQ_OK;
}

/* An input that only nodes that are left want, or none at all. */
static bool is_left_input(const reader *read, const char *name) {
    if (read->cut.proto == NULL)
        return false;
    return zq_cut_is_initializer(&read->cut, name) || zq_cut_leaves_readers(&read->cut, name) ||
           (zq_cut_count_inputs(&read->cut) > 1 && !zq_cut_has_readers(&read->cut, name));
}

/* IR versions up to 3 list the initializers as inputs, too. */
static zq_status read_inputs(reader *read) {
    zq_graph *graph = read->graph;
    for (size_t i = 0; i < read->proto->n_input; i++) {
        const int known = zq_graph_find_value(graph, text_of(read->proto->input[i]->name));
        const char *name = text_of(read->proto->input[i]->name);
        if ((known < 0 || graph->values[known].constant == NULL) && !is_left_input(read, name))
            ZQ_TRY(read_input(read, read->proto->input[i]));
    }
    graph->free_batch = graph->n_inputs > 0;
    for (int i = 0; i < graph->n_inputs; i++) {
        const zq_shape *shape = &graph->values[graph->inputs[i]].shape;
        graph->free_batch = graph->free_batch && shape->rank > 0 && shape->dims[0] < 0;
    }
    return ZQ_OK;
}

static bool is_provided(const zq_graph *graph, int value) {
    return zq_graph_is_input(graph, value) || graph->values[value].constant != NULL ||
           graph->values[value].producer >= 0;
}

static zq_status read_output(reader *read, const Onnx__ValueInfoProto *info) {
    zq_graph *graph = read->graph;
    const char *name = text_of(info->name);
    const int value = zq_graph_find_value(graph, name);
    if (value < 0 || !is_provided(graph, value))
        return zq_fail(read->err, ZQ_ERR_FORMAT, "has the output '%.200s', which no node provides", name);
    if (zq_graph_is_output(graph, value))
        return zq_fail(read->err, ZQ_ERR_FORMAT, "lists the output '%.200s' twice", name);
    if (!zq_graph_add_output(graph, value))
        return zq_fail_memory(read->err);
    zq_value *output = &graph->values[value];
    const Onnx__TypeProto__Tensor *type =
        info->type != NULL && info->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE
            ? info->type->tensor_type
            : NULL;
    if (output->producer < 0 || type == NULL || type->shape == NULL)
        return ZQ_OK; /* inference will tell */
    ZQ_TRY(read_shape(read, "output", name, type->shape, &output->shape));
    output->dtype = zq_data_type_exact(type->elem_type);
    return ZQ_OK;
}

/* ---- nodes */

/* "node 'conv1'", or by its first output when it has no name. */
static const char *name_of(const Onnx__NodeProto *proto) {
    const char *name = text_of(proto->name);
    return name[0] == '\0' && proto->n_output > 0 ? text_of(proto->output[0]) : name;
}

static Onnx__AttributeProto__AttributeType type_of(const Onnx__AttributeProto *attr) {
    if (attr->type != ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED)
        return attr->type;
    /* the first versions of ONNX had no type field */
    return attr->has_f          ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT
           : attr->has_i        ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT
           : attr->has_s        ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING
           : attr->t != NULL    ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR
           : attr->n_floats > 0 ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS
           : attr->n_ints > 0   ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS
                                : ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED;
}

static zq_status read_string(reader *read, zq_node *node, const char *name,
                             const ProtobufCBinaryData *bytes) {
    if (bytes->len > 0 && memchr(bytes->data, '\0', bytes->len) != NULL)
        return zq_fail(read->err, ZQ_ERR_FORMAT, "node '%.200s': attribute '%.100s' holds a zero byte",
                       node->name, name);
    char *string = zq_strndup(bytes->len > 0 ? (const char *)bytes->data : "", bytes->len);
    const bool done = string != NULL && zq_node_set_string(node, name, string);
    zq_free(string);
    return done ? ZQ_OK : zq_fail_memory(read->err);
}

static zq_status read_attr(reader *read, zq_node *node, const Onnx__AttributeProto *attr) {
    const char *name = text_of(attr->name);
    zq_tensor *tensor = NULL;
    bool done = false;
    switch (type_of(attr)) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
        done = zq_node_set_float(node, name, attr->f);
        break;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
        done = zq_node_set_int(node, name, attr->i);
        break;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
        return read_string(read, node, name, &attr->s);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
        done = zq_node_set_floats(node, name, attr->n_floats, attr->floats);
        break;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
        done = zq_node_set_ints(node, name, attr->n_ints, attr->ints);
        break;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
        if (attr->t == NULL)
            return zq_fail(read->err, ZQ_ERR_FORMAT, "node '%.200s': attribute '%.100s' is an absent tensor",
                           node->name, name);
        ZQ_TRY(zq_tensor_proto_read(attr->t, &read->external, &tensor, read->err));
        done = zq_node_set_tensor(node, name, tensor);
        break;
    default:
        return zq_fail(
            read->err, ZQ_ERR_UNSUPPORTED,
            "node '%.200s' is a %s whose attribute '%.100s' holds a graph, strings or something else "
            "that zeroq does not support",
            node->name, node->op->name, name);
    }
    return done ? ZQ_OK : zq_fail_memory(read->err);
}

/* Constant nodes become constants at once. */
static bool is_constant(const Onnx__NodeProto *proto) {
    const char *domain = text_of(proto->domain);
    return strcmp(text_of(proto->op_type), "Constant") == 0 &&
           (domain[0] == '\0' || strcmp(domain, "ai.onnx") == 0);
}

static zq_status read_constant(reader *read, const Onnx__NodeProto *proto) {
    const Onnx__AttributeProto *attr = proto->n_attribute == 1 ? proto->attribute[0] : NULL;
    const char *what = attr != NULL ? text_of(attr->name) : "";
    zq_tensor *tensor = NULL;
    if (proto->n_output != 1 || proto->n_input != 0 || attr == NULL)
        return zq_fail(read->err, ZQ_ERR_FORMAT, "Constant node '%.200s' needs one output and one attribute",
                       name_of(proto));
    if (strcmp(what, "value") == 0 && attr->t != NULL)
        ZQ_TRY(zq_tensor_proto_read(attr->t, &read->external, &tensor, read->err));
    else if (strcmp(what, "value_int") == 0)
        tensor = zq_tensor_new_i64(-1, &attr->i);
    else if (strcmp(what, "value_ints") == 0)
        tensor = zq_tensor_new_i64((int64_t)attr->n_ints, attr->ints);
    else if (strcmp(what, "value_float") == 0)
        tensor = zq_tensor_new_f32(-1, &attr->f);
    else if (strcmp(what, "value_floats") == 0)
        tensor = zq_tensor_new_f32((int64_t)attr->n_floats, attr->floats);
    else
        return zq_fail(read->err, ZQ_ERR_UNSUPPORTED,
                       "Constant node '%.200s' has the attribute '%.100s', which zeroq does not support",
                       name_of(proto), what);
    return add_constant(read, proto->output[0], tensor);
}

/* All outputs get their values first, so that a node may come before those it reads. */
static zq_status declare_outputs(reader *read) {
    for (size_t n = 0; n < read->proto->n_node; n++) {
        const Onnx__NodeProto *proto = read->proto->node[n];
        for (size_t o = 0; o < proto->n_output; o++) {
            if (proto->output[o][0] == '\0')
                continue;
            ZQ_TRY(check_new_name(read, "the output of a node", proto->output[o]));
            if ((!is_constant(proto) || is_left(read, n)) &&
                zq_graph_add_value(read->graph, proto->output[o], ZQ_NONE, NULL) < 0)
                return zq_fail_memory(read->err);
        }
        read->node = (int)n;
        if (is_constant(proto) && !is_left(read, n))
            ZQ_TRY(read_constant(read, proto));
    }
    read->node = -1;
    return ZQ_OK;
}

/* Value indices of names; no value is named "", so that gives -1: omitted. */
static zq_status find_values(reader *read, const Onnx__NodeProto *proto, size_t n, char **names,
                             int **found_out, int *n_out) {
    int *found = zq_alloc(n, sizeof *found);
    if (found == NULL)
        return zq_fail_memory(read->err);
    for (size_t i = 0; i < n; i++) {
        found[i] = zq_graph_find_value(read->graph, names[i]);
        if (found[i] < 0 && names[i][0] != '\0') {
            zq_free(found);
            return zq_fail(read->err, ZQ_ERR_FORMAT,
                           "%.50s node '%.200s' reads '%.200s', which no node, input or initializer provides",
                           text_of(proto->op_type), name_of(proto), names[i]);
        }
    }
    *found_out = found;
    *n_out = (int)n;
    return ZQ_OK;
}

static zq_status check_operator(const reader *read, const Onnx__NodeProto *proto, const zq_op **op_out) {
    *op_out = NULL;
    if (zq_sequence_is_split(read->proto, proto) || zq_sequence_is_at(proto))
        return ZQ_OK;
    const char *domain = text_of(proto->domain), *op_type = text_of(proto->op_type);
    if (domain[0] != '\0' && strcmp(domain, "ai.onnx") != 0)
        return zq_fail(
            read->err, ZQ_ERR_UNSUPPORTED,
            "node '%.200s' is a %.100s of the domain '%.100s', which zeroq does not support: export "
            "with the operators of ONNX itself",
            name_of(proto), op_type, domain);
    *op_out = zq_canonical_op(op_type);
    if (*op_out == NULL)
        return zq_fail(read->err, ZQ_ERR_UNSUPPORTED,
                       "node '%.200s' is a %.100s (opset %d), which zeroq does not support", name_of(proto),
                       op_type, read->graph->opset);
    return ZQ_OK;
}

static zq_status read_node(reader *read, const Onnx__NodeProto *proto) {
    const zq_op *op;
    int *inputs = NULL, *outputs = NULL, n_inputs, n_outputs, index = -1;
    if (zq_sequence_is_split(read->proto, proto)) /* what takes its parts reads it */
        return ZQ_OK;
    if (zq_sequence_is_at(proto))
        return zq_sequence_read_at(read->proto, proto, read->graph, read->err);
    ZQ_TRY(check_operator(read, proto, &op));
    size_t n_given = proto->n_input, n_wanted = proto->n_output;
    while (n_given > 0 && proto->input[n_given - 1][0] == '\0')
        n_given--;
    while (op->max_out >= 0 && n_wanted > 0 && proto->output[n_wanted - 1][0] == '\0')
        n_wanted--; /* but Split counts its outputs, wanted or not */
    zq_status status = find_values(read, proto, n_given, proto->input, &inputs, &n_inputs);
    if (status == ZQ_OK)
        status = find_values(read, proto, n_wanted, proto->output, &outputs, &n_outputs);
    if (status == ZQ_OK) {
        index = zq_graph_add_node(read->graph, op, name_of(proto), n_inputs, inputs, n_outputs, outputs);
        status = index < 0 ? zq_fail_memory(read->err) : ZQ_OK;
    }
    zq_free(inputs);
    zq_free(outputs);
    for (size_t a = 0; status == ZQ_OK && a < proto->n_attribute; a++) {
        if (text_of(proto->attribute[a]->ref_attr_name)[0] != '\0')
            return zq_fail(read->err, ZQ_ERR_FORMAT, "node '%.200s' refers to the attribute of a function",
                           name_of(proto));
        status = read_attr(read, &read->graph->nodes[index], proto->attribute[a]);
    }
    return status != ZQ_OK ? status
                           : zq_canonical_node(read->graph, proto->op_type, read->graph->opset, read->err);
}

/* ---- nodes that are left */

static zq_status need_cut(reader *read) {
    return read->cut.proto != NULL ? ZQ_OK : zq_cut_new(read->proto, &read->cut, read->err);
}

/* Leaves the operators that zeroq doesn't have. */
static zq_status leave_unknown(reader *read) {
    zq_error *const err = read->err, reason = {0};
    const zq_op *op;
    for (size_t n = 0; n < read->proto->n_node; n++) {
        read->err = &reason;
        const bool known =
            is_constant(read->proto->node[n]) || check_operator(read, read->proto->node[n], &op) == ZQ_OK;
        read->err = err;
        if (known)
            continue;
        ZQ_TRY(need_cut(read));
        ZQ_TRY(zq_cut_leave(&read->cut, n, reason.text, err));
    }
    return ZQ_OK;
}

/* What is left at first sight. */
static zq_status begin_cut(reader *read) {
    ZQ_TRY(leave_unknown(read));
    if (read->proto->n_input < 2)
        return ZQ_OK;
    ZQ_TRY(need_cut(read));
    return zq_cut_side_inputs(&read->cut, read->err);
}

/* ---- the whole */

static zq_status read_nodes(reader *read) {
    for (size_t n = 0; n < read->proto->n_node; n++) {
        if (is_constant(read->proto->node[n]) || is_left(read, n))
            continue;
        const int first = read->graph->n_nodes;
        read->node = (int)n;
        ZQ_TRY(read_node(read, read->proto->node[n]));
        for (int added = first; added < read->graph->n_nodes; added++)
            ZQ_TRY(zq_node_parse(&read->graph->nodes[added], read->err));
    }
    read->node = -1;
    return ZQ_OK;
}

static zq_status read_outputs(reader *read) {
    for (size_t o = 0; o < read->proto->n_output; o++)
        if (read->cut.proto == NULL ||
            !zq_cut_leaves_value(&read->cut, text_of(read->proto->output[o]->name)))
            ZQ_TRY(read_output(read, read->proto->output[o]));
    if (read->cut.proto != NULL) {
        ZQ_TRY(zq_cut_finish(&read->cut, read->err));
        ZQ_TRY(zq_cut_take_values(&read->cut, read->graph, read->err));
    }
    return read->graph->n_outputs > 0 ? ZQ_OK : zq_fail(read->err, ZQ_ERR_FORMAT, "has no outputs");
}

static zq_status read_graph(reader *read, const Onnx__ModelProto *model) {
    ZQ_TRY(read_header(read, model));
    if (read->may_leave && read->cut.proto == NULL)
        ZQ_TRY(begin_cut(read));
    ZQ_TRY(read_initializers(read));
    ZQ_TRY(read_inputs(read));
    ZQ_TRY(declare_outputs(read));
    ZQ_TRY(read_nodes(read));
    ZQ_TRY(read_outputs(read));
    return zq_graph_sort(read->graph, read->err);
}

static zq_graph *new_graph(const char *name) {
    zq_graph *graph = zq_graph_new();
    if (graph != NULL && (graph->file = zq_strdup(name)) == NULL) {
        zq_graph_drop(graph);
        return NULL;
    }
    return graph;
}

/* Reads the graph; where a node can't be read, once more without it. */
static zq_status read_parts(reader *read, const Onnx__ModelProto *model, const char *name) {
    enum { MOST_TRIES = 50 };
    const char *folder = read->external.folder;
    for (int tries = 1;; tries++) {
        read->node = -1;
        read->graph = new_graph(name);
        zq_status status = read->graph == NULL ? zq_fail_memory(read->err) : read_graph(read, model);
        if (status != ZQ_ERR_UNSUPPORTED || read->node < 0 || !read->may_leave || tries == MOST_TRIES)
            return status;
        const zq_error reason = *read->err;
        ZQ_TRY(need_cut(read));
        ZQ_TRY(zq_cut_leave(&read->cut, (size_t)read->node, reason.text, read->err));
        zq_graph_drop(read->graph);
        zq_external_clear(&read->external);
        read->external.folder = folder;
    }
}

static bool leaves_something(const reader *read) {
    return read->cut.proto != NULL &&
           (read->cut.n_left > 0 || zq_cut_count_inputs(&read->cut) > read->graph->n_inputs);
}

static zq_status parse(const void *bytes, size_t n_bytes, const char *folder, const char *name,
                       zq_graph **graph_out, zq_tail **tail_out, zq_error *err) {
    static const char pointer[] = "version https://git-lfs";
    Onnx__ModelProto *model;
    if (n_bytes >= sizeof pointer - 1 && memcmp(bytes, pointer, sizeof pointer - 1) == 0)
        return zq_fail(err, ZQ_ERR_FORMAT, "is a Git LFS pointer, not the model: run git lfs pull");
    ZQ_TRY(zq_scan_message(&onnx__model_proto__descriptor, bytes, n_bytes, err));
    ZQ_TRY(zq_unpack_model(bytes, n_bytes, &model, err));
    reader read = {
        .proto = model->graph, .external = {.folder = folder}, .may_leave = tail_out != NULL, .err = err};
    zq_tail *tail = NULL;
    zq_status status = model->graph != NULL
                           ? read_parts(&read, model, name)
                           : zq_fail(err, ZQ_ERR_FORMAT, "is not an ONNX model: it holds no graph");
    if (status == ZQ_OK) {
        read.graph->file_bytes = n_bytes + read.external.file_bytes;
        read.graph->file_hash = zq_random_hash(read.external.hash, n_bytes, bytes);
        if (leaves_something(&read))
            status = zq_tail_new(model, &read.cut, read.graph->opset, &read.external, &tail, err);
    }
    if (status == ZQ_OK) {
        read.graph->tail = tail;
        *graph_out = read.graph;
        if (tail_out != NULL)
            *tail_out = tail;
    } else
        zq_graph_drop(read.graph);
    zq_cut_clear(&read.cut);
    zq_external_clear(&read.external);
    zq_unpack_drop(model);
    return status;
}

zq_status zq_onnx_read_bytes(const void *bytes, size_t n_bytes, const char *folder, const char *name,
                             zq_graph **graph_out, zq_tail **tail_out, zq_error *err) {
    zq_error reason = {0};
    const zq_status status = parse(bytes, n_bytes, folder, name, graph_out, tail_out, &reason);
    return status == ZQ_OK ? ZQ_OK : zq_fail(err, status, "%.300s: %s", name, reason.text);
}

zq_status zq_onnx_read_part(const char *path, zq_graph **graph_out, zq_tail **tail_out, zq_error *err) {
    unsigned char *bytes;
    size_t n_bytes;
    ZQ_TRY(zq_file_read(path, &bytes, &n_bytes, err));
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL   ? zq_strdup(".")
                   : slash == path ? zq_strdup("/")
                                   : zq_strndup(path, (size_t)(slash - path));
    const zq_status status = folder == NULL
                                 ? zq_fail_memory(err)
                                 : zq_onnx_read_bytes(bytes, n_bytes, folder, path, graph_out, tail_out, err);
    zq_free(folder);
    zq_free(bytes);
    return status;
}

zq_status zq_onnx_read(const char *path, zq_graph **graph_out, zq_error *err) {
    return zq_onnx_read_part(path, graph_out, NULL, err);
}

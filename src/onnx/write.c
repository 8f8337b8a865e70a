/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/onnx.h"

#include "base/file.h"
#include "base/memory.h"
#include "graph/op.h"
#include "onnx/raise.h"
#include "onnx/scratch.h"
#include "onnx/tail.h"
#include "onnx/tensor_proto.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The message is built of pointers into the graph, so that weights are copied once only, into the bytes of
 * the file. */
typedef struct writer {
    const zq_graph *graph;
    Onnx__ModelProto model;
    Onnx__GraphProto proto;
    Onnx__OperatorSetIdProto import;
    zq_scratch scratch;
    char **names;       /* [n_values] in the file */
    bool *written;      /* [n_values] constants among the initializers already */
    uint64_t raw_bytes; /* of all tensors */
    bool size_only;     /* packed data is counted, not made */
    zq_error *err;
} writer;

static void *take(writer *write, size_t count, size_t size) {
    void *memory = zq_scratch_alloc(&write->scratch, count, size);
    if (memory == NULL)
        zq_fail_memory(write->err);
    return memory;
}

static char *take_text(writer *write, const char *stem, const char *suffix) {
    const size_t n = strlen(stem) + strlen(suffix) + 1;
    char *text = take(write, n, 1);
    if (text != NULL)
        snprintf(text, n, "%s%s", stem, suffix);
    return text;
}

/* ---- tensors */

static Onnx__TensorProto *make_tensor(writer *write, const zq_tensor *tensor, char *name) {
    Onnx__TensorProto *proto = take(write, 1, sizeof *proto);
    if (proto == NULL)
        return NULL;
    onnx__tensor_proto__init(proto);
    proto->name = name;
    proto->has_data_type = true;
    proto->data_type = zq_data_type_of(tensor->dtype);
    proto->n_dims = (size_t)tensor->shape.rank;
    proto->dims = (int64_t *)tensor->shape.dims;
    proto->has_raw_data = true;
    proto->raw_data.len = zq_tensor_proto_bytes(tensor);
    proto->raw_data.data = tensor->data;
    write->raw_bytes += proto->raw_data.len;
    const bool is_packed =
        proto->raw_data.len != (size_t)zq_shape_count(&tensor->shape) * zq_dtype_bytes(tensor->dtype);
    if (is_packed && !write->size_only) {
        proto->raw_data.data = take(write, proto->raw_data.len, 1);
        if (proto->raw_data.data == NULL)
            return NULL;
        zq_tensor_proto_pack(tensor, proto->raw_data.data);
    }
    return proto;
}

static zq_status add_initializer(writer *write, const zq_tensor *tensor, char *name) {
    Onnx__TensorProto *proto = make_tensor(write, tensor, name);
    if (proto == NULL)
        return ZQ_ERR_MEMORY;
    write->proto.initializer[write->proto.n_initializer++] = proto;
    return ZQ_OK;
}

static zq_status add_constant(writer *write, int value) {
    const zq_value *constant = &write->graph->values[value];
    if (constant->constant == NULL || write->written[value])
        return ZQ_OK;
    write->written[value] = true;
    return add_initializer(write, constant->constant, write->names[value]);
}

/* ---- nodes */

static zq_status make_attr(writer *write, const zq_attr *attr, Onnx__AttributeProto *proto) {
    proto->name = attr->name;
    proto->has_type = true;
    switch (attr->kind) {
    case ZQ_ATTR_INT:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
        proto->has_i = true;
        proto->i = attr->i;
        break;
    case ZQ_ATTR_FLOAT:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
        proto->has_f = true;
        proto->f = attr->f;
        break;
    case ZQ_ATTR_STRING:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
        proto->has_s = true;
        proto->s = (ProtobufCBinaryData){strlen(attr->s), (uint8_t *)attr->s};
        break;
    case ZQ_ATTR_INTS:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
        proto->n_ints = attr->n;
        proto->ints = attr->ints;
        break;
    case ZQ_ATTR_FLOATS:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
        proto->n_floats = attr->n;
        proto->floats = attr->floats;
        break;
    case ZQ_ATTR_TENSOR:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
        proto->t = make_tensor(write, attr->tensor, NULL);
        return proto->t == NULL ? ZQ_ERR_MEMORY : ZQ_OK;
    }
    return ZQ_OK;
}

static Onnx__AttributeProto *add_attr(writer *write, Onnx__NodeProto *proto) {
    Onnx__AttributeProto *attr = take(write, 1, sizeof *attr);
    if (attr != NULL) {
        onnx__attribute_proto__init(attr);
        proto->attribute[proto->n_attribute++] = attr;
    }
    return attr;
}

static zq_status make_attrs(writer *write, const zq_node *node, const zq_raised *raised,
                            Onnx__NodeProto *proto) {
    proto->attribute = take(write, (size_t)node->n_attrs + 1, sizeof proto->attribute[0]);
    if (proto->attribute == NULL)
        return ZQ_ERR_MEMORY;
    for (int a = 0; a < node->n_attrs; a++) {
        if (&node->attrs[a] == raised->attr_as_input)
            continue;
        Onnx__AttributeProto *attr = add_attr(write, proto);
        if (attr == NULL)
            return ZQ_ERR_MEMORY;
        ZQ_TRY(make_attr(write, &node->attrs[a], attr));
    }
    if (raised->n_outputs_attr > 0) {
        zq_attr count = {.name = "num_outputs", .kind = ZQ_ATTR_INT, .i = raised->n_outputs_attr};
        Onnx__AttributeProto *attr = add_attr(write, proto);
        return attr == NULL ? ZQ_ERR_MEMORY : make_attr(write, &count, attr);
    }
    return ZQ_OK;
}

static bool is_taken(const zq_graph *graph, const char *name) {
    for (int v = 0; v < graph->n_values; v++)
        if (strcmp(graph->values[v].name, name) == 0)
            return true;
    return false;
}

/* An attribute as a constant input behind the others. */
static zq_status append_list_input(writer *write, const zq_node *node, const zq_attr *attr,
                                   Onnx__NodeProto *proto) {
    char *name = take_text(write, write->names[node->outputs[0]], "_axes");
    while (name != NULL && is_taken(write->graph, name))
        name = take_text(write, name, "_");
    zq_tensor *tensor = take(write, 1, sizeof *tensor);
    if (name == NULL || tensor == NULL)
        return ZQ_ERR_MEMORY;
    const int64_t n = (int64_t)attr->n;
    *tensor = (zq_tensor){.dtype = ZQ_I64, .shape = zq_shape_of(1, &n), .data = attr->ints};
    proto->input[proto->n_input++] = name;
    return add_initializer(write, tensor, name);
}

static zq_status make_node(writer *write, const zq_node *node, int opset, Onnx__NodeProto *proto) {
    const zq_raised raised = zq_raise_node(node, opset);
    proto->name = node->name;
    proto->op_type = (char *)node->op->name;
    proto->input = take(write, (size_t)node->n_inputs + 1, sizeof proto->input[0]);
    proto->output = take(write, (size_t)node->n_outputs, sizeof proto->output[0]);
    if (proto->input == NULL || proto->output == NULL)
        return ZQ_ERR_MEMORY;
    for (int i = 0; i < node->n_inputs; i++) {
        proto->input[proto->n_input++] = node->inputs[i] < 0 ? "" : write->names[node->inputs[i]];
        if (node->inputs[i] >= 0)
            ZQ_TRY(add_constant(write, node->inputs[i]));
    }
    for (int o = 0; o < node->n_outputs; o++)
        proto->output[proto->n_output++] = node->outputs[o] < 0 ? "" : write->names[node->outputs[o]];
    ZQ_TRY(make_attrs(write, node, &raised, proto));
    return raised.attr_as_input == NULL ? ZQ_OK : append_list_input(write, node, raised.attr_as_input, proto);
}

static int compare_names(const void *a, const void *b) {
    const Onnx__NodeProto *x, *y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    const int order = strcmp(x->name, y->name);
    return order != 0 ? order : strcmp(x->output[0], y->output[0]);
}

/* ONNX allows nodes of the same name, ONNX Runtime doesn't: all but one get their first output's name behind
 * it, which is unique, with as many lines between as it takes. */
static zq_status separate_names(writer *write) {
    const size_t n = write->proto.n_node;
    Onnx__NodeProto **sorted = take(write, n, sizeof sorted[0]);
    if (sorted == NULL)
        return ZQ_ERR_MEMORY;
    if (n > 0)
        memcpy(sorted, write->proto.node, n * sizeof sorted[0]);
    for (bool changed = n > 0; changed;) {
        changed = false;
        qsort(sorted, n, sizeof sorted[0], compare_names);
        for (size_t i = n - 1; i > 0; i--) {
            if (sorted[i]->name[0] == '\0' || strcmp(sorted[i]->name, sorted[i - 1]->name) != 0)
                continue;
            const char *stem = take_text(write, sorted[i]->name, "_");
            sorted[i]->name = stem == NULL ? NULL : take_text(write, stem, sorted[i]->output[0]);
            if (sorted[i]->name == NULL)
                return ZQ_ERR_MEMORY;
            changed = true;
        }
    }
    return ZQ_OK;
}

static zq_status make_nodes(writer *write, int opset) {
    const zq_graph *graph = write->graph;
    write->proto.node =
        take(write, (size_t)(graph->n_nodes + zq_tail_nodes(graph->tail)), sizeof write->proto.node[0]);
    if (write->proto.node == NULL)
        return ZQ_ERR_MEMORY;
    for (int n = 0; n < graph->n_nodes; n++) {
        if (graph->nodes[n].op == NULL)
            continue;
        Onnx__NodeProto *proto = take(write, 1, sizeof *proto);
        if (proto == NULL)
            return ZQ_ERR_MEMORY;
        onnx__node_proto__init(proto);
        ZQ_TRY(make_node(write, &graph->nodes[n], opset, proto));
        write->proto.node[write->proto.n_node++] = proto;
    }
    return ZQ_OK;
}

/* Names that the tail uses for itself are its own. */
static zq_status choose_names(writer *write) {
    const zq_graph *graph = write->graph;
    write->names = take(write, (size_t)graph->n_values, sizeof *write->names);
    if (write->names == NULL)
        return ZQ_ERR_MEMORY;
    for (int v = 0; v < graph->n_values; v++)
        write->names[v] = graph->values[v].name;
    for (int v = 0; v < graph->n_values && graph->tail != NULL; v++) {
        if (zq_graph_is_output(graph, v) || zq_graph_is_input(graph, v))
            continue;
        char *name = write->names[v];
        while (name != NULL && zq_graph_find_value(graph->tail->names, name) >= 0)
            do
                name = take_text(write, name, "_");
            while (name != NULL && is_taken(graph, name));
        write->names[v] = name;
        if (name == NULL)
            return ZQ_ERR_MEMORY;
    }
    return ZQ_OK;
}

/* ---- inputs and outputs */

static zq_status make_dim(writer *write, const zq_value *value, bool is_batch, int d, int64_t size,
                          Onnx__TensorShapeProto__Dimension *dim) {
    onnx__tensor_shape_proto__dimension__init(dim);
    if (size >= 0) {
        dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        dim->dim_value = size;
        return ZQ_OK;
    }
    char suffix[16];
    snprintf(suffix, sizeof suffix, "_%d", d);
    dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    dim->dim_param = d == 0 && is_batch ? "N" : take_text(write, value->name, suffix);
    return dim->dim_param == NULL ? ZQ_ERR_MEMORY : ZQ_OK;
}

static zq_status make_shape(writer *write, const zq_value *value, bool is_batch, const zq_shape *shape,
                            Onnx__TensorShapeProto *proto) {
    onnx__tensor_shape_proto__init(proto);
    proto->dim = take(write, (size_t)shape->rank, sizeof proto->dim[0]);
    if (proto->dim == NULL)
        return ZQ_ERR_MEMORY;
    for (int d = 0; d < shape->rank; d++) {
        proto->dim[d] = take(write, 1, sizeof *proto->dim[d]);
        if (proto->dim[d] == NULL)
            return ZQ_ERR_MEMORY;
        ZQ_TRY(make_dim(write, value, is_batch, d, shape->dims[d], proto->dim[d]));
        proto->n_dim++;
    }
    return ZQ_OK;
}

static zq_status make_value(writer *write, const zq_value *value, bool is_batch, const zq_shape *shape,
                            Onnx__ValueInfoProto **info_out) {
    struct {
        Onnx__ValueInfoProto info;
        Onnx__TypeProto type;
        Onnx__TypeProto__Tensor tensor;
        Onnx__TensorShapeProto shape;
    } *all = take(write, 1, sizeof *all);
    if (all == NULL)
        return ZQ_ERR_MEMORY;
    onnx__value_info_proto__init(&all->info);
    onnx__type_proto__init(&all->type);
    onnx__type_proto__tensor__init(&all->tensor);
    all->info.name = value->name;
    all->info.type = &all->type;
    all->type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    all->type.tensor_type = &all->tensor;
    all->tensor.has_elem_type = true;
    all->tensor.elem_type = zq_data_type_of(value->dtype);
    all->tensor.shape = &all->shape;
    *info_out = &all->info;
    return make_shape(write, value, is_batch, shape, &all->shape);
}

/* What a file declares for a batch that is free in the graph, where one image takes n of dimension 0. */
static int64_t declared(const zq_graph *graph, int64_t n) {
    return graph->fixed_batch > 0 ? n * graph->fixed_batch : -1;
}

/* Shapes in the graph are those of one image. With a free batch the first dimension of an output depends on
 * it: it is the batch where it is 1 for one image, and something else (such as batch * anchors) where it
 * isn't. */
static zq_status make_output(writer *write, const zq_value *value, Onnx__ValueInfoProto **info_out) {
    zq_shape shape = value->shape;
    const bool depends = write->graph->free_batch && shape.rank > 0 && value->constant == NULL;
    const bool is_batch = depends && (shape.dims[0] == 1 || shape.dims[0] == -1);
    if (value->dtype == ZQ_NONE)
        return zq_fail(write->err, ZQ_ERR_INTERNAL, "output '%.200s' has no type yet: shapes come first",
                       value->name);
    if (depends)
        shape.dims[0] = declared(write->graph, is_batch ? 1 : shape.dims[0]);
    return make_value(write, value, is_batch, &shape, info_out);
}

static zq_status make_input(writer *write, const zq_value *value, Onnx__ValueInfoProto **info_out) {
    const zq_graph *graph = write->graph;
    zq_shape shape = value->shape;
    if (graph->free_batch && shape.rank > 0)
        shape.dims[0] = declared(graph, 1);
    return make_value(write, value, graph->free_batch, &shape, info_out);
}

typedef zq_status (*info_maker)(writer *write, const zq_value *value, Onnx__ValueInfoProto **info_out);

/* The values of the graph; with a tail, what the file declares, in its order. */
static zq_status make_infos(writer *write, int n_values, const int *values, size_t n_declared,
                            Onnx__ValueInfoProto **declared_infos, info_maker make, size_t *n_out,
                            Onnx__ValueInfoProto ***infos_out) {
    const zq_graph *graph = write->graph;
    const size_t n = graph->tail == NULL ? (size_t)n_values : n_declared;
    Onnx__ValueInfoProto **infos = *infos_out = take(write, n, sizeof *infos);
    if (infos == NULL)
        return ZQ_ERR_MEMORY;
    for (size_t i = 0; i < n; i++) {
        int at = graph->tail == NULL ? (int)i : 0;
        while (graph->tail != NULL && at < n_values &&
               strcmp(graph->values[values[at]].name, declared_infos[i]->name) != 0)
            at++;
        if (at < n_values)
            ZQ_TRY(make(write, &graph->values[values[at]], &infos[i]));
        else
            infos[i] = declared_infos[i];
        ++*n_out;
    }
    return ZQ_OK;
}

static zq_status make_interface(writer *write) {
    const zq_graph *graph = write->graph;
    const Onnx__GraphProto *file = graph->tail == NULL ? &write->proto : graph->tail->model->graph;
    ZQ_TRY(make_infos(write, graph->n_inputs, graph->inputs, file->n_input, file->input, make_input,
                      &write->proto.n_input, &write->proto.input));
    ZQ_TRY(make_infos(write, graph->n_outputs, graph->outputs, file->n_output, file->output, make_output,
                      &write->proto.n_output, &write->proto.output));
    for (int o = 0; o < graph->n_outputs; o++)
        ZQ_TRY(add_constant(write, graph->outputs[o]));
    return ZQ_OK;
}

/* ---- the whole */

static zq_status make_properties(writer *write, int n, const zq_onnx_property *properties) {
    write->model.metadata_props = take(write, (size_t)n, sizeof write->model.metadata_props[0]);
    if (write->model.metadata_props == NULL)
        return ZQ_ERR_MEMORY;
    for (int p = 0; p < n; p++) {
        Onnx__StringStringEntryProto *entry = take(write, 1, sizeof *entry);
        if (entry == NULL)
            return ZQ_ERR_MEMORY;
        onnx__string_string_entry_proto__init(entry);
        entry->key = (char *)properties[p].key;
        entry->value = (char *)properties[p].value;
        write->model.metadata_props[write->model.n_metadata_props++] = entry;
    }
    return ZQ_OK;
}

static zq_status make_model(writer *write, int n_properties, const zq_onnx_property *properties) {
    const zq_graph *graph = write->graph;
    const zq_tail *tail = graph->tail;
    const Onnx__ModelProto none = ONNX__MODEL_PROTO__INIT, *rest = tail == NULL ? &none : tail->model;
    const size_t n_rest = tail == NULL ? 0 : rest->graph->n_initializer + rest->graph->n_node;
    const int needed = zq_raise_opset(graph);
    const int opset = tail != NULL && tail->opset > needed ? tail->opset : needed;
    onnx__model_proto__init(&write->model);
    onnx__graph_proto__init(&write->proto);
    onnx__operator_set_id_proto__init(&write->import);
    write->model.has_ir_version = true;
    write->model.ir_version = zq_raise_ir_version(opset);
    write->model.producer_name = "zeroq";
    write->model.producer_version = ZQ_VERSION;
    write->model.graph = &write->proto;
    write->import.domain = "";
    write->import.has_version = true;
    write->import.version = opset;
    write->model.opset_import = take(write, 1 + rest->n_opset_import, sizeof write->model.opset_import[0]);
    /* a node adds at most one tensor to those of the values */
    write->proto.initializer = take(write, (size_t)graph->n_values + (size_t)graph->n_nodes + n_rest,
                                    sizeof write->proto.initializer[0]);
    write->written = take(write, (size_t)graph->n_values, sizeof *write->written);
    if (write->model.opset_import == NULL || write->proto.initializer == NULL || write->written == NULL)
        return ZQ_ERR_MEMORY;
    write->model.opset_import[write->model.n_opset_import++] = &write->import;
    write->proto.name = graph->name != NULL && graph->name[0] != '\0' ? graph->name : "graph";
    ZQ_TRY(choose_names(write));
    ZQ_TRY(make_nodes(write, opset));
    ZQ_TRY(make_interface(write));
    if (tail != NULL && !zq_tail_splice(tail, opset, &write->scratch, &write->model))
        return zq_fail_memory(write->err);
    ZQ_TRY(separate_names(write));
    return make_properties(write, n_properties, properties);
}

/* Bytes of the file; protobuf counts them in 31 bits. */
static zq_status count_bytes(const writer *write, uint64_t *bytes_out) {
    uint64_t n_bytes = write->raw_bytes;
    if (n_bytes < INT32_MAX)
        n_bytes = onnx__model_proto__get_packed_size(&write->model);
    if (n_bytes > INT32_MAX)
        return zq_fail(write->err, ZQ_ERR_LIMIT,
                       "the model would have %" PRIu64 " bytes, but an ONNX file ends at 2 GB", n_bytes);
    *bytes_out = n_bytes;
    return ZQ_OK;
}

zq_status zq_onnx_write(const zq_graph *graph, const char *path, int n_properties,
                        const zq_onnx_property *properties, uint64_t *bytes_out, zq_error *err) {
    writer write = {.graph = graph, .err = err};
    unsigned char *bytes = NULL;
    uint64_t n_bytes = 0;
    zq_status status = make_model(&write, n_properties, properties);
    if (status == ZQ_OK)
        status = count_bytes(&write, &n_bytes);
    if (status == ZQ_OK && (bytes = zq_alloc_raw(n_bytes, 1)) == NULL)
        status = zq_fail_memory(err);
    if (status == ZQ_OK) {
        onnx__model_proto__pack(&write.model, bytes);
        status = zq_file_write(path, bytes, n_bytes, err);
    }
    if (status == ZQ_OK && bytes_out != NULL)
        *bytes_out = n_bytes;
    zq_free(bytes);
    zq_scratch_clear(&write.scratch);
    return status;
}

zq_status zq_onnx_size(const zq_graph *graph, int n_properties, const zq_onnx_property *properties,
                       uint64_t *bytes_out, zq_error *err) {
    writer write = {.graph = graph, .size_only = true, .err = err};
    zq_status status = make_model(&write, n_properties, properties);
    if (status == ZQ_OK)
        status = count_bytes(&write, bytes_out);
    zq_scratch_clear(&write.scratch);
    return status;
}

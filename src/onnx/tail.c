/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/tail.h"

#include "base/memory.h"
#include "onnx/tensor_proto.h"
#include "onnx/unpack.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(const char *text) {
    return text != NULL ? text : "";
}

/* ---- the part of the file, as pointers into it */

typedef struct part {
    const zq_cut *cut;
    zq_scratch scratch;
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    bool *taken; /* [names] initializers that the part has */
} part;

static void take_initializer(void *user, const char *name) {
    part *p = user;
    const int value = zq_graph_find_value(p->cut->names, name);
    if (value < 0 || p->cut->constant[value] == NULL || p->taken[value])
        return;
    p->taken[value] = true;
    p->graph.initializer[p->graph.n_initializer++] = (Onnx__TensorProto *)p->cut->constant[value];
}

/* A tensor whose data lies in another file, with its data in it. */
static zq_status inline_tensor(part *p, zq_external *external, Onnx__TensorProto **tensor, zq_error *err) {
    const Onnx__TensorProto *from = *tensor;
    zq_tensor *read = NULL;
    if (zq_data_type_exact(from->data_type) == ZQ_NONE)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "tensor '%.200s' lies in another file and is of a type that can't be copied: save the "
                       "model in one file",
                       text_of(from->name));
    ZQ_TRY(zq_tensor_proto_read(from, external, &read, err));
    const size_t n_bytes = zq_tensor_proto_bytes(read);
    Onnx__TensorProto *own = zq_scratch_alloc(&p->scratch, 1, sizeof *own);
    uint8_t *data = zq_scratch_alloc(&p->scratch, n_bytes, 1);
    if (own != NULL && data != NULL) {
        onnx__tensor_proto__init(own);
        own->name = from->name;
        own->has_data_type = true;
        own->data_type = from->data_type;
        own->n_dims = from->n_dims;
        own->dims = from->dims;
        own->has_raw_data = true;
        own->raw_data = (ProtobufCBinaryData){n_bytes, data};
        if (n_bytes == (size_t)zq_shape_count(&read->shape) * zq_dtype_bytes(read->dtype))
            memcpy(data, read->data, n_bytes);
        else
            zq_tensor_proto_pack(read, data);
    }
    zq_tensor_drop(read);
    *tensor = own;
    return own == NULL || data == NULL ? zq_fail_memory(err) : ZQ_OK;
}

static zq_status take_part(part *p, const Onnx__ModelProto *model, zq_external *external, zq_error *err) {
    const zq_cut *cut = p->cut;
    p->model = (Onnx__ModelProto)ONNX__MODEL_PROTO__INIT;
    p->graph = (Onnx__GraphProto)ONNX__GRAPH_PROTO__INIT;
    p->model.graph = &p->graph;
    p->model.n_opset_import = model->n_opset_import;
    p->model.opset_import = model->opset_import;
    p->model.n_functions = model->n_functions;
    p->model.functions = model->functions;
    p->graph.n_output = cut->proto->n_output;
    p->graph.output = cut->proto->output;
    p->graph.node = zq_scratch_alloc(&p->scratch, cut->proto->n_node, sizeof p->graph.node[0]);
    p->graph.initializer =
        zq_scratch_alloc(&p->scratch, cut->proto->n_initializer, sizeof p->graph.initializer[0]);
    p->graph.input = zq_scratch_alloc(&p->scratch, cut->proto->n_input, sizeof p->graph.input[0]);
    p->taken = zq_scratch_alloc(&p->scratch, (size_t)cut->names->n_values, sizeof *p->taken);
    if (p->graph.node == NULL || p->graph.initializer == NULL || p->graph.input == NULL || p->taken == NULL)
        return zq_fail_memory(err);
    for (size_t i = 0; i < cut->proto->n_input; i++)
        if (!zq_cut_is_initializer(cut, text_of(cut->proto->input[i]->name)))
            p->graph.input[p->graph.n_input++] = cut->proto->input[i];
    for (size_t n = 0; n < cut->proto->n_node; n++)
        if ((cut->left[n] || cut->pulled[n]) && cut->proto->node[n]->n_output > 0) {
            p->graph.node[p->graph.n_node++] = cut->proto->node[n];
            zq_names_read(cut->proto->node[n], take_initializer, p);
        }
    for (size_t i = 0; i < p->graph.n_initializer; i++)
        if (p->graph.initializer[i]->n_external_data > 0)
            ZQ_TRY(inline_tensor(p, external, &p->graph.initializer[i], err));
    return ZQ_OK;
}

/* ---- the tail */

static zq_status copy_part(zq_tail *tail, const Onnx__ModelProto *part, zq_error *err) {
    const size_t n_bytes = onnx__model_proto__get_packed_size(part);
    unsigned char *bytes = zq_alloc_raw(n_bytes, 1);
    if (bytes == NULL)
        return zq_fail_memory(err);
    onnx__model_proto__pack(part, bytes);
    const zq_status status = zq_unpack_model(bytes, n_bytes, &tail->model, err);
    zq_free(bytes);
    return status;
}

typedef struct definer {
    zq_graph *names;
    bool failed;
} definer;

static void define(void *user, const char *name) {
    definer *d = user;
    if (zq_graph_find_value(d->names, name) < 0 && zq_graph_add_value(d->names, name, ZQ_NONE, NULL) < 0)
        d->failed = true;
}

static zq_status define_names(zq_tail *tail, zq_error *err) {
    const Onnx__GraphProto *graph = tail->model->graph;
    definer d = {.names = zq_graph_new()};
    tail->names = d.names;
    if (d.names == NULL)
        return zq_fail_memory(err);
    for (size_t i = 0; i < graph->n_initializer; i++)
        define(&d, text_of(graph->initializer[i]->name));
    for (size_t n = 0; n < graph->n_node; n++)
        zq_names_defined(graph->node[n], define, &d);
    return d.failed ? zq_fail_memory(err) : ZQ_OK;
}

zq_status zq_tail_new(const Onnx__ModelProto *model, const zq_cut *cut, int opset, zq_external *external,
                      zq_tail **tail_out, zq_error *err) {
    part p = {.cut = cut};
    zq_tail *tail = zq_alloc(1, sizeof *tail);
    zq_status status = tail == NULL ? zq_fail_memory(err) : take_part(&p, model, external, err);
    if (status == ZQ_OK)
        status = copy_part(tail, &p.model, err);
    if (status == ZQ_OK)
        status = define_names(tail, err);
    zq_scratch_clear(&p.scratch);
    if (status != ZQ_OK) {
        zq_tail_drop(tail);
        return status;
    }
    tail->opset = opset;
    snprintf(tail->reason, sizeof tail->reason, "%s", cut->reason);
    *tail_out = tail;
    return ZQ_OK;
}

void zq_tail_drop(zq_tail *tail) {
    if (tail == NULL)
        return;
    zq_unpack_drop(tail->model);
    zq_graph_drop(tail->names);
    zq_free(tail);
}

int zq_tail_nodes(const zq_tail *tail) {
    return tail == NULL ? 0 : (int)tail->model->graph->n_node;
}

const char *zq_tail_reason(const zq_tail *tail) {
    return tail == NULL ? "" : tail->reason;
}

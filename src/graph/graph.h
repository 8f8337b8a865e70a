/* SPDX-License-Identifier: Apache-2.0 */
/* A network as values and nodes in topological order.
 *
 * Canonical form: a node's attributes and inputs are those of ONNX opset 13, with every choice explicit
 * (onnx/ brings other opsets to it when it reads, and to the opset of the file when it writes). So Clip's
 * bounds, Pad's pads, Slice's starts/ends/axes/steps, Squeeze's and Unsqueeze's axes, Resize's sizes and
 * Split's sizes are inputs (constants), while ReduceMean's axes are an attribute. */
#ifndef ZQ_GRAPH_GRAPH_H
#define ZQ_GRAPH_GRAPH_H

#include "graph/tensor.h"

typedef struct zq_op zq_op;     /* graph/op.h */
typedef struct zq_tail zq_tail; /* onnx/onnx.h */

typedef enum zq_attr_kind {
    ZQ_ATTR_INT = 1,
    ZQ_ATTR_FLOAT,
    ZQ_ATTR_STRING,
    ZQ_ATTR_INTS,
    ZQ_ATTR_FLOATS,
    ZQ_ATTR_TENSOR,
} zq_attr_kind;

typedef struct zq_attr {
    char *name; /* owned, like everything below */
    zq_attr_kind kind;
    int64_t i;
    float f;
    char *s;
    size_t n; /* of ints or floats */
    int64_t *ints;
    float *floats;
    zq_tensor *tensor;
} zq_attr;

/* What training says about the channels (axis 1) of a value, known from BatchNormalization. */
typedef struct zq_stats {
    int64_t n_channels;
    float *mean; /* [C] */
    float *std;  /* [C], >= 0 */
} zq_stats;

typedef struct zq_value {
    char *name; /* owned, unique in the graph */
    zq_dtype dtype;
    zq_shape shape;      /* for one image (batch 1), after zq_infer; graph inputs: as declared, -1 for a free
                            dimension */
    zq_tensor *constant; /* owned; NULL: computed at run time */
    zq_stats *stats;     /* owned; NULL: unknown */
    int producer;        /* node index, -1: a graph input or a constant */
} zq_value;

typedef struct zq_node {
    char *name; /* owned; may be "" */
    const zq_op *op;
    int n_inputs, n_outputs;
    int *inputs;  /* value indices; -1: omitted */
    int *outputs; /* value indices; -1: not wanted */
    int n_attrs;
    zq_attr *attrs;
    void *params;     /* owned, op->params_bytes; from op->parse */
    bool keeps_float; /* the user wants it as it is: quantization leaves it out */
} zq_node;

typedef struct zq_graph {
    char *name;
    char *file; /* path it was read from, for messages; may be NULL */
    int n_values, n_nodes, n_inputs, n_outputs;
    size_t values_capacity, nodes_capacity, inputs_capacity, outputs_capacity;
    zq_value *values;
    zq_node *nodes;
    int *inputs, *outputs; /* value indices; constants are not inputs */
    bool free_batch;       /* dimension 0 of every input is free: any number of images */
    int64_t fixed_batch;   /* with a free batch: the one that a written file declares; 0: that is free, too */
    int opset, ir_version; /* of the file read */
    char *producer;        /* producer_name producer_version of the file read; may be NULL */
    uint64_t file_bytes;   /* of the file read, external data included */
    uint64_t file_hash;    /* the same */
    const zq_tail *tail;   /* what follows in the file; borrowed from who read it; NULL: nothing */
    uint64_t id_counter;   /* for unique names */
    size_t n_slots;        /* hash index of value names; 0: to be rebuilt */
    int *slots;
} zq_graph;

/* ---- building */

zq_graph *zq_graph_new(void);
void zq_graph_drop(zq_graph *graph); /* NULL is allowed */

/* Deep but for the constants, which both graphs share (see zq_value_own_constant). Owned; NULL when out of
 * memory. One thread at a time uses both. */
zq_graph *zq_graph_copy(const zq_graph *graph);

/* A value's index, or -1 when out of memory. name is copied; when it is taken already, a suffix makes it
 * unique. */
int zq_graph_add_value(zq_graph *graph, const char *name, zq_dtype dtype, const zq_shape *shape);

/* The same for a constant. Takes tensor in every case (NULL counts as out of memory). */
int zq_graph_add_constant(zq_graph *graph, const char *name, zq_tensor *tensor);

/* Appends a node (call zq_graph_sort when it isn't in topological order any more) and returns its index, or
 * -1 when out of memory. Attributes are added afterwards, then zq_node_parse is called. */
int zq_graph_add_node(zq_graph *graph, const zq_op *op, const char *name, int n_inputs, const int *inputs,
                      int n_outputs, const int *outputs);

bool zq_graph_add_input(zq_graph *graph, int value); /* false: out of memory */
bool zq_graph_add_output(zq_graph *graph, int value);

/* Each replaces an attribute of that name; false when out of memory. */
bool zq_node_set_int(zq_node *node, const char *name, int64_t value);
bool zq_node_set_float(zq_node *node, const char *name, float value);
bool zq_node_set_string(zq_node *node, const char *name, const char *value);
bool zq_node_set_ints(zq_node *node, const char *name, size_t n, const int64_t *values);
bool zq_node_set_floats(zq_node *node, const char *name, size_t n, const float *values);
bool zq_node_set_tensor(zq_node *node, const char *name, zq_tensor *tensor); /* takes tensor in every case */
void zq_node_remove_attr(zq_node *node, const char *name);
bool zq_node_copy_attrs(zq_node *node, const zq_node *from);

/* Frees what the node owns; it is then a removed one (op NULL). */
void zq_node_clear(zq_node *node);

/* (Re)builds params from the attributes; checks the number of inputs and outputs. */
zq_status zq_node_parse(zq_node *node, zq_error *err);

/* ---- reading attributes (in op->parse) */

const zq_attr *zq_node_attr(const zq_node *node, const char *name); /* borrowed; NULL: absent */
zq_status zq_node_int(const zq_node *node, const char *name, int64_t fallback, int64_t *out, zq_error *err);
zq_status zq_node_float(const zq_node *node, const char *name, float fallback, float *out, zq_error *err);
/* Points *out to the attribute's own string, or to fallback. */
zq_status zq_node_string(const zq_node *node, const char *name, const char *fallback, const char **out,
                         zq_error *err);
/* At most max values; *n_out is 0 when the attribute is absent. */
zq_status zq_node_ints(const zq_node *node, const char *name, int max, int64_t *values, int *n_out,
                       zq_error *err);

/* "Conv node 'layer1.0'" for messages, in a buffer; returns buffer. */
enum { ZQ_NODE_TEXT = 256 };
char *zq_node_text(const zq_node *node, char buffer[ZQ_NODE_TEXT]);

/* ---- changing */

/* All readers of value (nodes and graph outputs) read replacement instead. */
void zq_graph_replace_uses(zq_graph *graph, int value, int replacement);

/* Nodes that read value; a node that reads it twice counts once. List (owned by the caller, zq_free) in
 * *nodes_out when that is not NULL. Returns the number, -1 when out of memory. */
int zq_graph_consumers(const zq_graph *graph, int value, int **nodes_out);
bool zq_graph_is_input(const zq_graph *graph, int value);
bool zq_graph_is_output(const zq_graph *graph, int value);

/* Images that the shapes in the graph are for: 1 where the batch is free. */
int64_t zq_graph_images(const zq_graph *graph);

/* Marks a node for removal (op NULL); zq_graph_clean takes it out. */
void zq_graph_remove_node(zq_graph *graph, int node);

/* Removes marked nodes, nodes that no graph output depends on, and values that nobody uses; keeps the order.
 * Value and node indices change. Graph inputs stay. */
zq_status zq_graph_clean(zq_graph *graph, zq_error *err);

/* Topological order, stable; ZQ_ERR_FORMAT with the node's name on a cycle or a value without a producer. */
zq_status zq_graph_sort(zq_graph *graph, zq_error *err);

int zq_graph_find_value(zq_graph *graph, const char *name); /* -1: none (or out of memory) */

/* Another name for a value (made unique when it is taken). Names are never changed in place: they are
 * indexed. */
bool zq_graph_rename_value(zq_graph *graph, int value, const char *name); /* false: out of memory */

/* Takes stats in every case. */
void zq_value_set_stats(zq_value *value, zq_stats *stats);

/* The value's constant for writing: one that another graph shares is copied first. NULL: out of memory. */
zq_tensor *zq_value_own_constant(zq_value *value);
zq_stats *zq_stats_new(int64_t n_channels); /* zeroed, owned; NULL when out of memory */
void zq_stats_drop(zq_stats *stats);

#endif

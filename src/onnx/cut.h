/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes of a file are read, and which are left: those that zeroq can't read and all that depend on
 * them. */
#ifndef ZQ_ONNX_CUT_H
#define ZQ_ONNX_CUT_H

#include "graph/graph.h"
#include "onnx/onnx.pb-c.h"

typedef struct zq_cut {
    const Onnx__GraphProto *proto; /* borrowed */
    zq_graph *names;               /* its values stand for the names in the file; owned, like all below */
    const Onnx__TensorProto **constant; /* [n_values] borrowed; the initializer, NULL: none */
    int *producer;                      /* [n_values] the node that gives it; -1: none */
    int *first, *readers; /* readers of a name: readers[first[name]] ... readers[first[name + 1] - 1] */
    bool *left;           /* [n_node] copied, not read */
    bool *pulled; /* [n_node] read and copied: a node that is left takes a shape or constant from it */
    size_t n_left;
    char reason[512]; /* why nodes are left: a sentence about the first one, without full stop */
} zq_cut;

/* A cut that leaves nothing. To be cleared whatever is returned. */
zq_status zq_cut_new(const Onnx__GraphProto *proto, zq_cut *cut, zq_error *err);
void zq_cut_clear(zq_cut *cut);

/* Leaves a node and all that depend on it. Refuses, with the reason, where layers worth quantizing are among
 * them. */
zq_status zq_cut_leave(zq_cut *cut, size_t node, const char *reason, zq_error *err);

/* Where several inputs are given and layers depend on one of them alone: leaves what depends on the others,
 * such as the size of the photo to which boxes are scaled. */
zq_status zq_cut_side_inputs(zq_cut *cut, zq_error *err);

/* Finds the nodes to be pulled; after the last node has been left. */
zq_status zq_cut_finish(zq_cut *cut, zq_error *err);

bool zq_cut_is_initializer(const zq_cut *cut, const char *name);
bool zq_cut_has_readers(const zq_cut *cut, const char *name);
bool zq_cut_leaves_value(const zq_cut *cut, const char *name);   /* the node that gives it is left */
bool zq_cut_copies_value(const zq_cut *cut, const char *name);   /* or pulled */
bool zq_cut_leaves_readers(const zq_cut *cut, const char *name); /* there are some, and all are left */

/* Inputs of the file that no initializer stands for. */
int zq_cut_count_inputs(const zq_cut *cut);

/* After zq_cut_finish: what the nodes copied take from the graph that was read become outputs of it. */
zq_status zq_cut_take_values(const zq_cut *cut, zq_graph *graph, zq_error *err);

/* Names that a node reads, those of its subgraphs included, those of its subgraphs alone, and names that it
 * defines. */
typedef void (*zq_name_visitor)(void *user, const char *name);
void zq_names_read_inside(const Onnx__NodeProto *node, zq_name_visitor visit, void *user);
void zq_names_read(const Onnx__NodeProto *node, zq_name_visitor visit, void *user);
void zq_names_defined(const Onnx__NodeProto *node, zq_name_visitor visit, void *user);

#endif

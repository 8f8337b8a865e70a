/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a plan: slots hold values, steps compute them. A step runs one node or several fused ones.
 *
 * Building goes through the nodes backwards and asks each kind of step in turn (engine/build.c) whether it
 * takes the node, alone or together with nodes above it; the plain kind takes all. */
#ifndef ZQ_ENGINE_STEP_H
#define ZQ_ENGINE_STEP_H

#include "engine/cells.h"
#include "engine/plan.h"

typedef struct zq_step_kind zq_step_kind;

/* A value in the plan. It counts as [images, channels, positions]; last says that memory holds it as
 * [images, positions, channels]. Where one order serves as the other (one channel, one position, or a rank
 * other than 3 to 5), last is false. Quantized run-time values (ZQ_U8, ZQ_I8) are held as float. */
typedef struct zq_slot {
    zq_dtype dtype;
    zq_shape shape;
    size_t n; /* elements */
    int64_t images, channels, positions;
    bool last;
    const zq_tensor *constant; /* the graph's, or computed while planning; NULL: known at run time only */
    bool owns_constant;
    bool half;                /* data and gradient are bfloat16 */
    void *data;               /* in the arena; float except for integers that aren't quantized values */
    void *gradient;           /* in the arena; NULL: never wanted */
    bool differentiable;      /* depends on graph input 0 through floats */
    int n_uses;               /* by nodes and as graph outputs */
    bool wanted;              /* a step or the caller reads it */
    bool kept;                /* readable between forward and the next forward */
    int writer;               /* step; -1: none */
    int reader_lo, reader_hi; /* first and last step that reads it; -1: none */
    int root;                 /* the value whose memory it shares; itself: none */
    int gradient_root;        /* the same for gradients */
    double *sums;             /* [images, 2, channels] where a step that reads it makes them; its own */
    bool summed;              /* they are those of data */
    /* during a backward pass: */
    bool reached;             /* gradient holds something */
    const zq_plan_seed *seed; /* still to be added; NULL: none */
} zq_slot;

typedef struct zq_step {
    const zq_step_kind *kind;
    int node; /* the one that names it: weights are replaced there, time is counted there */
    int n_in, n_out;
    int *in, *out; /* values; constants aren't listed; owned */
    void *state;   /* the kind's own, owned */
    size_t scratch_bytes;
    bool forgets_in, forgets_out; /* backward reads no value of the inputs, of the outputs; seeds apart */
    bool halves;                  /* of a kind with halve: that has found a kernel */
    char kernel[112];             /* for inspection */
    double ms, backward_ms;       /* of the last forward and backward */
    bool disturbed;               /* its outputs stem from replaced weights */
} zq_step;

struct zq_step_kind {
    const char *name;
    bool cells;             /* its values may be float or half, each for itself (zq_slot_cells) */
    bool in_place;          /* forward may write out[0] over in[0] */
    bool in_place_backward; /* backward may write the gradient of in[0] over that of out[0] */

    /* Takes the node, whose outputs become the step's: fills step with zq_step_set and absorbs fused nodes.
     * Leaves step->kind NULL where the kind doesn't serve. */
    zq_status (*match)(zq_plan *plan, int node, zq_step *step, zq_error *err);
    zq_status (*forward)(zq_plan *plan, zq_step *step, zq_error *err);
    /* Called when at least one output has a gradient. */
    zq_status (*backward)(zq_plan *plan, zq_step *step, zq_error *err);
    /* Looks for a kernel whose inputs and outputs are all half, and sets step->halves. NULL: there is none.
     */
    zq_status (*halve)(zq_plan *plan, zq_step *step, zq_error *err);
    /* Called when it is settled what is half. NULL: nothing to do. */
    zq_status (*ready)(zq_plan *plan, zq_step *step, zq_error *err);
    /* Forward with other weights for groups of images; NULL: the node has no weights. */
    zq_status (*override)(zq_plan *plan, zq_step *step, int n_variants, const float *const *weights,
                          zq_error *err);
    /* weights: plain, NULL: the graph's own. */
    zq_status (*set_weights)(zq_plan *plan, zq_step *step, const float *weights, zq_error *err);
    /* The integer bias of a quantized node, for zq_plan_forward_hooked. NULL: has none. */
    float *(*bias)(zq_step *step);
    void (*drop)(void *state); /* NULL: zq_free */
};

struct zq_plan {
    zq_graph *graph;
    zq_plan_options options;
    zq_slot *slots;    /* [graph->n_values] */
    int *step_of_node; /* [graph->n_nodes], -1: nothing runs it */
    bool *absorbed;    /* [graph->n_nodes] while building */
    zq_step *steps;    /* [n_steps] in running order */
    int n_steps;
    size_t steps_capacity;
    void *arena, *scratch;
    size_t bytes;                   /* held in all */
    bool *affected;                 /* [n_steps] while weights are replaced */
    const zq_plan_override *varied; /* by the step that runs next; borrowed, NULL: none */
    double *sums;                   /* [n_images, 2, channels] of the widest value, for statistics */
    bool ran;                       /* the values are those of the last forward */
};

/* A clock for the times of steps. */
double zq_plan_now_ms(void);

/* ---- for match */

/* Sets kind, node, kernel and the lists, whose constants are left out; marks the inputs as wanted. A value
 * that is listed twice stays listed twice. */
zq_status zq_step_set(zq_plan *plan, zq_step *step, const zq_step_kind *kind, int node, int n_in,
                      const int *in, int n_out, const int *out, zq_error *err);
/* The node is computed inside the step that is being matched. */
void zq_plan_absorb(zq_plan *plan, int node);
/* The node that computes value when that has no other use than one, and an operator of that name does so;
 * -1 otherwise. */
int zq_plan_sole_producer(const zq_plan *plan, int value, const char *op);
/* zq_alloc_raw, counted in zq_plan_bytes. */
void *zq_plan_alloc(zq_plan *plan, size_t n, size_t size);

static inline bool zq_plan_is_constant(const zq_plan *plan, int value) {
    return value >= 0 && plan->slots[value].constant != NULL;
}

static inline float *zq_slot_floats(const zq_plan *plan, int value) {
    return plan->slots[value].data;
}

static inline zq_cells zq_slot_cells(const zq_plan *plan, int value) {
    return (zq_cells){plan->slots[value].data, plan->slots[value].half};
}

/* ---- for backward */

/* The gradient that reached an output, NULL: none. */
static inline float *zq_plan_gradient(const zq_plan *plan, int value) {
    return plan->slots[value].reached ? plan->slots[value].gradient : NULL;
}

static inline zq_cells zq_gradient_cells(const zq_plan *plan, int value) {
    return (zq_cells){zq_plan_gradient(plan, value), plan->slots[value].half};
}

/* Where a step's part of the gradient of one of its inputs goes. */
typedef struct zq_sink {
    zq_cells cells;
    float *dst;               /* the same as floats, for steps that know no other */
    bool add;                 /* dst holds parts of other consumers: add to it */
    const zq_plan_seed *seed; /* per channel; the step adds it too. NULL: none */
} zq_sink;

/* False: the gradient of value isn't wanted. Takes the seed over if it hasn't been added yet. For kernels
 * that heed all of the sink. */
bool zq_sink_open(zq_plan *plan, int value, zq_sink *sink_out);

/* The same for kernels that add, but don't know seeds. */
bool zq_sink_open_unseeded(zq_plan *plan, int value, zq_sink *sink_out);

/* For kernels that can only write: where to write (scratch: of the value's size), NULL: not wanted. Then call
 * zq_sink_end with the same pointer. */
void *zq_sink_begin(zq_plan *plan, int value, void *scratch);
void zq_sink_end(zq_plan *plan, int value, void *written);

/* Adds or writes a part in plain order. */
void zq_sink_put_plain(zq_plan *plan, int value, const float *plain);

/* ---- the kinds, in the order in which they are asked; X(symbol) stands for zq_kind_symbol in
 * engine/kind_*.c. The last one takes any operator, by its definition. */

/* clang-format off */
#define ZQ_KINDS                                                                                             \
    X(integer_conv) X(integer_gemm) X(integer_pair) X(integer_mean) X(integer_average) X(integer_resize)     \
    X(quantize) X(dequantize)                                                                                \
    X(affine) X(conv) X(sum) X(activation) X(pair) X(mean) X(pool) X(gemm) X(resize) X(move)                 \
    X(plain)
/* clang-format on */

#define X(symbol) extern const zq_step_kind zq_kind_##symbol;
ZQ_KINDS
#undef X

#endif

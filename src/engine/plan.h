/* SPDX-License-Identifier: Apache-2.0 */
/* A plan: a graph made ready to run for fixed input shapes. Planning allocates and may fail; running doesn't.
 *
 * Memory order inside the plan is the engine's own (channels-last for 4-D values); everything that enters or
 * leaves through the functions below that say "plain" is dense in logical order (NCHW). A plan is used by one
 * thread at a time and borrows the graph, which must not change while the plan lives. Threads: OpenMP's
 * current number. */
#ifndef ZQ_ENGINE_PLAN_H
#define ZQ_ENGINE_PLAN_H

#include "graph/graph.h"

typedef struct zq_plan zq_plan;

typedef struct zq_plan_options {
    int64_t n_images; /* batch size, >= 1 */
    bool gradient;    /* zq_plan_backward will be called; keeps what it needs, and values that carry stats */
    bool keep_values; /* every value stays readable after forward, and zq_plan_forward_override is possible */
    bool statistics;  /* values that carry stats are never fused away (gradient implies it) */
    bool separate;  /* nodes with weights run by themselves, so that their outputs exist (zq_plan_response) */
    bool varied;    /* weights are given by zq_plan_vary: a Conv packs its own only if it runs without */
    bool half;      /* values and gradients between convolutions are bfloat16, and products of them, summed in
                       float; where the processor has instructions for that, else as without. Then nothing
                       between can be peeked, poked or hooked at, only read */
    bool reference; /* plain C operators only: for tests */
} zq_plan_options;

/* Whether options.half means anything on this processor. */
bool zq_plan_takes_half(void);

zq_status zq_plan_new(zq_graph *graph, const zq_plan_options *options, zq_plan **plan_out, zq_error *err);
void zq_plan_drop(zq_plan *plan); /* NULL is allowed */

/* What a plan may take, and what is to find room beside it. */
typedef struct zq_plan_room {
    int64_t divides;  /* the number of images is a divisor of this; 0: any number */
    int64_t copies;   /* every image is run so many times at once; 0: once */
    size_t most;      /* bytes of the plan; 0: as many as there are */
    size_t spare;     /* bytes that the caller will want beside it (zq_memory_left) ... */
    size_t per_image; /* ... and for each image, copies included */
} zq_plan_room;

/* The plan for as many images as there is room for, options->n_images at most, which becomes their number
 * (not counting copies). At the least one image, or a fixed batch, whatever it takes. [fit.c] */
zq_status zq_plan_fit(zq_graph *graph, zq_plan_options *options, const zq_plan_room *room, zq_plan **plan_out,
                      zq_error *err);

/* Bytes that the plan holds (arena, packed weights). */
size_t zq_plan_bytes(const zq_plan *plan);

/* Shape that a value has in this plan. */
const zq_shape *zq_plan_shape(const zq_plan *plan, int value);

/* Copies plain data [n_images, ...] into graph input number input. */
void zq_plan_set_input(zq_plan *plan, int input, const float *data);

/* Runs everything. */
zq_status zq_plan_forward(zq_plan *plan, zq_error *err);

/* Called before each quantized node (a Conv or Gemm between DequantizeLinear and QuantizeLinear) with an
 * integer bias runs, when everything upstream has run; the integers that it takes can be read. bias: [output
 * channels] integers in units of source scale times weight scale; may be changed, for good. */
typedef void (*zq_bias_hook)(void *user, zq_plan *plan, int node, float *bias);

/* Runs everything, calling hook on the way. */
zq_status zq_plan_forward_hooked(zq_plan *plan, zq_bias_hook hook, void *user, zq_error *err);

/* What is done on the way through a forward pass. before: everything upstream of the node has run, and the
 * node's weights may still be replaced; after: its outputs may be changed before anything reads them. node
 * names the step: the weighted node where it runs together with others. NULL: nothing. */
typedef struct zq_plan_visitor {
    zq_status (*before)(void *user, zq_plan *plan, int node, zq_error *err);
    zq_status (*after)(void *user, zq_plan *plan, int node, zq_error *err);
    void *user;
} zq_plan_visitor;

/* Runs everything, calling visitor on the way. Values live as long as they are read: in before, the inputs of
 * the node can be read, in after its outputs, with or without keep_values. */
zq_status zq_plan_forward_visited(zq_plan *plan, const zq_plan_visitor *visitor, zq_error *err);

/* In after: x becomes scale[c] x + shift[c] in each channel (axis 1) of a float value, of images from first
 * on. False: the engine fused it away. */
bool zq_plan_map_channels(zq_plan *plan, int value, int64_t first, const float *scale, const float *shift);

/* In after: the raw elements of a value in the plan's own order, as zq_plan_peek has them, to be changed.
 * NULL: the engine fused it away. */
float *zq_plan_poke(zq_plan *plan, int value, size_t *n_out);

/* In after: the value that holds what a node has computed: its own output, or that of the last node that ran
 * together with it. -1: none does. */
int zq_plan_find(const zq_plan *plan, int value);

/* In before: what the weights of a Conv, Gemm or MatMul are multiplied with at n output positions, one row
 * for each weight of an output channel: dst [n_groups, per_channel, n], rows in the weight's plain order,
 * zeros where a window reaches over the border. group: the first of n_groups of a Conv, which lie beside each
 * other in memory; 0 and 1 for a matrix. positions: [n], increasing, of all positions of all images (image by
 * image; the rows of a matrix). */
zq_status zq_plan_patches(const zq_plan *plan, int node, int64_t group, int64_t n_groups, int64_t n,
                          const int64_t *positions, float *dst, zq_error *err);

/* How many positions there are; 0: the node is none that zq_plan_patches knows. */
int64_t zq_plan_positions(const zq_plan *plan, int node);

/* Weights to be used in place of the node's own, plain layout of the node's weight value, in n_variants
 * variants: the images of the plan are taken as n_variants equal consecutive groups, group k uses weights[k].
 * n_images must be a multiple of n_variants. */
typedef struct zq_plan_override {
    int node;
    int n_variants;
    const float *const *weights; /* [n_variants] */
} zq_plan_override;

/* Needs keep_values and an earlier zq_plan_forward. Runs the node with other weights and everything
 * downstream of it; what an earlier call disturbed and this one doesn't reach is recomputed too, so results
 * never depend on the order of calls (call with node decreasing for the least work: prefixes are then never
 * recomputed). */
zq_status zq_plan_forward_override(zq_plan *plan, const zq_plan_override *override, zq_error *err);

/* What other weights change at a node's own output: dst = output with these weights - output, in the plan's
 * own order (see zq_plan_peek); [elements of the output]. weights: plain layout of the weight value. Needs
 * keep_values, separate and a zq_plan_forward before; nothing in the plan changes. */
zq_status zq_plan_response(zq_plan *plan, int node, const float *weights, float *dst, zq_error *err);

/* In before: the node runs with these weights, this once. override: borrowed until it has run. */
zq_status zq_plan_vary(zq_plan *plan, const zq_plan_override *override, zq_error *err);

/* Replaces the weights of a node for good (until called again); plain layout of the weight value; NULL: the
 * graph's own. Takes effect at the next zq_plan_forward. */
zq_status zq_plan_set_weights(zq_plan *plan, int node, const float *weights, zq_error *err);

/* Runs what zq_plan_set_weights changed since the last run, and everything downstream of it. Needs
 * keep_values and an earlier zq_plan_forward. */
zq_status zq_plan_forward_changed(zq_plan *plan, zq_error *err);

/* Called when a value has been computed and nothing has read it yet: it may be changed (zq_plan_poke). */
typedef zq_status (*zq_value_hook)(void *user, zq_plan *plan, int value, zq_error *err);

/* Needs keep_values and an earlier zq_plan_forward. Computes n values anew, calls hook for each, and runs
 * everything downstream; a graph input among them has been set by the caller. What an earlier call disturbed
 * and this one doesn't reach is recomputed too, so results never depend on the order of calls (call with
 * values from the last to the first for the least work); what was read of a graph input isn't. */
zq_status zq_plan_forward_changing(zq_plan *plan, int n, const int *values, zq_value_hook hook, void *user,
                                   zq_error *err);

/* Copies a value out, plain. Quantized (ZQ_U8, ZQ_I8) values come as their integers in float. Without
 * keep_values only graph outputs can be read; others, and values fused away, come as zeros. dst:
 * zq_shape_count(zq_plan_shape(plan, value)) elements. */
void zq_plan_read(zq_plan *plan, int value, float *dst);

/* The raw elements of a value in the plan's own order, for what needs no order (ranges, histograms);
 * borrowed, valid until the next run. Images are contiguous: elements of image i are at i * (*n_out /
 * n_images). NULL for values that the engine fused away or did not keep. */
const float *zq_plan_peek(const zq_plan *plan, int value, size_t *n_out);

/* Mean and (biased) variance of each channel (axis 1) of a value over images and positions, in float from
 * double sums. mean, variance: [C]. Needs keep_values, or a visitor or hook while the value lives; NaN for
 * values that the engine fused away. Values that carry stats are never fused away in a plan with gradient;
 * without, a Relu behind them may be. */
void zq_plan_statistics(zq_plan *plan, int value, float *mean, float *variance);

/* The same for each image: mean, variance: [n_images, C]. */
void zq_plan_image_statistics(zq_plan *plan, int value, float *mean, float *variance);

/* A gradient that enters at a value: either per channel, d = c1[c] + c2[c] * (z - mean[c]), fused into the
 * backward pass, or dense (plain). */
typedef struct zq_plan_seed {
    int value;
    const float *c1, *c2, *mean; /* [C]; NULL when dense is given */
    const float *dense;          /* plain, the value's shape; NULL: per channel */
} zq_plan_seed;

/* Gradient of a scalar whose partial derivatives at some values are the seeds, with respect to graph input 0.
 * d_input: plain, the input's shape. Needs gradient and a zq_plan_forward before. */
zq_status zq_plan_backward(zq_plan *plan, int n_seeds, const zq_plan_seed *seeds, float *d_input,
                           zq_error *err);

/* Called on the way backward at each step that a gradient reaches, before it runs; node names it. value: its
 * first output, gradient: of that, n elements in the plan's own order, may be changed. */
typedef zq_status (*zq_gradient_hook)(void *user, zq_plan *plan, int node, int value, size_t n,
                                      float *gradient, zq_error *err);

/* In the hook, at a Conv, Gemm or MatMul: the gradient of its weights, d_w [channels, per_channel] with the
 * output channel first, and of its bias, d_bias [channels]. gradient: of the node's own output, as the hook
 * has it in a plan with separate. Needs keep_values. ZQ_ERR_UNSUPPORTED: rows of other ranks.
 * [weight_gradient.c] */
zq_status zq_plan_weight_gradient(const zq_plan *plan, int node, const float *gradient, float *d_w,
                                  float *d_bias, zq_error *err);

/* As zq_plan_backward; d_input may be NULL. The hook sees gradients of the nodes' own outputs in a plan with
 * separate. */
zq_status zq_plan_backward_hooked(zq_plan *plan, int n_seeds, const zq_plan_seed *seeds,
                                  zq_gradient_hook hook, void *user, float *d_input, zq_error *err);

/* What runs each node, for inspection: "conv onednn jit:avx512_core" or "Relu plain". Borrowed. NULL: nothing
 * runs. */
const char *zq_plan_kernel(const zq_plan *plan, int node);

/* How memory holds a value: "channels last", or "plain" (which also stands for orders that are the same).
 * Static. */
const char *zq_plan_layout(const zq_plan *plan, int value);

/* Wall time of each node in the last forward, milliseconds; 0 where nothing ran. */
double zq_plan_node_ms(const zq_plan *plan, int node);

/* The same for the last zq_plan_backward. */
double zq_plan_node_backward_ms(const zq_plan *plan, int node);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/balance.h"

#include "base/memory.h"
#include "passes/match.h"

#include <math.h>

/* The largest of x[0..n) is taken as (sum x^p)^(1/p), which has a gradient; p = 2^DOUBLINGS. */
enum { DOUBLINGS = 4, POWER = 1 << DOUBLINGS, N_STEPS = 12 };
static const double most = 2; /* factor: channels that are hardly read would go on for ever */

/* Less than this share of the variance that its inputs explain is no deviation of an output. */
static const double least_share = 1e-6;

/* The weights of one reader, of channels n_in for each of n_groups. */
typedef struct reader {
    int64_t n_out, n_in, n_groups, n_taps;
    double *peak; /* [n_out][n_in] the largest of a channel's taps, over the output's deviation, to the
                     POWERth; owned */
} reader;

typedef struct finder {
    const zq_balance_channels *channels;
    reader *readers;    /* [channels->n_readers], owned */
    double *square;     /* [n_channels] squares of all weights that read a channel, over variances; owned,
                           with all below */
    double *log_factor; /* [n_channels] */
    double *power;      /* [n_channels] factors squared */
    double *shrink;     /* [n_channels] factors to the -POWERth */
    double *rise;       /* [n_channels] what of the error rises with the square of the factor */
    double *fall;       /* [n_channels] what falls */
} finder;

static double to_power(double x) {
    for (int i = 0; i < DOUBLINGS; i++)
        x *= x;
    return x;
}

static void use_factors(finder *f) {
    for (int64_t c = 0; c < f->channels->n_channels; c++) {
        f->power[c] = exp(2 * f->log_factor[c]);
        f->shrink[c] = exp(-POWER * f->log_factor[c]);
    }
}

/* Variance of an output: known, or what its inputs explain, at least a little of that. */
static double variance_of(const zq_stats *stats, int64_t channel, double explained) {
    const double known = stats != NULL ? (double)stats->std[channel] * stats->std[channel] : explained;
    return fmax(known, least_share * explained);
}

/* Reads one row of weights, [n_in][n_taps]. first: of its channels; sums: [n_in] for use here */
static void read_row(finder *f, const reader *r, int64_t row, int64_t first, const zq_real *w,
                     const zq_stats *stats, double *sums) {
    double *const peak = r->peak + row * r->n_in;
    double explained = 0;
    for (int64_t c = 0; c < r->n_in; c++, w += r->n_taps) {
        double largest = 0, sum = 0;
        for (int64_t k = 0; k < r->n_taps; k++) {
            const double square = (double)w[k] * w[k];
            largest = fmax(largest, square);
            sum += square;
        }
        peak[c] = largest;
        sums[c] = sum;
        explained += sum * f->channels->moment[first + c];
    }
    const double variance = variance_of(stats, row, explained);
    for (int64_t c = 0; c < r->n_in; c++) {
        peak[c] = variance > 0 ? to_power(sqrt(peak[c] / variance)) : 0;
        f->square[first + c] += variance > 0 ? sums[c] / variance : 0;
    }
}

static zq_status read_reader(finder *f, const zq_graph *graph, const zq_node *conv, reader *r,
                             zq_error *err) {
    const zq_tensor *w = graph->values[conv->inputs[1]].constant;
    const zq_stats *stats = graph->values[conv->outputs[0]].stats;
    r->n_out = w->shape.dims[0];
    r->n_in = w->shape.dims[1];
    r->n_groups = f->channels->n_channels / r->n_in;
    r->n_taps = zq_shape_count(&w->shape) / r->n_out / r->n_in;
    r->peak = zq_alloc((size_t)(r->n_out * r->n_in), sizeof *r->peak);
    if (r->peak == NULL)
        return zq_fail_memory(err);
    for (int64_t row = 0; row < r->n_out; row++)
        read_row(f, r, row, row / (r->n_out / r->n_groups) * r->n_in,
                 (const zq_real *)w->data + row * r->n_in * r->n_taps, stats, f->rise);
    return ZQ_OK;
}

/* Error of weights: of a row, its step squared times the power of its inputs. */
static void add_group(finder *f, const reader *r, int64_t group) {
    const int64_t first = group * r->n_in, n_rows = r->n_out / r->n_groups;
    const double step = 2 / (exp2(f->channels->weight_bits) - 1), unit = step * step * (double)r->n_taps;
    double inputs = 0, ranges = 0;
    for (int64_t c = first; c < first + r->n_in; c++)
        inputs += f->channels->moment[c] * f->power[c];
    for (int64_t row = group * n_rows; row < (group + 1) * n_rows; row++) {
        const double *peak = r->peak + row * r->n_in;
        double sum = 0;
        for (int64_t c = 0; c < r->n_in; c++)
            sum += peak[c] * f->shrink[first + c];
        if (sum <= 0)
            continue;
        const double range = pow(sum, 2.0 / POWER);
        ranges += range;
        for (int64_t c = 0; c < r->n_in; c++)
            f->fall[first + c] += unit * inputs * range * peak[c] * f->shrink[first + c] / sum;
    }
    for (int64_t c = first; c < first + r->n_in; c++)
        f->rise[c] += unit * ranges * f->channels->moment[c] * f->power[c];
}

/* Error of activations: their step squared, times the squares of all weights. */
static void add_activations(finder *f) {
    double range = 0, squares = 0;
    for (int64_t c = 0; c < f->channels->n_channels; c++) {
        range += to_power(f->channels->reach[c]) / f->shrink[c];
        squares += f->square[c] / f->power[c];
    }
    if (range <= 0)
        return;
    const double step = 1 / (exp2(f->channels->activation_bits) - 1);
    const double unit = step * step * pow(range, 2.0 / POWER);
    for (int64_t c = 0; c < f->channels->n_channels; c++) {
        f->rise[c] += unit * squares * to_power(f->channels->reach[c]) / f->shrink[c] / range;
        f->fall[c] += unit * f->square[c] / f->power[c];
    }
}

/* Where the error is least, as much rises as falls; what falls does so with up to the POWERth. */
static void take_step(finder *f) {
    const int64_t n = f->channels->n_channels;
    double mean = 0;
    for (int64_t c = 0; c < n; c++)
        f->rise[c] = f->fall[c] = 0;
    for (int i = 0; i < f->channels->n_readers; i++)
        for (int64_t group = 0; group < f->readers[i].n_groups; group++)
            add_group(f, &f->readers[i], group);
    add_activations(f);
    for (int64_t c = 0; c < n; c++) {
        const double change = log(f->fall[c] / f->rise[c]) / (POWER + 2);
        f->log_factor[c] += isfinite(change) ? change : 0;
        mean += f->log_factor[c] / (double)n;
    }
    for (int64_t c = 0; c < n; c++)
        f->log_factor[c] = fmax(-log(most), fmin(log(most), f->log_factor[c] - mean));
    use_factors(f);
}

static zq_status find(finder *f, const zq_graph *graph, float *factor, zq_error *err) {
    for (int i = 0; i < f->channels->n_readers; i++)
        ZQ_TRY(read_reader(f, graph, &graph->nodes[f->channels->readers[i]], &f->readers[i], err));
    use_factors(f);
    for (int i = 0; i < N_STEPS; i++)
        take_step(f);
    for (int64_t c = 0; c < f->channels->n_channels; c++)
        factor[c] = (float)exp(f->log_factor[c]);
    return ZQ_OK;
}

zq_status zq_balance_find(const zq_graph *graph, const zq_balance_channels *channels, float *factor,
                          zq_error *err) {
    const size_t n = (size_t)channels->n_channels;
    finder f = {.channels = channels,
                .readers = zq_alloc((size_t)channels->n_readers, sizeof *f.readers),
                .square = zq_alloc(6 * n, sizeof *f.square)};
    zq_status status = ZQ_OK;
    if (f.readers == NULL || f.square == NULL) {
        status = zq_fail_memory(err);
    } else {
        f.log_factor = f.square + n;
        f.rise = f.square + 2 * n;
        f.fall = f.square + 3 * n;
        f.power = f.square + 4 * n;
        f.shrink = f.square + 5 * n;
        status = find(&f, graph, factor, err);
        for (int i = 0; i < channels->n_readers; i++)
            zq_free(f.readers[i].peak);
    }
    zq_free(f.readers);
    zq_free(f.square);
    return status;
}

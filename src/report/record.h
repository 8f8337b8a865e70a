/* SPDX-License-Identifier: Apache-2.0 */
/* Everything a job measured, as borrowed pointers; NULL (or 0) for stages that have not run. */
#ifndef ZQ_REPORT_RECORD_H
#define ZQ_REPORT_RECORD_H

#include "passes/passes.h"
#include "quant/allocate.h"
#include "quant/candidate.h"
#include "quant/compare.h"
#include "quant/density.h"
#include "quant/distill.h"
#include "quant/grids.h"
#include "quant/layers.h"
#include "quant/rewrite.h"
#include "quant/sensitivity.h"
#include "quant/target.h"
#include "report/profile.h"

enum { ZQ_MAX_STAGES = 16 };

typedef struct zq_stage_time {
    const char *name; /* static */
    double seconds;
} zq_stage_time;

typedef struct zq_record {
    const char *model_path, *output_path;
    const zq_options *options;
    zq_graph *graph; /* simplified */
    const zq_simplify_counts *bn;
    const zq_layers *layers;
    const zq_placement *placements; /* [n_nodes] */
    const zq_box *box;
    const zq_images *images;
    const zq_activation *activations; /* [n_values] */
    const zq_density *seen;           /* [n_values] */
    const zq_activation *allotted;    /* the same as the search allotted them */
    const zq_grids *grids;            /* what may have a width of its own ... */
    const uint8_t *grid_choice;       /* ... and which it was allotted; NULL: one for all */
    const double *grid_damage;        /* [grids->n, ZQ_N_GRID_WIDTHS] */
    const zq_sensitivity *sensitivity;
    const zq_frontier *frontier;   /* bytes are the costs of the layers */
    const double *joint;           /* [frontier->n_points] damage with all layers narrowed, predicted from what
                                      each does to the scores; NaN: not known */
    int64_t n_measured, n_formula; /* runs of the network that found it, and of the paper's formula; 0: a file
                                      told it */
    bool is_saved;                 /* what it takes to quantize at any of its points is wanted, too */
    const zq_pricing *pricing;
    uint64_t limit;            /* the size target in units of the cost */
    const zq_profile *profile; /* of the engine */
    const char *compared_path;
    uint64_t compared_bytes;
    const zq_comparison *comparison; /* with that file */
    int n_candidates;
    const zq_candidate *candidates; /* judged ones */
    const zq_candidate *chosen;
    const zq_damage *predicted; /* of the chosen one, on images that chose nothing */
    int64_t n_judge_images;     /* those images */
    int n_stages;
    zq_stage_time stages[ZQ_MAX_STAGES];
    zq_summary summary;
} zq_record;

/* A choice of widths that needs no search, to compare with. */
typedef struct zq_uniform {
    int bits;
    uint64_t bytes;     /* of the whole file */
    uint64_t cost;      /* in units of the limit */
    double sensitivity; /* sum over the layers */
    double joint;       /* damage with all of them narrowed, predicted; NaN: not known */
} zq_uniform;

/* The width number k of record->sensitivity in every layer that may have it (record->pricing isn't NULL). */
zq_uniform zq_record_uniform(const zq_record *record, int k);

/* Of a point of the frontier: the width of a layer, and the size of the whole file. */
int zq_record_point_bits(const zq_record *record, int point, int layer);
uint64_t zq_record_point_bytes(const zq_record *record, int point);
uint64_t zq_record_point_cost(const zq_record *record, int point);

/* Whether activations of the candidate have several widths. */
bool zq_record_is_mixed(const zq_record *record, const zq_candidate *candidate);

/* The record as JSON text (owned by the caller, free()); NULL when out of memory. docs/report.md describes
 * it. */
char *zq_record_json(const zq_record *record);

#endif

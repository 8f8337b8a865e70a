/* SPDX-License-Identifier: Apache-2.0 */
/* What `zeroq pareto` adds to the report, so that any point of the frontier can be written later without
 * measuring again: the images as pixels and the options that decided (docs/frontier.md). */
#ifndef ZQ_REPORT_SAVED_H
#define ZQ_REPORT_SAVED_H

#include "quant/rules.h"
#include "report/record.h"

enum { ZQ_SAVED_VERSION = 2 };

/* The object "saved" of the report, a json_t that the caller owns; NULL when out of memory. */
struct json_t;
struct json_t *zq_saved_json(const zq_record *record);

/* Such a report as a file. Everything in it is hostile until checked. */
typedef struct zq_saved zq_saved;

/* model_path: for messages. */
zq_status zq_saved_open(const char *path, const char *model_path, zq_saved **saved_out, zq_error *err);
void zq_saved_close(zq_saved *saved); /* NULL is allowed */

/* Sets the options that decided what was measured; their strings live as long as saved. */
zq_status zq_saved_options(zq_saved *saved, zq_options *options, zq_error *err);

/* The images and the box of their pixels, for the network that they were made for; both are owned by the
 * caller. */
zq_status zq_saved_images(const zq_saved *saved, const zq_graph *graph, zq_images *images_out,
                          zq_box *box_out, zq_error *err);

/* Sensitivities and frontier, both owned by the caller; the points have no bytes yet. */
zq_status zq_saved_search(const zq_saved *saved, const zq_layers *layers, const zq_rules *rules,
                          zq_sensitivity *sensitivity_out, zq_frontier *frontier_out, zq_error *err);

/* Which of zq_grid_widths each of n_grids grids of activations has, and what each would do to it. choice_out:
 * [n_grids], damage_out: [n_grids, ZQ_N_GRID_WIDTHS], written. */
zq_status zq_saved_activations(const zq_saved *saved, int n_grids, uint8_t *choice_out, double *damage_out,
                               zq_error *err);

/* The file contradicts itself: what is wrong with it, and what to do. */
zq_status zq_saved_refuse(const zq_saved *saved, const char *what, zq_error *err);

#endif

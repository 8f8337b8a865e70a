/* SPDX-License-Identifier: Apache-2.0 */
/* What the user decided about layers: the widths to choose from, and which layers have no choice. */
#ifndef ZQ_QUANT_RULES_H
#define ZQ_QUANT_RULES_H

#include "quant/layers.h"
#include "quant/sensitivity.h"

typedef struct zq_rules {
    int n_widths;
    int widths[ZQ_MAX_WIDTHS];   /* increasing: every width that some layer may have */
    bool offered[ZQ_MAX_WIDTHS]; /* to layers that keep none; false: only some layer keeps it */
} zq_rules;

/* From options->bits, keep, keep_first_last and exclude. Layers get their `kept`; excluded ones leave
 * `layers`, and their nodes keep float weights. ZQ_ERR_USAGE, with the nearest name where one is unknown. */
zq_status zq_rules_apply(const zq_options *options, zq_graph *graph, zq_layers *layers, zq_rules *rules_out,
                         zq_error *err);

/* Whether a layer may have width number k. */
bool zq_rules_allow(const zq_rules *rules, const zq_layer *layer, int k);

/* The widest width of at most `bits` that a layer may have, or else its narrowest. */
int zq_rules_at_most(const zq_rules *rules, const zq_layer *layer, int bits);

#endif

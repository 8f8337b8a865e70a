/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/rules.h"

#include "quant/form.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BITS = 8, LONGEST_NAME = 255 };

static const char all_widths[] = "2,3,4,5,6,8";

static bool is_width(long bits) {
    return (bits >= 2 && bits <= 6) || bits == MOST_BITS;
}

/* ---- names */

/* Letters to add, remove or change until a is b; both are cut at LONGEST_NAME. */
static int edit_distance(const char *a, const char *b) {
    const int n_a = (int)strnlen(a, LONGEST_NAME), n_b = (int)strnlen(b, LONGEST_NAME);
    int row[LONGEST_NAME + 1];
    for (int j = 0; j <= n_b; j++)
        row[j] = j;
    for (int i = 1; i <= n_a; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n_b; j++) {
            const int change = diagonal + (a[i - 1] != b[j - 1]);
            const int least = row[j] < row[j - 1] ? row[j] : row[j - 1];
            diagonal = row[j];
            row[j] = change <= least ? change : least + 1;
        }
    }
    return row[n_b];
}

/* A name that holds the other is near. */
static int name_distance(const char *asked, const char *name) {
    return strstr(name, asked) != NULL ? 0 : edit_distance(asked, name);
}

static zq_status refuse_name(const zq_layers *layers, const char *option, const char *name, zq_error *err) {
    int nearest = 0, least = INT32_MAX;
    for (int i = 0; i < layers->n; i++) {
        const int distance = name_distance(name, layers->items[i].name);
        if (distance < least) {
            least = distance;
            nearest = i;
        }
    }
    return zq_fail(err, ZQ_ERR_USAGE,
                   "%s: the model has no layer '%.200s'; the nearest name is '%.200s' ('zeroq inspect' lists "
                   "all)",
                   option, name, layers->items[nearest].name);
}

/* ---- decisions */

static zq_status keep_bits(zq_layer *layer, int bits, zq_error *err) {
    if (layer->affine && bits != layer->kept)
        return zq_fail(err, ZQ_ERR_USAGE,
                       "--keep: layer '%.200s' stands for a BatchNormalization, which is exact at %d bits "
                       "and keeps them; leave out its %d",
                       layer->name, layer->kept, bits);
    if (!layer->affine && layer->kept != 0 && layer->kept != bits)
        return zq_fail(err, ZQ_ERR_USAGE, "--keep: layer '%.200s' is to keep both %d and %d bits; choose one",
                       layer->name, layer->kept, bits);
    layer->kept = bits;
    return ZQ_OK;
}

/* "NAME=BITS"; a name may hold a '=' itself. */
static zq_status keep(zq_layers *layers, const char *text, zq_error *err) {
    const char *equals = strrchr(text, '=');
    char *end = NULL;
    const long bits = equals == NULL ? 0 : strtol(equals + 1, &end, 10);
    if (!is_width(bits) || *end != '\0')
        return zq_fail(err, ZQ_ERR_USAGE,
                       "--keep: '%.200s' is no layer with its width; expected NAME=BITS with one of %s bits",
                       text, all_widths);
    const size_t n = (size_t)(equals - text);
    bool found = false;
    for (int i = 0; i < layers->n; i++) {
        zq_layer *layer = &layers->items[i];
        if (strncmp(layer->name, text, n) != 0 || layer->name[n] != '\0')
            continue;
        found = true;
        ZQ_TRY(keep_bits(layer, (int)bits, err));
    }
    char name[LONGEST_NAME + 1] = "";
    memcpy(name, text, n < LONGEST_NAME ? n : LONGEST_NAME);
    return found ? ZQ_OK : refuse_name(layers, "--keep", name, err);
}

static zq_status exclude(zq_graph *graph, zq_layers *layers, const char *name, zq_error *err) {
    bool found = false;
    for (int i = 0; i < layers->n; i++) {
        zq_layer *layer = &layers->items[i];
        if (strcmp(layer->name, name) != 0)
            continue;
        if (layer->kept != 0 && !layer->affine)
            return zq_fail(err, ZQ_ERR_USAGE,
                           "--exclude: layer '%.200s' is to stay FP32 and to keep %d bits; choose one", name,
                           layer->kept);
        for (int k = 0; k < layer->n_nodes; k++)
            graph->nodes[layer->nodes[k]].keeps_float = true;
        found = true;
    }
    return found ? ZQ_OK : refuse_name(layers, "--exclude", name, err);
}

/* The ends are layers of the user's, not those that stand for a BatchNormalization; what was said about them
 * by name holds. */
static void keep_first_last(zq_layers *layers) {
    int first = -1, last = -1;
    for (int i = 0; i < layers->n; i++)
        if (!layers->items[i].affine) {
            first = first < 0 ? i : first;
            last = i;
        }
    const int ends[] = {first, last};
    for (int e = 0; e < 2 && first >= 0; e++)
        if (layers->items[ends[e]].kept == 0)
            layers->items[ends[e]].kept = MOST_BITS;
}

/* ---- rules */

static zq_status read_widths(const char *text, bool *offered /* [MOST_BITS + 1] */, zq_error *err) {
    for (const char *at = text;; at++) {
        char *end;
        const long bits = strtol(at, &end, 10);
        if (end == at || !is_width(bits) || (*end != ',' && *end != '\0'))
            return zq_fail(err, ZQ_ERR_USAGE,
                           "--bits: '%.200s' is no list of widths; expected some of %s, such as 4,8", text,
                           all_widths);
        offered[bits] = true;
        if (*end == '\0')
            return ZQ_OK;
        at = end;
    }
}

static void collect_widths(const zq_layers *layers, const bool *offered, zq_rules *rules) {
    for (int bits = 1; bits <= MOST_BITS; bits++) {
        bool wanted = offered[bits];
        for (int i = 0; i < layers->n; i++)
            wanted = wanted || layers->items[i].kept == bits;
        if (!wanted)
            continue;
        rules->offered[rules->n_widths] = offered[bits];
        rules->widths[rules->n_widths++] = bits;
    }
}

zq_status zq_rules_apply(const zq_options *options, zq_graph *graph, zq_layers *layers, zq_rules *rules_out,
                         zq_error *err) {
    bool offered[MOST_BITS + 1] = {false};
    const char *widths = options->bits != NULL                  ? options->bits
                         : zq_form_of(options->runtime)->narrow ? all_widths
                                                                : "8";
    *rules_out = (zq_rules){0};
    ZQ_TRY(read_widths(widths, offered, err));
    for (int k = 0; k < options->n_keep; k++)
        ZQ_TRY(keep(layers, options->keep[k], err));
    for (int k = 0; k < options->n_exclude; k++)
        ZQ_TRY(exclude(graph, layers, options->exclude[k], err));
    if (options->keep_first_last)
        keep_first_last(layers);
    zq_layers_drop_float(graph, layers);
    if (layers->n == 0)
        return zq_fail(err, ZQ_ERR_USAGE, "--exclude: no layer is left to quantize; exclude fewer");
    collect_widths(layers, offered, rules_out);
    return ZQ_OK;
}

bool zq_rules_allow(const zq_rules *rules, const zq_layer *layer, int k) {
    return layer->kept != 0 ? layer->kept == rules->widths[k] : rules->offered[k];
}

int zq_rules_at_most(const zq_rules *rules, const zq_layer *layer, int bits) {
    int best = 0;
    for (int k = 0; k < rules->n_widths; k++)
        if (zq_rules_allow(rules, layer, k) && (best == 0 || rules->widths[k] <= bits))
            best = rules->widths[k];
    return best;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/agreement.h"

#include "base/memory.h"
#include "quant/candidate.h"
#include "quant/sensitivity.h"

#include <math.h>

/* A network that tells many classes apart is surer of images that were drawn to a label than of photos, by a
 * factor of 1.5 to 2.3 on five of them; but it also suffers more on those images (docs/accuracy.md). */
enum { MANY_CLASSES = 128 };
static const double surer_than_photos = 4.0 / 3;

static double score_of(const zq_certainty *certainty, float z) {
    return certainty->probability ? log(fmax((double)z, 1e-12)) : (double)z;
}

/* The largest and the second. */
static void find_best(int64_t n, const float *scores, int64_t *best, int64_t *second) {
    *best = scores[1] > scores[0];
    *second = !*best;
    for (int64_t c = 2; c < n; c++)
        if (scores[c] > scores[*best]) {
            *second = *best;
            *best = c;
        } else if (scores[c] > scores[*second])
            *second = c;
}

zq_status zq_certainty_measure(zq_graph *graph, const zq_images *images, zq_certainty *out, zq_error *err) {
    const int64_t n_images = images->shape.dims[0], n = graph->values[graph->outputs[0]].shape.dims[1];
    float **outputs = NULL;
    *out = (zq_certainty){.probability = zq_output_rule_of(graph, 0) == ZQ_OUTPUT_PROBABILITY};
    ZQ_TRY(zq_outputs_run(graph, images, &outputs, err));
    out->scores = outputs[0];
    outputs[0] = NULL;
    zq_outputs_drop(outputs, graph->n_outputs);
    out->n_classes = n;
    for (int64_t i = 0; i < n_images; i++) {
        float *const scores = out->scores + i * n;
        int64_t best, second;
        for (int64_t c = 0; c < n; c++)
            scores[c] = (float)score_of(out, scores[c]);
        find_best(n, scores, &best, &second);
        out->margin += ((double)scores[best] - scores[second]) / (double)n_images;
    }
    if (n > MANY_CLASSES)
        out->margin /= surer_than_photos;
    return ZQ_OK;
}

void zq_certainty_clear(zq_certainty *certainty) {
    zq_free(certainty->scores);
    *certainty = (zq_certainty){0};
}

void zq_agreement_expect(const zq_certainty *certainty, int64_t first, int64_t n, const float *reference,
                         const float *other, double *agreement) {
    const int64_t n_classes = certainty->n_classes;
    for (int64_t i = 0; i < n; i++) {
        const float *const scores = certainty->scores + (first + i) * n_classes;
        const float *const from = reference + i * n_classes, *const to = other + i * n_classes;
        double rival = -INFINITY, moved = 0;
        int64_t best, second;
        find_best(n_classes, scores, &best, &second);
        for (int64_t c = 0; c < n_classes; c++) {
            const double shift = score_of(certainty, to[c]) - score_of(certainty, from[c]);
            if (c == best)
                moved = shift;
            else
                rival = fmax(rival, scores[c] + shift);
        }
        const double needed = rival - moved - scores[second]; /* the margin that outweighs it */
        agreement[i] = needed <= 0 ? 1 : certainty->margin > 0 ? exp(-needed / certainty->margin) : 0;
        if (!isfinite(agreement[i]))
            agreement[i] = 0;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The share of photos on which a quantized network has the same largest output, expected from distilled
 * images.
 *
 * Few images tell little when those that changed are counted, and distilled ones are no photos: each was
 * drawn to a label, so hardly one leaves the network undecided, as photos often do. What they do tell is how
 * far quantization moves the scores, and how certain the network is on the whole. So the margin between the
 * largest score and the second is taken to be spread exponentially over photos, as it roughly is, with the
 * mean that it has over the distilled images (three quarters of it where there are many classes); an image
 * agrees with the probability that a margin outweighs what moved. */
#ifndef ZQ_QUANT_AGREEMENT_H
#define ZQ_QUANT_AGREEMENT_H

#include "quant/distill.h"

typedef struct zq_certainty {
    int64_t n_classes;
    bool probability; /* outputs are behind a softmax: scores are their logarithms */
    float *scores;    /* [n_images, n_classes] of the network itself, owned */
    double margin;    /* expected of photos, in the mean */
} zq_certainty;

/* Needs a network with classes (quant/labels.h). */
zq_status zq_certainty_measure(zq_graph *graph, const zq_images *images, zq_certainty *out, zq_error *err);
void zq_certainty_clear(zq_certainty *certainty);

/* reference, other: outputs [n, n_classes] of the calibration network and of a quantized one, for n images
 * from number first on; agreement: [n], written. */
void zq_agreement_expect(const zq_certainty *certainty, int64_t first, int64_t n, const float *reference,
                         const float *other, double *agreement);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The page's first sentence and its figures. */
#include "report/html.h"
#include "report/markup.h"

#include <math.h>
#include <string.h>

static void put_sentence(FILE *f, const zq_record *record) {
    const zq_summary *summary = &record->summary;
    const zq_damage *damage = record->predicted;
    char before[ZQ_NUMBER], after[ZQ_NUMBER], kl[ZQ_NUMBER], spread[ZQ_NUMBER];
    fprintf(f, "<p class='lead'>Quantized %s from %s to <b>%s</b>, %.1f times smaller. ",
            strcmp(record->images->source, "photos") == 0 ? "on photos" : "without any data",
            zq_markup_bytes((double)summary->fp32_bytes, before),
            zq_markup_bytes((double)record->chosen->bytes, after),
            (double)summary->fp32_bytes / (double)record->chosen->bytes);
    fprintf(f,
            "%s %lld image%s used for nothing else, the largest output is %s "
            "<b>%.0f\xc2\xa0%%</b>%s, and the %s is %s\xc2\xa0\xc2\xb1\xc2\xa0%s%s.</p>\n",
            damage->expected ? "From" : "On", (long long)record->n_judge_images,
            record->n_judge_images == 1 ? "" : "s",
            damage->expected ? "expected to be the same on" : "the same in", 100 * damage->agreement,
            damage->expected ? " of photos" : "", zq_html_damage_is_kl(record) ? "KL divergence" : "damage",
            zq_markup_number(damage->kl, kl), zq_markup_number(damage->kl_spread, spread),
            zq_html_damage_is_kl(record) ? " nats" : "");
}

static void put_fact(FILE *f, const char *value, const char *unit, const char *name) {
    fprintf(f, "<div><dt>%s</dt><dd>%s<small>%s</small></dd></div>\n", name, value, unit);
}

static void put_facts(FILE *f, const zq_record *record) {
    const zq_summary *summary = &record->summary;
    const double ratio = (double)record->chosen->bytes / (double)summary->fp32_bytes;
    char text[ZQ_NUMBER];
    fputs("<dl class='facts'>\n", f);
    put_fact(f, zq_markup_bytes((double)record->chosen->bytes, text), "", "size of the file");
    snprintf(text, sizeof text, "%.1f", 100 * ratio);
    put_fact(f, text, " %", "of the FP32 file");
    snprintf(text, sizeof text, "%.2f", summary->mean_bits);
    put_fact(f, text, " bits", "per weight");
    snprintf(text, sizeof text, "%.0f", 100 * record->predicted->agreement);
    put_fact(f, text, " %", "same largest output");
    put_fact(f, zq_markup_number(record->predicted->kl, text), "",
             zq_html_damage_is_kl(record) ? "KL divergence" : "damage");
    if (isfinite(record->predicted->snr_db)) {
        snprintf(text, sizeof text, "%.1f", record->predicted->snr_db);
        put_fact(f, text, " dB", "signal to noise");
    }
    snprintf(text, sizeof text, "%.1f", summary->seconds);
    put_fact(f, text, " s", "to make it");
    fputs("</dl>\n", f);
}

void zq_html_summary(FILE *f, const zq_record *record) {
    put_sentence(f, record);
    put_facts(f, record);
    fputs("<p class='note'>These are predictions from a handful of images: they tell a good file from a bad "
          "one, they are no accuracy. With labelled images, measure.</p>\n",
          f);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The report for people: one page of HTML that needs no other file and no network. */
#ifndef ZQ_REPORT_HTML_H
#define ZQ_REPORT_HTML_H

#include "report/record.h"

#include <stdio.h>

/* record: of a quantized model, with a frontier. */
zq_status zq_html_write(const char *path, const zq_record *record, zq_error *err);

/* The sections, one file each (html_*.c): from <section> to </section>. */
void zq_html_summary(FILE *f, const zq_record *record);
void zq_html_frontier(FILE *f, const zq_record *record);
void zq_html_layers(FILE *f, const zq_record *record);
void zq_html_activations(FILE *f, const zq_record *record);
zq_status zq_html_images(FILE *f, const zq_record *record, zq_error *err);
void zq_html_statistics(FILE *f, const zq_record *record);
void zq_html_float(FILE *f, const zq_record *record);
void zq_html_origin(FILE *f, const zq_record *record);

/* Whether damage is a KL divergence in nats: every output is one of scores or probabilities. */
bool zq_html_damage_is_kl(const zq_record *record);

/* A cell of a table that sorts by its exact value. */
void zq_html_cell(FILE *f, double value, const char *text);

/* page.css and page.js, as CMake makes them into strings */
extern const char zq_page_css[], zq_page_js[];

#endif

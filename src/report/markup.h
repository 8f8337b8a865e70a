/* SPDX-License-Identifier: Apache-2.0 */
/* Text and numbers for HTML and SVG. Whatever comes from a model, a path or a command line is taken as
 * hostile: it goes through zq_markup_text or zq_markup_name, never through a format. */
#ifndef ZQ_REPORT_MARKUP_H
#define ZQ_REPORT_MARKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Escaped for elements and quoted attributes. What isn't UTF-8, control characters and those that turn the
 * direction of writing become U+FFFD. NULL: nothing. */
void zq_markup_text(FILE *f, const char *text);

/* The same for names: long ones lose their middle, empty ones read "(no name)". */
void zq_markup_name(FILE *f, const char *name);

void zq_markup_base64(FILE *f, size_t n, const unsigned char *bytes);

/* The bytes of such a text; false: it isn't base64 of exactly n bytes. */
bool zq_markup_read_base64(const char *text, size_t n_text, size_t n, uint8_t *out);

/* Numbers in about three digits, into a buffer that is returned. */
enum { ZQ_NUMBER = 32 };
char *zq_markup_number(double x, char buffer[ZQ_NUMBER]); /* 20.3, 0.0694, 4.4e-5; NaN: a dash */
char *zq_markup_bytes(double n, char buffer[ZQ_NUMBER]);  /* 154 KB */
char *zq_markup_count(double n, char buffer[ZQ_NUMBER]);  /* 36.9 k */
char *zq_markup_share(double x, char buffer[ZQ_NUMBER]);  /* 14.0 % of 0.14 */

#endif

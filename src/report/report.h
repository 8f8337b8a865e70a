/* SPDX-License-Identifier: Apache-2.0 */
/* Files for people and programs: .npy, PNG, JSON text. All appear whole or not at all. */
#ifndef ZQ_REPORT_REPORT_H
#define ZQ_REPORT_REPORT_H

#include "report/record.h"

/* NumPy format 1.0, float32, C order. */
zq_status zq_npy_write(const char *path, const zq_images *images, zq_error *err);

/* A contact sheet (8 images a row, 2 pixels between; small images enlarged by a whole factor): box lo..hi
 * becomes 0..255. 1 channel: grey, 3: RGB, others: the first channel. */
zq_status zq_sheet_write(const char *path, const zq_images *images, const zq_box *box, zq_error *err);

/* The frontier as CSV: bytes, cost and sensitivity of every point, and the width of every layer. */
zq_status zq_csv_write(const char *path, const zq_record *record, zq_error *err);

#endif

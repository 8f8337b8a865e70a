/* SPDX-License-Identifier: Apache-2.0 */
/* The frontier as a table (RFC 4180): a point a row, a layer a column. */
#include "base/file.h"
#include "report/report.h"

#include <inttypes.h>
#include <math.h>

static void put_name(FILE *stream, const char *name) {
    fputs(",\"", stream);
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '"')
            fputc('"', stream);
        fputc(*c, stream);
    }
    fputc('"', stream);
}

zq_status zq_csv_write(const char *path, const zq_record *record, zq_error *err) {
    zq_file file;
    ZQ_TRY(zq_file_create(path, &file, err));
    fputs("bytes,cost,sensitivity,joint", file.stream);
    for (int i = 0; i < record->layers->n; i++)
        put_name(file.stream, record->layers->items[i].name);
    fputs("\r\n", file.stream);
    for (int p = 0; p < record->frontier->n_points; p++) {
        fprintf(file.stream, "%" PRIu64 ",%" PRIu64 ",%.9g,", zq_record_point_bytes(record, p),
                zq_record_point_cost(record, p), record->frontier->points[p].omega);
        if (isfinite(record->joint[p]))
            fprintf(file.stream, "%.9g", record->joint[p]);
        for (int i = 0; i < record->layers->n; i++)
            fprintf(file.stream, ",%d", zq_record_point_bits(record, p, i));
        fputs("\r\n", file.stream);
    }
    return zq_file_commit(&file, err); /* also tells whether every write succeeded */
}

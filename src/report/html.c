/* SPDX-License-Identifier: Apache-2.0 */
#include "report/html.h"

#include "base/file.h"
#include "report/markup.h"

#include <locale.h>
#include <string.h>

bool zq_html_damage_is_kl(const zq_record *record) {
    for (int o = 0; o < record->graph->n_outputs; o++)
        if (zq_output_rule_of(record->graph, o) == ZQ_OUTPUT_SQUARED)
            return false;
    return true;
}

void zq_html_cell(FILE *f, double value, const char *text) {
    fprintf(f, "<td data-v='%.6g'>%s", value, text);
}

/* The part of a path behind the last slash. */
static const char *file_name(const char *path) {
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* The policy forbids the page whatever it doesn't hold itself. */
static void put_head(FILE *f, const zq_record *record) {
    fputs("<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
          "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src "
          "'unsafe-inline'; script-src 'unsafe-inline'\">\n"
          "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
          "<meta name='color-scheme' content='light dark'>\n<title>",
          f);
    zq_markup_name(f, file_name(record->model_path));
    fputs(" \xe2\x80\x93 zeroq</title>\n<style>\n", f);
    fputs(zq_page_css, f);
    fputs("</style>\n</head>\n<body>\n", f);
}

static void put_header(FILE *f, const zq_record *record) {
    fputs("<header>\n<p class='brand'>zeroq report</p>\n<h1>", f);
    zq_markup_name(f, file_name(record->model_path));
    fputs("</h1>\n", f);
    zq_html_summary(f, record);
    fputs("<nav aria-label='Sections'><a href='#frontier'>Size and damage</a> <a href='#layers'>Layers</a> "
          "<a href='#activations'>Activations</a> <a href='#images'>Images</a> <a "
          "href='#statistics'>Statistics</a> <a href='#float'>Left in float</a> <a href='#origin'>How it was "
          "made</a></nav>\n</header>\n<main>\n",
          f);
}

static zq_status put_page(FILE *f, const zq_record *record, zq_error *err) {
    put_head(f, record);
    put_header(f, record);
    zq_html_frontier(f, record);
    zq_html_layers(f, record);
    zq_html_activations(f, record);
    ZQ_TRY(zq_html_images(f, record, err));
    zq_html_statistics(f, record);
    zq_html_float(f, record);
    zq_html_origin(f, record);
    fputs("</main>\n<script>\n", f);
    fputs(zq_page_js, f);
    fputs("</script>\n</body>\n</html>\n", f);
    return ZQ_OK;
}

zq_status zq_html_write(const char *path, const zq_record *record, zq_error *err) {
    zq_file file;
    /* numbers have a point, whatever language the program that calls speaks */
    const locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0)
        return zq_fail_memory(err);
    const locale_t before = uselocale(plain);
    zq_status status = zq_file_create(path, &file, err);
    if (status == ZQ_OK) {
        status = put_page(file.stream, record, err);
        if (status == ZQ_OK)
            status = zq_file_commit(&file, err); /* also tells whether every write succeeded */
        else
            zq_file_abandon(&file);
    }
    uselocale(before);
    freelocale(plain);
    return status;
}

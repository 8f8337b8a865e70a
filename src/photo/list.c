/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "photo/photo.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { DEEPEST = 8 }; /* folders in folders; links may lead in circles */

static bool is_photo(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot != NULL &&
           (strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0 || strcasecmp(dot, ".png") == 0);
}

/* Takes path in every case. */
static zq_status add(zq_photo_list *list, char *path, zq_error *err) {
    if (!zq_grow(&list->paths, &list->capacity, list->n + 1, sizeof *list->paths)) {
        zq_free(path);
        return zq_fail_memory(err);
    }
    list->paths[list->n++] = path;
    return ZQ_OK;
}

static zq_status walk(const char *folder, int depth, zq_photo_list *list, zq_error *err);

static zq_status visit(const char *folder, const char *name, int depth, zq_photo_list *list, zq_error *err) {
    struct stat info;
    if (name[0] == '.')
        return ZQ_OK;
    const size_t n = strlen(folder) + strlen(name) + 2;
    char *path = zq_alloc(n, 1);
    if (path == NULL)
        return zq_fail_memory(err);
    snprintf(path, n, "%s/%s", folder, name);
    const bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    if (!is_folder && is_photo(name))
        return add(list, path, err);
    const zq_status status = is_folder && depth < DEEPEST ? walk(path, depth + 1, list, err) : ZQ_OK;
    zq_free(path);
    return status;
}

static zq_status walk(const char *folder, int depth, zq_photo_list *list, zq_error *err) {
    DIR *stream = opendir(folder);
    if (stream == NULL)
        return zq_fail(err, ZQ_ERR_IO, "%.400s: %s", folder, strerror(errno));
    zq_status status = ZQ_OK;
    for (const struct dirent *entry; status == ZQ_OK && (entry = readdir(stream)) != NULL;)
        status = visit(folder, entry->d_name, depth, list, err);
    closedir(stream);
    return status;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

zq_status zq_photo_list_make(const char *folder, zq_photo_list *list_out, zq_error *err) {
    *list_out = (zq_photo_list){0};
    zq_status status = walk(folder, 0, list_out, err);
    if (status == ZQ_OK && list_out->n == 0)
        status = zq_fail(err, ZQ_ERR_IO, "%.400s: holds no file that ends in .jpg, .jpeg or .png", folder);
    if (status != ZQ_OK)
        zq_photo_list_clear(list_out);
    else
        qsort(list_out->paths, list_out->n, sizeof *list_out->paths, by_name);
    return status;
}

void zq_photo_list_clear(zq_photo_list *list) {
    for (size_t i = 0; i < list->n; i++)
        zq_free(list->paths[i]);
    zq_free(list->paths);
    *list = (zq_photo_list){0};
}

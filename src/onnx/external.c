/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/external.h"

#include "base/memory.h"
#include "base/random.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Several tensors may share bytes, but a small file mustn't become any amount of memory. */
enum { MAX_READS_PER_BYTE = 4 };

typedef struct place {
    const char *location;
    uint64_t offset, length;
    bool has_length;
} place;

static zq_status refuse(const Onnx__TensorProto *proto, zq_status status, const char *what,
                        const char *detail, zq_error *err) {
    return zq_fail(err, status, "tensor '%.200s': external data %s: '%.300s'",
                   proto->name != NULL ? proto->name : "", what, detail);
}

static bool parse_number(const char *text, uint64_t *out) {
    if (*text == '\0' || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    *out = strtoull(text, NULL, 10);
    return errno == 0 && *out <= INT64_MAX;
}

static zq_status parse_place(const Onnx__TensorProto *proto, place *where, zq_error *err) {
    *where = (place){0};
    for (size_t e = 0; e < proto->n_external_data; e++) {
        const char *key = proto->external_data[e]->key, *value = proto->external_data[e]->value;
        if (key == NULL || value == NULL)
            continue;
        if (strcmp(key, "location") == 0)
            where->location = value;
        else if (strcmp(key, "offset") == 0 && !parse_number(value, &where->offset))
            return refuse(proto, ZQ_ERR_FORMAT, "has an offset that is no number", value, err);
        else if (strcmp(key, "length") == 0 && !(where->has_length = parse_number(value, &where->length)))
            return refuse(proto, ZQ_ERR_FORMAT, "has a length that is no number", value, err);
    }
    if (where->location == NULL || where->location[0] == '\0')
        return refuse(proto, ZQ_ERR_FORMAT, "doesn't say", "location", err);
    return ZQ_OK;
}

/* A relative path without "..". */
static bool is_inside(const char *location) {
    if (location[0] == '/' || strchr(location, '\\') != NULL)
        return false;
    for (const char *part = location; part != NULL; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
            return false;
    }
    return true;
}

/* Symbolic links are followed, but not out of the folder. */
static bool is_really_inside(const char *folder, const char *path) {
    char *real_folder = realpath(folder, NULL), *real_path = realpath(path, NULL);
    bool inside = false;
    if (real_folder != NULL && real_path != NULL) {
        size_t n = strlen(real_folder);
        n -= n == 1; /* the root folder ends with its slash */
        inside = strncmp(real_folder, real_path, n) == 0 && real_path[n] == '/';
    }
    free(real_folder);
    free(real_path);
    return inside;
}

static zq_status count_file(zq_external *external, const char *location, uint64_t bytes, zq_error *err) {
    for (size_t f = 0; f < external->n_files; f++)
        if (strcmp(external->files[f].location, location) == 0)
            return ZQ_OK;
    char *own_location = zq_strdup(location);
    if (own_location == NULL || !zq_grow(&external->files, &external->files_capacity, external->n_files + 1,
                                         sizeof external->files[0])) {
        zq_free(own_location);
        return zq_fail_memory(err);
    }
    external->files[external->n_files++] = (zq_external_file){own_location, bytes};
    external->file_bytes += bytes;
    return ZQ_OK;
}

static zq_status read_range(zq_external *external, const Onnx__TensorProto *proto, const place *where,
                            FILE *stream, uint64_t size, size_t n_bytes, unsigned char **bytes_out,
                            zq_error *err) {
    if (where->offset > size || n_bytes > size - where->offset)
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "tensor '%.200s' needs %zu bytes at offset %" PRIu64
                       " of '%.200s', which has only %" PRIu64,
                       proto->name != NULL ? proto->name : "", n_bytes, where->offset, where->location, size);
    ZQ_TRY(count_file(external, where->location, size, err));
    external->read_bytes += n_bytes;
    if (external->read_bytes / MAX_READS_PER_BYTE > external->file_bytes)
        return refuse(proto, ZQ_ERR_FORMAT, "is shared by too many tensors", where->location, err);
    unsigned char *bytes = zq_alloc_raw(n_bytes, 1);
    if (bytes == NULL)
        return zq_fail_memory(err);
    if (fseeko(stream, (off_t)where->offset, SEEK_SET) != 0 || fread(bytes, 1, n_bytes, stream) != n_bytes) {
        zq_free(bytes);
        return refuse(proto, ZQ_ERR_IO, "can't be read", where->location, err);
    }
    external->hash = zq_random_hash(external->hash, n_bytes, bytes);
    *bytes_out = bytes;
    return ZQ_OK;
}

zq_status zq_external_read(zq_external *external, const Onnx__TensorProto *proto, size_t n_bytes,
                           unsigned char **bytes_out, zq_error *err) {
    place where;
    ZQ_TRY(parse_place(proto, &where, err));
    if (external->folder == NULL)
        return refuse(proto, ZQ_ERR_FORMAT, "can't be looked for, since the model isn't read from a folder",
                      where.location, err);
    if (!is_inside(where.location))
        return refuse(proto, ZQ_ERR_FORMAT, "lies outside the model's folder", where.location, err);
    if (where.has_length && where.length != n_bytes)
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "tensor '%.200s' has %" PRIu64 " bytes of external data, its shape needs %zu",
                       proto->name != NULL ? proto->name : "", where.length, n_bytes);
    const size_t n_path = strlen(external->folder) + strlen(where.location) + 2;
    char *path = zq_alloc_raw(n_path, 1);
    if (path == NULL)
        return zq_fail_memory(err);
    snprintf(path, n_path, "%s/%s", external->folder, where.location);
    zq_status status;
    FILE *stream = NULL;
    struct stat info;
    if (stat(path, &info) != 0)
        status = zq_fail(err, ZQ_ERR_IO, "tensor '%.200s': external data %.400s: %s",
                         proto->name != NULL ? proto->name : "", path, strerror(errno));
    else if (!is_really_inside(external->folder, path))
        status = refuse(proto, ZQ_ERR_FORMAT, "is a link out of the model's folder", where.location, err);
    else if (!S_ISREG(info.st_mode))
        status = refuse(proto, ZQ_ERR_IO, "isn't a regular file", path, err);
    else if ((stream = fopen(path, "rb")) == NULL)
        status = refuse(proto, ZQ_ERR_IO, "can't be opened", path, err);
    else
        status = read_range(external, proto, &where, stream, (uint64_t)info.st_size, n_bytes, bytes_out, err);
    if (stream != NULL)
        fclose(stream);
    zq_free(path);
    return status;
}

void zq_external_clear(zq_external *external) {
    for (size_t f = 0; f < external->n_files; f++)
        zq_free(external->files[f].location);
    zq_free(external->files);
    *external = (zq_external){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "base/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static zq_status read_stream(FILE *stream, const char *path, size_t n, unsigned char *bytes, zq_error *err) {
    const size_t found = fread(bytes, 1, n, stream);
    if (found != n)
        return zq_fail(err, ZQ_ERR_IO, "%s: %s after %zu of %zu bytes", path,
                       ferror(stream) ? strerror(errno) : "the file ended", found, n);
    bytes[n] = '\0';
    return ZQ_OK;
}

zq_status zq_file_read(const char *path, unsigned char **bytes_out, size_t *n_out, zq_error *err) {
    struct stat info;
    if (stat(path, &info) != 0)
        return zq_fail(err, ZQ_ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return zq_fail(err, ZQ_ERR_IO, "%s: is not a regular file", path);
    FILE *stream = fopen(path, "rb");
    if (stream == NULL)
        return zq_fail(err, ZQ_ERR_IO, "%s: %s", path, strerror(errno));
    const size_t n = (size_t)info.st_size;
    unsigned char *bytes = zq_alloc_raw(n + 1, 1);
    const zq_status status = bytes == NULL ? zq_fail_memory(err) : read_stream(stream, path, n, bytes, err);
    fclose(stream);
    if (status != ZQ_OK) {
        zq_free(bytes);
        return status;
    }
    *bytes_out = bytes;
    *n_out = n;
    return ZQ_OK;
}

zq_status zq_file_create(const char *path, zq_file *file, zq_error *err) {
    *file = (zq_file){0};
    const size_t n = strlen(path) + 16;
    file->path = zq_strdup(path);
    file->temporary = zq_alloc(n, 1);
    if (file->path == NULL || file->temporary == NULL) {
        zq_file_abandon(file);
        return zq_fail_memory(err);
    }
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        zq_file_abandon(file);
        return zq_fail(err, ZQ_ERR_IO, "%s: is not a regular file, so it can't be replaced", path);
    }
    snprintf(file->temporary, n, "%s.tmp-XXXXXX", path);
    const int descriptor = mkstemp(file->temporary);
    if (descriptor < 0) {
        const int reason = errno;
        file->temporary[0] = '\0';
        zq_file_abandon(file);
        return zq_fail(err, ZQ_ERR_IO, "%s: can't be written: %s", path, strerror(reason));
    }
    const mode_t mask = umask(0);
    umask(mask);
    (void)fchmod(descriptor, 0666 & ~mask);
    file->stream = fdopen(descriptor, "wb");
    if (file->stream == NULL) {
        close(descriptor);
        zq_file_abandon(file);
        return zq_fail(err, ZQ_ERR_IO, "%s: can't be written: %s", path, strerror(errno));
    }
    return ZQ_OK;
}

zq_status zq_file_commit(zq_file *file, zq_error *err) {
    const bool written =
        fflush(file->stream) == 0 && !ferror(file->stream) && fsync(fileno(file->stream)) == 0;
    const int reason = errno;
    const bool closed = fclose(file->stream) == 0;
    file->stream = NULL;
    zq_status status = ZQ_OK;
    if (!written || !closed)
        status = zq_fail(err, ZQ_ERR_IO, "%s: can't be written: %s", file->path,
                         strerror(written ? errno : reason));
    else if (rename(file->temporary, file->path) != 0)
        status = zq_fail(err, ZQ_ERR_IO, "%s: can't be written: %s", file->path, strerror(errno));
    if (status == ZQ_OK)
        file->temporary[0] = '\0';
    zq_file_abandon(file);
    return status;
}

void zq_file_abandon(zq_file *file) {
    if (file->stream != NULL)
        fclose(file->stream);
    if (file->temporary != NULL && file->temporary[0] != '\0')
        unlink(file->temporary);
    zq_free(file->temporary);
    zq_free(file->path);
    *file = (zq_file){0};
}

zq_status zq_file_write(const char *path, const void *bytes, size_t n, zq_error *err) {
    zq_file file;
    ZQ_TRY(zq_file_create(path, &file, err));
    if (fwrite(bytes, 1, n, file.stream) != n) {
        const int reason = errno;
        zq_file_abandon(&file);
        return zq_fail(err, ZQ_ERR_IO, "%s: can't be written: %s", path, strerror(reason));
    }
    return zq_file_commit(&file, err);
}

bool zq_file_same(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

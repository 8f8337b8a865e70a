/* SPDX-License-Identifier: Apache-2.0 */
/* Files that appear whole or not at all. */
#ifndef ZQ_BASE_FILE_H
#define ZQ_BASE_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Reads a regular file; *bytes_out is owned by the caller (zq_free) and followed by a NUL that isn't counted.
 */
zq_status zq_file_read(const char *path, unsigned char **bytes_out, size_t *n_out, zq_error *err);

/* A file being written under a temporary name in the folder of path. */
typedef struct zq_file {
    FILE *stream; /* write to this */
    char *path, *temporary;
} zq_file;

zq_status zq_file_create(const char *path, zq_file *file, zq_error *err);
/* Flushes, syncs and renames; on failure removes the temporary file. Either way file is cleared. */
zq_status zq_file_commit(zq_file *file, zq_error *err);
/* Removes the temporary file; nothing happens after a commit. */
void zq_file_abandon(zq_file *file);

/* The same from memory. */
zq_status zq_file_write(const char *path, const void *bytes, size_t n, zq_error *err);

/* True when both paths name the same existing file. */
bool zq_file_same(const char *a, const char *b);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Photos: JPEG and PNG files, decoded and brought to the size that a network takes. */
#ifndef ZQ_PHOTO_PHOTO_H
#define ZQ_PHOTO_PHOTO_H

#include "base/error.h"

#include <stdint.h>

typedef struct zq_photo {
    int64_t height, width;
    unsigned char *rgb; /* [height, width, 3], owned */
} zq_photo;

/* Decodes a file by what it holds, whatever its name. Grey becomes RGB; transparency is ignored. A file that
 * is damaged, cut off, no picture or larger than 100 megapixels is refused with a sentence. */
zq_status zq_photo_read(const char *path, zq_photo *photo_out, zq_error *err);
void zq_photo_clear(zq_photo *photo);

/* Bilinear with antialiasing, in float. planes: [3, height, width], red first, 0..255. */
zq_status zq_photo_resize(const zq_photo *photo, zq_resize how, int64_t height, int64_t width, float *planes,
                          zq_error *err);

/* Names that end in .jpg, .jpeg or .png, in a folder and the folders in it, sorted. */
typedef struct zq_photo_list {
    size_t n, capacity;
    char **paths; /* [n], each owned, as the array is */
} zq_photo_list;

/* A folder without any is refused. */
zq_status zq_photo_list_make(const char *folder, zq_photo_list *list_out, zq_error *err);
void zq_photo_list_clear(zq_photo_list *list);

#endif

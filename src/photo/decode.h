/* SPDX-License-Identifier: Apache-2.0 */
/* One decoder a format, from the bytes of a file; err: what is wrong, without the file's name. */
#ifndef ZQ_PHOTO_DECODE_H
#define ZQ_PHOTO_DECODE_H

#include "photo/photo.h"

zq_status zq_photo_decode_jpeg(const unsigned char *bytes, size_t n, zq_photo *photo, zq_error *err);
zq_status zq_photo_decode_png(const unsigned char *bytes, size_t n, zq_photo *photo, zq_error *err);

/* Room for the pixels, unless there are too many or none. */
zq_status zq_photo_allocate(uint64_t height, uint64_t width, zq_photo *photo, zq_error *err);

#endif

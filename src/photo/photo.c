/* SPDX-License-Identifier: Apache-2.0 */
#include "photo/photo.h"

#include "base/file.h"
#include "base/memory.h"
#include "photo/decode.h"

#include <inttypes.h>
#include <string.h>

static const uint64_t most_pixels = 100000000;

zq_status zq_photo_allocate(uint64_t height, uint64_t width, zq_photo *photo, zq_error *err) {
    if (height == 0 || width == 0 || height > most_pixels || width > most_pixels ||
        height * width > most_pixels)
        return zq_fail(err, ZQ_ERR_LIMIT,
                       "has %" PRIu64 " x %" PRIu64 " pixels; at most 100 megapixels are read: scale it down",
                       width, height);
    *photo = (zq_photo){.height = (int64_t)height, .width = (int64_t)width};
    photo->rgb = zq_alloc_raw((size_t)(height * width), 3);
    return photo->rgb == NULL ? zq_fail_memory(err) : ZQ_OK;
}

void zq_photo_clear(zq_photo *photo) {
    zq_free(photo->rgb);
    *photo = (zq_photo){0};
}

static zq_status decode(const unsigned char *bytes, size_t n, zq_photo *photo, zq_error *err) {
    static const unsigned char jpeg[] = {0xFF, 0xD8, 0xFF}, png[] = {0x89, 'P', 'N', 'G'};
    if (n >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0)
        return zq_photo_decode_jpeg(bytes, n, photo, err);
    if (n >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
        return zq_photo_decode_png(bytes, n, photo, err);
    return zq_fail(err, ZQ_ERR_FORMAT, n == 0 ? "is empty" : "is neither JPEG nor PNG");
}

zq_status zq_photo_read(const char *path, zq_photo *photo_out, zq_error *err) {
    unsigned char *bytes;
    size_t n;
    zq_error reason = {0};
    *photo_out = (zq_photo){0};
    ZQ_TRY(zq_file_read(path, &bytes, &n, err));
    const zq_status status = decode(bytes, n, photo_out, &reason);
    zq_free(bytes);
    if (status != ZQ_OK) {
        zq_photo_clear(photo_out);
        return zq_fail(err, status, "%.400s: %.500s", path, reason.text);
    }
    return ZQ_OK;
}

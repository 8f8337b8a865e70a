/* SPDX-License-Identifier: Apache-2.0 */
/* tool_photo PHOTO HEIGHT WIDTH OUT.f32: the photo squashed to a size, [3, HEIGHT, WIDTH] as float32; a size
 * of 0 0: its own. Prints the photo's own height and width. */
#include "base/memory.h"
#include "photo/photo.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    zq_error err = {0};
    zq_photo photo;
    if (argc != 5)
        return ZQ_ERR_USAGE;
    if (zq_photo_read(argv[1], &photo, &err) != ZQ_OK) {
        printf("%s\n", err.text);
        return (int)err.status;
    }
    const int64_t height = atoll(argv[2]) > 0 ? atoll(argv[2]) : photo.height;
    const int64_t width = atoll(argv[3]) > 0 ? atoll(argv[3]) : photo.width;
    float *planes = zq_alloc((size_t)(height * width), 3 * sizeof *planes);
    FILE *out = fopen(argv[4], "wb");
    if (planes == NULL || out == NULL ||
        zq_photo_resize(&photo, ZQ_RESIZE_SQUASH, height, width, planes, &err) != ZQ_OK)
        return ZQ_ERR_IO;
    fwrite(planes, sizeof *planes, (size_t)(height * width) * 3, out);
    printf("%lld %lld\n", (long long)photo.height, (long long)photo.width);
    zq_free(planes);
    zq_photo_clear(&photo);
    return fclose(out) == 0 ? ZQ_OK : ZQ_ERR_IO;
}

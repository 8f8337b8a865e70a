/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "report/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "\x93NUMPY", version 1.0, header length (2 bytes), and a Python dict padded so that the data begin at a
 * multiple of 64 (NumPy enhancement proposal 1). */
static void write_header(FILE *stream, const zq_shape *shape) {
    char dims[ZQ_MAX_RANK * 24] = "", header[512];
    size_t used = 0;
    for (int d = 0; d < shape->rank; d++)
        used += (size_t)snprintf(dims + used, sizeof dims - used, "%" PRId64 ", ", shape->dims[d]);
    int n =
        snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", dims);
    while ((10 + n + 1) % 64 != 0)
        header[n++] = ' ';
    header[n++] = '\n';
    const unsigned char prefix[] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(n & 255), (unsigned char)(n >> 8)};
    fwrite(prefix, 1, sizeof prefix, stream);
    fwrite(header, 1, (size_t)n, stream);
}

zq_status zq_npy_write(const char *path, const zq_images *images, zq_error *err) {
    zq_file file;
    ZQ_TRY(zq_file_create(path, &file, err));
    write_header(file.stream, &images->shape);
    fwrite(images->data, sizeof(float), (size_t)zq_shape_count(&images->shape), file.stream);
    return zq_file_commit(&file, err); /* also tells whether every write succeeded */
}

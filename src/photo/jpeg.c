/* SPDX-License-Identifier: Apache-2.0 */
/* libjpeg reports errors by a function that must not return: here it jumps back. */
#include "photo/decode.h"

#include <setjmp.h>
#include <stdio.h>

#include <jerror.h>
#include <jpeglib.h>

typedef struct decoder {
    struct jpeg_error_mgr errors; /* first: libjpeg knows this part only */
    jmp_buf failed;
    char text[JMSG_LENGTH_MAX];
} decoder;

static void give_up(j_common_ptr jpeg) {
    decoder *d = (decoder *)(void *)jpeg->err;
    jpeg->err->format_message(jpeg, d->text);
    longjmp(d->failed, 1);
}

/* A warning means pixels that were made up, as behind the end of a file, but for garbage that is skipped. */
static void on_message(j_common_ptr jpeg, int level) {
    if (level < 0 && jpeg->err->msg_code != JWRN_EXTRANEOUS_DATA)
        give_up(jpeg);
}

static void print_nothing(j_common_ptr jpeg) {
    (void)jpeg;
}

/* Runs between setjmp and its end: nothing here owns memory but jpeg and photo. */
static zq_status decode(struct jpeg_decompress_struct *jpeg, const unsigned char *bytes, size_t n,
                        zq_photo *photo, zq_error *err) {
    jpeg_create_decompress(jpeg);
    jpeg_mem_src(jpeg, bytes, (unsigned long)n);
    jpeg_read_header(jpeg, TRUE);
    if (jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "holds CMYK colours for printing: save it as RGB");
    ZQ_TRY(zq_photo_allocate(jpeg->image_height, jpeg->image_width, photo, err));
    jpeg->out_color_space = JCS_RGB;
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = photo->rgb + (size_t)jpeg->output_scanline * (size_t)photo->width * 3;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_decompress(jpeg);
    return ZQ_OK;
}

zq_status zq_photo_decode_jpeg(const unsigned char *bytes, size_t n, zq_photo *photo, zq_error *err) {
    struct jpeg_decompress_struct jpeg = {0};
    decoder d;
    zq_status status;
    jpeg.err = jpeg_std_error(&d.errors);
    d.errors.error_exit = give_up;
    d.errors.emit_message = on_message;
    d.errors.output_message = print_nothing;
    if (setjmp(d.failed) == 0)
        status = decode(&jpeg, bytes, n, photo, err);
    else
        status = zq_fail(err, ZQ_ERR_FORMAT, "is a damaged JPEG file: %s", d.text);
    jpeg_destroy_decompress(&jpeg);
    return status;
}

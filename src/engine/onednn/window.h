/* SPDX-License-Identifier: Apache-2.0 */
/* zq_window, checked and turned into oneDNN's terms. */
#ifndef ZQ_ENGINE_ONEDNN_WINDOW_H
#define ZQ_ENGINE_ONEDNN_WINDOW_H

#include "engine/onednn/compat.h"
#include "engine/onednn/onednn.h"

/* Fail with a sentence where a size is out of range or sizes contradict each other. */
zq_status zq_dnn_window_check_conv(const zq_window *window, zq_error *err);
zq_status zq_dnn_window_check_pool(const zq_window *window, zq_error *err);

/* Channels-last descriptors of source and destination (owned by the caller; compat_desc_drop, also on
 * failure), lent to w_out, with the rest of the window. */
zq_status zq_dnn_window_describe(const zq_window *window, dnnl_data_type_t type, dnnl_memory_desc_t *src,
                                 dnnl_memory_desc_t *dst, compat_window *w_out, zq_error *err);

/* Rows after the last input element that the last window reaches: the padding that oneDNN must be told. It
 * differs from pad_hi where the output was rounded up, or where the last rows meet no window. */
int64_t zq_dnn_window_pad_end(const zq_window *window, int axis);

/* "a convolution 3x3 of 16 to 32 channels (groups 1) on 56x56" */
void zq_dnn_window_text(const zq_window *window, const char *what, char *text, size_t n_text);

#endif

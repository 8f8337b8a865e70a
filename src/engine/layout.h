/* SPDX-License-Identifier: Apache-2.0 */
/* Plain order [n, c, s] and channels-last order [n, s, c]; s: all spatial positions of an image. */
#ifndef ZQ_ENGINE_LAYOUT_H
#define ZQ_ENGINE_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* src plain, dst channels-last (+= when add). */
void zq_layout_to_last(int64_t n, int64_t c, int64_t s, const float *src, bool add, float *dst);

/* src channels-last, dst plain. */
void zq_layout_to_plain(int64_t n, int64_t c, int64_t s, const float *src, float *dst);

#endif

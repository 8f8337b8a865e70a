/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: a status to branch on and one sentence for the user, raised once, where the most is known. */
#ifndef ZQ_BASE_ERROR_H
#define ZQ_BASE_ERROR_H

#include <zeroq/zeroq.h>

typedef struct zq_error {
    zq_status status;
    char text[1024];
} zq_error;

/* Fills err (NULL is allowed) and returns status, so that callers can write: return zq_fail(err, ZQ_ERR_IO,
 * "..."). */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
zq_status
zq_fail(zq_error *err, zq_status status, const char *format, ...);

/* The usual sentence when an allocation fails. */
zq_status zq_fail_memory(zq_error *err);

/* Returns the status of a call that failed; for functions that own nothing yet (others: goto done). */
#define ZQ_TRY(call)                                                                                         \
    do {                                                                                                     \
        const zq_status zq_try_status_ = (call);                                                             \
        if (zq_try_status_ != ZQ_OK)                                                                         \
            return zq_try_status_;                                                                           \
    } while (0)

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

zq_status zq_fail(zq_error *err, zq_status status, const char *format, ...) {
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        err->status = status;
    }
    return status;
}

zq_status zq_fail_memory(zq_error *err) {
    return zq_fail(err, ZQ_ERR_MEMORY, "out of memory");
}

const char *zq_status_name(zq_status status) {
    switch (status) {
    case ZQ_OK:
        return "ok";
    case ZQ_ERR_INTERNAL:
        return "internal error";
    case ZQ_ERR_USAGE:
        return "wrong usage";
    case ZQ_ERR_IO:
        return "file error";
    case ZQ_ERR_FORMAT:
        return "damaged model";
    case ZQ_ERR_UNSUPPORTED:
        return "unsupported";
    case ZQ_ERR_STATISTICS:
        return "no statistics";
    case ZQ_ERR_LIMIT:
        return "limit";
    case ZQ_ERR_MEMORY:
        return "out of memory";
    case ZQ_ERR_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

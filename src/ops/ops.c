/* SPDX-License-Identifier: Apache-2.0 */
/* The table of operators. */
#include "graph/op.h"

#include <string.h>

#define X(symbol) extern const zq_op zq_op_##symbol;
#include "ops/list.h"
#undef X

static const zq_op *const table[] = {
#define X(symbol) &zq_op_##symbol,
#include "ops/list.h"
#undef X
};

const zq_op *zq_op_at(int n) {
    return n >= 0 && n < (int)(sizeof table / sizeof table[0]) ? table[n] : NULL;
}

const zq_op *zq_op_find(const char *name) {
    for (int n = 0; zq_op_at(n) != NULL; n++)
        if (strcmp(table[n]->name, name) == 0)
            return table[n];
    return NULL;
}

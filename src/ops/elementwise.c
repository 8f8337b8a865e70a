/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/elementwise.h"

#include <string.h>

static void zero_gradients_from(const zq_io *io, int first) {
    for (int i = first; i < io->n_in; i++)
        if (io->d_in[i] != NULL)
            memset(io->d_in[i]->data, 0, (size_t)zq_shape_count(&io->d_in[i]->shape) * sizeof(zq_real));
}

void zq_elementwise_zero_gradients(const zq_io *io) {
    zero_gradients_from(io, 0);
}

bool zq_elementwise_has_gradient(const zq_io *io) {
    zero_gradients_from(io, io->d_out[0] == NULL ? 0 : 1);
    return io->d_out[0] != NULL && io->d_in[0] != NULL;
}

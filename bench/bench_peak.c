/* SPDX-License-Identifier: Apache-2.0 */
/* The peak of this machine and this number of threads (OMP_NUM_THREADS), as JSON. */
#include "peak.h"

#include <omp.h>
#include <stdio.h>

int main(void) {
    printf("{\"threads\": %d, \"gflops\": %.1f}\n", omp_get_max_threads(), peak_gflops());
    return 0;
}

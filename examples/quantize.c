/* SPDX-License-Identifier: Apache-2.0 */
/* The whole library in one program: quantize MODEL.onnx OUTPUT.onnx
 *
 *     cc quantize.c $(pkg-config --cflags --libs zeroq) -o quantize */
#include <zeroq/zeroq.h>

#include <stdio.h>

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: quantize MODEL.onnx OUTPUT.onnx\n");
        return ZQ_ERR_USAGE;
    }
    zq_options options = zq_options_default();
    options.size = "w4"; /* mixed widths, no larger than with 4 bits everywhere */
    zq_job *job = zq_job_new(&options);
    zq_status status = job == NULL ? ZQ_ERR_MEMORY : zq_job_open(job, argv[1]);
    if (status == ZQ_OK)
        status = zq_job_quantize(job, argv[2]);
    if (status == ZQ_OK) {
        zq_summary summary;
        zq_job_summary(job, &summary);
        printf("%s: %.1f bits a weight, KL %.4f expected\n", argv[2], summary.mean_bits,
               summary.predicted_kl);
    } else
        fprintf(stderr, "%s\n", zq_job_message(job));
    zq_job_drop(job);
    return (int)status;
}

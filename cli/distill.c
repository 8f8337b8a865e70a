/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>

static zq_status run(zq_job *job, const cli_arguments *arguments) {
    zq_status status = zq_job_open(job, arguments->model);
    if (status == ZQ_OK)
        status = cli_check_outputs(job, arguments);
    if (status == ZQ_OK)
        status = zq_job_distill(job);
    if (status == ZQ_OK)
        status = zq_job_write_images(job, arguments->output);
    if (status == ZQ_OK && arguments->png != NULL)
        status = zq_job_write_sheet(job, arguments->png);
    cli_progress_clear();
    if (status == ZQ_OK && !arguments->quiet) {
        zq_summary summary;
        zq_job_summary(job, &summary);
        printf("%s written in %.2f s\n", arguments->output, summary.seconds);
    }
    return status;
}

const cli_command cli_distill = {
    .name = "distill",
    .usage = "zeroq distill MODEL.onnx -o IMAGES.npy [--png SHEET.png] [options]",
    .summary = "writes the distilled images only, and a picture of them",
    .description = "Makes images whose statistics at every BatchNormalization layer are those of the "
                   "training data, and\n"
                   "writes them normalised as the network takes them: float32 [N, C, H, W].",
    .groups = CLI_ALL | CLI_OUTPUT | CLI_IMAGES | CLI_PICTURE,
    .needs_output = true,
    .run = run,
};

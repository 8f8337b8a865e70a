/* SPDX-License-Identifier: Apache-2.0 */
/* zeroq: one file a command; the exit status is the library's zq_status. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_command *const commands[] = {&cli_quantize, &cli_pareto,  &cli_inspect,
                                              &cli_distill,  &cli_compare, NULL};

void cli_print_overview(void) {
    printf("zeroq %s: quantizes a trained ONNX convolution network without any data\n\n", zq_version());
    for (int c = 0; commands[c] != NULL; c++)
        printf("  zeroq %-9s %s\n", commands[c]->name, commands[c]->summary);
    printf("\nTry it:\n"
           "  zeroq quantize net.onnx -o net.q.onnx             8-bit weights and activations\n"
           "  zeroq quantize net.onnx -o net.q.onnx --size w4   2/4/8-bit weights, no larger than 4 bits "
           "everywhere\n"
           "\n'zeroq COMMAND --help' explains a command. Exit status: 0 done, 1 internal error, 2 wrong "
           "usage, 3 file\n"
           "can't be read or written, 4 damaged model, 5 unsupported model, 6 no BatchNormalization "
           "statistics,\n"
           "7 a limit can't be kept, 8 out of memory, 9 cancelled.\n");
}

static const cli_command *find_command(const char *name) {
    for (int c = 0; commands[c] != NULL; c++)
        if (strcmp(commands[c]->name, name) == 0)
            return commands[c];
    return NULL;
}

static int run(const cli_command *command, const cli_arguments *arguments) {
    zq_options options = arguments->options;
    bool quiet = arguments->quiet;
    options.progress = cli_progress;
    options.progress_user = &quiet;
    zq_job *job = zq_job_new(&options);
    zq_status status = job == NULL ? ZQ_ERR_MEMORY : command->run(job, arguments);
    if (status == ZQ_OK && arguments->json != NULL)
        status = zq_job_write_json(job, arguments->json);
    cli_progress_clear();
    if (status != ZQ_OK)
        fprintf(stderr, "zeroq: %s\n", zq_job_message(job));
    zq_job_drop(job);
    if (status == ZQ_OK && (fflush(stdout) != 0 || ferror(stdout))) {
        fprintf(stderr, "zeroq: the output can't be written\n");
        return ZQ_ERR_IO;
    }
    return (int)status;
}

/* By default OpenMP threads wait for one another by spinning for milliseconds; where other programs want the
 * cores too, that made a job of 5 s last 30. The OpenMP library reads its settings before main, so the
 * program starts itself once more. */
static void wait_politely(char **argv) {
    if (getenv("GOMP_SPINCOUNT") != NULL || getenv("OMP_WAIT_POLICY") != NULL)
        return;
    if (setenv("GOMP_SPINCOUNT", "1000", 1) == 0)
        execv("/proc/self/exe", argv); /* returns only where that can't be done: then it waits impolitely */
}

int main(int argc, char **argv) {
    wait_politely(argv);
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        cli_print_overview();
        return ZQ_OK;
    }
    if (strcmp(name, "--version") == 0) {
        printf("zeroq %s\n", zq_version());
        return ZQ_OK;
    }
    const cli_command *command = find_command(name);
    if (command == NULL) {
        fprintf(stderr,
                name[0] != '\0' ? "zeroq: '%s' is no command; 'zeroq --help' lists them\n"
                                : "zeroq: no command given%s; 'zeroq --help' lists them\n",
                name);
        return ZQ_ERR_USAGE;
    }
    cli_arguments arguments = {.options = zq_options_default()};
    bool help = false;
    if (!cli_parse(command, argc - 2, argv + 2, &arguments, &help))
        return ZQ_ERR_USAGE;
    if (help) {
        cli_print_help(command);
        return ZQ_OK;
    }
    char *line = cli_command_line(argc, argv);
    arguments.options.command = line;
    const int status = run(command, &arguments);
    free(line);
    return status;
}

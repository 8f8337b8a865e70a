/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share: arguments, help, progress. Only the public API is used. */
#ifndef ZQ_CLI_H
#define ZQ_CLI_H

#include <zeroq/zeroq.h>

#include <jansson.h>
#include <stdbool.h>

enum { CLI_MAX_NAMES = 1000 };

/* What the command line said. Strings are borrowed from argv. */
typedef struct cli_arguments {
    const char *model;
    const char *other;  /* compare: the second model */
    const char *output; /* -o; NULL: not given */
    const char *json;
    const char *csv;
    const char *png;
    const char *report;
    bool quiet;
    bool plan, gradient; /* inspect: time the engine's steps, with gradient */
    int plan_images;
    zq_options options;
    const char *keep[CLI_MAX_NAMES], *exclude[CLI_MAX_NAMES]; /* what options points to */
} cli_arguments;

typedef struct cli_command {
    const char *name, *usage, *summary, *description;
    unsigned groups; /* option groups that it takes */
    bool needs_output;
    bool two_models;
    zq_status (*run)(zq_job *job, const cli_arguments *arguments);
} cli_command;

enum cli_groups {
    CLI_ALL = 1,
    CLI_OUTPUT = 2,
    CLI_IMAGES = 4,
    CLI_QUANTIZE = 8,
    CLI_PICTURE = 16,
    CLI_PLAN = 32,
    CLI_PHOTOS = 64,
    CLI_SEARCH = 128, /* what decides which widths are best */
    CLI_TABLE = 256
};

extern const cli_command cli_quantize, cli_pareto, cli_inspect, cli_distill, cli_compare;

/* Fills arguments from argv behind the command's name. On a mistake a sentence goes to stderr and false is
 * returned; *help_out is set when --help was asked for. */
bool cli_parse(const cli_command *command, int argc, char **argv, cli_arguments *arguments, bool *help_out);

/* Whether all files that the arguments name can be written; job has opened the model. */
zq_status cli_check_outputs(zq_job *job, const cli_arguments *arguments);

void cli_print_help(const cli_command *command);
void cli_print_overview(void);

/* The command as a shell would take it again; free(). NULL when out of memory. */
char *cli_command_line(int argc, char **argv);

/* Progress on one line of a terminal, rewritten in place; nothing at all when stderr is none. */
int cli_progress(void *user, const char *stage, double done);
bool cli_progress_wanted(void);
void cli_progress_clear(void);

/* "Nx3x32x32" of a JSON list into buffer; returns buffer. */
char *cli_shape(const json_t *shape, char *buffer, size_t n);

/* A line about what follows the part that zeroq reads, where there is something. */
void cli_print_copied(const char *indent, const json_t *report);

/* Tables of the "plan" in a report; false: out of memory. */
bool cli_plan_print(const json_t *report);

/* "1.06 MB" into buffer; returns buffer. */
char *cli_bytes(double bytes, char buffer[32]);

#endif

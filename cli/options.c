/* SPDX-License-Identifier: Apache-2.0 */
/* The options: one line each in a table, from which help is printed too. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cli_option {
    const char *name, *letter; /* "--output", "-o" (NULL: none) */
    const char *value;         /* what follows; NULL: nothing */
    unsigned group;
    bool (*set)(cli_arguments *arguments, const char *text); /* false: not understood */
    const char *help;
} cli_option;

static bool parse_number(const char *text, double least, double most, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0 && isfinite(*out) && *out >= least && *out <= most;
}

static bool parse_count(const char *text, int *out) {
    double value;
    if (!parse_number(text, 1, 1e6, &value) || value != floor(value))
        return false;
    *out = (int)value;
    return true;
}

static bool set_output(cli_arguments *a, const char *text) {
    a->output = text;
    return text[0] != '\0';
}

static bool set_precision(cli_arguments *a, const char *text) {
    static const char *const names[] = {"auto", "fp32", "bf16"};
    for (int p = 0; p < 3; p++)
        if (strcmp(text, names[p]) == 0) {
            a->options.precision = (zq_precision)p;
            return true;
        }
    return false;
}

static bool set_json(cli_arguments *a, const char *text) {
    a->json = text;
    return text[0] != '\0';
}

static bool set_csv(cli_arguments *a, const char *text) {
    a->csv = text;
    return text[0] != '\0';
}

static bool set_from(cli_arguments *a, const char *text) {
    a->options.from = text;
    return text[0] != '\0';
}

static bool set_report(cli_arguments *a, const char *text) {
    a->report = text;
    return text[0] != '\0';
}

static bool set_png(cli_arguments *a, const char *text) {
    a->png = text;
    return text[0] != '\0';
}

static bool set_quiet(cli_arguments *a, const char *text) {
    (void)text;
    a->quiet = true;
    return true;
}

static bool set_plan(cli_arguments *a, const char *text) {
    (void)text;
    a->plan = true;
    return true;
}

/* What says how the plan is to be run asks for it. */
static bool set_gradient(cli_arguments *a, const char *text) {
    a->gradient = true;
    return set_plan(a, text);
}

static bool set_plan_images(cli_arguments *a, const char *text) {
    return set_plan(a, text) && parse_count(text, &a->plan_images);
}

static bool set_size(cli_arguments *a, const char *text) {
    a->options.size = text; /* the library explains what it doesn't understand */
    return true;
}

static bool set_bits(cli_arguments *a, const char *text) {
    a->options.bits = text;
    return true;
}

static bool add_name(const char **names, int *n, const char *text) {
    if (*n == CLI_MAX_NAMES)
        return false;
    names[(*n)++] = text;
    return true;
}

static bool add_keep(cli_arguments *a, const char *text) {
    a->options.keep = a->keep;
    return add_name(a->keep, &a->options.n_keep, text);
}

static bool add_exclude(cli_arguments *a, const char *text) {
    a->options.exclude = a->exclude;
    return add_name(a->exclude, &a->options.n_exclude, text);
}

static bool set_first_last(cli_arguments *a, const char *text) {
    (void)text;
    a->options.keep_first_last = 1;
    return true;
}

static bool set_estimate(cli_arguments *a, const char *text) {
    (void)text;
    a->options.estimate_bn = 1;
    return true;
}

static bool set_cost(cli_arguments *a, const char *text) {
    static const char *const names[] = {"bytes", "bits", "bops"};
    for (int c = 0; c < 3; c++)
        if (strcmp(text, names[c]) == 0) {
            a->options.cost = (zq_cost)c;
            return true;
        }
    return false;
}

static bool set_max_kl(cli_arguments *a, const char *text) {
    return parse_number(text, 1e-9, 1e6, &a->options.max_kl);
}

/* "99%", or 0.99 */
static bool set_agreement(cli_arguments *a, const char *text) {
    char number[32];
    const size_t n = strlen(text);
    const bool percent = n > 0 && text[n - 1] == '%';
    snprintf(number, sizeof number, "%.*s", (int)(n - percent), text);
    if (!parse_number(number, 0, percent ? 100 : 1, &a->options.min_agreement))
        return false;
    a->options.min_agreement /= percent ? 100 : 1;
    return true;
}

static bool set_runtime(cli_arguments *a, const char *text) {
    static const char *const names[] = {"onnxruntime", "openvino", "tensorrt"};
    for (int r = 0; r < 3; r++)
        if (strcmp(text, names[r]) == 0) {
            a->options.runtime = (zq_runtime)r;
            return true;
        }
    return false;
}

static bool set_search(cli_arguments *a, const char *text) {
    a->options.search = strcmp(text, "grouped") == 0 ? ZQ_SEARCH_GROUPED : ZQ_SEARCH_INDEPENDENT;
    return strcmp(text, "grouped") == 0 || strcmp(text, "independent") == 0;
}

static bool set_shape(cli_arguments *a, const char *text) {
    a->options.input_shapes = text;
    return true;
}

static bool set_threads(cli_arguments *a, const char *text) {
    return parse_count(text, &a->options.n_threads);
}

/* "700MB", "1.5GB" */
static bool set_memory(cli_arguments *a, const char *text) {
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}};
    const size_t n = strspn(text, "0123456789.");
    char number[32];
    double value;
    snprintf(number, sizeof number, "%.*s", (int)n, text);
    for (int u = 0; u < 3; u++)
        if (n < sizeof number && strcmp(text + n, units[u].name) == 0 &&
            parse_number(number, 0.001, 1e6, &value)) {
            a->options.memory = (uint64_t)(value * units[u].factor);
            return true;
        }
    return false;
}

static bool set_images(cli_arguments *a, const char *text) {
    return parse_count(text, &a->options.n_images);
}

static bool set_steps(cli_arguments *a, const char *text) {
    return parse_count(text, &a->options.n_steps);
}

static bool set_effort(cli_arguments *a, const char *text) {
    static const char *const names[] = {"normal", "fast", "best"};
    for (int e = 0; e < 3; e++)
        if (strcmp(text, names[e]) == 0) {
            a->options.effort = (zq_effort)e;
            return true;
        }
    return false;
}

static bool set_seed(cli_arguments *a, const char *text) {
    char *end;
    errno = 0;
    a->options.seed = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

static bool set_recipe(cli_arguments *a, const char *text) {
    static const char *const names[] = {"fast", "paper", "noise"};
    for (int r = 0; r < 3; r++)
        if (strcmp(text, names[r]) == 0) {
            a->options.recipe = (zq_recipe)r;
            return true;
        }
    return false;
}

static bool set_sensitivity(cli_arguments *a, const char *text) {
    static const char *const names[] = {"sampled", "exact", "fisher"};
    for (int m = 0; m < (int)(sizeof names / sizeof names[0]); m++)
        if (strcmp(text, names[m]) == 0) {
            a->options.sensitivity = (zq_sensitivity_method)m;
            return true;
        }
    return false;
}

static bool set_weights(cli_arguments *a, const char *text) {
    a->options.weights = strcmp(text, "asymmetric") == 0 ? ZQ_WEIGHTS_ASYMMETRIC : ZQ_WEIGHTS_SYMMETRIC;
    return strcmp(text, "asymmetric") == 0 || strcmp(text, "symmetric") == 0;
}

static bool set_clip(cli_arguments *a, const char *text) {
    return parse_number(text, 50.0001, 100, &a->options.weight_clip);
}

/* "6"; "mixed", or "mixed:5.5" */
static bool set_activation_bits(cli_arguments *a, const char *text) {
    if (strcmp(text, "mixed") == 0)
        text = "mixed:6";
    if (strncmp(text, "mixed:", 6) == 0)
        return parse_number(text + 6, 4, 8, &a->options.mixed_activations);
    a->options.mixed_activations = 0;
    return parse_count(text, &a->options.activation_bits) && a->options.activation_bits >= 4 &&
           a->options.activation_bits <= 8;
}

static bool set_ranges(cli_arguments *a, const char *text) {
    if (strcmp(text, "mse") == 0)
        a->options.activation_range = ZQ_RANGE_MSE;
    else if (strcmp(text, "minmax") == 0)
        a->options.activation_range = ZQ_RANGE_MINMAX;
    else {
        a->options.activation_range = ZQ_RANGE_PERCENTILE;
        return parse_number(text, 50.0001, 100, &a->options.percentile);
    }
    return true;
}

static bool set_input_max(cli_arguments *a, const char *text) {
    return parse_number(text, 1e-6, 1e6, &a->options.input_max);
}

/* "a,b,c": one number, or one for each channel; mean and std must agree in how many. */
static bool parse_channels(cli_arguments *a, const char *text, double least, double *values) {
    int n = 0;
    char piece[64];
    for (;;) {
        const size_t length = strcspn(text, ",");
        if (length >= sizeof piece)
            return false;
        memcpy(piece, text, length);
        piece[length] = '\0';
        if (!parse_number(piece, least, 1e6, &values[n++]))
            return false;
        text += length;
        if (*text == '\0' || n == 4)
            break;
        text++;
    }
    if (*text != '\0' || (a->options.n_input_norm != 0 && a->options.n_input_norm != n))
        return false;
    a->options.n_input_norm = n;
    return true;
}

static bool set_mean(cli_arguments *a, const char *text) {
    return parse_channels(a, text, -1e6, a->options.input_mean);
}

static bool set_std(cli_arguments *a, const char *text) {
    return parse_channels(a, text, 1e-9, a->options.input_std);
}

static bool set_photos(cli_arguments *a, const char *text) {
    a->options.images = text;
    return text[0] != '\0';
}

static bool set_resize(cli_arguments *a, const char *text) {
    static const char *const names[] = {"crop", "squash", "pad"};
    for (int r = 0; r < 3; r++)
        if (strcmp(text, names[r]) == 0) {
            a->options.resize = (zq_resize)r;
            return true;
        }
    return false;
}

static bool set_bgr(cli_arguments *a, const char *text) {
    (void)text;
    a->options.input_bgr = 1;
    return true;
}

static const cli_option options[] = {
    {"--output", "-o", "FILE", CLI_OUTPUT, set_output, "the file to write"},
    {"--size", NULL, "SIZE", CLI_QUANTIZE, set_size,
     "w8 (default), w6, w4, w3: no larger than with so many bits everywhere; 25%: of the FP32 file; 1.5MB, "
     "800KB"},
    {"--runtime", NULL, "NAME", CLI_QUANTIZE, set_runtime,
     "whose integer kernels the file is written for: onnxruntime (default), openvino or tensorrt; these two "
     "8 "
     "bits only"},
    {"--cost", NULL, "WHAT", CLI_SEARCH, set_cost,
     "what the size counts: bytes of the file (default), bits of the weights alone as in the paper, bops "
     "(weight bits x activation bits x multiply-accumulates; "
     "sizes such as "
     "1.5GBOPS)"},
    {"--max-kl", NULL, "X", CLI_QUANTIZE, set_max_kl,
     "the smallest network within the size whose KL divergence on held-out images is at most X nats"},
    {"--min-agreement", NULL, "P%", CLI_QUANTIZE, set_agreement,
     "the smallest one with the same largest output on at least P% of photos, as expected from the held-out "
     "images (a quarter of --num-images)"},
    {"--from", NULL, "FILE", CLI_QUANTIZE, set_from,
     "what 'zeroq pareto --json FILE' found out about this model: nothing is measured again, and only the "
     "size "
     "and the limits of the damage can be chosen"},
    {"--bits", NULL, "LIST", CLI_SEARCH, set_bits, "widths to choose from (default 2,3,4,5,6,8)"},
    {"--search", NULL, "HOW", CLI_SEARCH, set_search,
     "independent (default: the damage of layers adds up), or grouped (the paper's Appendix A: measured with "
     "all layers decided so far, thousands of times)"},
    {"--keep", NULL, "NAME=BITS", CLI_SEARCH, add_keep,
     "the width of a layer, whatever the size (up to 1000 times)"},
    {"--keep-first-last", NULL, NULL, CLI_SEARCH, set_first_last,
     "8 bits in the first and the last layer, unless --keep or --exclude names them"},
    {"--exclude", NULL, "NAME", CLI_SEARCH, add_exclude, "a layer that stays FP32 (up to 1000 times)"},
    {"--png", NULL, "FILE", CLI_PICTURE, set_png, "a contact sheet of the distilled images"},
    {"--report", NULL, "FILE", CLI_QUANTIZE, set_report,
     "a page of HTML that shows what was measured: report.html"},
    {"--json", NULL, "FILE", CLI_ALL, set_json, "everything that was measured, as JSON"},
    {"--csv", NULL, "FILE", CLI_TABLE, set_csv, "the frontier as a table: a point a row, a layer a column"},
    {"--effort", NULL, "HOW", CLI_IMAGES, set_effort,
     "fast: 16 or 32 distilled images; normal (default): 32 to 512; best: 128 to 1024, and quantize learns "
     "from them; most in the smallest networks"},
    {"--num-images", NULL, "N", CLI_IMAGES, set_images, "distilled images, whatever the effort"},
    {"--images", NULL, "DIR", CLI_PHOTOS, set_photos,
     "photos (JPEG, PNG) in this folder, and those in it, instead of distilled images: all, or --num-images "
     "of "
     "them (quantize: at most 64 unless told); needs --input-max"},
    {"--resize", NULL, "HOW", CLI_PHOTOS, set_resize,
     "photos to the network's size: crop (default: the middle, 7/8 of the shorter side; pixel by pixel where "
     "it is at most 8/7 as long), squash, or pad (black)"},
    {"--input-bgr", NULL, NULL, CLI_PHOTOS, set_bgr,
     "the network takes blue, green, red, and so are --input-mean and --input-std"},
    {"--steps", NULL, "N", CLI_IMAGES, set_steps,
     "steps of the distillation (default 4, 10 for images below 96 pixels; 500 for the paper's recipe)"},
    {"--precision", NULL, "TYPE", CLI_IMAGES | CLI_PLAN, set_precision,
     "what the distillation computes in: auto (default: bf16 where the processor multiplies it), fp32 or "
     "bf16"},
    {"--distill", NULL, "RECIPE", CLI_IMAGES, set_recipe,
     "fast (default), paper (Alg. 1 as published), noise (none: for a network without BatchNormalization)"},
    {"--estimate-bn", NULL, NULL, CLI_IMAGES, set_estimate,
     "statistics to distil from are estimated, for a network whose BatchNormalization was folded away; say "
     "how "
     "pixels are normalised (--input-max)"},
    {"--input-max", NULL, "MAX", CLI_IMAGES, set_input_max,
     "largest pixel before normalisation, 1 or 255; when absent, the valid range is estimated from the "
     "network"},
    {"--input-mean", NULL, "A,B,C", CLI_IMAGES, set_mean,
     "what is subtracted from a pixel: x = (p - mean) / std"},
    {"--input-std", NULL, "A,B,C", CLI_IMAGES, set_std, "what a pixel is divided by"},
    {"--activations", NULL, "BITS", CLI_SEARCH, set_activation_bits,
     "bits of all activations: 8 (default) to 4, such as 6; or mixed: 4 to 8 for each by the damage that "
     "it "
     "does, 6 in the mean over the elements of an image (mixed:5.5: another mean, 4 to 8)"},
    {"--range", NULL, "RANGE", CLI_SEARCH, set_ranges,
     "range of activations: mse (default, least squares), minmax, or a percentile such as 99.99"},
    {"--sensitivity", NULL, "HOW", CLI_SEARCH, set_sensitivity,
     "damage of a layer at a width: sampled (default: the paper's, on as many images as it takes), exact (on "
     "all, at every width) or fisher (to second order; faster in deep networks, wrong where damage is "
     "large)"},
    {"--weights", NULL, "SCHEME", CLI_SEARCH, set_weights,
     "symmetric (default) or asymmetric (the paper's: min-max, a zero point per channel; ONNX Runtime before "
     "1.27 "
     "refuses such files)"},
    {"--clip", NULL, "PERCENTILE", CLI_SEARCH, set_clip,
     "range of weights: a percentile of |w| such as 99.99"},
    {"--plan", NULL, NULL, CLI_PLAN, set_plan,
     "runs the network for a second: layout, kernel, time and GFLOP/s of every step"},
    {"--batch", NULL, "N", CLI_PLAN, set_plan_images, "the plan of a batch of N images (default 8)"},
    {"--gradient", NULL, NULL, CLI_PLAN, set_gradient,
     "the plan of a step of the distillation: forward, statistics and gradient"},
    {"--shape", NULL, "NAME=1,3,H,W", CLI_ALL, set_shape, "fixes free dimensions of an input"},
    {"--threads", NULL, "N", CLI_ALL, set_threads, "threads (default: all cores)"},
    {"--memory", NULL, "SIZE", CLI_IMAGES, set_memory,
     "the most memory that may be taken, such as 700MB or 1.5GB: fewer images run at once then; what can't "
     "be "
     "kept is refused before the work"},
    {"--seed", NULL, "N", CLI_IMAGES, set_seed, "another seed gives other images (default 0)"},
    {"--quiet", "-q", NULL, CLI_ALL, set_quiet, "no progress and no summary"},
};
enum { N_OPTIONS = sizeof options / sizeof options[0] };

static bool matches(const cli_option *option, const char *argument) {
    const size_t n = strlen(option->name);
    if (option->letter != NULL && strcmp(argument, option->letter) == 0)
        return true;
    return strncmp(argument, option->name, n) == 0 &&
           (argument[n] == '\0' || (option->value != NULL && argument[n] == '='));
}

static const cli_option *find_option(const cli_command *command, const char *argument) {
    for (int o = 0; o < N_OPTIONS; o++)
        if ((options[o].group & command->groups) != 0 && matches(&options[o], argument))
            return &options[o];
    return NULL;
}

/* Applies argv[*position] and what follows it. */
static bool apply_option(const cli_command *command, const cli_option *option, int argc, char **argv,
                         int *position, cli_arguments *arguments) {
    const char *equals = strchr(argv[*position], '=');
    const char *text = NULL;
    if (option->value != NULL && strncmp(argv[*position], "--", 2) == 0 && equals != NULL)
        text = equals + 1;
    else if (option->value != NULL) {
        if (*position + 1 >= argc) {
            fprintf(stderr, "zeroq: option %s needs %s (%s)\n", option->name, option->value, option->help);
            return false;
        }
        text = argv[++*position];
    }
    if (option->set(arguments, text))
        return true;
    fprintf(stderr, "zeroq: '%s' is no %s for option %s: %s\n'zeroq %s --help' lists the options\n", text,
            option->value, option->name, option->help, command->name);
    return false;
}

/* Whether two of the files to be written are one. */
static bool outputs_collide(const cli_arguments *arguments) {
    const char *const paths[] = {arguments->output, arguments->png, arguments->json, arguments->report,
                                 arguments->csv};
    for (int a = 0; a < 5; a++)
        for (int b = 0; b < a; b++)
            if (paths[a] != NULL && paths[b] != NULL && strcmp(paths[a], paths[b]) == 0)
                return true;
    return false;
}

/* A mean without a std divides by 1, a std without a mean subtracts 0; both need to know the largest pixel.
 */
static bool complete(const cli_command *command, cli_arguments *arguments) {
    zq_options *o = &arguments->options;
    if (arguments->model == NULL) {
        fprintf(stderr, "zeroq: no model given; usage: %s\n", command->usage);
        return false;
    }
    if (command->two_models && arguments->other == NULL) {
        fprintf(stderr, "zeroq: a second model is needed; usage: %s\n", command->usage);
        return false;
    }
    if (command->needs_output && arguments->output == NULL) {
        fprintf(stderr, "zeroq: no output given; usage: %s\n", command->usage);
        return false;
    }
    if (outputs_collide(arguments)) {
        fprintf(stderr, "zeroq: two outputs would go to one file; give each its own\n");
        return false;
    }
    for (int c = 0; c < o->n_input_norm; c++)
        if (o->input_std[c] == 0)
            o->input_std[c] = 1;
    if (o->n_input_norm > 0 && o->input_max == 0)
        o->input_max = 1;
    return true;
}

zq_status cli_check_outputs(zq_job *job, const cli_arguments *arguments) {
    const char *const paths[] = {arguments->output, arguments->png, arguments->json, arguments->report,
                                 arguments->csv};
    zq_status status = ZQ_OK;
    for (int i = 0; i < 5 && status == ZQ_OK; i++)
        if (paths[i] != NULL)
            status = zq_job_check_path(job, paths[i]);
    return status;
}

bool cli_parse(const cli_command *command, int argc, char **argv, cli_arguments *arguments, bool *help_out) {
    bool only_files = false;
    for (int i = 0; i < argc; i++) {
        const bool is_option = !only_files && argv[i][0] == '-' && argv[i][1] != '\0';
        if (is_option && strcmp(argv[i], "--") == 0) {
            only_files = true;
            continue;
        }
        if (is_option && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            *help_out = true;
            return true;
        }
        const cli_option *option = is_option ? find_option(command, argv[i]) : NULL;
        if (option != NULL) {
            if (!apply_option(command, option, argc, argv, &i, arguments))
                return false;
        } else if (is_option) {
            fprintf(stderr, "zeroq: '%s' is no option of 'zeroq %s'; 'zeroq %s --help' lists them\n", argv[i],
                    command->name, command->name);
            return false;
        } else if (command->two_models && arguments->model != NULL && arguments->other == NULL) {
            arguments->other = argv[i];
        } else if (arguments->model != NULL) {
            fprintf(stderr, "zeroq: %s at a time, found '%s' and '%s'\n",
                    command->two_models ? "two models" : "one model",
                    command->two_models ? arguments->other : arguments->model, argv[i]);
            return false;
        } else
            arguments->model = argv[i];
    }
    return complete(command, arguments);
}

/* Words of text, wrapped at 100 columns behind an indent of 26. */
static void print_wrapped(const char *text) {
    const char *gap = "";
    int column = 26;
    while (*text != '\0') {
        const int n = (int)strcspn(text, " ");
        if (column + n > 100) {
            printf("\n%26s", "");
            column = 26;
            gap = "";
        }
        printf("%s%.*s", gap, n, text);
        gap = " ";
        column += n + 1;
        text += n;
        text += strspn(text, " ");
    }
    printf("\n");
}

void cli_print_help(const cli_command *command) {
    printf("%s\n\n%s\n\n", command->usage, command->description);
    for (int o = 0; o < N_OPTIONS; o++) {
        if ((options[o].group & command->groups) == 0)
            continue;
        char left[64];
        snprintf(left, sizeof left, "%s%s%s%s%s", options[o].letter != NULL ? options[o].letter : "",
                 options[o].letter != NULL ? ", " : "", options[o].name, options[o].value != NULL ? " " : "",
                 options[o].value != NULL ? options[o].value : "");
        printf("  %-24s", left);
        print_wrapped(options[o].help);
    }
}

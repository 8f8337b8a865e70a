/* SPDX-License-Identifier: Apache-2.0 */
/* zeroq: data-free mixed-precision quantization of convolutional ONNX networks.
 *
 * The method is ZeroQ (Cai et al., CVPR 2020): images distilled from BatchNormalization statistics, a KL
 * sensitivity for every layer and width, and the Pareto frontier of size against sensitivity. One opaque job
 * does it all:
 *
 *     zq_job *job = zq_job_new(NULL);
 *     zq_status status = job == NULL ? ZQ_ERR_MEMORY : zq_job_open(job, "net.onnx");
 *     if (status == ZQ_OK)
 *         status = zq_job_quantize(job, "net.q.onnx");
 *     if (status != ZQ_OK)
 *         fprintf(stderr, "%s\n", zq_job_message(job));
 *     zq_job_drop(job);
 *
 * The library never prints, exits or aborts on bad input: it returns a status, and zq_job_message says in a
 * sentence what was found, what was expected and what to do. A job is used by one thread at a time; different
 * jobs are independent. */
#ifndef ZEROQ_H
#define ZEROQ_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ZQ_API __attribute__((visibility("default")))
#else
#define ZQ_API
#endif

/* What went wrong, by what the caller can do about it. The command line exits with these values. */
typedef enum zq_status {
    ZQ_OK = 0,
    ZQ_ERR_INTERNAL = 1,    /* a fault of this library: please report it */
    ZQ_ERR_USAGE = 2,       /* an option or argument is wrong */
    ZQ_ERR_IO = 3,          /* a file can't be read or written */
    ZQ_ERR_FORMAT = 4,      /* the model file is damaged or contradicts itself */
    ZQ_ERR_UNSUPPORTED = 5, /* the model is valid, but holds something that isn't supported */
    ZQ_ERR_STATISTICS = 6,  /* the model has no BatchNormalization statistics to distil from */
    ZQ_ERR_LIMIT = 7,       /* a size or memory limit can't be kept */
    ZQ_ERR_MEMORY = 8,      /* out of memory */
    ZQ_ERR_CANCELLED = 9,   /* the progress callback asked to stop */
} zq_status;

/* A short fixed name of a status, such as "unsupported". Never NULL. */
ZQ_API const char *zq_status_name(zq_status status);

/* "MAJOR.MINOR.PATCH" of the library. */
ZQ_API const char *zq_version(void);

/* Called at the start of a stage, at most a few times a second inside it, and at its end.
 * stage: a static name ("distill", "sensitivity" ...); done in 0..1. A non-zero return value cancels the job.
 */
typedef int (*zq_progress)(void *user, const char *stage, double done);

typedef enum zq_recipe {
    ZQ_DISTILL_FAST,  /* batch statistics in units of sigma, 4 or 10 steps, cosine decay (the default) */
    ZQ_DISTILL_PAPER, /* Alg. 1 as published: N(0,1), L2 on mean and std, Adam 0.5 with plateau, 500 steps */
    ZQ_DISTILL_NOISE, /* no distillation: random pixels; the only choice for a network without
                         BatchNormalization */
} zq_recipe;

typedef enum zq_weight_scheme {
    ZQ_WEIGHTS_SYMMETRIC,  /* zero point 0, range by least squares or min-max (the default) */
    ZQ_WEIGHTS_ASYMMETRIC, /* the paper's: min-max with a zero point for each channel */
} zq_weight_scheme;

typedef enum zq_range_method { ZQ_RANGE_MSE, ZQ_RANGE_MINMAX, ZQ_RANGE_PERCENTILE } zq_range_method;

/* What a size counts. */
typedef enum zq_cost {
    ZQ_COST_BYTES, /* of the file that is written (the default) */
    ZQ_COST_BITS,  /* of the weights if b bits took b bits, in bytes: the paper's. In the file, 3 bits take as
                      much as 4, and 5 and 6 as much as 8 */
    ZQ_COST_BOPS,  /* weight bits x activation bits x multiply-accumulates of one image */
} zq_cost;

/* How widths are chosen for all layers together. */
typedef enum zq_search {
    ZQ_SEARCH_INDEPENDENT, /* eq. 4: damage of the layers adds up; a dynamic program (the default) */
    ZQ_SEARCH_GROUPED,     /* Appendix A: five layers at a time, damage of all layers so far measured at once;
                              thousands of runs of the network */
} zq_search;

/* How much work goes into images where their number and steps aren't given (ZQ_DISTILL_FAST), and into
 * rounding.
 */
typedef enum zq_effort {
    ZQ_EFFORT_NORMAL, /* 128 images; of more than 128 classes 256 below 1e8 multiply-accumulates an image, 512
                         below 2e7; in large networks, from 1e9 on, 32 */
    ZQ_EFFORT_FAST, /* 32 images, 16 in large networks: a third to half of the time, and in narrow networks a
                       third to a half more damage at 4 bits */
    ZQ_EFFORT_BEST, /* 1024 images below 2e7, 512 below 1e8, 256 below 1e9, 128 in large networks;
                       weights, scales and biases are learned from them: minutes */
} zq_effort;

/* What distillation computes in. Everything else is float. */
typedef enum zq_precision {
    ZQ_PRECISION_AUTO, /* bfloat16 with ZQ_DISTILL_FAST where the processor multiplies it, else float (the
                          default) */
    ZQ_PRECISION_FP32,
    ZQ_PRECISION_BF16, /* ZQ_ERR_UNSUPPORTED where the processor can't */
} zq_precision;

/* How the damage of each layer at each width is measured. */
typedef enum zq_sensitivity_method {
    ZQ_SENSITIVITY_SAMPLED, /* the paper's: the network runs with each layer at each width up to 4 bits, on as
                               many images as it takes to tell the layers apart (the default) */
    ZQ_SENSITIVITY_EXACT,   /* the paper's as it stands: at every width and on all images of the search */
    ZQ_SENSITIVITY_FISHER,  /* to second order, all layers and widths at once: faster in deep networks, and
                               wrong where damage is large */
} zq_sensitivity_method;

/* Whose integer kernels the file is written for. All can read it. */
typedef enum zq_runtime {
    ZQ_RUNTIME_ONNXRUNTIME, /* the CPU provider of ONNX Runtime (the default) */
    ZQ_RUNTIME_OPENVINO,    /* 8 bits only */
    ZQ_RUNTIME_TENSORRT,    /* 8 bits only */
} zq_runtime;

/* How a photo gets the size of the network's input. */
typedef enum zq_resize {
    ZQ_RESIZE_CROP,   /* the middle, 7/8 of the shorter side; a photo at most 8/7 as large as the input, pixel
                         by pixel (the default) */
    ZQ_RESIZE_SQUASH, /* all of it, stretched */
    ZQ_RESIZE_PAD,    /* all of it, at its own ratio, black around it */
} zq_resize;

/* Everything a job can be told. Fill it with zq_options_default(), then change what you want. */
typedef struct zq_options {
    const char *size; /* size target: "w8" (default), "w6", "w4", "w3", "w2", "1.5MB", "800KB", "25%" (of the
                         FP32 file); with ZQ_COST_BOPS also "1.5GBOPS" */
    zq_cost cost;
    double max_kl;        /* the smallest network within the size whose damage on held-out images is at most
                             this, in nats; 0: any damage */
    double min_agreement; /* the same for the share of images with the same largest output, 0..1; 0: any */
    zq_runtime runtime;
    const char *bits; /* widths to choose from, such as "4,8"; NULL: "2,3,4,5,6,8" */
    zq_search search;
    const char *const *keep;    /* [n_keep] "NAME=BITS": layers that have that width whatever the size */
    const char *const *exclude; /* [n_exclude] names of layers that stay FP32 */
    int n_keep, n_exclude;
    int keep_first_last; /* not 0: the first and the last layer keep 8 bits, unless named in keep or exclude
                          */
    const char *input_shapes; /* "NAME=1,3,224,224[;NAME=...]": fixes free dimensions; NULL: as in the file */
    zq_recipe recipe;         /* how images are made */
    int estimate_bn; /* not 0: a network whose BatchNormalization was folded away gets estimates of its
                        statistics, and images distilled from these */
    zq_effort effort;
    int n_images; /* distilled images; 0: as effort says. Or photos; 0: at most 64, all to compare */
    int n_steps;  /* distillation steps; 0: as effort or the recipe says */
    zq_precision precision; /* of the distillation */
    double input_max; /* largest pixel value before normalisation (1 or 255); 0: estimate the valid range */
    double input_mean[4]; /* mean subtracted from a pixel, per channel; used when n_input_norm > 0 */
    double input_std[4];  /* deviation a pixel is divided by, per channel */
    int n_input_norm;   /* channels given in input_mean/input_std: 0 (mean 0, std 1), 1 (same for all) or the
                           input's */
    const char *images; /* a folder of photos (JPEG, PNG) to be used instead of distilled ones; needs
                           input_max; NULL: none */
    zq_resize resize;   /* of these photos */
    int input_bgr;      /* the network takes blue, green, red; means and deviations are in its order, too */
    zq_sensitivity_method sensitivity;
    zq_weight_scheme weights;
    double weight_clip;  /* percentile of |w| kept by the weight range, such as 99.99; 0: no percentile */
    int activation_bits; /* of all quantized activations: 4 to 8 (default 8) */
    double mixed_activations; /* more than 0: 4 to 8 bits for each quantized activation, by what it
                                 suffers, and in the mean over the elements of one image no more than this, 4
                                 to 8 (activation_bits isn't read); 0: activation_bits for all */
    zq_range_method activation_range;
    double percentile;   /* for ZQ_RANGE_PERCENTILE; default 99.99 */
    int n_threads;       /* 0: all cores this process may use */
    uint64_t memory;     /* bytes that the process may take at most, the program itself included: fewer images
                            run at once then, and what can't be kept is refused before the work with
                            ZQ_ERR_LIMIT; 0: no limit */
    uint64_t seed;       /* default 0; same seed, build and machine: same bytes */
    const char *from;    /* what zq_job_pareto found out, as zq_job_write_json wrote it: only the size and the
                            limits of the damage can be chosen then; NULL: measure */
    const char *command; /* what the reports give as the command that made them; NULL: nothing */
    zq_progress progress; /* NULL: none */
    void *progress_user;
} zq_options;

ZQ_API zq_options zq_options_default(void);

typedef struct zq_job zq_job;

/* The figures of a finished job; fields of stages that have not run are 0. */
typedef struct zq_summary {
    uint64_t fp32_bytes;         /* the model file with its external data */
    uint64_t quantized_bytes;    /* the file written */
    int n_layers;                /* weighted layers */
    double n_macs;               /* multiply-accumulates of one image */
    double mean_bits;            /* weight bits, averaged over parameters */
    double mean_activation_bits; /* bits of quantized activations, averaged over the elements of one image */
    double predicted_kl;         /* KL(FP32 || quantized) in nats on distilled images that chose nothing */
    double predicted_agreement;  /* share on which both have the same top-1, 0..1: of photos, as expected from
                                    those images; of these where the network has no classes */
    double seconds;              /* whole job */
    uint64_t peak_bytes;         /* peak resident memory of the process */
} zq_summary;

/* A new job (owned by the caller; free with zq_job_drop), or NULL when out of memory. options is copied;
 * NULL: the defaults. Strings and lists in options must live as long as the job. */
ZQ_API zq_job *zq_job_new(const zq_options *options);
ZQ_API void zq_job_drop(zq_job *job); /* NULL is allowed */

/* Reads and checks a model: everything that can be refused is refused here. */
ZQ_API zq_status zq_job_open(zq_job *job, const char *path);

/* Whether a file can be written to path: it can't to the model itself. What writes checks that, too; this is
 * for finding a mistake before the work. */
ZQ_API zq_status zq_job_check_path(zq_job *job, const char *path);

/* Makes the distilled images (once; later stages reuse them). */
ZQ_API zq_status zq_job_distill(zq_job *job);

/* Runs the network on n_images random images (0: 8, or what the file's batch is fixed to) for about a second
 * and times every step of the engine; gradient not 0: what one step of the distillation computes, in its
 * precision. zq_job_json
 * then holds "plan". */
ZQ_API zq_status zq_job_profile(zq_job *job, int n_images, int gradient);

/* The whole road: distil, calibrate, measure, allocate, round, and write the quantized model to path. The
 * file appears whole or not at all. */
ZQ_API zq_status zq_job_quantize(zq_job *job, const char *path);

/* The first half of that road: distils, calibrates and measures, and finds the Pareto frontier of size
 * against sensitivity. zq_job_json then holds "saved", which is what options.from needs. */
ZQ_API zq_status zq_job_pareto(zq_job *job);

/* The frontier as CSV, a point a row; after zq_job_pareto. */
ZQ_API zq_status zq_job_write_csv(zq_job *job, const char *path);

/* Runs two networks on the same images and tells how far their outputs are apart, and how long both take in
 * zeroq's engine: photos of options.images, or else images distilled from the reference with a seed that
 * zq_job_quantize doesn't use, random ones where it has no BatchNormalization. Opens both itself; each may be
 * a quantized file. zq_job_json then holds "comparison". */
ZQ_API zq_status zq_job_compare(zq_job *job, const char *reference, const char *other);

/* The distilled images as .npy, float32 [N,C,H,W], normalised as the network takes them. */
ZQ_API zq_status zq_job_write_images(zq_job *job, const char *path);

/* A contact sheet of the distilled images as PNG. */
ZQ_API zq_status zq_job_write_sheet(zq_job *job, const char *path);

/* Everything measured so far as JSON (docs/report.md describes it). */
ZQ_API zq_status zq_job_write_json(zq_job *job, const char *path);

/* The same for people: a page of HTML that holds everything it shows. Needs a quantized model, and measures
 * the sensitivities where that was not needed to quantize it. */
ZQ_API zq_status zq_job_write_report(zq_job *job, const char *path);

/* The JSON as text in memory: a NUL-terminated string that the caller frees with free(), or NULL when out of
 * memory. */
ZQ_API char *zq_job_json(zq_job *job);

ZQ_API void zq_job_summary(const zq_job *job, zq_summary *summary_out);

/* The sentence of the last failure; "" when there was none. Owned by the job. NULL as job: "out of memory".
 */
ZQ_API const char *zq_job_message(const zq_job *job);

#ifdef __cplusplus
}
#endif

#endif

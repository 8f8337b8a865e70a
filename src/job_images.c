/* SPDX-License-Identifier: Apache-2.0 */
/* Where images come from: distilled, random, or photos that the user has. */
#include "base/memory.h"
#include "job.h"
#include "photo/photo.h"
#include "quant/estimate.h"
#include "quant/labels.h"
#include "quant/pixels.h"

enum { USUAL_PHOTOS = 64 };

/* What decides below 8 bits is how many images rounding and sensitivities see. Narrow networks suffer most,
 * and there images cost little; wide ones have channels to spare. */
typedef struct amount {
    double macs; /* for networks of so many multiply-accumulates an image and more */
    int fast, normal, best;
} amount;

static const amount amounts[] = {
    {0, 32, 512, 1024}, {2e7, 32, 256, 512}, {1e8, 32, 128, 256}, {1e9, 16, 32, 128}};
enum { N_AMOUNTS = sizeof amounts / sizeof amounts[0] };

/* Beyond that, images of classes that others show already tell little. */
enum { IMAGES_OF_FEW_CLASSES = 128 };

static zq_status make_box(zq_job *job) {
    const int64_t n_channels = job->graph->values[job->graph->inputs[0]].shape.dims[1];
    if (job->box.lo != NULL)
        return ZQ_OK;
    if (job->options.input_max > 0)
        return zq_box_from_norm(&job->options, n_channels, &job->box, &job->error);
    return zq_box_estimate(job->graph, &job->box, &job->error);
}

zq_status zq_job_estimate_stats(zq_job *job) {
    if (!job->options.estimate_bn)
        return ZQ_OK;
    ZQ_TRY(make_box(job));
    return zq_estimate_stats(job->graph, &job->box, job->options.seed, &job->bn.n_estimated, &job->error);
}

/* ---- photos */

/* What a network without a range for its pixels would get can only be guessed, and its channels too. */
static zq_status check_photos(zq_job *job) {
    const int64_t n_channels = job->graph->values[job->graph->inputs[0]].shape.dims[1];
    if (!(job->options.input_max > 0))
        return zq_fail(&job->error, ZQ_ERR_USAGE,
                       "photos need to know how the network takes them: give --input-max (1 or 255), and "
                       "--input-mean and --input-std where pixels are normalised");
    if (n_channels != 1 && n_channels != 3)
        return zq_fail(&job->error, ZQ_ERR_UNSUPPORTED,
                       "photos have 1 or 3 channels, but the network's input has %lld",
                       (long long)n_channels);
    return ZQ_OK;
}

/* planes: [3, n] red, green and blue, 0..255; x: [n_channels, n] as the network takes them. */
static void normalise(const zq_options *options, const zq_box *box, int64_t n, float *planes, float *x) {
    static const float grey[3] = {0.299F, 0.587F, 0.114F}; /* ITU-R BT.601 */
    for (int64_t i = 0; box->n_channels == 1 && i < n; i++)
        planes[i] = grey[0] * planes[i] + grey[1] * planes[n + i] + grey[2] * planes[2 * n + i];
    for (int64_t c = 0; c < box->n_channels; c++) {
        const float *plane = planes + (options->input_bgr ? box->n_channels - 1 - c : c) * n;
        const float scale = (box->hi[c] - box->lo[c]) / 255;
        for (int64_t i = 0; i < n; i++)
            x[c * n + i] = box->lo[c] + scale * plane[i];
    }
}

zq_status zq_job_list_photos(zq_job *job, zq_photo_list *list_out) {
    *list_out = (zq_photo_list){0};
    ZQ_TRY(check_photos(job));
    ZQ_TRY(make_box(job));
    return zq_photo_list_make(job->options.images, list_out, &job->error);
}

zq_status zq_job_read_photo(zq_job *job, const char *path, float *x) {
    const zq_shape *shape = &job->graph->values[job->graph->inputs[0]].shape;
    const int64_t n = shape->dims[2] * shape->dims[3];
    zq_photo photo;
    ZQ_TRY(zq_photo_read(path, &photo, &job->error));
    float *planes = zq_alloc_raw((size_t)n, 3 * sizeof *planes);
    zq_status status = planes == NULL ? zq_fail_memory(&job->error)
                                      : zq_photo_resize(&photo, job->options.resize, shape->dims[2],
                                                        shape->dims[3], planes, &job->error);
    if (status == ZQ_OK)
        normalise(&job->options, &job->box, n, planes, x);
    zq_free(planes);
    zq_photo_clear(&photo);
    return status;
}

/* As many as the options ask for, spread over the list; whole batches where the batch is fixed. */
static zq_status read_photos(zq_job *job, const zq_photo_list *list) {
    const int64_t batch = zq_graph_images(job->graph), n_there = (int64_t)list->n;
    int64_t n = job->options.n_images > 0 ? job->options.n_images : USUAL_PHOTOS;
    n = (n < n_there ? n : n_there) / batch * batch;
    if (n == 0)
        return zq_fail(&job->error, ZQ_ERR_USAGE,
                       "the network takes %lld images at once, but %.400s holds %lld photos: give more, or "
                       "raise --num-images",
                       (long long)batch, job->options.images, (long long)n_there);
    zq_images *images = &job->images;
    images->shape = job->graph->values[job->graph->inputs[0]].shape;
    images->shape.dims[0] = n;
    images->source = "photos";
    const int64_t per_image = zq_shape_count(&images->shape) / n;
    images->data = zq_alloc_raw((size_t)n, (size_t)per_image * sizeof *images->data);
    zq_status status = images->data == NULL ? zq_fail_memory(&job->error) : ZQ_OK;
    for (int64_t i = 0; status == ZQ_OK && i < n; i++) {
        status = zq_job_read_photo(job, list->paths[i * n_there / n], images->data + i * per_image);
        if (status == ZQ_OK && zq_job_on_step(job, (int)i, (int)n) != 0)
            status = job->error.status;
    }
    return status;
}

static zq_status load_photos(zq_job *job) {
    zq_photo_list list;
    ZQ_TRY(zq_job_begin_stage(job, "photos"));
    zq_status status = zq_job_list_photos(job, &list);
    if (status == ZQ_OK)
        status = read_photos(job, &list);
    zq_photo_list_clear(&list);
    if (status != ZQ_OK) {
        zq_images_clear(&job->images);
        return status;
    }
    return zq_job_end_stage(job);
}

/* ---- distilled or random ones */

static const amount *usual_amount(const zq_job *job) {
    double macs = job->layers.float_macs;
    for (int i = 0; i < job->layers.n; i++)
        macs += job->layers.items[i].macs;
    const amount *a = &amounts[N_AMOUNTS - 1];
    while (macs < a->macs)
        a--;
    return a;
}

static int usual_images(const zq_job *job) {
    const amount *a = usual_amount(job);
    zq_labels labels;
    zq_labels_init(job->graph, 0, &labels);
    if (job->options.effort != ZQ_EFFORT_NORMAL)
        return job->options.effort == ZQ_EFFORT_FAST ? a->fast : a->best;
    const bool few = labels.value < 0 || labels.n_classes <= IMAGES_OF_FEW_CLASSES;
    return few && a->normal > IMAGES_OF_FEW_CLASSES ? IMAGES_OF_FEW_CLASSES : a->normal;
}

zq_distill_options zq_job_distill_options(const zq_job *job, zq_recipe recipe) {
    zq_distill_options options = {
        .recipe = recipe, .n_images = job->options.n_images, .n_steps = job->options.n_steps};
    const zq_precision precision = job->options.precision;
    options.half =
        precision == ZQ_PRECISION_BF16 || (precision == ZQ_PRECISION_AUTO && recipe == ZQ_DISTILL_FAST);
    if (recipe == ZQ_DISTILL_FAST && options.n_images == 0)
        options.n_images = usual_images(job);
    if (recipe == ZQ_DISTILL_FAST && options.n_steps == 0)
        options.n_steps = zq_distill_steps(job->graph);
    return options;
}

static zq_status distill(zq_job *job, zq_recipe recipe, uint64_t seed) {
    zq_distill_options options = zq_job_distill_options(job, recipe);
    options.seed = seed;
    options.callback = zq_job_on_step;
    options.user = job;
    ZQ_TRY(zq_job_begin_stage(job, "distill"));
    ZQ_TRY(make_box(job));
    ZQ_TRY(zq_distill(job->graph, &job->box, &options, &job->images, &job->error));
    return zq_job_end_stage(job);
}

zq_status zq_job_make_images(zq_job *job, zq_recipe recipe, uint64_t seed) {
    if (job->images.data != NULL)
        return ZQ_OK;
    ZQ_TRY(job->options.images != NULL ? load_photos(job) : distill(job, recipe, seed));
    const zq_status status = zq_images_round(&job->images, &job->box, &job->error);
    if (status != ZQ_OK) {
        zq_images_clear(&job->images);
        return status;
    }
    job->n_kept_stages = job->n_stages;
    return ZQ_OK;
}

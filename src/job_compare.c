/* SPDX-License-Identifier: Apache-2.0 */
/* Two files side by side on the same images. */
#include "base/memory.h"
#include "job.h"

#include <omp.h>
#include <string.h>

/* Distilled images are never those that a quantization with the same seed has seen. */
static const uint64_t other_seed = 0x636f6d7061726531;

typedef struct images {
    zq_job *job;
    zq_photo_list photos; /* none: the job's images */
    int64_t n;
} images;

static zq_status image_at(void *user, int64_t i, float *x, zq_error *err) {
    const images *source = user;
    zq_job *job = source->job;
    (void)err; /* the job's own */
    if (source->photos.n > 0)
        return zq_job_read_photo(job, source->photos.paths[i * (int64_t)source->photos.n / source->n], x);
    const size_t per_image =
        (size_t)(zq_shape_count(&job->images.shape) / job->images.shape.dims[0]) * sizeof *x;
    memcpy(x, (const char *)job->images.data + (size_t)i * per_image, per_image);
    return ZQ_OK;
}

static int on_image(void *user, int step, int n_steps) {
    return zq_job_on_step(((images *)user)->job, step, n_steps);
}

/* All photos, or as many as were asked for, spread over the list. */
static zq_status find_images(zq_job *job, images *source) {
    if (job->options.images != NULL) {
        const int wanted = job->options.n_images;
        ZQ_TRY(zq_job_list_photos(job, &source->photos));
        source->n = (int64_t)source->photos.n;
        if (wanted > 0 && wanted < source->n)
            source->n = wanted;
        return ZQ_OK;
    }
    const bool unknown = job->bn.bn_total == 0 && job->bn.n_estimated == 0;
    const zq_recipe recipe = unknown ? ZQ_DISTILL_NOISE : job->options.recipe;
    ZQ_TRY(zq_job_make_images(job, recipe, job->options.seed ^ other_seed));
    source->n = job->images.shape.dims[0];
    return ZQ_OK;
}

static zq_status compare(zq_job *job, const char *reference, const char *other, zq_graph **other_graph,
                         zq_tail **other_tail) {
    zq_simplify_counts bn;
    images source = {.job = job};
    ZQ_TRY(zq_job_check_options(job));
    ZQ_TRY(zq_job_begin_stage(job, "read"));
    job->model_path = zq_strdup(reference);
    job->compared_path = zq_strdup(other);
    if (job->model_path == NULL || job->compared_path == NULL)
        return zq_fail_memory(&job->error);
    ZQ_TRY(zq_job_read_graph(job, reference, &job->graph, &job->tail, &job->bn));
    ZQ_TRY(zq_job_check_input(job, reference, job->graph));
    ZQ_TRY(zq_job_estimate_stats(job));
    zq_status status = zq_job_read_graph(job, other, other_graph, other_tail, &bn);
    if (status == ZQ_OK)
        status = zq_job_check_input(job, other, *other_graph);
    if (status != ZQ_OK) {
        zq_job_name_file(&job->error, other);
        return status;
    }
    ZQ_TRY(zq_job_end_stage(job));
    status = find_images(job, &source);
    if (status == ZQ_OK)
        status = zq_job_begin_stage(job, "compare");
    if (status == ZQ_OK)
        status = zq_compare(job->graph, *other_graph, source.n, image_at, on_image, &source, &job->comparison,
                            &job->error);
    zq_photo_list_clear(&source.photos);
    if (status != ZQ_OK)
        return status;
    job->compared_bytes = (*other_graph)->file_bytes;
    return zq_job_end_stage(job);
}

zq_status zq_job_compare(zq_job *job, const char *reference, const char *other) {
    zq_graph *other_graph = NULL;
    zq_tail *other_tail = NULL;
    zq_job_forget_model(job);
    job->error = (zq_error){0};
    omp_set_num_threads(job->options.n_threads > 0 ? job->options.n_threads : omp_get_num_procs());
    const zq_status status = compare(job, reference, other, &other_graph, &other_tail);
    zq_graph_drop(other_graph);
    zq_tail_drop(other_tail);
    if (status != ZQ_OK) {
        if (strstr(job->error.text, other) == NULL)
            zq_job_name_file(&job->error, reference);
        zq_job_forget_model(job);
    }
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/inputs.h"

#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USUAL_CHANNELS = 3, USUAL_SIZE = 224, MOST = 1 << 30 };

static zq_value *input_value(const zq_graph *graph, int input) {
    return &graph->values[graph->inputs[input]];
}

/* "[N,3,?,?]" */
static char *declared_text(const zq_shape *shape, char buffer[ZQ_SHAPE_TEXT]) {
    size_t used = (size_t)snprintf(buffer, ZQ_SHAPE_TEXT, "[");
    for (int d = 0; d < shape->rank; d++) {
        const char *comma = d > 0 ? "," : "";
        if (shape->dims[d] < 0)
            used += (size_t)snprintf(buffer + used, ZQ_SHAPE_TEXT - used, "%s%s", comma, d == 0 ? "N" : "?");
        else
            used +=
                (size_t)snprintf(buffer + used, ZQ_SHAPE_TEXT - used, "%s%" PRId64, comma, shape->dims[d]);
    }
    snprintf(buffer + used, ZQ_SHAPE_TEXT - used, "]");
    return buffer;
}

char *zq_inputs_option(const zq_graph *graph, int input, char buffer[ZQ_INPUTS_TEXT]) {
    const zq_value *value = input_value(graph, input);
    size_t used = (size_t)snprintf(buffer, ZQ_INPUTS_TEXT, "--shape %.200s=", value->name);
    for (int d = 0; d < value->shape.rank; d++) {
        const int64_t usual = d == 0 ? 1 : d == 1 ? USUAL_CHANNELS : USUAL_SIZE;
        used += (size_t)snprintf(buffer + used, ZQ_INPUTS_TEXT - used, "%s%" PRId64, d > 0 ? "," : "",
                                 value->shape.dims[d] < 0 ? usual : value->shape.dims[d]);
    }
    return buffer;
}

/* "'a' [N,3,?,?], 'b' [1,10]", as far as there is room. */
static char *all_inputs_text(const zq_graph *graph, char buffer[ZQ_INPUTS_TEXT]) {
    char text[ZQ_SHAPE_TEXT];
    size_t used = 0;
    buffer[0] = '\0';
    for (int i = 0; i < graph->n_inputs && used < ZQ_INPUTS_TEXT; i++)
        used +=
            (size_t)snprintf(buffer + used, ZQ_INPUTS_TEXT - used, "%s'%s' %s", i > 0 ? ", " : "",
                             input_value(graph, i)->name, declared_text(&input_value(graph, i)->shape, text));
    return buffer;
}

/* "1,3,224,224" up to end into *shape_out. */
static zq_status parse_dims(const char *text, const char *end, zq_shape *shape_out, zq_error *err) {
    *shape_out = (zq_shape){0};
    for (const char *at = text;; at++) {
        char *behind;
        errno = 0;
        const long long dim = strtoll(at, &behind, 10);
        const bool good = behind > at && behind <= end && errno == 0 && dim >= 1 && dim <= MOST;
        if (!good || shape_out->rank == ZQ_MAX_RANK || (behind < end && *behind != ','))
            return zq_fail(err, ZQ_ERR_USAGE,
                           "--shape: '%.*s' is not a list of at most %d sizes from 1 on, such as 1,3,224,224",
                           (int)(end - text < 100 ? end - text : 100), text, ZQ_MAX_RANK);
        shape_out->dims[shape_out->rank++] = dim;
        if (behind == end)
            return ZQ_OK;
        at = behind;
    }
}

/* The input that a part of the text is for; *dims_out is where its sizes begin. */
static zq_status find_input(const zq_graph *graph, const char *part, const char *end, const char **dims_out,
                            int *input_out, zq_error *err) {
    char text[ZQ_INPUTS_TEXT];
    const char *equals = NULL;
    for (const char *at = part; at < end; at++)
        equals = *at == '=' ? at : equals;
    *dims_out = equals != NULL ? equals + 1 : part;
    *input_out = 0;
    if (equals == NULL && graph->n_inputs == 1)
        return ZQ_OK;
    if (equals == NULL)
        return zq_fail(
            err, ZQ_ERR_USAGE,
            "--shape: the model has %d inputs, so each shape needs a name, NAME=1,3,224,224; they are "
            "%s",
            graph->n_inputs, all_inputs_text(graph, text));
    for (int i = 0; i < graph->n_inputs; i++) {
        const char *name = input_value(graph, i)->name;
        if (strlen(name) == (size_t)(equals - part) && memcmp(name, part, strlen(name)) == 0) {
            *input_out = i;
            return ZQ_OK;
        }
    }
    return zq_fail(err, ZQ_ERR_USAGE, "--shape: the model has no input '%.*s'; its inputs are %s",
                   (int)(equals - part < 100 ? equals - part : 100), part, all_inputs_text(graph, text));
}

/* given[i]: shape for input i, rank 0 where the text has none. */
static zq_status parse_text(const zq_graph *graph, const char *text, zq_shape *given, zq_error *err) {
    for (const char *part = text; part != NULL && *part != '\0';) {
        const char *end = strchr(part, ';'), *dims;
        const char *stop = end != NULL ? end : part + strlen(part);
        int input;
        zq_shape shape;
        ZQ_TRY(find_input(graph, part, stop, &dims, &input, err));
        ZQ_TRY(parse_dims(dims, stop, &shape, err));
        if (given[input].rank > 0)
            return zq_fail(err, ZQ_ERR_USAGE, "--shape: input '%s' is given twice",
                           input_value(graph, input)->name);
        given[input] = shape;
        part = end != NULL ? end + 1 : NULL;
    }
    return ZQ_OK;
}

/* Free dimensions of the input become those of given; a batch of 1 leaves a free batch free. */
static zq_status fix_dims(zq_value *value, const zq_shape *given, zq_error *err) {
    char text[ZQ_SHAPE_TEXT], given_text[ZQ_SHAPE_TEXT];
    zq_shape *shape = &value->shape;
    if (shape->rank == 0)
        *shape = *given; /* the file says nothing */
    bool fits = shape->rank == given->rank;
    for (int d = 0; d < shape->rank && fits; d++)
        fits = shape->dims[d] < 0 || shape->dims[d] == given->dims[d];
    if (!fits)
        return zq_fail(
            err, ZQ_ERR_USAGE,
            "--shape: input '%s' is %s in the model, which %s doesn't fit: only ? and N can be chosen",
            value->name, declared_text(shape, text), zq_shape_text(given, given_text));
    for (int d = 0; d < shape->rank; d++)
        if (shape->dims[d] < 0 && !(d == 0 && given->dims[0] == 1))
            shape->dims[d] = given->dims[d];
    return ZQ_OK;
}

static bool batch_is_free(const zq_graph *graph) {
    for (int i = 0; i < graph->n_inputs; i++)
        if (input_value(graph, i)->shape.rank == 0 || input_value(graph, i)->shape.dims[0] >= 0)
            return false;
    return graph->n_inputs > 0;
}

static zq_status refuse_free_dims(const zq_graph *graph, zq_error *err) {
    char text[ZQ_SHAPE_TEXT], option[ZQ_INPUTS_TEXT];
    for (int i = 0; i < graph->n_inputs; i++) {
        const zq_shape *shape = &input_value(graph, i)->shape;
        for (int d = graph->free_batch ? 1 : 0; d < shape->rank; d++)
            if (shape->dims[d] < 0)
                return zq_fail(err, ZQ_ERR_USAGE,
                               "input '%s' has free dimensions %s: give them, such as with %s",
                               input_value(graph, i)->name, declared_text(shape, text),
                               zq_inputs_option(graph, i, option));
    }
    return ZQ_OK;
}

zq_status zq_inputs_declare(zq_graph *graph, const char *text, bool *one_image_out, zq_error *err) {
    zq_shape *given = zq_alloc((size_t)graph->n_inputs, sizeof *given);
    if (given == NULL)
        return zq_fail_memory(err);
    bool one_image = graph->n_inputs > 0;
    for (int i = 0; i < graph->n_inputs; i++) {
        zq_shape *shape = &input_value(graph, i)->shape;
        for (int d = 0; d < shape->rank; d++)
            shape->dims[d] = shape->dims[d] <= 0 ? -1 : shape->dims[d]; /* some tools write 0 for free */
    }
    zq_status status = parse_text(graph, text, given, err);
    for (int i = 0; i < graph->n_inputs && status == ZQ_OK; i++) {
        one_image = one_image && given[i].rank > 0 && given[i].dims[0] == 1;
        if (given[i].rank > 0)
            status = fix_dims(input_value(graph, i), &given[i], err);
    }
    graph->free_batch = batch_is_free(graph);
    for (int i = 0; i < graph->n_inputs && !graph->free_batch; i++)
        if (given[i].rank > 0 && given[i].dims[0] == 1)
            input_value(graph, i)->shape.dims[0] = 1;
    if (status == ZQ_OK)
        status = refuse_free_dims(graph, err);
    *one_image_out = one_image;
    zq_free(given);
    return status;
}

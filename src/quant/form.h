/* SPDX-License-Identifier: Apache-2.0 */
/* The forms of a quantized network that runtimes take to integers (docs/onnx-forms.md). */
#ifndef ZQ_QUANT_FORM_H
#define ZQ_QUANT_FORM_H

#include <stdbool.h>
#include <zeroq/zeroq.h>

typedef struct zq_form {
    const char *option;  /* as the command line has it: "onnxruntime" */
    const char *name;    /* "ONNX Runtime" */
    bool narrow;         /* widths below 8 bits are taken */
    bool symmetric;      /* activations are int8 with zero point 0; false: uint8 with any */
    bool signed_weights; /* 8 bits are int8; false: uint8 around 128 */
    bool spare_bit;      /* of 8-bit weights: see zq_weight_spec */
    bool float_bias;     /* false: int32 through DequantizeLinear */
    bool inputs_only;    /* Q/DQ in front of what computes on integers alone; false: behind it, too */
    bool shields_float;  /* float layers between Q/DQ would be quantized unless protected */
} zq_form;

/* Never NULL. */
const zq_form *zq_form_of(zq_runtime runtime);

#endif

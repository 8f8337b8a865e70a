/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/form.h"

static const zq_form forms[] = {
    [ZQ_RUNTIME_ONNXRUNTIME] = {.option = "onnxruntime",
                                .name = "ONNX Runtime",
                                .narrow = true,
                                .shields_float = true},
    /* Unsigned weights run as floats there. Signed ones are multiplied pair by pair with saturation at 16
     * bits on processors with AVX2 alone: one bit less, and none saturates. */
    [ZQ_RUNTIME_OPENVINO] = {.option = "openvino",
                             .name = "OpenVINO",
                             .signed_weights = true,
                             .spare_bit = true},
    [ZQ_RUNTIME_TENSORRT] = {.option = "tensorrt",
                             .name = "TensorRT",
                             .symmetric = true,
                             .signed_weights = true,
                             .float_bias = true,
                             .inputs_only = true},
};

const zq_form *zq_form_of(zq_runtime runtime) {
    return &forms[runtime];
}

# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models in opsets 7 to 25 with what differs between them, and hostile ones.

    make_models.py FOLDER

writes FOLDER/good/*.onnx (onnx.checker accepts them, ONNX Runtime runs them) and FOLDER/bad/*.onnx (each has to be
refused with a sentence). tests/onnx/roundtrip.py uses both, the fuzzer takes them as its corpus.
"""
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(1)
GOOD = {}


def model(nodes, opset, weights=(), x=("N", 4, 6, 6), outputs=("y",), ir=None, **kwargs):
    """A model with the float input x."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(o, kwargs.get("dtype", TensorProto.FLOAT), None) for o in outputs],
        [numpy_helper.from_array(np.asarray(v), k) if not isinstance(v, TensorProto) else v for k, v in dict(weights).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="make_models")
    made.ir_version = ir or (8 if opset <= 18 else 9 if opset <= 20 else 10 if opset <= 22 else 11 if opset <= 23 else 12 if opset <= 24 else 13)
    # outputs need ranks where inference isn't run
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    results = session.run(None, {"x": np.ones([d if isinstance(d, int) else 2 for d in x], np.float32)})
    for output, result in zip(made.graph.output, results):
        dims = [f"{output.name}{d}" for d in range(result.ndim)]
        output.CopyFrom(helper.make_tensor_value_info(output.name, helper.np_dtype_to_tensor_dtype(result.dtype), dims))
    return made


def good(name, *args, **kwargs):
    assert name not in GOOD, name
    GOOD[name] = model(*args, **kwargs)


def node(op, inputs="x", outputs="y", **attrs):
    names = [["" if n == "_" else n for n in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, **attrs)


def f32(*values):
    return np.array(values, np.float32)


def i64(*values):
    return np.array(values, np.int64)


def weight(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def network(opset, **kwargs):
    """Convolution, normalisation, pooling, residual: what every file holds."""
    w = {"w": weight(8, 4, 3, 3), "b": weight(8), "s": np.abs(weight(8)) + 0.5, "o": weight(8), "m": weight(8),
         "v": np.abs(weight(8)) + 0.1, "fw": weight(5, 8), "fb": weight(5)}
    nodes = [node("Conv", "x w b", "c", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
             node("BatchNormalization", "c s o m v", "n", epsilon=1e-3, momentum=0.9),
             node("Relu", "n", "r"), node("Add", "r n", "a"),
             node("MaxPool", "a", "p", kernel_shape=[2, 2], strides=[2, 2]),
             node("AveragePool", "p", "q", kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
             node("GlobalAveragePool", "q", "g"), node("Flatten", "g", "f"),
             node("Gemm", "f fw fb", "y", transB=1)]
    return model(nodes, opset, w, **kwargs)


def networks():
    for opset in range(7, 26):
        GOOD[f"network_{opset}"] = network(opset)
    old = network(8)
    old.ir_version = 3
    for t in old.graph.initializer:  # IR 3: initializers are inputs, too
        old.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, t.dims))
    GOOD["network_ir3"] = old
    domain = network(13)
    domain.opset_import[0].domain = "ai.onnx"
    for n in domain.graph.node:
        n.domain = "ai.onnx"
    GOOD["domain_ai_onnx"] = domain
    fixed = network(13, x=(2, 4, 6, 6))
    GOOD["batch_fixed"] = fixed


def attributes_and_inputs():
    for opset in (7, 10):
        good(f"clip_{opset}", [node("Clip", min=-0.5, max=0.25)], opset)
        good(f"clip_max_{opset}", [node("Clip", max=0.25)], opset)
        good(f"dropout_{opset}", [node("Dropout", ratio=0.3)], opset)
        good(f"pad_{opset}", [node("Pad", pads=[0, 0, 1, 2, 0, 0, 3, 0], value=1.5)], opset)
        good(f"pad_reflect_{opset}", [node("Pad", pads=[0, 0, 1, 2, 0, 0, 3, 0], mode="reflect")], opset)
        good(f"squeeze_{opset}", [node("Unsqueeze", "x", "u", axes=[0, 3]), node("Squeeze", "u", axes=[0, 3])], opset)
        good(f"split_{opset}", [node("Split", "x", "y z", axis=1, split=[1, 3])], opset, outputs=("y", "z"))
        good(f"split_equal_{opset}", [node("Split", "x", "y z", axis=1)], opset, outputs=("y", "z"))
    good("slice_7", [node("Slice", starts=[1, 0], ends=[4, -1], axes=[2, 3])], 7)
    good("slice_all_7", [node("Slice", starts=[0, 1, 0, 2], ends=[9, 3, 9, 4])], 7)
    good("dropout_mask_7", [node("Dropout", "x", "y _", ratio=0.3)], 7)
    good("reshape_7", [node("Reshape", "x t")], 7, {"t": i64(0, -1)})
    for opset in (11, 12, 13, 18, 21, 25):
        good(f"clip_{opset}", [node("Clip", "x _ hi")], opset, {"hi": np.float32(0.25)})
        good(f"pad_{opset}", [node("Pad", "x p v")], opset, {"p": i64(0, 0, 1, 2, 0, 0, 3, 0), "v": np.float32(2)})
        good(f"slice_{opset}", [node("Slice", "x s e a t")], opset, {"s": i64(5, 0), "e": i64(-100, 4), "a": i64(2, -1), "t": i64(-2, 2)})
    for opset in (12, 13, 22):
        good(f"dropout_{opset}", [node("Dropout", "x r t", seed=3)], opset, {"r": np.float32(0.3), "t": np.array(False)})
    for opset in (13, 18, 21):
        good(f"squeeze_{opset}", [node("Unsqueeze", "x a", "u"), node("Squeeze", "u a")], opset, {"a": i64(0, 3)})
        good(f"squeeze_all_{opset}", [node("GlobalAveragePool", "x", "g"), node("Squeeze", "g")], opset, x=(2, 4, 3, 3))
        good(f"split_{opset}", [node("Split", "x s", "y z", axis=1)], opset, {"s": i64(1, 3)}, outputs=("y", "z"))
    good("split_equal_13", [node("Split", "x", "y z", axis=1)], 13, outputs=("y", "z"))
    good("split_num_outputs_18", [node("Split", "x", "y z", axis=1, num_outputs=2)], 18, outputs=("y", "z"))
    good("split_uneven_18", [node("Split", "x", "y z w q", axis=2, num_outputs=4)], 18, x=("N", 4, 7, 6), outputs=("y", "z", "w", "q"))
    good("pad_axes_18", [node("Pad", "x p _ a")], 18, {"p": i64(1, 2, 0, 3), "a": i64(3, 2)})
    good("pad_axes_negative_21", [node("Relu", "x", "r"), node("Pad", "r p v a")], 21, {"p": i64(1, 3), "v": np.float32(-1), "a": i64(-1)})
    for opset in (7, 11, 13):
        good(f"mean_{opset}", [node("ReduceMean", axes=[2, 3], keepdims=0)], opset)
    for opset in (18, 21, 25):
        good(f"mean_{opset}", [node("ReduceMean", "x a", keepdims=0)], opset, {"a": i64(2, 3)})
    good("mean_all_18", [node("ReduceMean", "x", keepdims=1)], 18)
    good("mean_noop_18", [node("ReduceMean", "x", "m", noop_with_empty_axes=1), node("Relu", "m")], 18)
    good("mean_empty_18", [node("ReduceMean", "x a", noop_with_empty_axes=0)], 18, {"a": i64()})


def softmaxes():
    for opset in (7, 11, 12):
        good(f"softmax_default_{opset}", [node("Softmax")], opset)
        good(f"softmax_2_{opset}", [node("Softmax", axis=2)], opset)
        good(f"softmax_flat_{opset}", [node("Flatten", "x", "f"), node("Softmax", "f")], opset)
        good(f"softmax_last_{opset}", [node("Relu", "x", "r"), node("Softmax", "r", axis=3)], opset)
    for axis in (-1, -2):
        good(f"softmax_negative{axis}_11", [node("Softmax", axis=axis)], 11)
    for opset in (13, 21):
        good(f"softmax_default_{opset}", [node("Softmax")], opset)
        good(f"softmax_1_{opset}", [node("Softmax", axis=1)], opset)


def resizes():
    up = f32(1, 1, 2, 3)
    good("upsample_7", [node("Upsample", scales=[1.0, 1.0, 2.0, 3.0])], 7)
    for mode in ("nearest", "linear"):
        good(f"upsample_{mode}_9", [node("Upsample", "x s", mode=mode)], 9, {"s": up})
        good(f"resize_{mode}_10", [node("Resize", "x s", mode=mode)], 10, {"s": up})
    good("resize_half_10", [node("Resize", "x s")], 10, {"s": f32(1, 1, 0.5, 0.5)})
    for opset in (11, 13, 18, 19, 21):
        for way in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
            good(f"resize_{way}_{opset}", [node("Resize", "x r s", mode="linear", coordinate_transformation_mode=way)], opset, {"r": f32(), "s": up})
        good(f"resize_nearest_{opset}", [node("Resize", "x r s", nearest_mode="floor", coordinate_transformation_mode="asymmetric")], opset, {"r": f32(), "s": up})
        good(f"resize_sizes_{opset}", [node("Resize", "x r s z", mode="linear")], opset,
             {"r": f32(), "s": f32(), "z": i64(2, 4, 9, 8)} if opset < 13 else {"r": f32(), "s": f32(), "z": i64(2, 4, 9, 8)}, x=(2, 4, 6, 6))
    good("resize_omitted_13", [node("Resize", "x _ s", mode="nearest")], 13, {"s": up})
    good("resize_axes_18", [node("Resize", "x _ s", axes=[3, 2], mode="linear", antialias=0)], 18, {"s": f32(3, 2)})
    good("resize_axes_relu_19", [node("Relu", "x", "r"), node("Resize", "r _ s", axes=[2, 3], mode="linear")], 19, {"s": f32(3, 2)})
    good("resize_axes_sizes_18", [node("Resize", "x _ _ z", axes=[2, 3], mode="nearest", keep_aspect_ratio_policy="stretch")], 18, {"z": i64(9, 12)})


def shapes():
    for opset in (7, 13, 15, 21):
        good(f"reshape_shape_{opset}",
             [node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Concat", "n rest", "t", axis=0), node("Reshape", "x t")], opset,
             {"zero": i64(0), "rest": i64(-1, 12)})
    for start, end in ((0, 2), (-3, 3), (1, -1)):
        good(f"shape_{start}_{end}_15", [node("Shape", "x", "s", start=start, end=end), node("ConstantOfShape", "s", value=numpy_helper.from_array(f32(1.5)))], 15, x=(2, 4, 6, 6))
    good("reshape_allowzero_14", [node("Reshape", "x t", allowzero=1)], 14, {"t": i64(-1, 12)})
    good("expand_8", [node("Expand", "x t")], 8, {"t": i64(3, 1, 1, 6, 1)}, x=(4, 6, 6))
    good("transpose_13", [node("Transpose", perm=[0, 2, 3, 1])], 13)
    good("output_twice_read", [node("Relu", "x", "y"), node("Sigmoid", "y", "z")], 13, outputs=("y", "z"))
    good("hard_swish_14", [node("HardSwish")], 14)
    good("hard_swish_21", [node("HardSwish")], 21)


def constants():
    for name, attrs in (("value", {"value": numpy_helper.from_array(weight(4, 1, 1))}), ("value_float", {"value_float": 1.5}),
                        ("value_floats", {"value_floats": [1.5, 2, 3, 4, 5, 6]})):
        good(f"constant_{name}_13", [node("Constant", "", "k", **attrs), node("Add", "x k")], 13)
    good("constant_ints_13", [node("Constant", "", "k", value_ints=[0, -1]), node("Reshape", "x k")], 13)
    good("constant_int_13", [node("Constant", "", "k", value_int=1), node("Constant", "", "k2", value_ints=[1]),
                             node("Shape", "x", "s"), node("Gather", "s k", "d"), node("Unsqueeze", "d zero", "u"),
                             node("Concat", "minus u", "t", axis=0), node("Reshape", "x t")], 13, {"zero": i64(0), "minus": i64(-1)})


def typed(name, data_type, values, dims):
    return helper.make_tensor(name, data_type, dims, values)


def tensors():
    """Typed fields instead of raw_data, and types that become others."""
    w = weight(4, 4, 1, 1)
    good("typed_float", [node("Conv", "x w")], 13, {"w": typed("w", TensorProto.FLOAT, w.ravel(), w.shape)})
    good("typed_int64", [node("Reshape", "x t")], 13, {"t": typed("t", TensorProto.INT64, [0, -1], [2])})
    for name, kind, array in (("float16", TensorProto.FLOAT16, np.array([1.5, -0.25, 6e-8, 65504], np.float16)),
                              ("double", TensorProto.DOUBLE, np.array([1.5, -0.1, 1e-30, 4], np.float64)),
                              ("int32", TensorProto.INT32, np.array([1, -2, 2**31 - 1, -(2**31)], np.int32)),
                              ("uint8", TensorProto.UINT8, np.array([1, 2, 255, 0], np.uint8)),
                              ("int8", TensorProto.INT8, np.array([1, -2, 127, -128], np.int8)),
                              ("bool", TensorProto.BOOL, np.array([True, False, True, True]))):
        for form in ("raw", "typed"):
            shaped = array.reshape(4, 1, 1)
            t = numpy_helper.from_array(shaped, "k") if form == "raw" else typed("k", kind, [int(v) if array.dtype.kind in "iub" else float(v) for v in array], [4, 1, 1])
            good(f"{form}_{name}", [node("Cast", "k", "c", to=TensorProto.FLOAT), node("Add", "x c")], 13, {"k": t})
    for opset in (21, 25):
        for kind, low, high in ((TensorProto.INT4, -8, 7), (TensorProto.UINT4, 0, 15)):
            values = RNG.integers(low, high + 1, 5 * 4 * 1 * 1)
            good(f"packed_{kind}_{opset}", [node("DequantizeLinear", "w s z", "f", axis=0), node("Conv", "x f")], opset,
                 {"w": typed("w", kind, values, [5, 4, 1, 1]), "s": np.abs(weight(5)), "z": typed("z", kind, [0] * 5, [5])})
    good("packed_cast_25", [node("Cast", "w", "c", to=TensorProto.INT8), node("DequantizeLinear", "c s z", "f", axis=0), node("Conv", "x f")], 25,
         {"w": typed("w", TensorProto.INT2, [-2, -1, 0, 1] * 3 + [1] * 8, [5, 4, 1, 1]), "s": np.abs(weight(5)), "z": np.zeros(5, np.int8)})
    for opset in (10, 13, 19, 21, 23):
        axis = {} if opset == 10 else {"axis": 1}
        scale, zero = (f32(0.1)[0], np.uint8(128)) if opset == 10 else (f32(0.1, 0.2, 0.05, 0.3), np.array([128, 0, 3, 255], np.uint8))
        good(f"quantize_{opset}", [node("QuantizeLinear", "x s z", "q", **axis), node("DequantizeLinear", "q s z", **axis)], opset, {"s": scale, "z": zero})
    good("quantize_type_21", [node("QuantizeLinear", "x s", "q", axis=1, output_dtype=TensorProto.INT8), node("DequantizeLinear", "q s", axis=1)], 21, {"s": f32(0.1, 0.2, 0.05, 0.3)})


def bad_models():
    """name -> (model, a word of the sentence)"""
    made = {}

    def bad(name, word, change, opset=13):
        m = network(opset)
        made[name] = (change(m) or m, word)

    def two_inputs(m):
        m.graph.node[3].input[1] = "nowhere"

    def cycle(m):
        m.graph.node[3].input[1] = "p"

    def size(m):
        m.graph.initializer[0].raw_data = m.graph.initializer[0].raw_data[:-1]

    def dims(m):
        m.graph.initializer[0].dims[:] = [2**40, 2**40]

    def negative(m):
        m.graph.initializer[0].dims[0] = -8

    def huge(m):
        m.graph.initializer[0].dims[:] = [2**62]
        m.graph.initializer[0].ClearField("raw_data")

    def twice(m):
        m.graph.initializer.append(m.graph.initializer[0])

    def output_twice(m):
        m.graph.node[3].output[0] = "c"

    def string(m):
        m.graph.initializer[0].data_type = TensorProto.STRING

    def kind(m):
        m.graph.initializer[0].data_type = 99

    def operator(m):
        m.graph.node[2].op_type = "NonMaxSuppression"

    def domain(m):
        m.graph.node[2].domain = "com.microsoft"

    def old(m):
        m.opset_import[0].version = 5

    def new(m):
        m.opset_import[0].version = 29

    def no_opset(m):
        del m.opset_import[:]

    def no_graph(m):
        m.ClearField("graph")

    def half(m):
        m.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16

    def shapeless(m):
        m.graph.input[0].type.tensor_type.ClearField("shape")

    def sequence(m):
        m.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [1])))

    def rank(m):
        m.graph.input[0].type.CopyFrom(helper.make_tensor_type_proto(1, [1] * 9))

    def no_output(m):
        del m.graph.output[:]

    def foreign_output(m):
        m.graph.output[0].name = "nobody"

    def training(m):
        m.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))

    def subgraph(m):
        m.graph.node[2].attribute.append(helper.make_attribute("then", m.graph))

    def sparse(m):
        t = helper.make_sparse_tensor(numpy_helper.from_array(f32(1), "sw"), numpy_helper.from_array(i64(0)), [4])
        m.graph.sparse_initializer.append(t)

    def external(location, **more):
        def change(m):
            t = m.graph.initializer[0]
            t.ClearField("raw_data")
            t.data_location = TensorProto.EXTERNAL
            for key, value in dict(location=location, **more).items():
                t.external_data.add(key=key, value=value)
        return change

    for name, word, change in (
            ("missing_input", "nowhere", two_inputs), ("cycle", "cycle", cycle), ("size", "1151", size), ("dims", "impossible", dims),
            ("negative", "impossible", negative), ("huge", "holds", huge), ("initializer_twice", "twice", twice), ("output_twice", "twice", output_twice),
            ("string", "STRING", string), ("type", "type 99", kind), ("operator", "NonMaxSuppression", operator), ("domain", "com.microsoft", domain),
            ("old_opset", "older", old), ("new_opset", "newer", new), ("no_opset", "opset", no_opset), ("no_graph", "graph", no_graph),
            ("float16", "FLOAT16", half), ("shapeless", "no shape", shapeless), ("sequence", "no tensor", sequence), ("rank", "9 dimensions", rank),
            ("no_output", "no outputs", no_output), ("foreign_output", "nobody", foreign_output), ("subgraph", "graph", subgraph), ("sparse", "sparse", sparse),
            ("external_absolute", "outside", external("/etc/passwd")), ("external_up", "outside", external("../w.bin")),
            ("external_up_inside", "outside", external("a/../../w.bin")), ("external_missing", "No such file", external("nothing.bin")),
            ("external_offset", "no number", external("short.bin", offset="-1")), ("external_short", "only", external("short.bin")),
            ("external_length", "1152", external("short.bin", length="4")), ("external_overflow", "no number", external("short.bin", offset="99999999999999999999")),
            ("external_link", "link", external("link.bin")), ("external_folder", "regular", external("folder"))):
        bad(name, word, change)
    bad("training_mode", "training", training, 14)
    bad("spatial", "spatial", lambda m: m.graph.node[1].attribute.append(helper.make_attribute("spatial", 0)), 7)
    return made


def external_model(folder):
    """Weights in two files, with offsets."""
    m = network(13)
    rest = bytearray(b"\0" * 64)
    for t in m.graph.initializer:
        data, t.data_location = t.raw_data, TensorProto.EXTERNAL
        t.ClearField("raw_data")
        if t.name == "w":
            os.makedirs(os.path.join(folder, "part"), exist_ok=True)
            with open(os.path.join(folder, "part", "w.bin"), "wb") as f:
                f.write(data)
            t.external_data.add(key="location", value="part/w.bin")
        else:
            for key, value in (("location", "rest.bin"), ("offset", str(len(rest))), ("length", str(len(data)))):
                t.external_data.add(key=key, value=value)
            rest += data
    with open(os.path.join(folder, "rest.bin"), "wb") as f:
        f.write(rest)
    return m


def main(folder):
    networks()
    attributes_and_inputs()
    softmaxes()
    resizes()
    shapes()
    constants()
    tensors()
    for kind in ("good", "bad"):
        os.makedirs(os.path.join(folder, kind), exist_ok=True)
    GOOD["external"] = external_model(os.path.join(folder, "good"))
    for name, m in GOOD.items():
        with open(os.path.join(folder, "good", name + ".onnx"), "wb") as f:
            f.write(m.SerializeToString())
    bad_folder = os.path.join(folder, "bad")
    with open(os.path.join(bad_folder, "short.bin"), "wb") as f:
        f.write(b"1234")
    os.makedirs(os.path.join(bad_folder, "folder"), exist_ok=True)
    link = os.path.join(bad_folder, "link.bin")
    if not os.path.lexists(link):
        os.symlink("../good/rest.bin", link)
    with open(os.path.join(bad_folder, "words.txt"), "w") as words:
        for name, (m, word) in bad_models().items():
            with open(os.path.join(bad_folder, name + ".onnx"), "wb") as f:
                f.write(m.SerializeToString())
            words.write(f"{name}\t{word}\n")
    print(f"{len(GOOD)} good and {len(bad_models())} bad models in {folder}")


if __name__ == "__main__":
    main(sys.argv[1])

# SPDX-License-Identifier: Apache-2.0
"""The single-operator tests of the onnx package's backend suite in the engine.

    conformance.py TOOL [DOCUMENT]

TOOL is tool_run. Every test whose operators zeroq has runs twice, by the plain C definitions and by the engine's
kernels. Float inputs stay inputs; others become constants, as they are in networks. A test that can't pass needs an
entry in LEFT_OUT, and one that passes mustn't have one. DOCUMENT: the table is written there.
"""
import collections
import os
import re
import subprocess
import sys
import tempfile
import warnings

try:
    import numpy as np
    import onnx
    from onnx import numpy_helper
    from onnx.backend.test.loader import load_model_tests
except ImportError as missing:
    print(f"SKIPPED: the conformance tests of ONNX, since Python has no {missing.name}")
    sys.exit(77)

ALIASES = {"Upsample": "Resize"}
STEERING = {"Resize": 1, "Upsample": 1}  # inputs from here on are constants in every network
TYPES = "16-bit, 8-bit and 4-bit floats, double, and integers other than those of networks"
TRAINING = "a network in training: refused with the remedy, which is to export it for inference"
LEFT_OUT = [  # (pattern of the test's name, why)
    (r"test_cast.*_(FLOAT_to_U?INT[24]).*", "numbers out of range, for which ONNX defines no result"),
    (r"(?!test_cast(like)?_(FLOAT16|BFLOAT16|DOUBLE)_to_FLOAT(_expanded)?$)"
     r"test_cast(like)?_(no_saturate_|e8m0_)?\w*(FLOAT16|FLOAT8|FLOAT4|DOUBLE)\w*", TYPES),
    (r"test_(add|sub|mul|div|mod)_u?int(8|16|32|64)|test_mod_\w*(float64|float16|int8|int16)\w*", TYPES),
    (r"test_(de)?quantizelinear_\w*(e4m3|e5m2|float4).*|test_quantizelinear_u?int16", TYPES),
    (r"test_range_b?float16.*|test_maxpool_2d_uint8|test_pow_types_int\d\d_float32|test_flexattention_(fp16|double).*", TYPES),
    (r"test_batchnorm.*_training_mode|test_training_dropout.*|test_dropout_default_mask.*", TRAINING),
    (r"test_identity_(sequence|opt)", "sequences and optionals"),
    (r"test_maxpool_with_argmax_2d.*", "the indices of MaxPool, which only MaxUnpool reads"),
    (r"test_(de)?quantizelinear_blocked.*", "a scale for each block"),
    (r"test_reshape_allowzero_reordered", "empty tensors"),
    (r"test_resize_.*cubic.*", "cubic interpolation"),
    (r"test_resize_.*antialias", "smoothing before shrinking"),
    (r"test_resize_tf_crop_and_resize.*", "cropping inside Resize"),
    (r"test_resize_.*_not_(larger|smaller)", "sizes that keep the aspect ratio"),
    (r"test_resize_downsample_scales_linear_align_corners",
     "ONNX counts with the size before rounding; zeroq does what ONNX Runtime does"),
]


def tests_of(tool):
    """(name, test) of the tests whose operators are all supported."""
    supported = set(subprocess.run([tool, "ops"], capture_output=True, text=True, check=True).stdout.split())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    for case in cases:
        model = case.model if case.model_dir is None else onnx.load(os.path.join(case.model_dir, "model.onnx"))
        ops = {ALIASES.get(n.op_type, n.op_type) for n in model.graph.node}
        domains = {n.domain for n in model.graph.node}
        if ops <= supported and domains <= {"", "ai.onnx"}:
            yield case, model


def why_left_out(name):
    return next((why for pattern, why in LEFT_OUT if re.fullmatch(pattern, name)), None)


def fixed(model, inputs):
    """The model with all inputs that aren't float32 tensors of rank 1 or more as constants; the other inputs."""
    fixed_model, left, feeds = onnx.ModelProto(), [], []
    last = STEERING.get(model.graph.node[0].op_type, len(inputs))
    fixed_model.CopyFrom(model)
    for i, (info, value) in enumerate(zip(model.graph.input, inputs)):
        if isinstance(value, onnx.TensorProto):  # of a type that numpy has not
            fixed_model.graph.initializer.append(value)
            fixed_model.graph.initializer[-1].name = info.name
        elif isinstance(value, np.ndarray) and value.dtype == np.float32 and value.size > 0 and i < last:
            left.append(info)
            feeds.append(value)
        else:
            fixed_model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), info.name))
    if not left:  # the engine wants images
        left.append(onnx.helper.make_tensor_value_info("unused_", onnx.TensorProto.FLOAT, [1]))
        feeds.append(np.zeros(1, np.float32))
    del fixed_model.graph.input[:]
    fixed_model.graph.input.extend(left)
    return fixed_model, feeds


def compare(found, expected, case, what):
    assert found.shape == expected.shape, f"{what} is {list(found.shape)}, expected {list(expected.shape)}"
    a, b = found.astype(np.float64), np.asarray(expected).astype(np.float64)
    np.testing.assert_allclose(a, b, rtol=case.rtol, atol=max(case.atol, 1e-6), err_msg=what)


def run(tool, case, model, scratch):
    for inputs, outputs in case.data_sets:
        path, out = os.path.join(scratch, "model.onnx"), os.path.join(scratch, "out")
        fixed_model, feeds = fixed(model, inputs)
        onnx.save(fixed_model, path)
        files = [os.path.join(scratch, f"in{i}") for i in range(len(feeds))]
        for file, feed in zip(files, feeds):
            feed.tofile(file)
        done = subprocess.run([tool, path, out] + files, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            return f"status {done.returncode}: {done.stderr.strip().replace(path + ': ', '')}"
        data, at, lines = np.fromfile(out), 0, done.stdout.splitlines()
        assert len(lines) == 2 * len(outputs), f"{len(lines) // 2} outputs, expected {len(outputs)}"
        for k, line in enumerate(lines):
            name, dtype, *dims = line.split(" ")
            shape = [int(d) for d in dims]
            expected = outputs[k % len(outputs)]
            if isinstance(expected, onnx.TensorProto):
                wanted, expected = expected.data_type, numpy_helper.to_array(expected)
            else:
                wanted = onnx.helper.np_dtype_to_tensor_dtype(np.asarray(expected).dtype)
            n, wanted = int(np.prod(shape)), onnx.TensorProto.DataType.Name(wanted).lower()
            assert dtype == wanted, f"'{name}' is {dtype}, expected {wanted}"
            compare(data[at:at + n].reshape(shape), expected, case, f"'{name}'" + (" by the kernels" if k >= len(outputs) else ""))
            at += n
    return None


def write_document(path, passed, left, per_op):
    n_left = sum(len(names) for names in left.values())
    with open(path, "w") as out:
        out.write(f"""# Conformance

The `onnx` package brings tests of single operators with inputs and expected outputs (its backend suite). Those of the
operators that zeroq has, and those that are built of nothing else, run in the engine: once by the plain C definitions
and once by the fast kernels. Of the {len(passed) + n_left} tests of onnx {onnx.__version__}, **{len(passed)} pass and
{n_left} are left out**; none fails. Whatever is left out is refused with a sentence when a network holds it, except
where the table says otherwise.

    .venv/bin/python tests/engine/conformance.py build/tests/tool_run docs/conformance.md    # writes this file

## Left out

| why | tests |
|---|---|
""")
        for why, names in sorted(left.items(), key=lambda item: -len(item[1])):
            shown = ", ".join(f"`{name[5:]}`" for name in names[:6]) + (" ..." if len(names) > 6 else "")
            out.write(f"| {why} | {len(names)}: {shown} |\n")
        out.write("\n## Passed\n\n| operator | tests |\n|---|---|\n")
        for op, n in sorted(per_op.items()):
            out.write(f"| {op} | {n} |\n")


def main(tool, document=None):
    passed, failed, left, per_op = [], [], collections.defaultdict(list), collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for case, model in tests_of(tool):
            try:
                problem = run(tool, case, model, scratch)
            except Exception as error:  # of numpy or onnx: a finding like any other
                problem = f"{type(error).__name__}: {str(error).strip()[:400]}"
            why = why_left_out(case.name)
            if why is None and problem is None:
                passed.append(case.name)
                per_op.update({n.op_type for n in model.graph.node})
            elif why is None:
                failed.append(f"{case.name}: {problem}")
            elif problem is None:
                failed.append(f"{case.name} passes, but stands in LEFT_OUT: {why}")
            else:
                left[why].append(case.name)
    for line in failed:
        print(line)
    if document:
        write_document(document, passed, left, per_op)
    n_left = sum(len(names) for names in left.values())
    print(f"{len(passed)} of {len(passed) + len(failed)} tests of onnx {onnx.__version__} pass, {n_left} are left out")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

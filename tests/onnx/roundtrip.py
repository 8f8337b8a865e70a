# SPDX-License-Identifier: Apache-2.0
"""Reads and writes models with tool_roundtrip and compares the results in ONNX Runtime.

    roundtrip.py TOOL [MODELS]

The models of make_models.py, and every *.onnx in the folder MODELS. Good ones have to come back valid and with the
same outputs; bad ones have to be refused with a sentence that holds the word that make_models.py names.
"""
import glob
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    import onnxruntime

    import make_models
except ImportError as missing:
    print(f"SKIPPED: the round trips through ONNX Runtime, since Python has no {missing.name}")
    sys.exit(77)

onnxruntime.set_default_logger_severity(4)
ACCEPTED = {False: 1e-5, True: 1e-4}  # folding BatchNormalization rounds each weight anew


IMAGES = (1, 3)
MIX_IMAGES = ("mean_all_18.onnx", "mean_empty_18.onnx")  # folding leaves them one image: more would be another result


def outputs(path):
    """{number of images: {name: output}}; only those numbers that the input takes."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    names = [o.name for o in session.get_outputs()]
    fixed = [i.shape[0] for i in session.get_inputs() if i.shape and isinstance(i.shape[0], int)]
    results = {}
    for n_images in fixed[:1] or IMAGES:
        feeds = {}
        for i in session.get_inputs():
            shape = [d if isinstance(d, int) else n_images for d in i.shape]
            feeds[i.name] = rng.standard_normal(shape).astype(np.float32)
        results[n_images] = dict(zip(names, session.run(None, feeds)))
    return results


def difference(before, after):
    assert list(before) == list(after), f"outputs {list(after)}, expected {list(before)}"
    gaps = [0.0]
    for name, expected in before.items():
        found = after[name]
        assert expected.shape == found.shape, f"{name} is {found.shape}, expected {expected.shape}"
        assert expected.dtype == found.dtype, f"{name} is {found.dtype}, expected {expected.dtype}"
        scale = max(1.0, float(np.abs(expected.astype(np.float64)).max(initial=0)))
        gaps.append(np.abs(expected.astype(np.float64) - found.astype(np.float64)).max(initial=0) / scale)
    return np.max(gaps)  # NaN where there is one


def check_good(tool, path, expected, scratch, fold):
    written = os.path.join(scratch, "out.onnx")
    done = subprocess.run([tool, path, written] + (["fold"] if fold else []), capture_output=True, text=True)
    if done.returncode != 0:
        return f"status {done.returncode}: {done.stderr.strip()}"
    onnx.checker.check_model(written, full_check=True)
    found = outputs(written)
    wanted = list(IMAGES[:1]) if fold and os.path.basename(path) in MIX_IMAGES else list(expected)
    assert list(found) == wanted, f"takes {list(found)} images, expected {wanted}"
    worst = np.max([difference(expected[n], found[n]) for n in found])
    return None if worst <= ACCEPTED[fold] else f"differs by {worst:g}"


def check_bad(tool, path, word, scratch):
    done = subprocess.run([tool, path, os.path.join(scratch, "out.onnx")], capture_output=True, text=True)
    if done.returncode not in (3, 4, 5):
        return f"status {done.returncode}: {done.stderr.strip()}"
    if word not in done.stderr or os.path.basename(path) not in done.stderr:
        return f"the sentence doesn't say '{word}': {done.stderr.strip()}"
    return None


def main(tool, models):
    failed, checked = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        make_models.main(scratch)
        good = sorted(glob.glob(os.path.join(scratch, "good", "*.onnx")))
        if models and os.path.isdir(models):
            good += sorted(glob.glob(os.path.join(models, "*.onnx")))
        else:
            print(f"SKIPPED: published networks, since there is no folder {models}")
        for path in good:
            expected = outputs(path)
            for fold in (False, True):
                checked += 1
                try:
                    problem = check_good(tool, path, expected, scratch, fold)
                except Exception as error:  # of the checker or the runtime: a finding like any other
                    problem = f"{type(error).__name__}: {error}"
                if problem:
                    failed.append(f"{os.path.basename(path)}{' folded' if fold else ''}: {problem}")
        with open(os.path.join(scratch, "bad", "words.txt")) as words:
            for line in words:
                name, word = line.rstrip("\n").split("\t")
                checked += 1
                problem = check_bad(tool, os.path.join(scratch, "bad", name + ".onnx"), word, scratch)
                if problem:
                    failed.append(f"bad/{name}: {problem}")
    for line in failed:
        print(line)
    print(f"{checked - len(failed)} of {checked} round trips right")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))

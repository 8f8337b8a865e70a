#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The frontier in a file: as its schema says, the same network from it as without, and a sentence for whatever isn't one.

    test_frontier.py ZEROQ MODEL.onnx"""

import copy
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import fastjsonschema
except ImportError as missing:
    print(f"SKIPPED: the frontier in a file, since Python has no {missing.name}")
    sys.exit(77)

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = json.loads((DOCS / "frontier.schema.json").read_text())


class Frontier:
    def __init__(self, zeroq, model, folder):
        self.zeroq, self.model, self.folder = zeroq, model, folder
        self.json, self.csv = folder / "f.json", folder / "f.csv"

    def run(self, *arguments):
        return subprocess.run([self.zeroq, *map(str, arguments)], capture_output=True, text=True, timeout=120)

    def measure(self, *options):
        done = self.run("pareto", self.model, "--json", self.json, "--csv", self.csv, "-q", *options)
        assert done.returncode == 0 and done.stdout == done.stderr == "", done
        return json.loads(self.json.read_text())

    def quantize(self, *options):
        output = self.folder / "out.onnx"
        done = self.run("quantize", self.model, "-o", output, "-q", *options)
        assert done.returncode == 0, done.stderr
        written = output.read_bytes()
        output.unlink()
        return written

    def check_refused(self, text, statuses, what):
        """A file that isn't a frontier: a sentence that names it, and nothing is written."""
        path, output = self.folder / "bad.json", self.folder / "bad.onnx"
        path.write_text(text)
        done = self.run("quantize", self.model, "-o", output, "--from", path, "--size", "w4")
        assert done.returncode in statuses, f"{what}: exit status {done.returncode}, {done.stderr!r}"
        named = "bad.json" in done.stderr or "'options'" in what  # as if they had been given
        assert named and done.stderr.count("\n") == 1, f"{what}: {done.stderr!r}"
        assert not output.exists(), what


def check_same_file(frontier, *options):
    """With every size, from the file as without it."""
    found = frontier.measure(*options)
    validate = fastjsonschema.compile(SCHEMA)
    validate(found)
    for size in (["--size", "w8"], ["--size", "w4"], ["--size", "w5"], ["--max-kl", "0.5"]):
        again = frontier.quantize("--from", frontier.json, *size)
        assert again == frontier.quantize(*options, *size), f"{options} {size}: another file"
    return found


def check_csv(frontier, found):
    rows = list(csv.reader(frontier.csv.read_text().splitlines()))
    assert rows[0] == ["bytes", "cost", "sensitivity", "joint", *(layer["name"] for layer in found["layers"])], rows[0]
    points = [[p["bytes"], p["cost"], p["sensitivity"], p["joint"], *p["bits"]] for p in found["frontier"]]
    assert [[float(x) for x in row] for row in rows[1:]] == points, "the table isn't the frontier"


def places(schema, value, path=()):
    """Paths of everything that the schema requires, with one element of each list."""
    for key in schema.get("required", []):
        yield (*path, key)
        yield from places(schema["properties"][key], value[key], (*path, key))
    if "items" in schema and value:
        yield (*path, 0)
        yield from places(schema["items"], value[0], (*path, 0))


def changed(found, path, change):
    other = copy.deepcopy(found)
    parent = other
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return json.dumps(other)


def check_damaged_activations(frontier, found):
    """What a frontier with mixed activations has in addition."""
    for path in places({"required": ["mixed_activations"], "properties": SCHEMA["properties"]}, found):
        if path[-1] in {"mean_bits", "widths", "values", "elements"} or "widths" in path or "values" in path:
            continue  # not read
        if isinstance(path[-1], str):
            frontier.check_refused(changed(found, path, lambda at, key: at.pop(key)), {4}, f"without {path}")
        if "sensitivity" not in path[:-1]:
            for wrong in ({"a": 1}, [[]], 3, 9):
                frontier.check_refused(changed(found, path, lambda at, key: at.__setitem__(key, wrong)), {4},
                                       f"{path} = {wrong}")
    for mean in (-1, 3, 9, 1e300):
        frontier.check_refused(changed(found, ("saved", "options", "mixed_activations"),
                                       lambda at, key: at.__setitem__(key, mean)), {2}, "'options'")


def check_damaged(frontier, found):
    text = frontier.json.read_text()
    unread = [("format",), ("zeroq",), ("seed",)]
    silent = {"name", "bytes", "cost", "loss", "keep", "exclude"}  # not read, or any list will do
    for n in (0, 1, len(text) // 2, len(text) - 1):
        frontier.check_refused(text[:n], {4}, f"{n} characters")
    for path in places(SCHEMA, found):
        if path in unread:
            continue
        if isinstance(path[-1], str) and (path[-1] not in silent or path[:2] == ("saved", "options")):
            frontier.check_refused(changed(found, path, lambda at, key: at.pop(key)), {4}, f"without {path}")
        if path[-1] not in silent and not {"sensitivity", "loss"} & set(path[-2:-1]):
            for wrong in ({"a": 1}, [[]], "\u00e9", -1e300):
                if isinstance(wrong, float) and path[-1] in {"residual", "weight_clip", "sensitivity"}:
                    continue
                frontier.check_refused(changed(found, path, lambda at, key: at.__setitem__(key, wrong)),
                                       {2, 4, 5}, f"{path} = {wrong}")
    frontier.check_refused(changed(found, ("saved", "version"), lambda at, key: at.__setitem__(key, 1)), {5}, "version")
    frontier.check_refused(changed(found, ("saved", "network"), lambda at, key: at.__setitem__(key, "0" * 16)), {2},
                           "network")
    frontier.check_refused(changed(found, ("frontier",), lambda at, key: at[key].reverse()), {4}, "order")
    frontier.check_refused(text.replace('"levels":"', '"levels":"*'), {4}, "base64")


def main():
    zeroq, model = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as folder:
        frontier = Frontier(zeroq, model, Path(folder))
        found = check_same_file(frontier)
        check_csv(frontier, found)
        check_damaged(frontier, found)
        first = found["layers"][0]["name"]
        check_same_file(frontier, "--cost", "bits", "--keep", f"{first}=6", "--seed", "3", "--num-images", "8",
                        "--search", "grouped")
        check_damaged_activations(frontier, check_same_file(frontier, "--activations", "mixed", "--num-images", "8"))
        check_same_file(frontier, "--bits", "4,8", "--exclude", first, "--input-max", "1", "--activations", "6",
                        "--range", "minmax")
    print("ok")


if __name__ == "__main__":
    main()

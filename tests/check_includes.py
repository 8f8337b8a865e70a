#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the order of the folders: each may include only itself and those before it. Exit status 1 names each offence."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["base", "photo", "graph", "ops", "passes", "onnx", "engine", "quant", "report"]
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)


def allowed(folder, included):
    """May a file of src/FOLDER (None: src itself) include that?"""
    place = included.split("/")[0]
    if place not in ORDER or included == "onnx/onnx.pb-c.h":
        return place != "onnx" or folder == "onnx"  # system headers; generated code stays inside onnx/
    return folder is None or ORDER.index(place) <= ORDER.index(folder)


def offences():
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        parts = path.relative_to(ROOT / "src").parts
        folder = parts[0] if len(parts) > 1 else None
        if folder is not None and folder not in ORDER:
            yield f"{path.relative_to(ROOT)}: folder '{folder}' has no place in the order"
            continue
        for included in INCLUDE.findall(path.read_text()):
            if not allowed(folder, included):
                yield f"{path.relative_to(ROOT)}: includes {included}, which comes after {folder}"
            if included.startswith("dnnl") and parts[:2] != ("engine", "onednn"):
                yield f"{path.relative_to(ROOT)}: includes {included}; only engine/onednn may"
    for path in sorted((ROOT / "cli").glob("*.[ch]")):
        for included in INCLUDE.findall(path.read_text()):
            if "/" in included and included != "zeroq/zeroq.h" and not included.startswith("sys/"):
                yield f"{path.relative_to(ROOT)}: includes {included}; the command line uses the public API only"


def main():
    found = list(offences())
    print("\n".join(found) if found else f"includes follow the order {' < '.join(ORDER)}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

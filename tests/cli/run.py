#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the scripts of this folder and compares what they print with the files beside them.

    run.py ZEROQ [NAME ...] [--update]

NAME.sh runs with sh in an empty folder that holds copies of models/*.onnx; `zeroq` is the program under test.
NAME.stdout and NAME.stderr are what it has to print (absent: nothing), NAME.exit its exit status (absent: 0).
A script that can't be run here exits with 77 and prints why. In these files ... stands for anything within a line, a line ... for any number of lines. --update writes what was
found where a file differs: read it before committing it."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT_S = 120


def pattern(expected):
    """The regular expression that an expectation file stands for."""
    parts = []
    for line in expected.splitlines():
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(piece) for piece in line.split("...")) + r"\n")
    return re.compile("".join(parts))


def run_script(script, zeroq):
    """-> {"stdout": text, "stderr": text, "exit": text}"""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "work"
        shutil.copytree(HERE / "models", folder, ignore=lambda _, names: [n for n in names if n.endswith(".py")])
        binaries = Path(scratch) / "bin"
        binaries.mkdir()
        (binaries / "zeroq").symlink_to(zeroq)
        environment = os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}", "LC_ALL": "C"}
        done = subprocess.run(["sh", script], cwd=folder, env=environment, text=True, timeout=LIMIT_S,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return {"stdout": done.stdout, "stderr": done.stderr, "exit": f"{done.returncode}\n"}


def check(script, zeroq, update):
    """-> the streams that differ"""
    found = run_script(script, zeroq)
    if found["exit"] == "77\n":
        print(f"{script.name}: SKIPPED: {found['stdout'].strip()}")
        return []
    different = []
    for stream, text in found.items():
        path = script.with_suffix(f".{stream}")
        default = "0\n" if stream == "exit" else ""
        expected = path.read_text() if path.exists() else default
        if pattern(expected).fullmatch(text):
            continue
        different.append(stream)
        print(f"{script.name}: {stream} differs\n--- expected\n{expected}--- found\n{text}---")
        if update and text == default:
            path.unlink(missing_ok=True)
        elif update:
            path.write_text(text)
    return different


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zeroq", type=Path, help="the program")
    parser.add_argument("names", nargs="*", help="scripts without .sh (default: all)")
    parser.add_argument("--update", action="store_true", help="write what was found")
    arguments = parser.parse_args()
    scripts = [HERE / f"{name}.sh" for name in arguments.names] or sorted(HERE.glob("*.sh"))
    failed = [s.name for s in scripts if check(s, arguments.zeroq.resolve(), arguments.update)]
    print(f"{len(scripts)} scripts, {len(failed)} failed{': ' if failed else ''}{' '.join(failed)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of zeroq on whole networks, beside PyTorch and ONNX Runtime, in interleaved rounds.

    speed.py BUILD [NAME or FILE.onnx ...] [options]

For each network: forward, a step of the distillation (forward, statistics, gradient to the images), and the whole job by stage.
Each round measures everyone once, and the FMA peak; medians over the rounds count, and ratios within a round. Where other programs
run, compare processor time, that of all threads. BUILD is where
zeroq was built. Names are those of nets.py, which makes the networks where PyTorch is there. What can't be measured is named, and
no time is a failure. Results lie in BUILD/bench/speed: NAME.json and, of all of them, speed.svg."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from chart import bars

HERE = Path(__file__).resolve().parent
NAMES = ("resnet20", "mobilenet_v2", "resnet18", "resnet50")
PASSES = {"forward": "forward", "step": "forward, statistics, gradient"}


def environment(threads):
    """Threads that spin lose whole time slices to other programs: they sleep soon, for everyone here as for zeroq."""
    return {"GOMP_SPINCOUNT": "1000"} | os.environ | {"OMP_NUM_THREADS": str(threads)}


def run(command, threads):
    """-> last line of what it prints, and its peak memory; ValueError with the reason where it fails"""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=errors,
                                   env=environment(threads))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            raise ValueError((errors.read().strip().splitlines() or [f"status {process.returncode}"])[-1])
        return (output.read().strip().splitlines() or [""])[-1], 1024 * usage.ru_maxrss


class Torch:
    """PyTorch in a process that stays: importing it takes seconds. Its idle threads sleep."""

    def __init__(self, python, folder, name, batch, threads, layouts):
        command = [python, HERE / "peers.py", "torch", folder, name, str(batch), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(threads))
        self.version = self.answer()["version"]
        self.layouts = layouts  # by "forward fp32"

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise ValueError("PyTorch's process ended")
        return json.loads(line)

    def ask(self, what, dtype, layout):
        self.process.stdin.write(json.dumps({"pass": what, "type": dtype, "layout": layout}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def measure(self, what, dtype):
        """In the layout that was the faster one in the first round."""
        key = f"{what} {dtype}"
        if key not in self.layouts:
            first = {layout: self.ask(what, dtype, layout) for layout in ("plain", "channels last")}
            self.layouts[key] = min(first, key=lambda layout: first[layout]["ms"])
            return first[self.layouts[key]]
        return self.ask(what, dtype, self.layouts[key])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Bench:
    """One network: its samples, and who was left out and why."""

    def __init__(self, args, name, model, result):
        self.args, self.name, self.model, self.result = args, name, model, result
        self.torch = None

    def skip(self, who, reason):
        if who not in self.result["missing"]:
            print(f"{self.name}: {who} not measured: {reason}", flush=True)
        self.result["missing"][who] = str(reason)

    def add(self, what, who, sample):
        self.result["samples"].setdefault(what, {}).setdefault(who, []).append(sample)

    def run(self, *command):
        return run(command, self.args.threads)

    def peak(self):
        return json.loads(self.run(self.args.build / "bench/bench_peak")[0])["gflops"]

    def zeroq(self, what, dtype):
        with tempfile.TemporaryDirectory() as folder:
            command = [self.args.build / "zeroq", "inspect", self.model, "--plan", "--batch", self.args.batch, "--threads",
                       self.args.threads, "--precision", dtype, "-q", "--json", f"{folder}/plan.json"]
            _, peak_bytes = self.run(*command, *(["--gradient"] if what == "step" else []))
            plan = json.loads(Path(folder, "plan.json").read_text())["plan"]
        self.result["flop"][what] = plan["flop"] / self.args.batch
        return {"ms": plan["ms"], "cpu_ms": plan["cpu_ms"], "bytes": peak_bytes}

    def ort(self):
        line, peak_bytes = self.run(self.args.python, HERE / "peers.py", "ort", self.model, self.args.batch, self.args.threads)
        answer = json.loads(line)
        self.result["versions"]["ONNX Runtime"] = answer["version"]
        return {"ms": answer["ms"], "cpu_ms": answer["cpu_ms"], "bytes": peak_bytes}

    def start_torch(self):
        nets = self.args.nets
        if not (nets / f"{self.name}.pt").exists():
            return self.skip("PyTorch", f"no {nets / self.name}.pt")
        try:
            self.torch = Torch(self.args.python, nets, self.name, self.args.batch, self.args.threads, self.result["layouts"])
            self.result["versions"]["PyTorch"] = self.torch.version
        except ValueError as error:
            self.skip("PyTorch", error)

    def round(self):
        """Everyone once"""
        self.result["peak"].append(self.peak())
        types = ["fp32"] + (["bf16", "autocast"] if has_bf16() else [])
        for what in PASSES:
            for dtype in types[:2]:
                self.add(what, "zeroq" if dtype == "fp32" else f"zeroq {dtype}", self.zeroq(what, dtype))
            for dtype in types if self.torch else []:
                self.add(what, f"PyTorch {dtype}", self.torch.measure(what, dtype))
            if what == "forward" and "ONNX Runtime" not in self.result["missing"]:
                try:
                    self.add(what, "ONNX Runtime", self.ort())
                except ValueError as error:
                    self.skip("ONNX Runtime", error)

    def job_round(self):
        with tempfile.TemporaryDirectory() as folder:
            _, peak_bytes = self.run(self.args.build / "zeroq", "quantize", self.model, "-o", f"{folder}/q.onnx", "--size", "w4",
                                     "--threads", self.args.threads, "-q", "--json", f"{folder}/report.json")
            report = json.loads(Path(folder, "report.json").read_text())
        stages = {stage["stage"]: stage["seconds"] for stage in report["stages"]}
        self.add("job", "zeroq --size w4", {"ms": 1000 * report["summary"]["seconds"], "bytes": peak_bytes, "stages": stages})
        if "ONNX Runtime" in self.result["missing"]:
            return
        try:
            line, peak_bytes = self.run(self.args.python, HERE / "peers.py", "static", self.model, self.args.threads)
            self.add("job", "quantize_static", {"ms": 1000 * json.loads(line)["seconds"], "bytes": peak_bytes})
        except ValueError as error:
            self.skip("quantize_static", error)

    def save(self):
        (self.args.out / f"{self.name}.json").write_text(json.dumps(self.result, indent=1) + "\n")

    def measure(self):
        if not has_bf16():
            self.skip("bf16", "this processor has no instructions for it")
        self.start_torch()
        try:
            for measured in [self.round] * self.args.rounds + [self.job_round] * self.args.job_rounds:
                measured()
                self.save()
        finally:
            if self.torch:
                self.torch.close()


def has_bf16():
    return any(word in Path("/proc/cpuinfo").read_text() for word in ("avx512_bf16", "amx_bf16"))


def processor():
    lines = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{lines[0] if lines else 'unknown'}, {len(lines)} processors"


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def print_pass(result, what):
    samples = result["samples"].get(what, {})
    peak = max(result["peak"])
    for who, list_of in samples.items():
        narrow = "zeroq bf16" in samples and ("bf16" in who or "autocast" in who)
        zeroq = samples["zeroq bf16" if narrow else "zeroq"]
        ms = median(list_of, "ms") / result["batch"]
        rate = result["flop"][what] / ms * 1e-6
        ratio = statistics.median(a["ms"] / b["ms"] for a, b in zip(list_of, zeroq))
        cpu = median(list_of, "cpu_ms") / result["batch"]
        cpu_ratio = statistics.median(a["cpu_ms"] / b["cpu_ms"] for a, b in zip(list_of, zeroq))
        print(f"  {PASSES[what]:30} {who:18} {ms:9.3f} ms {rate:7.1f} GFLOP/s {100 * rate / peak:4.0f} % {ratio:7.2f} {cpu:11.3f} {cpu_ratio:6.2f} "
              f"{median(list_of, 'bytes') * 1e-6:8.0f} MB {len(list_of):3}")


def print_job(result):
    for who, samples in result["samples"].get("job", {}).items():
        stages = samples[0].get("stages", {})
        text = ", ".join(f"{stage} {statistics.median(s['stages'][stage] for s in samples):.2f}" for stage in stages)
        print(f"  {'quantize':30} {who:18} {median(samples, 'ms') / 1000:9.2f} s {'':50} {median(samples, 'bytes') * 1e-6:11.0f} MB "
              f"{len(samples):3}  {text}")


def print_result(result):
    print(f"{result['network']}: {result['flop']['forward'] * 1e-9:.2f} GFLOP an image forward, batch {result['batch']}, "
          f"{result['threads']} threads, peak {max(result['peak']):.0f} GFLOP/s")
    print(f"  {'':30} {'':18} {'an image':>12} {'':15} {'of peak':>6} {'ratio':>7} {'processor ms':>11} {'ratio':>5} {'memory':>11} {'n':>3}")
    for what in PASSES:
        print_pass(result, what)
    print_job(result)
    print(flush=True)


def draw(results, path):
    """Share of the peak, forward and step, of everyone in every network"""
    groups = []
    for result in results:
        for what in PASSES:
            shares = {who: result["flop"][what] / (median(samples, "ms") / result["batch"]) * 1e-6 / max(result["peak"])
                      for who, samples in result["samples"].get(what, {}).items()}
            groups.append((f"{result['network']}, {what}", shares))
    bars(path, "share of the FMA peak", groups)


def empty_result(args, name):
    return {"format": 1, "network": name, "batch": args.batch, "threads": args.threads, "processor": processor(), "flop": {},
            "peak": [], "samples": {}, "layouts": {}, "versions": {}, "missing": {}}


def load_result(args, name):
    path = args.out / f"{name}.json"
    result = empty_result(args, name)
    if args.add and path.exists():
        old = json.loads(path.read_text())
        same = all(old[key] == result[key] for key in ("format", "batch", "threads", "processor"))
        if not same:
            raise SystemExit(f"speed.py: {path} was measured with another batch, processor or number of threads; leave out --add")
        result = old | {"missing": {}}
    return result


def find_model(args, name):
    """A file, or a network that nets.py makes; None where that isn't possible"""
    if name.endswith(".onnx"):
        return Path(name)
    path = args.nets / f"{name}.onnx"
    if not (path.exists() and path.with_suffix(".pt").exists()):
        try:
            run([args.python, HERE / "nets.py", args.nets, name], args.threads)
        except ValueError as error:
            if not path.exists():
                print(f"{name}: not measured, since nets.py can't make it: {error}", flush=True)
                return None
    return path


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("networks", nargs="*", metavar="NAME or FILE.onnx", help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job-rounds", type=int, help="rounds of the whole job (default: those of --rounds)")
    parser.add_argument("--add", action="store_true", help="add rounds to the results that are there")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--python", default=sys.executable, help="one with the packages of bench/requirements.txt")
    parser.add_argument("--nets", type=Path, help="folder for the networks (default: BUILD/bench/nets)")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.out = args.build / "bench/speed"
    args.nets = args.nets or args.build / "bench/nets"
    args.job_rounds = args.rounds if args.job_rounds is None else args.job_rounds
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def main():
    args = parse()
    networks = [(Path(name).stem, find_model(args, name)) for name in args.networks or NAMES]
    if not args.networks and not any(model for _, model in networks):
        networks = [("resnet20-cifar10", HERE.parent / "demo/resnet20-cifar10.onnx")]
    for name, model in networks:
        if model is None:
            continue
        result = load_result(args, name)
        try:
            Bench(args, name, model, result).measure()
        except ValueError as error:
            raise SystemExit(f"speed.py: {name}: {error}")
        if result["peak"]:
            print_result(result)
    results = [json.loads(path.read_text()) for path in sorted(args.out.glob("*.json"))]
    draw([result for result in results if result["peak"]], args.out / "speed.svg")


if __name__ == "__main__":
    main()

"""What it takes to run a model where it is deployed: bytes, seconds to the first result, memory.

    python benchmarks/deployment.py [NAME ...] [--again] [--rounds 20]

For each model of MODELS, and each of these:

    c            a program in C, linked with the standalone library
    vm-cpp       a program in C++ that runs model.so in TVM's virtual machine, where the headers of
                 tvm_ffi and a C++ compiler are
    vm-python    the same from Python
    onnxruntime  ONNX Runtime from Python
    openvino     OpenVINO from Python

The library is the one in artifacts/, compiled with what the catalogue knows if there is none that
fits. Rows are written to benchmarks/results/deployment.json as they come, and models that have one
are left out: what was interrupted is called again. The machine has to be quiet.
docs/results/deployment.md is made from the file by docs/generate.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunekit.benchmark.registry import NotApplicable, Preparation, Runtime
from tunekit.cache import content_key, file_digest
from tunekit.runtimes.c_program import CProgram

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "deployment.json"
PROGRAM = Path(__file__).with_name("vm_program.cpp")
MODELS = (
    "vanilla_cnn_onnx",
    "resnet18_x86",
    "mobilenet_v2_x86",
    "resnet50_x86",
    "efficientnet_b4_x86",
    "vit_b_16_x86",
    "maskrcnn_backbone_x86",
)
RUNTIMES = {
    "c": "tuned-c",
    "vm-cpp": "deployment:VmFromCpp",
    "vm-python": "tuned-vm",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}
THREADS = (1, 2)
# What every machine has, or Python brings: not counted as delivered.
SYSTEM = ("/lib", "/usr", sys.base_prefix)
TIMEOUT_S = 900.0

Row = dict[str, Any]


class VmFromCpp(CProgram, Runtime):
    """model.so in TVM's virtual machine, from vm_program.cpp."""

    name = "vm-cpp"

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.library import tuned_library
        from tunekit.standalone.elements import element_of

        library = tuned_library(preparation.recipe, say=preparation.say)
        forms = []
        for tensor in library.manifest.inputs:
            element = element_of(tensor.dtype)
            forms.append(f"{element.code}:{element.bits}:{'x'.join(map(str, tensor.shape))}")
        return {
            "program": str(compiled(preparation)),
            "file": str(library.path.resolve()),
            "forms": forms,
            "input_names": [tensor.name for tensor in library.manifest.inputs],
            "outputs": [(tensor.shape, tensor.dtype) for tensor in library.manifest.outputs],
        }

    def command(self, plan: Mapping[str, Any], files: Sequence[Path], threads: int) -> list[str]:
        inputs = [f"{file}:{form}" for file, form in zip(files, plan["forms"], strict=True)]
        return [plan["program"], plan["file"], *inputs]


def compiled(preparation: Preparation) -> Path:
    """vm_program, compiled and linked with TVM's libraries where they are installed."""
    from tvm import libinfo
    from tvm_ffi.libinfo import find_libtvm_ffi, include_paths

    runtime, ffi = Path(libinfo.find_libtvm_runtime()), Path(find_libtvm_ffi())
    key = content_key(file_digest(PROGRAM), file_digest(runtime), str(runtime))
    folder = preparation.cache.get("vm-program", key)
    if folder is None:
        with preparation.cache.put("vm-program", key) as made:
            command = ["c++", "-std=c++17", "-O2", *(f"-I{path}" for path in include_paths())]
            # Nothing of the runtime is named: it registers itself.
            linked = f"-Wl,--no-as-needed,-rpath,{runtime.parent},-rpath,{ffi.parent}"
            command += [
                str(PROGRAM),
                "-o",
                str(made / "vm_program"),
                linked,
                str(runtime),
                str(ffi),
            ]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise NotApplicable(f"vm_program.cpp cannot be compiled: {error}") from error
        folder = preparation.cache.get("vm-program", key)
        assert folder is not None
    return folder / "vm_program"


def main() -> None:
    options = _parsed()
    rows: dict[str, Row] = {}
    if options.output.is_file():
        rows = json.loads(options.output.read_text("utf-8"))
    for name in options.names or MODELS:
        if name in rows and not options.again:
            continue
        rows[name] = measured(name, options)
        ordered = {name: rows[name] for name in (*MODELS, *rows) if name in rows}
        options.output.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
        for runtime, row in rows[name]["runtimes"].items():
            print(f"{name} {runtime}: {row}", flush=True)


def measured(name: str, options: argparse.Namespace) -> Row:
    """A model's row."""
    import tunekit

    recipe = tunekit.load_recipe(ROOT / "recipes" / f"{name}.yaml", output=options.artifacts)
    reports = {
        threads: tunekit.bench(
            recipe, runtimes=list(RUNTIMES.values()), rounds=options.rounds, threads=threads
        )
        for threads in THREADS
    }
    found = {runtime: {"latency_ms": {}, "turns_ms": {}} for runtime in RUNTIMES}
    for threads, report in reports.items():
        for runtime, result in zip(RUNTIMES, report.runtimes, strict=True):
            row: Row = found[runtime]
            if result.status != "ok" or result.latency is None:
                row["failed"] = result.reason or result.status
                continue
            row["latency_ms"][str(threads)] = rounded(result.latency.median_ms)
            row["turns_ms"][str(threads)] = [
                rounded(1e3 * statistics.median(turn.seconds)) for turn in result.rounds
            ]
            # The last report's: with all threads.
            row["import_ms"] = rounded(1e3 * (result.import_s or 0))
            row["load_ms"] = rounded(1e3 * (result.load_s or 0))
            row["first_run_ms"] = rounded(1e3 * (result.first_run_s or 0))
            row["idle_cpu_ms"] = rounded(1e3 * (result.idle_cpu_s or 0))
            row["peak_bytes"] = result.peak_rss_bytes
    weights = weights_of(recipe)
    with tempfile.TemporaryDirectory(prefix="tunekit-deployment-") as folder:
        for runtime, more in two_processes(recipe, found, weights, Path(folder)).items():
            found[runtime].update(more)
    environment = reports[THREADS[-1]].environment
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": environment.host["cpu_name"],
        "weights_bytes": weights,
        "runtimes": found,
    }


def weights_of(recipe: Any) -> int:
    """Bytes of a model's weights, as its library has them."""
    from tunekit.library import tuned_library

    standalone = tuned_library(recipe).manifest.standalone
    return 0 if standalone is None else standalone.weights_bytes


def two_processes(
    recipe: Any, found: Mapping[str, Row], weights: int, folder: Path
) -> dict[str, Row]:
    """What two processes of each runtime have in memory together, where pages that they share count
    once; and the bytes that are delivered besides the weights."""
    import numpy as np

    from tunekit.benchmark.registry import find_runtime
    from tunekit.cache import ContentCache
    from tunekit.models import load_source
    from tunekit.runtimes.process import RunnerProcess

    cache, threads = ContentCache(), THREADS[-1]
    source = load_source(recipe.model, cache=cache)
    inputs = source.sample_inputs(recipe.model.seed)
    np.savez(folder / "inputs.npz", *inputs.values())
    preparation = Preparation(recipe, source, inputs, cache, threads, lambda _: None)
    rows = {}
    for name, row in found.items():
        if "failed" in row:
            continue
        runtime = find_runtime(RUNTIMES[name])
        plan = runtime.prepare(preparation)
        with ExitStack() as stack:
            processes = []
            for number in range(2):
                process = stack.enter_context(
                    RunnerProcess(
                        f"{runtime.__module__}:{runtime.__qualname__}",
                        threads=threads,
                        log=folder / f"{name}-{number}.log",
                    )
                )
                given = {"inputs": str(folder / "inputs.npz"), "names": list(inputs)}
                process.ask("load", timeout_s=TIMEOUT_S, plan=plan, threads=threads, **given)
                once = {"seconds": 0, "least": 1, "most": 1, "untimed": 0}
                process.ask("run", timeout_s=TIMEOUT_S, **once)
                processes.append(process)
            delivered = mapped(processes[0].model_pid) | {str(plan.get("file", ""))} - {""}
            size = sum(Path(file).stat().st_size for file in delivered)
            rows[name] = {
                "two_processes_bytes": sum(shared_out(one.model_pid) for one in processes),
                "besides_weights_bytes": max(size - weights, 0),
            }
    return rows


def mapped(pid: int) -> set[str]:
    """The files that a process has mapped, but for those of the system and of Python."""
    lines = Path(f"/proc/{pid}/maps").read_text("utf-8").splitlines()
    files = {fields[5].strip() for line in lines if len(fields := line.split(None, 5)) == 6}
    return {file for file in files if Path(file).is_file() and not file.startswith(SYSTEM)}


def shared_out(pid: int) -> int:
    """Bytes that a process has in memory, of shared pages its share (Linux: Pss)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not tell the proportional set size")


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(MODELS)} (default: all)")
    parser.add_argument("--again", action="store_true", help="those that have a row too")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--artifacts", type=Path, help="where the libraries are")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

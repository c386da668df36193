"""How threads should wait: policies of the standalone library's pool, in turns with TVM's own.

    python benchmarks/thread_policies.py [NETWORK ...] [--minutes 11] [--kept DIR] [-o FILE]

Networks of 0.1 to 50 ms, with default schedules and weights where they are mapped; on one thread
and on two; with the machine to itself and beside a process that always computes. Policies: how long
workers stay awake after a run (from not at all to for ever), whom to keep on one core, and how long
to pause before the core is offered to others (compiled in). Each round gives each policy a turn, in
an order of its own, for which the model is opened and afterwards closed, so that nobody spins in
another's turn. Ratios are to TVM's virtual machine, in the same rounds. Then, runs 300 ms apart:
the CPU time that each policy takes from the end of one to the beginning of the next.

Written to benchmarks/results/thread_policies.json. What is built is kept in DIR for the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from library_races import ROOT, write

from tunekit.cache import ContentCache, content_key, package_digest
from tunekit.graph.pipeline import prepare_model
from tunekit.library.build import export
from tunekit.library.default_library import default_module
from tunekit.library.program import program_of, toolchain_of
from tunekit.recipe import load_recipe
from tunekit.standalone.build import SOURCES, Part, Toolchain, build
from tunekit.timing.statistics import median, paired_ratio

NETWORKS = ("vanilla_cnn_onnx", "mobilenet_v2_x86", "resnet50_x86")
THREADS = (2, 1)
NAME = "network"
_FOR_EVER_US = 2**31 - 1
_NEVER_NS = 10**15
_PINS = {"none": 1, "workers": 2, "all": 3}
# In open.c and pool.c.
_SPIN_US, _PAUSE_NS, _LOOKS = 200, 10_000, 16
# Compiled in: nanoseconds before the core is offered, and looks between looks at the clock.
_WAITS = (
    *((pause_ns, _LOOKS) for pause_ns in (_PAUSE_NS, 0, 2_000, 50_000, _NEVER_NS)),
    *((_PAUSE_NS, looks) for looks in (4, 64)),
)
_TIMER = """\
#include <time.h>

#include "tunekit.h"

int open_model(const tunekit_api *api, tunekit_model **model, int threads, int spin_us, int pin) {
  tunekit_options options = {.threads = threads, .spin_us = spin_us, .pin = pin};
  options.weights = TUNEKIT_WEIGHTS_SHARED;
  return api->open(model, &options);
}

int bind(const tunekit_api *api, tunekit_model *model, int index, const void *data) {
  return api->bind_input(model, index, data, api->describe_input(model, index)->bytes);
}

void close_model(const tunekit_api *api, tunekit_model *model) { api->close(model); }

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

double seconds_of_runs(const tunekit_api *api, tunekit_model *model, int runs) {
  double start = now();
  for (int i = 0; i < runs; i++)
    if (api->run(model) != TUNEKIT_OK) return -1;
  return now() - start;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="names in recipes/")
    parser.add_argument("--minutes", type=float, default=11.0, help="of measuring, in all")
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS)
    parser.add_argument(
        "--kept", type=Path, default=Path(tempfile.gettempdir()) / "tunekit-thread-policies"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "benchmarks/results/thread_policies.json"
    )
    arguments = parser.parse_args()
    folders = {name: _built(name, arguments.kept) for name in arguments.networks}
    # A turn of one thread has two contestants, one of several as many as there are policies.
    weights = {threads: 1 if threads == 1 else 8 for threads in arguments.threads}
    share_s = 60 * arguments.minutes / (2 * len(folders) * sum(weights.values()))
    found = []
    for name, folder in folders.items():
        for threads, weight in weights.items():
            print(f"{name}, {threads} threads", file=sys.stderr)
            for measured in _measured(folder, threads, share_s * weight):
                found.append(_scenario(name, threads, measured))
                print_scenario(found[-1])
    write(arguments.output, found)


def policies(threads: int) -> list[dict[str, Any]]:
    """What takes turns; the first is the library's own choice."""

    def policy(spin_us: int, pin: str, pause_ns: int, looks: int) -> dict[str, Any]:
        return {"spin_us": spin_us, "pin": pin, "pause_ns": pause_ns, "looks": looks}

    own = policy(_SPIN_US, "none", _PAUSE_NS, _LOOKS)
    if threads == 1:
        return [own]
    spins = (0, 20, _SPIN_US, 2000, _FOR_EVER_US)
    options = [policy(spin, pin, _PAUSE_NS, _LOOKS) for spin in spins for pin in _PINS]
    compiled = [policy(_SPIN_US, "none", *wait) for wait in _WAITS]
    return [own, *(other for other in (*options, *compiled[1:]) if other != own)]


def library_of(folder: Path, pause_ns: int, looks: int) -> Path:
    """The library with these waits."""
    return folder / f"{pause_ns}-{looks}" / f"lib{NAME}.so"


def _built(name: str, kept: Path) -> Path:
    """Folder of a network's libraries: TVM's, one of its own for each way to wait, and inputs."""
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    code = package_digest("graph", "spaces", "ir", "library", "standalone")
    folder = kept / f"{name}-{content_key(code, recipe.model_dump(mode='json'))[:16]}"
    if (folder / "whole").exists():
        return folder
    print(f"{name}: compiling", file=sys.stderr)
    prepared = prepare_model(recipe, ContentCache(), lambda line: None)
    folder.mkdir(parents=True, exist_ok=True)
    exported = export(
        default_module(prepared),
        prepared.target,
        folder / "machine.so",
        kernels=folder / "kernels.o",
    )
    assert exported.kernels is not None
    part = Part(program_of(prepared, exported), exported.kernels)
    compiler = toolchain_of(prepared.recipe, prepared.target).compiler
    for pause_ns, looks in _WAITS:
        path = library_of(folder, pause_ns, looks)
        path.parent.mkdir(exist_ok=True)
        macros = f"-DPAUSE_NS={pause_ns} -DLOOKS={looks}"
        build(NAME, [part], path.parent, Toolchain(f"{compiler} {macros}"))
    (folder / "timer.c").write_text(_TIMER)
    Toolchain(compiler).call(
        *("-O2", "-shared", "-fPIC", f"-I{SOURCES}", "-x", "c", str(folder / "timer.c")),
        *("-o", str(folder / "timer.so")),
    )
    sample = prepared.source.sample_inputs(recipe.model.seed)
    arrays = {str(i): sample[spec.name] for i, spec in enumerate(prepared.source.inputs)}
    np.savez(folder / "inputs.npz", allow_pickle=False, **arrays)
    (folder / "whole").touch()
    return folder


def _measured(folder: Path, threads: int, seconds: float) -> list[dict[str, Any]]:
    """The seconds of all turns, in a process that begins with so many threads of TVM's."""
    request = {
        "folder": str(folder),
        "threads": threads,
        "seconds": seconds,
        "policies": [
            {
                "library": str(library_of(folder, policy["pause_ns"], policy["looks"])),
                "spin_us": policy["spin_us"] or -1,
                "pin": _PINS[policy["pin"]],
            }
            for policy in policies(threads)
        ],
        "function": f"{NAME}_api",
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("thread_policy_turns.py"))],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        env={**os.environ, "TVM_NUM_THREADS": str(threads)},
        text=True,
        check=True,
    )
    measured: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _scenario(name: str, threads: int, measured: Mapping[str, Any]) -> dict[str, Any]:
    machine = measured["machine_s"]
    return {
        "network": name,
        "threads": threads,
        "beside": measured["beside"],
        "rounds": len(machine),
        "tvm": {
            "ms": 1e3 * median(machine),
            "idle_cpu_ms": measured["machine_idle_ms"],
            "turns_s": machine,
        },
        "policies": [
            {**policy, **_row(turns, machine), "idle_cpu_ms": idle, "turns_s": turns}
            for policy, turns, idle in zip(
                policies(threads), measured["turns_s"], measured["idle_ms"], strict=True
            )
        ],
    }


def _row(turns: Sequence[float], machine: Sequence[float]) -> dict[str, Any]:
    ratio = paired_ratio(turns, machine)
    return {
        "ms": 1e3 * median(turns),
        "ratio": ratio.value,
        "interval": [ratio.interval.low, ratio.interval.high],
    }


def print_scenario(scenario: Mapping[str, Any]) -> None:
    """Prints a scenario as a Markdown table, the fastest first."""
    tvm = scenario["tvm"]
    print(
        f"\n{scenario['network']}, {scenario['threads']} threads, beside {scenario['beside']}, "
        f"{scenario['rounds']} rounds; TVM's virtual machine: {tvm['ms']:.3f} ms, "
        f"{_ms(tvm['idle_cpu_ms'])} ms of CPU between runs\n"
    )
    print("| awake | pinned | pause | looks | ms | times as fast as TVM's | idle CPU, ms |")
    print("|---|---|---|---|---|---|---|")
    for row in sorted(scenario["policies"], key=lambda row: -row["ratio"]):
        awake = "for ever" if row["spin_us"] == _FOR_EVER_US else f"{row['spin_us']} us"
        pause = "never yields" if row["pause_ns"] == _NEVER_NS else f"{row['pause_ns'] / 1e3:g} us"
        low, high = row["interval"]
        print(
            f"| {awake} | {row['pin']} | {pause} | {row['looks']} | {row['ms']:.3f} | "
            f"{row['ratio']:.2f} ({low:.2f} to {high:.2f}) | {_ms(row['idle_cpu_ms'])} |"
        )


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()

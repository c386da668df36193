"""Whole tuning runs on small workloads, for tests and for the processes that tests start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from measurers import Arithmetic
from tvm import te

from tunekit.catalogue import Catalogue, NewSession, SessionInfo
from tunekit.graph.task import Task
from tunekit.machine.host import detect_host
from tunekit.machine.target import ResolvedTarget, resolve_target
from tunekit.machine.toolchain import versions
from tunekit.measure.measurer import MeasureOptions
from tunekit.recipe import Tuning
from tunekit.search.progress import Progress, SilentReporter, TuningResult
from tunekit.search.tuner import Tuner


def task(name: str, function: Any, weight: int, flops: float) -> Task:
    module = tvm.IRModule({"main": function})
    return Task(name, module, str(tvm_ffi.structural_hash(module)), weight, flops, 4096)


def matmul(size: int) -> Any:
    a, b = te.placeholder((size, size), name="a"), te.placeholder((size, size), name="b")
    k = te.reduce_axis((0, size), name="k")
    c = te.compute((size, size), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    return te.create_prim_func([a, b, c])


def contraction(size: int) -> Any:
    """Over two axes, for which there is only MetaSchedule's generic space."""
    a, b = te.placeholder((size, size, 4), name="a"), te.placeholder((size, size, 4), name="b")
    k, inner = te.reduce_axis((0, size), name="k"), te.reduce_axis((0, 4), name="inner")
    c = te.compute(
        (size, size), lambda i, j: te.sum(a[i, k, inner] * b[j, k, inner], [k, inner]), name="c"
    )
    return te.create_prim_func([a, b, c])


def relu(size: int) -> Any:
    a = te.placeholder((size, size), name="a")
    b = te.compute((size, size), lambda i, j: te.max(a[i, j], 0.0), name="b")
    return te.create_prim_func([a, b])


def convolution(target: ResolvedTarget) -> Any:
    """A blocked 1x1 convolution, which gets the space of register tiles."""
    lanes = target.f32_lanes
    data = te.placeholder((1, 2, 8, 8, lanes), name="data")
    weight = te.placeholder((4, 2, 1, 1, lanes, lanes), name="weight")
    ic, ib = te.reduce_axis((0, 2), name="ic"), te.reduce_axis((0, lanes), name="ib")
    kh, kw = te.reduce_axis((0, 1), name="kh"), te.reduce_axis((0, 1), name="kw")
    out = te.compute(
        (1, 4, 8, 8, lanes),
        lambda n, c, h, w, o: te.sum(
            data[n, ic, h + kh, w + kw, ib] * weight[c, ic, kh, kw, ib, o], axis=[ic, kh, kw, ib]
        ),
        name="convolution",
    )
    return te.create_prim_func([data, weight, out])


def tasks(target: ResolvedTarget) -> list[Task]:
    """One of each kind of space: listed as a whole, drawn from, and soon used up. Then one whose
    schedules may change the layout of its weights."""
    return [
        task("convolution", convolution(target), 3, 2e5),
        task("contraction", contraction(16), 2, 3.3e4),
        task("relu", relu(8), 1, 64),
        task("packed", matmul(64).with_attr("layout_free_buffers", [1]), 1, 5e5),
    ]


def options(target: ResolvedTarget, **changes: Any) -> MeasureOptions:
    values: dict[str, Any] = {
        "target": target.spec,
        "device": "cpu",
        "repeat": 1,
        "min_repeat_ms": 0,
        "build_timeout_s": 30.0,
        "run_timeout_s": 10.0,
        "jobs": 2,
        "threads": 2,
        "cpu_cache": "warm",
        "memory_bytes": 2**31,
    }
    return MeasureOptions(**{**values, **changes})


def begin(catalogue: Catalogue, target: ResolvedTarget, budget: int, seed: int = 0) -> SessionInfo:
    host = detect_host()
    return catalogue.sessions.begin(
        NewSession(
            name="small",
            recipe_yaml="name: small\n",
            recipe_digest="recipe",
            model_digest="model",
            model_name="small",
            target_json=target.spec,
            host=host.as_dict(),
            host_fingerprint=host.fingerprint,
            toolchain=versions(),
            budget_trials=budget,
            seed=seed,
        )
    )


class Quiet(SilentReporter):
    """Keeps the last progress."""

    def __init__(self) -> None:
        self.last: Progress | None = None

    def update(self, progress: Progress) -> None:
        self.last = progress


def run(
    catalogue: Catalogue,
    session: SessionInfo,
    target: ResolvedTarget,
    measurer: Any,
    tuning: Tuning | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
    reporter: Quiet | None = None,
    only: slice = slice(3),
) -> TuningResult:
    tuner = Tuner(
        tasks(target)[only],
        target,
        tuning or Tuning(seed=session.seed),
        measurer.options,
        catalogue,
        session,
        preparation="none",
        reporter=reporter or Quiet(),
        stop=stop,
    )
    return tuner.run(measurer)


def candidates(catalogue: Catalogue, session: SessionInfo) -> list[tuple[str, str]]:
    """What a session tried, in order: task and candidate."""
    return [
        (trial.task_name, trial.candidate_digest)
        for trial in catalogue.trials.read(session_id=session.id)
    ]


if __name__ == "__main__":
    place, budget, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    native = resolve_target("native")
    with Catalogue.open(place) as opened:
        begun = begin(opened, native, budget, seed)
        run(opened, begun, native, Arithmetic(options(native)))
        for name, digest in candidates(opened, begun):
            print(name, digest)

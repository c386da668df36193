"""tunekit's trial engine and search against stock MetaSchedule, on the same tasks, taking turns.

    python benchmarks/tuning_throughput.py [--recipe resnet50_x86] [--layers 3] [--trials 64]
        [--rounds 1] [--seed 0] [--engines tunekit,metaschedule] [--against DIR] [-o FILE]

A third contestant, `generic`, is tunekit's engine and search in MetaSchedule's generic spaces: what
tunekit's own spaces are worth. `--layers 0` takes all tasks of the recipe. With `--against`, the
contestant `before` is the tunekit of another checkout, run by that checkout's copy of this script:
whether a change has made the engine slower.

Both get the heaviest `--layers` tasks of the recipe as tunekit extracts them, `--trials` trials in
all, the same seed, and a process of their own with nothing else in it; with several rounds the
first one is the second one's turn next time. Stock MetaSchedule is `tune_tasks` with its defaults
and the least change that lets it work on such a machine: a build function without the import of
tensor intrinsics (47 s in a builder whose limit is 30 s), and the same import kept out of its
tuning context. In the end the best candidates of both are measured again, by one engine, in turns:
those are the milliseconds to compare.

Written to benchmarks/results/: tuning_throughput.json (every trial with the second at which it was
known, the machine, the date) and tuning_throughput.svg (latency against wall clock and trials).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunekit.cache import ContentCache
from tunekit.catalogue import Catalogue, NewSession
from tunekit.graph.implementation import is_direct
from tunekit.graph.pipeline import prepare_model
from tunekit.graph.task import Task
from tunekit.ir.trace import load_trace
from tunekit.machine.host import detect_host
from tunekit.machine.target import ResolvedTarget, resolve_target
from tunekit.machine.toolchain import versions
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import Candidate, MeasureOptions, TensorArgument
from tunekit.recipe import Tuning, load_recipe
from tunekit.search.progress import Progress, SilentReporter
from tunekit.search.tuner import Tuner, measure_options
from tunekit.spaces.metaschedule import (
    generic_space,
    quiet_logger,
    without_tensor_intrinsics,
)

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
ENGINES = ("tunekit", "metaschedule", "generic", "before")
COLOURS = {
    "tunekit": "#0a7d4b",
    "metaschedule": "#b3541e",
    "generic": "#3a5fb0",
    "before": "#777777",
}
FINAL_ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="resnet50_x86", help="a name in recipes/")
    parser.add_argument("--layers", type=int, default=3, help="the heaviest tasks of the recipe")
    parser.add_argument("--trials", type=int, default=64, help="of each engine, in all")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each engine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "tuning_throughput.json")
    parser.add_argument(
        "--engines", default="tunekit,metaschedule", help=f"of {', '.join(ENGINES)}, in turns"
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="the checkout of `before`")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--tasks", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        run = metaschedule if arguments.engine == "metaschedule" else tunekit
        if arguments.engine == "generic":
            use_generic_spaces()
        found = run(read_tasks(arguments.tasks), arguments.trials, arguments.seed)
        arguments.output.write_text(json.dumps(found))
        return
    compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Runs both engines in turns and writes what became of it."""
    target, host = resolve_target("native"), detect_host()
    engines = arguments.engines.split(",")
    unknown = set(engines) - set(ENGINES)
    if unknown:
        sys.exit(f"--engines: {', '.join(sorted(unknown))}; there are {', '.join(ENGINES)}")
    if "before" in engines and arguments.against is None:
        sys.exit("--engines: `before` is the tunekit of another checkout: name it with --against")
    recipe = load_recipe(ROOT / "recipes" / f"{arguments.recipe}.yaml")
    prepared = prepare_model(recipe, ContentCache(), lambda line: print(line, file=sys.stderr))
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        tasks = Path(scratch, "tasks.json")
        # One algorithm of each convolution, so that the tasks add up to a model.
        direct = [
            task
            for task in prepared.tasks
            if task.implementation is None or is_direct(task.implementation)
        ]
        chosen = direct[: arguments.layers or None]
        write_tasks(chosen, tasks)
        for number in range(arguments.rounds):
            for engine in engines if number % 2 == 0 else engines[::-1]:
                print(f"round {number + 1}: {engine}", file=sys.stderr)
                output = Path(scratch, f"{engine}{number}.json")
                # The measuring server is found in the folder that it is started in.
                checkout = arguments.against.resolve() if engine == "before" else ROOT
                script = checkout / "benchmarks" / Path(__file__).name
                environment = {**os.environ, "PYTHONPATH": str(checkout)}
                own = "tunekit" if engine == "before" else engine
                command = [sys.executable, str(script), "--engine", own, "--tasks", str(tasks)]
                command += ["--trials", str(arguments.trials), "-o", str(output)]
                command += ["--seed", str(arguments.seed + number)]
                load = os.getloadavg()[0]
                subprocess.run(
                    command, check=True, stdout=subprocess.DEVNULL, env=environment, cwd=checkout
                )
                runs.append(json.loads(output.read_text()))
                runs[-1].update(engine=engine, round=number + 1, load_before=round(load, 2))
        judge(runs, read_tasks(tasks), target)
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {
            "cpu": host.cpu_name,
            "cores": host.cores,
            "memory_gib": round(host.memory_bytes / 2**30, 1),
        },
        "versions": versions(),
        "target": json.loads(target.spec),
        "recipe": arguments.recipe,
        "trials": arguments.trials,
        "tasks": [
            {"name": task.name, "weight": task.weight, "flops": task.flops} for task in chosen
        ],
        "runs": [{key: run[key] for key in run if key != "best"} for run in runs],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    arguments.output.with_suffix(".svg").write_text(plot(report))
    print("| engine | trials | failed | minutes | trials/min | best, measured in turns |")
    print("|---|---|---|---|---|---|")
    for run in runs:
        best = run["final_ms"]
        print(
            f"| {run['engine']} | {len(run['trials'])} | {run['failed']} "
            f"| {run['wall_s'] / 60:.1f} | {60 * len(run['trials']) / run['wall_s']:.0f} "
            f"| {'-' if best is None else f'{best:.3f} ms'} |"
        )


def tunekit(tasks: list[Task], budget: int, seed: int) -> dict[str, Any]:
    """A session of tunekit's on a new catalogue, its start and its finals included."""
    target = resolve_target("native")
    host = detect_host()
    tuning = Tuning(trials=budget, seed=seed)
    started = time.monotonic()
    clock = _Clock(started)
    with tempfile.TemporaryDirectory() as scratch, Catalogue.open(f"{scratch}/c.db") as catalogue:
        session = catalogue.sessions.begin(
            NewSession(
                name="throughput",
                recipe_yaml="",
                recipe_digest="throughput",
                model_digest=None,
                model_name="throughput",
                target_json=target.spec,
                host=host.as_dict(),
                host_fingerprint=host.fingerprint,
                toolchain=versions(),
                budget_trials=budget,
                seed=seed,
            )
        )
        options = measure_options(tuning, target, host.memory_bytes, "warm")
        with LocalMeasurer(options) as engine:
            engine.start()
            tuner = Tuner(
                tasks,
                target,
                tuning,
                options,
                catalogue,
                session,
                preparation="",
                reporter=clock,
                stop=lambda: False,
            )
            result = tuner.run(engine)
        wall_s = time.monotonic() - started
        stored = list(catalogue.trials.read(session_id=session.id))
    positions = {task.name: index for index, task in enumerate(tasks)}
    trials = [
        (moment, positions[trial.task_name], trial.score_s)
        for moment, trial in zip(clock.moments, stored, strict=True)
    ]
    best: list[str | None] = [None] * len(tasks)
    for trial in sorted(
        (trial for trial in stored if trial.score_s is not None),
        key=lambda trial: -(trial.score_s or 0.0),
    ):
        best[positions[trial.task_name]] = trial.trace_json
    return _found(wall_s, trials, best, tasks) | {"seconds": dict(result.seconds)}


def use_generic_spaces() -> None:
    """Leaves tunekit's own spaces, and the default schedules that come from them, out of here."""
    from tunekit.search import task_search
    from tunekit.spaces import design_space

    task_search.space_for = lambda _, target: generic_space(target)
    design_space.default_schedule = lambda *_: None


class _Clock(SilentReporter):
    """Notes when each trial was known."""

    def __init__(self, started: float) -> None:
        self.moments: list[float] = []
        self._started = started

    def update(self, progress: Progress) -> None:
        while len(self.moments) < progress.spent_now:
            self.moments.append(time.monotonic() - self._started)


def metaschedule(tasks: list[Task], budget: int, seed: int) -> dict[str, Any]:
    """MetaSchedule's own `tune_tasks` with its defaults."""
    import tvm
    from tvm.ir.utils import derived_object
    from tvm.s_tir import meta_schedule as ms

    target = resolve_target("native")
    quiet_logger()
    started = time.monotonic()
    trials: list[tuple[float, int, float | None]] = []
    best: list[str | None] = [None] * len(tasks)
    best_s = [math.inf] * len(tasks)

    @derived_object
    class Note(ms.measure_callback.PyMeasureCallback):
        def apply(
            self, scheduler: Any, task_id: int, candidates: Any, built: Any, ran: Any
        ) -> None:
            now = time.monotonic() - started
            for candidate, result in zip(candidates, ran, strict=True):
                seconds = [float(value) for value in result.run_secs or ()]
                score_s = sum(seconds) / len(seconds) if seconds else None
                trials.append((now, int(task_id), score_s))
                if score_s is not None and score_s < best_s[int(task_id)]:
                    best_s[int(task_id)] = score_s
                    best[int(task_id)] = tvm.ir.save_json(candidate.sch.trace)

    with tempfile.TemporaryDirectory() as scratch, without_tensor_intrinsics():
        contexts = [
            ms.TuneContext(
                mod=task.module,
                target=target.tvm,
                space_generator=generic_space(target),
                search_strategy="evolutionary",
                task_name=task.name,
                rand_state=seed * 100 + index + 1,
                num_threads=target.cores,
                logger=quiet_logger(),
            )
            for index, task in enumerate(tasks)
        ]
        ms.tune.tune_tasks(
            tasks=contexts,
            task_weights=[float(task.weight) for task in tasks],
            work_dir=scratch,
            max_trials_global=budget,
            builder=ms.builder.LocalBuilder(f_build=build_without_intrinsics),
            measure_callbacks=[
                Note(),
                ms.measure_callback.AddToDatabase(),
                ms.measure_callback.RemoveBuildArtifact(),
                ms.measure_callback.UpdateCostModel(),
            ],
        )
    return _found(time.monotonic() - started, trials, best, tasks)


def build_without_intrinsics(module: Any, target: Any, _parameters: Any) -> Any:
    """TVM's `default_build` without the import that takes 47 s."""
    from tvm.driver import build
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    return build(RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module), target=target)


def _found(
    wall_s: float,
    trials: list[tuple[float, int, float | None]],
    best: list[str | None],
    tasks: list[Task],
) -> dict[str, Any]:
    return {
        "wall_s": wall_s,
        "failed": sum(seconds is None for _, _, seconds in trials),
        "trials": [
            {"at_s": round(at, 3), "task": task, "mean_ms": seconds and round(1e3 * seconds, 5)}
            for at, task, seconds in trials
        ],
        "curve": curve(trials, tasks),
        "best": best,
    }


def curve(
    trials: list[tuple[float, int, float | None]], tasks: list[Task]
) -> list[tuple[float, int, float]]:
    """(seconds, trials, milliseconds of all tasks together) each time that these fell."""
    best: dict[int, float] = {}
    points: list[tuple[float, int, float]] = []
    for done, (at, task, seconds) in enumerate(trials, start=1):
        if seconds is None or seconds >= best.get(task, math.inf):
            continue
        best[task] = seconds
        if len(best) == len(tasks):
            total = sum(tasks[index].weight * value for index, value in best.items())
            points.append((round(at, 3), done, round(1e3 * total, 5)))
    return points


def judge(runs: list[dict[str, Any]], tasks: list[Task], target: ResolvedTarget) -> None:
    """Measures the best candidates of all runs in turns, task by task; adds `final_ms`."""
    options: MeasureOptions = measure_options(Tuning(), target, detect_host().memory_bytes, "warm")
    totals = [0.0] * len(runs)
    with LocalMeasurer(options) as engine:
        for index, task in enumerate(tasks):
            candidates = [
                candidate(key, task, run["best"][index])
                for key, run in enumerate(runs)
                if run["best"][index] is not None
            ]
            seconds = {
                outcome.key: min(outcome.samples_s)
                for outcome in engine.measure(candidates, rounds=FINAL_ROUNDS)
                if outcome.samples_s
            }
            for key in range(len(runs)):
                totals[key] += task.weight * seconds.get(key, math.inf)
    for run, total in zip(runs, totals, strict=True):
        run["final_ms"] = round(1e3 * total, 5) if math.isfinite(total) else None


def candidate(key: int, task: Task, trace_json: str) -> Candidate:
    """A task's candidate from its trace."""
    import tvm
    from tvm.s_tir import Schedule
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    schedule = Schedule(task.module)
    load_trace(trace_json).apply_to_schedule(schedule, remove_postproc=False)
    arguments = tuple(
        TensorArgument(tuple(int(extent) for extent in info.shape), str(info.dtype))
        for info in ArgInfo.from_entry_func(schedule.mod, True)
    )
    return Candidate(key, tvm.ir.save_json(schedule.mod), arguments, math.inf)


def write_tasks(tasks: list[Task], path: Path) -> None:
    """Saves tasks for the processes that tune them."""
    import tvm

    path.write_text(
        json.dumps(
            [
                [
                    task.name,
                    tvm.ir.save_json(task.module),
                    task.structural_hash,
                    task.weight,
                    task.flops,
                    task.bytes,
                ]
                for task in tasks
            ]
        )
    )


def read_tasks(path: Path) -> list[Task]:
    """The tasks that `write_tasks` saved."""
    import tvm

    return [
        Task(name, tvm.ir.load_json(module), digest, weight, flops, size)
        for name, module, digest, weight, flops, size in json.loads(path.read_text())
    ]


def plot(report: dict[str, Any]) -> str:
    """Latency against wall clock and against trials, as SVG text."""
    width, height, margin, top = 420, 260, 46, 32
    curves = [run["curve"] for run in report["runs"]]
    values = [ms for points in curves for _, _, ms in points] or [1.0]
    low, high = 0.95 * min(values), 1.05 * max(values)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{2 * width}" height="{height}" fill="#fff"/>',
    ]
    panels = (
        (0, "wall clock, s", max([run["wall_s"] for run in report["runs"]])),
        (1, "trials", float(report["trials"])),
    )
    for column, title, limit in panels:
        left, right, bottom = column * width + margin, (column + 1) * width - 12, height - margin

        def x(value: float, left: int = left, right: int = right, limit: float = limit) -> float:
            return left + (right - left) * value / limit

        def y(value: float, bottom: int = bottom) -> float:
            # Logarithmic: the first candidates are many times slower than the last.
            return bottom - (bottom - top) * math.log(value / low) / math.log(high / low)

        parts.append(
            f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#888"/>'
            f'<text x="{(left + right) / 2}" y="{height - 12}" text-anchor="middle">{title}</text>'
            f'<text x="{right}" y="{bottom + 14}" text-anchor="end">{limit:.0f}</text>'
        )
        parts += [
            f'<text x="{left - 4}" y="{y(value):.1f}" text-anchor="end">{value:.3g}</text>'
            for value in (min(values), max(values))
        ]
        for run, points in zip(report["runs"], curves, strict=True):
            if not points:
                continue
            steps = [f"M{x(points[0][column]):.1f} {y(points[0][2]):.1f}"]
            steps += [f"H{x(point[column]):.1f}V{y(point[2]):.1f}" for point in points[1:]]
            end = run["wall_s"] if column == 0 else len(run["trials"])
            steps.append(f"H{x(end):.1f}")
            parts.append(
                f'<path d="{"".join(steps)}" fill="none" stroke-width="1.6" '
                f'stroke="{COLOURS[run["engine"]]}"/>'
            )
    for column, engine in enumerate(dict.fromkeys(run["engine"] for run in report["runs"])):
        parts.append(
            f'<text x="{width + margin + 100 * column}" y="14" fill="{COLOURS[engine]}">'
            f"{engine}</text>"
        )
    parts.append(
        f'<text x="4" y="14">{report["recipe"]}: ms of {len(report["tasks"])} tasks together, '
        "logarithmic</text>"
    )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()

"""Does the noise guard find the same order of candidates on a noisy host as a quiet one would show?

    python benchmarks/noise_guard.py [--recipe recipes/resnet50_x86.yaml] [--tasks 3]
                                     [--candidates 16] [--repeats 2]
                                     [-o benchmarks/results/noise_guard.json]

Takes the heaviest tasks of a recipe, draws candidates from each task's search space, and orders
them by the shortest sample of many rounds taken in turns: the reference. Then it loads one core in
bursts and measures the same candidates as tuning does: "plain", without the guard (3 samples of
20 ms, of which the mean counts), and "guarded", with it; both take turns. For each way: Spearman's
rank correlation with the reference; the spread, which is the standard deviation of the logarithm of
measured by reference seconds (0: all are wrong by one factor, which changes no order); and the
regret, which is how much slower than the reference's best the chosen candidate is; "final" is the
choice after the best four were measured again in turns. Also the same without the load, and what a
trial costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tunekit.benchmark.environment import describe
from tunekit.cache import ContentCache
from tunekit.graph.pipeline import prepare_model
from tunekit.machine.host import detect_host
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult, TensorArgument
from tunekit.recipe import load_recipe
from tunekit.search.tuner import measure_options
from tunekit.spaces import space_for
from tunekit.spaces.metaschedule import without_tensor_intrinsics
from tunekit.timing.host_load import noise_between, now

ROOT = Path(__file__).resolve().parent.parent
REFERENCE_ROUNDS = 10
FINALISTS = 4
FINAL_ROUNDS = 3
# Keeps one core busy for 0.2 to 2 s, then leaves it alone for as long, and so on.
BURSTS = """
import os, random, sys, time
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
draw = random.Random(int(sys.argv[1]))
while True:
    end = time.monotonic() + draw.uniform(0.2, 2)
    while time.monotonic() < end:
        pass
    time.sleep(draw.uniform(0.2, 2))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "resnet50_x86.yaml")
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    prepared = prepare_model(load_recipe(arguments.recipe), ContentCache(), lambda line: None)
    guarded = measure_options(
        prepared.recipe.tuning, prepared.target, detect_host().memory_bytes, "warm"
    )
    plain = dataclasses.replace(guarded, noise_guard=False, repeat=3, min_repeat_ms=20)
    before = now()
    tasks = []
    with LocalMeasurer(guarded) as measurer:
        for task in prepared.tasks[: arguments.tasks]:
            candidates = draw(task, prepared.target, arguments.candidates)
            print(f"{task.name}: {len(candidates)} candidates", file=sys.stderr)
            tasks.append(
                {
                    "name": task.name,
                    **compare(measurer, plain, guarded, candidates, arguments.repeats),
                }
            )
    result = {
        "recipe": arguments.recipe.name,
        "plain": dataclasses.asdict(plain),
        "guarded": dataclasses.asdict(guarded),
        "environment": describe(noise_between(before, now(), 0.0)).model_dump(),
        "load_average": os.getloadavg(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "summary": summary(tasks),
        "tasks": tasks,
    }
    print(table(result["summary"]))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1, default=str) + "\n", "utf-8")


def draw(task: Any, target: Any, count: int) -> list[Candidate]:
    """Random candidates of a task's search space, no two of them alike."""
    import tvm
    from tvm.s_tir import meta_schedule as ms
    from tvm.s_tir.schedule import Trace

    space = space_for(task, target)
    with without_tensor_intrinsics():
        # Not used itself: it makes the space and its postprocessors ready for the target.
        context = ms.TuneContext(mod=task.module, target=target.tvm, space_generator=space)
    designs = [
        Trace(list(made.trace.insts), {}) for made in space.generate_design_space(task.module)
    ]
    generator = random.Random(1)
    found: dict[str, Candidate] = {}
    for _ in range(count * 20):
        if len(found) == count:
            break
        schedule = tvm.s_tir.Schedule(task.module, seed=generator.randrange(1, 2**31 - 1))
        try:
            generator.choice(designs).apply_to_schedule(schedule, remove_postproc=True)
            if not all(postproc.apply(schedule) for postproc in space.postprocs or ()):
                continue
        except (RuntimeError, ValueError):
            continue
        text = tvm.ir.save_json(schedule.mod)
        found.setdefault(text, Candidate(len(found), text, task_arguments(task), math.inf))
    del context
    return list(found.values())


def task_arguments(task: Any) -> tuple[TensorArgument, ...]:
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    return tuple(
        TensorArgument(tuple(int(extent) for extent in info.shape), str(info.dtype))
        for info in ArgInfo.from_entry_func(task.module, False)
    )


def compare(
    measurer: LocalMeasurer,
    plain: MeasureOptions,
    guarded: MeasureOptions,
    candidates: list[Candidate],
    repeats: int,
) -> dict[str, Any]:
    """Every way of measuring the candidates, and what each makes of them."""
    measurer.options = guarded
    reference = {
        outcome.key: min(outcome.samples_s)
        for outcome in measurer.measure(candidates, REFERENCE_ROUNDS)
        if outcome.samples_s
    }
    candidates = [candidate for candidate in candidates if candidate.key in reference]
    runs = []
    for repeat in range(repeats):
        for loaded in (True, False):
            for name, options in (("plain", plain), ("guarded", guarded)):
                measurer.options = options
                with bursts(repeat) if loaded else nullcontext():
                    runs.append(
                        {
                            "way": name,
                            "loaded": loaded,
                            "load_average": os.getloadavg()[0],
                            **one_run(measurer, candidates, reference),
                        }
                    )
                print(
                    json.dumps({k: v for k, v in runs[-1].items() if k != "outcomes"}),
                    file=sys.stderr,
                    flush=True,
                )
    return {"reference_s": reference, "runs": runs}


def one_run(
    measurer: LocalMeasurer, candidates: Sequence[Candidate], reference: dict[int, float]
) -> dict[str, Any]:
    """The candidates measured as tuning measures them, and a final between the best of them."""
    started = time.monotonic()
    outcomes = batch(measurer, candidates)
    seconds = time.monotonic() - started
    ranked = sorted(outcomes, key=lambda key: outcomes[key].seconds or math.inf)
    finalists = [candidate for candidate in candidates if candidate.key in ranked[:FINALISTS]]
    final = {
        outcome.key: outcome.seconds
        for outcome in measurer.measure(finalists, FINAL_ROUNDS)
        if outcome.seconds
    }
    best = min(reference.values())
    keys = sorted(outcomes)
    return {
        "rank_correlation": correlation(
            [outcomes[key].seconds or math.inf for key in keys], [reference[key] for key in keys]
        ),
        "spread": statistics.pstdev(
            math.log((outcomes[key].seconds or math.inf) / reference[key]) for key in keys
        ),
        "regret": reference[ranked[0]] / best - 1,
        "regret_after_final": reference[min(final, key=lambda key: final[key])] / best - 1,
        "seconds_per_trial": seconds / len(candidates),
        "outcomes": {key: dataclasses.asdict(outcome) for key, outcome in outcomes.items()},
    }


def batch(measurer: LocalMeasurer, candidates: Sequence[Candidate]) -> dict[int, MeasureResult]:
    """Outcomes by key; each batch of 8 knows the best of those before, as in tuning."""
    outcomes: dict[int, MeasureResult] = {}
    for start in range(0, len(candidates), 8):
        known = [outcome.seconds for outcome in outcomes.values() if outcome.seconds]
        best_s = min(known, default=None)
        part = [
            dataclasses.replace(
                candidate, best_s=best_s, slow_s=math.inf if best_s is None else 4 * best_s
            )
            for candidate in candidates[start : start + 8]
        ]
        outcomes.update({o.key: o for o in measurer.measure(part) if o.samples_s})
    return outcomes


def correlation(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Spearman's: the correlation of the ranks."""
    return statistics.correlation(ranks(ours), ranks(theirs))


def ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda at: values[at])
    return [float(order.index(at)) for at in range(len(values))]


def summary(tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over all tasks and repeats of each way, with and without load."""
    rows = []
    for loaded in (False, True):
        for way in ("plain", "guarded"):
            runs = [
                run
                for task in tasks
                for run in task["runs"]
                if (run["way"], run["loaded"]) == (way, loaded)
            ]
            names = (
                *("rank_correlation", "spread", "regret", "regret_after_final"),
                "seconds_per_trial",
            )
            means = {name: round(statistics.fmean(run[name] for run in runs), 4) for name in names}
            rows.append({"load": "bursts" if loaded else "none", "way": way, **means})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The summary in Markdown."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


@contextmanager
def bursts(seed: int) -> Iterator[None]:
    """Loads one core in bursts."""
    with subprocess.Popen([sys.executable, "-c", BURSTS, str(seed)]) as load:
        try:
            yield
        finally:
            load.kill()


if __name__ == "__main__":
    main()

"""How long the catalogue takes with a million trials in it.

    python benchmarks/catalogue_volume.py [--trials 1000000] [--workloads 5000] [--catalogue URL]

Fills a new catalogue through the public interface, then times what a tuning run does: writing one
trial, writing a batch, looking up the best record of one workload and of a whole model's workloads,
asking which candidates are known. Prints milliseconds: median, 99th percentile, worst. The limit
that the project sets itself is 5 ms for one write and for one lookup.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tunekit.catalogue import (
    Catalogue,
    Failure,
    FailureKind,
    NewSession,
    NewTask,
    NewTrial,
    NewWorkload,
    toolchain_key,
)

TARGET = json.dumps({"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 2})
TOOLCHAIN = {"apache-tvm": "0.27.0.post1", "torch": "2.12.1"}
TASKS_PER_SESSION = 50
BATCH = 500
REPEATS = 300
#: One in ten candidates fails.
FAILURE_SHARE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--workloads", type=int, default=5000)
    parser.add_argument("--trace-bytes", type=int, default=8000)
    parser.add_argument("--catalogue", help="a new file or database; default: a temporary file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.catalogue or str(Path(folder, "catalogue.db"))
        with Catalogue.open(url) as catalogue:
            generator = random.Random(0)
            fill(catalogue, generator, arguments)
            measure(catalogue, generator, arguments)
            if "://" not in url:
                print(f"size: {Path(url).stat().st_size / 1e6:.0f} MB")


def fill(catalogue: Catalogue, generator: random.Random, arguments: argparse.Namespace) -> None:
    sessions = max(1, arguments.workloads // TASKS_PER_SESSION)
    start = time.perf_counter()
    done = 0
    for number in range(sessions):
        session_id, tasks = begin(catalogue, number)
        share = arguments.trials * (number + 1) // sessions - done
        for first in range(0, share, BATCH):
            count = min(BATCH, share - first)
            catalogue.add_trials(
                session_id,
                [trial(generator, tasks, arguments.trace_bytes) for _ in range(count)],
            )
        done += share
        catalogue.close_session(session_id, "finished")
        if number % max(1, sessions // 10) == 0:
            print(f"  {done:>9} trials, {time.perf_counter() - start:.0f} s", flush=True)
    seconds = time.perf_counter() - start
    print(
        f"filled: {done} trials of {sessions * TASKS_PER_SESSION} workloads in {sessions} "
        f"sessions, {1000 * seconds / max(1, done):.3f} ms a trial in batches of {BATCH}"
    )


def measure(catalogue: Catalogue, generator: random.Random, arguments: argparse.Namespace) -> None:
    hashes = [
        f"{n:016x}" for n in range(arguments.workloads // TASKS_PER_SESSION * TASKS_PER_SESSION)
    ]
    session_id, tasks = begin(catalogue, 0)
    one = [[trial(generator, tasks, arguments.trace_bytes)] for _ in range(REPEATS)]
    batch = [[trial(generator, tasks, arguments.trace_bytes) for _ in range(64)] for _ in range(50)]
    report("write one trial", [timed(lambda t=t: catalogue.add_trials(session_id, t)) for t in one])
    report(
        "write 64 trials", [timed(lambda t=t: catalogue.add_trials(session_id, t)) for t in batch]
    )

    def best(count: int, top_k: int = 1, **narrower: str) -> Callable[[], object]:
        chosen = generator.sample(hashes, count)
        return lambda: catalogue.records(
            structural_hashes=chosen, target_json=TARGET, top_k=top_k, **narrower
        )

    narrow = {"host_fingerprint": "host", "toolchain_key": toolchain_key(TOOLCHAIN)}
    elsewhere = {"host_fingerprint": "elsewhere"}
    report("best of 1 workload", [timed(best(1)) for _ in range(REPEATS)])
    report("  on this host and toolchain", [timed(best(1, **narrow)) for _ in range(REPEATS)])
    report("  on a host that has none", [timed(best(1, **elsewhere)) for _ in range(REPEATS)])
    report("best 16 of 1 workload", [timed(best(1, 16)) for _ in range(REPEATS)])
    report("best of 28 workloads (a model)", [timed(best(28)) for _ in range(50)])
    digests = [f"{generator.getrandbits(256):064x}" for _ in range(64)]
    report(
        "which of 64 candidates are known",
        [
            timed(lambda: catalogue.known_trials(generator.choice(tasks), digests))
            for _ in range(50)
        ],
    )
    report(
        "task summaries", [timed(lambda: catalogue.task_summaries(session_id)) for _ in range(50)]
    )
    report("newest 20 sessions", [timed(catalogue.sessions) for _ in range(20)])
    report("open", [timed(lambda: Catalogue.open(catalogue.place).close()) for _ in range(20)])


def begin(catalogue: Catalogue, number: int) -> tuple[str, list[int]]:
    """A session whose tasks are the workloads number * 50 to number * 50 + 49."""
    session = catalogue.begin_session(
        NewSession(
            name=f"model{number}",
            recipe_yaml="name: model\n",
            recipe_digest=f"recipe{number}",
            model_digest=f"model{number}",
            model_name=f"model{number}",
            target_json=TARGET,
            host={"cpu_name": "cpu", "features": ["avx2"], "cores": 2, "memory_bytes": 2**34},
            host_fingerprint="host",
            toolchain=TOOLCHAIN,
            budget_trials=10_000,
            seed=0,
        )
    )
    first = number * TASKS_PER_SESSION
    workloads = [
        NewWorkload(
            f"{n:016x}", f'{{"module": {n}, "nodes": [{"0, " * 2000}0]}}', "fused", f"op{n}"
        )
        for n in range(first, first + TASKS_PER_SESSION)
    ]
    tasks = [NewTask(workload, workload.name, 1.0, 1e8) for workload in workloads]
    return session.id, catalogue.ensure_tasks(session.id, tasks)


def trial(generator: random.Random, tasks: list[int], trace_bytes: int) -> NewTrial:
    # As repetitive as a saved trace: mostly the same instructions, some decisions that differ.
    instruction = '{"type_key": "s_tir.Instruction", "inputs": [12, 13], "attrs": {}, "kind": 7}, '
    trace = f'{{"decisions": "{generator.getrandbits(1024):x}", "nodes": [' + instruction * (
        trace_bytes // len(instruction)
    )
    seconds = generator.lognormvariate(-7, 1)
    failed = generator.random() < FAILURE_SHARE
    return NewTrial(
        task_id=generator.choice(tasks),
        candidate_digest=f"{generator.getrandbits(256):064x}",
        trace_json=trace,
        run_seconds=None if failed else (seconds, seconds * 1.01, seconds * 1.02),
        failure=Failure(FailureKind.RUN_TIMEOUT, "no answer within 10 s") if failed else None,
        measure_options={"repeat": 3, "min_repeat_ms": 20},
        build_seconds=0.2,
        run_seconds_total=0.3,
    )


def timed(call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def report(what: str, samples_ms: list[float]) -> None:
    ordered = sorted(samples_ms)
    print(
        f"{what:<34} median {statistics.median(ordered):8.3f}   "
        f"p99 {ordered[int(0.99 * (len(ordered) - 1))]:8.3f}   worst {ordered[-1]:8.3f} ms",
        flush=True,
    )


if __name__ == "__main__":
    main()

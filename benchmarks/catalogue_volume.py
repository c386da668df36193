"""How long the catalogue takes with a million trials in it.

    python benchmarks/catalogue_volume.py [--trials 1000000] [--workloads 5000] [--catalogue URL]
                                          [-o benchmarks/results/catalogue_volume.json]

Fills a new catalogue, then times what a tuning run does: writing one trial, writing a batch,
looking up the best record of one workload and of a whole model's, asking which candidates are
known. Prints milliseconds: median, 99th percentile, worst, and the median of the processor's time.
The limit that the project sets itself is 5 ms for one write and for one lookup, at the median.
A catalogue that was filled before is measured again as it is.

Each session's first trials go through the public interface; on SQLite the others are copies of
them, made by SQL, with digests and seconds of their own.

A write ends when the disk says that it has it, so the time of the disk's own answer is measured
beside it: the file that one write changes, overwritten and synchronized, in turns with the writes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tunekit.benchmark.environment import describe
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
from tunekit.timing.host_load import noise_between, now

TARGET = json.dumps({"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 2})
TOOLCHAIN = {"apache-tvm": "0.27.0.post1", "torch": "2.12.1"}
TASKS_PER_SESSION = 50
BATCH = 500
REPEATS = 300
#: Milliseconds of one call: by the clock, and of the processor.
Sample = tuple[float, float]
#: What a write and a lookup may take at the median.
LIMIT_MS = 5.0
#: About what the commit of one trial appends to the write-ahead log.
COMMIT_BYTES = 7 * 4096
#: One in ten candidates fails.
FAILURE_SHARE = 0.1


_MULTIPLY = """
WITH RECURSIVE
  copies(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies WHERE (n + 1) * :there < :wanted),
  fresh AS MATERIALIZED (
    SELECT t.*, t.position + n * :there AS place, 1e-4 + abs(random() % 1000000) * 1e-8 AS seconds
    FROM copies CROSS JOIN trials t JOIN sessions s ON s.id = t.session_id
    WHERE s.public_id = :session
  )
INSERT INTO trials (
  session_id, position, task_id, workload_id, target_id, host_id, toolchain_id, measure_options_id,
  candidate_digest, measured_at, mean_s, failure_kind, build_s, run_s, calibration_s, run_seconds,
  failure_text, trace_json
)
SELECT
  session_id, place, task_id, workload_id, target_id, host_id, toolchain_id, measure_options_id,
  lower(hex(randomblob(32))), measured_at, iif(failure_kind IS NULL, seconds, NULL), failure_kind,
  build_s, run_s, calibration_s,
  iif(failure_kind IS NULL, printf('[%!.17g]', seconds), NULL), failure_text, trace_json
FROM fresh WHERE place < :wanted
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--workloads", type=int, default=5000)
    parser.add_argument("--trace-bytes", type=int, default=8000)
    parser.add_argument("--catalogue", help="a file or database; default: a temporary file")
    parser.add_argument("-o", "--output", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    before, cpu_before_s = now(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.catalogue or str(Path(folder, "catalogue.db"))
        with Catalogue.open(url) as catalogue:
            generator = random.Random(0)
            filled = bool(catalogue.sessions.list(1))
            fill_s = None if filled else fill(catalogue, generator, arguments)
            samples_ms = measure(catalogue, generator, arguments, Path(folder))
            size = Path(url).stat().st_size if "://" not in url else None
    for name, samples in samples_ms.items():
        report(name, samples)
    if size is not None:
        print(f"size: {size / 1e6:.0f} MB")
    within = {
        name: statistics.median(wall for wall, _ in samples_ms[name]) <= LIMIT_MS
        for name in ("write one trial", "best of 1 workload")
    }
    print(f"within {LIMIT_MS:g} ms: " + ", ".join(f"{n}: {ok}" for n, ok in within.items()))
    if arguments.output:
        noise = noise_between(before, now(), time.process_time() - cpu_before_s)
        result = {
            "what": __doc__.splitlines()[0],
            "environment": describe(noise, ("sqlalchemy",)).model_dump(),
            "nice": os.nice(0),
            "sqlite": sqlite3.sqlite_version,
            "trials": arguments.trials,
            "workloads": arguments.workloads,
            "trace_bytes": arguments.trace_bytes,
            "catalogue_bytes": size,
            "fill_s": fill_s,
            "limit_ms": LIMIT_MS,
            "within_limit": within,
            "median_ms": {n: statistics.median(w for w, _ in s) for n, s in samples_ms.items()},
            "median_cpu_ms": {n: statistics.median(c for _, c in s) for n, s in samples_ms.items()},
            "samples_ms": {n: [round(w, 3) for w, _ in s] for n, s in samples_ms.items()},
        }
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def fill(catalogue: Catalogue, generator: random.Random, arguments: argparse.Namespace) -> float:
    """Writes all trials; the seconds that took."""
    sessions = max(1, arguments.workloads // TASKS_PER_SESSION)
    start = time.perf_counter()
    done = 0
    for number in range(sessions):
        session_id, tasks = begin(catalogue, number)
        share = arguments.trials * (number + 1) // sessions - done
        by_hand = share if "://" in catalogue.location else min(BATCH, share)
        for first in range(0, by_hand, BATCH):
            count = min(BATCH, by_hand - first)
            catalogue.trials.add(
                session_id,
                [trial(generator, tasks, arguments.trace_bytes) for _ in range(count)],
            )
        if share > by_hand:
            multiply(catalogue.location, session_id, by_hand, share)
        done += share
        catalogue.sessions.close(session_id, "finished")
        if number % max(1, sessions // 10) == 0:
            print(f"  {done:>9} trials, {time.perf_counter() - start:.0f} s", flush=True)
    seconds = time.perf_counter() - start
    print(
        f"filled: {done} trials of {sessions * TASKS_PER_SESSION} workloads in {sessions} "
        f"sessions, {1000 * seconds / max(1, done):.3f} ms a trial"
    )
    return seconds


def multiply(path: str, session_id: str, there: int, wanted: int) -> None:
    """Copies a session's trials until there are `wanted`."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_MULTIPLY, {"session": session_id, "there": there, "wanted": wanted})


def measure(
    catalogue: Catalogue,
    generator: random.Random,
    arguments: argparse.Namespace,
    folder: Path,
) -> dict[str, list[Sample]]:
    """The samples of each kind of call."""
    hashes = [
        f"{n:016x}" for n in range(arguments.workloads // TASKS_PER_SESSION * TASKS_PER_SESSION)
    ]
    session_id, tasks = begin(catalogue, 0)
    one = [[trial(generator, tasks, arguments.trace_bytes)] for _ in range(REPEATS)]
    batch = [[trial(generator, tasks, arguments.trace_bytes) for _ in range(64)] for _ in range(50)]
    samples: dict[str, list[Sample]] = {"write one trial": [], "  the disk alone": []}
    with (folder / "disk").open("wb") as file:
        file.write(bytes(COMMIT_BYTES))
        for trials in one:
            samples["write one trial"].append(
                timed(lambda t=trials: catalogue.trials.add(session_id, t))
            )
            file.seek(0)
            file.write(generator.randbytes(COMMIT_BYTES))
            file.flush()
            samples["  the disk alone"].append(timed(lambda: os.fdatasync(file.fileno())))
    samples["write 64 trials"] = [
        timed(lambda t=t: catalogue.trials.add(session_id, t)) for t in batch
    ]

    def best(count: int, top_k: int = 1, **narrower: str) -> Callable[[], object]:
        chosen = generator.sample(hashes, count)
        return lambda: catalogue.records.best(
            structural_hashes=chosen, target_json=TARGET, top_k=top_k, **narrower
        )

    narrow = {"host_fingerprint": "host", "toolchain_key": toolchain_key(TOOLCHAIN)}
    elsewhere = {"host_fingerprint": "elsewhere"}
    digests = [f"{generator.getrandbits(256):064x}" for _ in range(64)]
    calls: dict[str, tuple[int, Callable[[], Callable[[], object]]]] = {
        "best of 1 workload": (REPEATS, lambda: best(1)),
        "  on this host and toolchain": (REPEATS, lambda: best(1, **narrow)),
        "  on a host that has none": (REPEATS, lambda: best(1, **elsewhere)),
        "best 16 of 1 workload": (REPEATS, lambda: best(1, 16)),
        "best of 28 workloads (a model)": (50, lambda: best(28)),
        "is 1 candidate known": (
            REPEATS,
            lambda: lambda: catalogue.trials.known(generator.choice(tasks), digests[:1]),
        ),
        "which of 64 candidates are known": (
            50,
            lambda: lambda: catalogue.trials.known(generator.choice(tasks), digests),
        ),
        "task summaries": (50, lambda: lambda: catalogue.trials.summaries(session_id)),
        "newest 20 sessions": (20, lambda: lambda: catalogue.sessions.list(20)),
        "open": (20, lambda: lambda: Catalogue.open(catalogue.location).close()),
    }
    for name, (repeats, prepare) in calls.items():
        samples[name] = [timed(prepare()) for _ in range(repeats)]
    return samples


def begin(catalogue: Catalogue, number: int) -> tuple[str, list[int]]:
    """A session whose tasks are the workloads number * 50 to number * 50 + 49."""
    session = catalogue.sessions.begin(
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
    return session.id, catalogue.trials.ensure_tasks(session.id, tasks)


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
        samples_s=None if failed else (seconds, seconds * 1.01, seconds * 1.02),
        failure=Failure(FailureKind.RUN_TIMEOUT, "no answer within 10 s") if failed else None,
        measure_options={"repeat": 3, "min_repeat_ms": 20},
        build_s=0.2,
        measure_s=0.3,
    )


def timed(call: Callable[[], object]) -> Sample:
    """Milliseconds of one call."""
    cpu, wall = time.thread_time(), time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.thread_time() - cpu)


def report(what: str, samples: list[Sample]) -> None:
    ordered = sorted(wall for wall, _ in samples)
    print(
        f"{what:<34} median {statistics.median(ordered):8.3f}   "
        f"p99 {ordered[int(0.99 * (len(ordered) - 1))]:8.3f}   worst {ordered[-1]:8.3f} ms   "
        f"processor {statistics.median(cpu for _, cpu in samples):8.3f} ms",
        flush=True,
    )


if __name__ == "__main__":
    main()

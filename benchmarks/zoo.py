"""Which networks get in, are right, and how fast are their default libraries?

    pip install -e '.[zoo]'
    python benchmarks/zoo.py [--stage import|compile|race] [--only REGEX] [--again] [--failed]

Each network of zoo_networks.py has a process of its own, with a time limit, and goes through the
stages up to the one asked for:

    import   built, converted, and the conversion checked against the model's framework
    compile  compiled with default schedules, and the library verified on other inputs
    race     the library, ONNX Runtime and OpenVINO in turns, two threads each

A stage ends in one of these states:

    right    done; the numbers are right
    refused  an error of tunekit's own: a sentence that says what cannot be done
    wrong    other numbers than the framework's, which the import or the verification refuses
    error    anything else: a traceback, a signal
    slow     not done within the limit

Rows are written to benchmarks/results/zoo.json as they come, and networks whose row has the stage
are left out: what was interrupted is called again. The race needs a quiet machine; where another
program runs, --no-seconds keeps those of imports and compilations out of the rows.
docs/results/zoo.md is made from the file by docs/generate.py.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zoo_networks import NETWORKS, Network

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "zoo.json"
STAGES = ("import", "compile", "race")
RUNTIMES = ("default", "onnxruntime", "openvino")
WRONG = ("ImportMismatch", "VerificationFailed")

Row = dict[str, Any]


def main() -> None:
    options = _parsed()
    rows: dict[str, Row] = {}
    if options.output.is_file():
        rows = json.loads(options.output.read_text("utf-8"))
    chosen = [network for name, network in NETWORKS.items() if re.search(options.only, name)]
    waiting = [network for network in chosen if is_due(rows.get(network.name), options)]
    print(f"{len(waiting)} of {len(chosen)} networks to {options.stage}", flush=True)
    if waiting:
        warm()
    for network in waiting:
        begun = time.monotonic()
        stages = attempt(network, options)
        if options.no_seconds:
            stages = {stage: without_seconds(result) for stage, result in stages.items()}
        row = {"family": network.family, "source": network.source, **stages}
        kept = {} if options.again else rows.get(network.name, {})
        rows[network.name] = merged(kept, row)
        print(f"{network.name}: {summary(row)} ({time.monotonic() - begun:.0f} s)", flush=True)
        ordered = {name: rows[name] for name in NETWORKS if name in rows}
        options.output.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
    for stage in STAGES:
        states = Counter(row[stage]["state"] for row in rows.values() if stage in row)
        if states:
            print(f"{stage}: " + ", ".join(f"{n} {state}" for state, n in states.most_common()))


def is_due(row: Row | None, options: argparse.Namespace) -> bool:
    """Whether a network has the stage still before it."""
    if row is None or options.again:
        return True
    failed = [stage for stage in STAGES if stage in row and row[stage]["state"] != "right"]
    if failed:
        return bool(options.failed)
    return options.stage not in row


def merged(before: Row, after: Row) -> Row:
    """A row with stages tried again; those after one that failed now no longer hold."""
    failed = [
        STAGES.index(stage) for stage in STAGES if after.get(stage, {}).get("state", "") != "right"
    ]
    last = min((index for index in failed if STAGES[index] in after), default=len(STAGES))
    kept = {
        key: value
        for key, value in before.items()
        if key not in STAGES or STAGES.index(key) <= last
    }
    return {**kept, **after}


def without_seconds(result: Row) -> Row:
    """What a stage gave, but for how long it took."""
    return {key: value for key, value in result.items() if not key.endswith("_s")}


def summary(row: Row) -> str:
    """The last stage of a row, in a line."""
    stage = [stage for stage in STAGES if stage in row][-1]
    result = row[stage]
    shown = {key: value for key, value in result.items() if key not in ("state", "turns_ms")}
    return f"{stage} {result['state']} {shown}"


def attempt(network: Network, options: argparse.Namespace) -> Row:
    """The stages of a network, each with its state, as its own process went through them."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    until = time.monotonic() + options.limit
    row: Row = {}
    with tempfile.TemporaryDirectory(prefix="tunekit-zoo-", dir=options.scratch) as folder:
        process = context.Process(target=child, args=(network, options, Path(folder), sender))
        process.start()
        sender.close()
        try:
            while receiver.poll(max(until - time.monotonic(), 0)):
                row.update(receiver.recv())
            died = {"state": "slow", "message": f"not done after {options.limit:.0f} s"}
            os.killpg(process.pid, signal.SIGKILL)
        except EOFError:
            process.join()
            died = {"state": "error", "message": f"exit code {process.exitcode}"}
        process.join()
    missing = next((stage for stage in asked(options) if stage not in row), None)
    if missing and all(result["state"] == "right" for result in row.values()):
        row[missing] = died
    return row


def asked(options: argparse.Namespace) -> Sequence[str]:
    """The stages up to the one asked for."""
    return STAGES[: STAGES.index(options.stage) + 1]


def child(network: Network, options: argparse.Namespace, folder: Path, sender: Any) -> None:
    """Goes through the stages and sends each as a row of one, until one fails."""
    from tunekit.errors import TunekitError

    begin(folder, options.logs / f"{network.name}.log")
    work = Work(network, options.rounds)
    for stage in asked(options):
        try:
            result = {"state": "right", **work.stages[stage]()}
        except TunekitError as error:
            kind = type(error).__name__
            state = "wrong" if kind in WRONG else "refused"
            result = {"state": state, "message": without_folders(error.message)}
            traceback.print_exc()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            traceback.print_exc()
            text = str(error).strip().splitlines() or [""]
            result = {"state": "error", "message": f"{type(error).__name__}: {text[-1]}"}
            result["message"] = without_folders(result["message"])[:400]
        sender.send({stage: {**result, "date": datetime.now(UTC).date().isoformat()}})
        if result["state"] != "right":
            break


def without_folders(text: str) -> str:
    """A message without the folders of this machine."""
    return re.sub(r"(?:/[\w.+-]+)+/site-packages/", "", text).replace(f"{ROOT}/", "")


def begin(folder: Path, log: Path) -> None:
    """A process group, a log, and a place of its own for what is left behind (weights, libraries),
    which goes with it."""
    import torch

    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(stream, descriptor)
    os.chdir(folder)
    os.environ.update(TUNEKIT_CACHE=str(folder / "cache"), TMPDIR=str(folder))
    tempfile.tempdir = None
    torch.set_num_threads(len(os.sched_getaffinity(0)))


def warm() -> None:
    """Load what every network's process needs, in the one that they are forked from."""
    import torch

    # Threads would not survive the fork.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="tunekit-zoo-") as folder:
        os.environ["TUNEKIT_CACHE"] = folder
        Work(NETWORKS["nbeats"], 0).imported()


class Work:
    """What is done of a network, stage by stage; the cache hands on from one to the next."""

    def __init__(self, network: Network, rounds: int) -> None:
        self.network, self.rounds = network, rounds
        self.stages: dict[str, Callable[[], Row]] = {
            "import": self.imported,
            "compile": self.compiled,
            "race": self.raced,
        }
        self._recipe: Any = None

    @property
    def recipe(self) -> Any:
        if self._recipe is None:
            from tunekit.recipe import Recipe

            self._recipe = Recipe.model_validate(self.network.recipe(), strict=False)
        return self._recipe

    def imported(self) -> Row:
        from tunekit.cache import ContentCache
        from tunekit.models import import_model, load_source

        cache = ContentCache()
        source = load_source(self.recipe.model, cache)
        limit = self.recipe.reference.import_relative_error
        model = import_model(source, max_relative_error=limit, cache=cache, say=say)
        row = {
            "import_s": round(model.import_s, 1),
            "check_s": round(model.check_s, 1),
            "relative_error": float(f"{max(model.relative_errors, default=0):.1e}"),
        }
        # Which way, and not why: that names files of this machine.
        detour = source.detour.partition(" (")[0]
        return {**row, "detour": detour} if detour else row

    def compiled(self) -> Row:
        from tunekit.cache import ContentCache
        from tunekit.graph.pipeline import prepare_model
        from tunekit.library.default_library import default_of
        from tunekit.library.verify import reference_of, verify

        cache, begun = ContentCache(), time.perf_counter()
        prepared = prepare_model(self.recipe, cache, say)
        ready = time.perf_counter()
        library = default_of(prepared, cache=cache, say=say)
        built = time.perf_counter()
        errors = verify(library, prepared, reference_of(prepared)).errors
        return {
            "prepare_s": round(ready - begun, 1),
            "compile_s": round(built - ready, 1),
            "relative_error": float(f"{max(errors):.1e}"),
            "layout": prepared.graph.layout,
            "kernels": len(prepared.tasks),
        }

    def raced(self) -> Row:
        import tunekit

        # The raw samples of so many networks would be hundreds of megabytes: a row keeps the
        # median of each turn.
        report = tunekit.bench(
            self.recipe, runtimes=RUNTIMES, rounds=self.rounds, settings={"catalogue": "zoo.db"}
        )
        row: Row = {"turns_ms": {}, "cpu": report.environment.host["cpu_name"]}
        for runtime in report.runtimes:
            if runtime.latency is None or runtime.status != "ok":
                row.setdefault("failed", {})[runtime.name] = runtime.reason or runtime.status
                continue
            row[f"{runtime.name}_ms"] = float(f"{runtime.latency.median_ms:.4g}")
            row["turns_ms"][runtime.name] = [
                float(f"{1e3 * _median(turn.seconds):.4g}") for turn in runtime.rounds
            ]
        if "default" in row.get("failed", {}):
            raise RuntimeError(f"the library failed in the race: {row['failed']['default']}")
        return row


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _median(values: list[float]) -> float:
    from statistics import median

    return median(values)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=STAGES, default="race", help="the last to go through")
    parser.add_argument("--only", default="", metavar="REGEX", help="networks whose name matches")
    parser.add_argument("--again", action="store_true", help="those that have the stage too")
    parser.add_argument("--failed", action="store_true", help="those that failed too")
    parser.add_argument(
        "--no-seconds", action="store_true", help="keep none of imports and compilations"
    )
    parser.add_argument("--rounds", type=int, default=10, help="rounds of the race")
    parser.add_argument("--limit", type=float, default=1200, help="seconds for a network")
    parser.add_argument("--logs", type=Path, help="a folder for what each process says")
    parser.add_argument("--scratch", type=Path, help="a folder for what each process leaves")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.logs = options.logs or Path(tempfile.mkdtemp(prefix="tunekit-zoo-logs-"))
    options.logs.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()

"""Records which candidates the search tries, trial by trial, and compares with an earlier record.

    python benchmarks/candidate_sequences.py [RECIPE ...] [-o FILE]
    python benchmarks/candidate_sequences.py --compare benchmarks/results/candidate_sequences.json

The same seed and catalogue have to give the same candidates, whatever becomes of the code: run it
before and after a change that is none of the search. Model, catalogue, tuner and search are the
real ones; only seconds are made up, as a function of the candidate's code. Target, host, cores and
the state of the caches are given, so the record is the same on all machines (with the same TVM and
XGBoost). Of each recipe two sessions share a fresh catalogue:

    first   seed 0, to its end, finals included
    second  seed 1, starts warm from the first; its process "dies" within a batch, the session is
            resumed, stopped by request a batch later, and resumed to its end
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from measurers import Arithmetic, PowerCutError  # noqa: E402
from tuning_runs import Quiet, options  # noqa: E402

from tunekit.cache import ContentCache  # noqa: E402
from tunekit.catalogue import Catalogue, Conditions, NewSession, SessionInfo, toolchain_key  # noqa: E402
from tunekit.graph.pipeline import PreparedModel, prepare_model  # noqa: E402
from tunekit.machine.toolchain import versions  # noqa: E402
from tunekit.recipe import load_recipe  # noqa: E402
from tunekit.search.progress import TuningResult  # noqa: E402
from tunekit.search.tuner import Tuner  # noqa: E402

# With the trials of the first and of the second session.
RECIPES = {"quickstart": (400, 200), "mobilenet_v2_x86": (300, 160)}
TARGET = "llvm -mcpu=x86-64-v3 -num-cores=2"
HOST = {"cpu_name": "pretend", "cores": 2, "memory_bytes": 8 << 30, "features": []}
# What the candidates follow from, beside tunekit.
_PACKAGES = ("apache-tvm", "xgboost", "torch", "torchvision")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "recipes", nargs="*", help=f"of {', '.join(RECIPES)} (default: all)", metavar="RECIPE"
    )
    parser.add_argument("-o", "--output", type=Path, help="write the record here")
    parser.add_argument("--compare", type=Path, help="an earlier record; exit with 1 if it differs")
    arguments = parser.parse_args()
    found: dict[str, Any] = {
        "target": TARGET,
        "versions": {name: versions()[name] for name in _PACKAGES},
        "models": {name: record(name, *RECIPES[name]) for name in arguments.recipes or RECIPES},
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=0) + "\n")
    if arguments.compare is None:
        return 0
    return compare(json.loads(arguments.compare.read_text()), found)


def record(recipe: str, first_trials: int, second_trials: int) -> dict[str, Any]:
    """What the two sessions of a recipe try."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {recipe}: {line}", file=sys.stderr)

    loaded = load_recipe(ROOT / "recipes" / f"{recipe}.yaml")
    prepared = prepare_model(loaded.model_copy(update={"target": TARGET}), ContentCache(), say)
    say("prepared")
    with tempfile.TemporaryDirectory() as folder:
        opening = Path(folder) / "catalogue.db"
        with Catalogue.open(opening) as catalogue:
            first = begin(catalogue, prepared, first_trials, seed=0)
            run(catalogue, prepared, first)
            say("first session")
        with Catalogue.open(opening) as catalogue:
            second = begin(catalogue, prepared, second_trials, seed=1)
            try:
                run(catalogue, prepared, second, cut_after=second_trials // 2 + 1)
            except PowerCutError:
                cut = catalogue.sessions.get(second.id).trials_done
        for one_batch in (True, False):
            with Catalogue.open(opening) as catalogue:
                resumed = catalogue.sessions.resume(second.id)
                run(catalogue, prepared, resumed, one_batch=one_batch)
        say("second session")
        with Catalogue.open(opening) as catalogue:
            hashes = [task.structural_hash for task in prepared.tasks]
            return {
                "tasks": [f"{task.structural_hash} {task.name}" for task in prepared.tasks],
                "first": sequence(catalogue, first, hashes),
                "second": {"cut_after": cut, **sequence(catalogue, second, hashes)},
            }


def begin(catalogue: Catalogue, prepared: PreparedModel, budget: int, *, seed: int) -> SessionInfo:
    """A session on a machine that there is not."""
    return catalogue.sessions.begin(
        NewSession(
            name=f"seed {seed}",
            recipe_yaml="",
            recipe_digest=f"seed {seed}",
            model_digest=prepared.source.digest,
            model_name=prepared.source.name,
            target_json=prepared.target.spec,
            host=HOST,
            host_fingerprint="pretend",
            toolchain=versions(),
            budget_trials=budget,
            seed=seed,
        )
    )


def run(
    catalogue: Catalogue,
    prepared: PreparedModel,
    session: SessionInfo,
    *,
    cut_after: int | None = None,
    one_batch: bool = False,
) -> TuningResult:
    """Goes on with a session to its end, until its process dies, or for a batch."""
    measured = options(prepared.target)
    reporter = Quiet()
    tuner = Tuner(
        prepared.tasks,
        prepared.target,
        prepared.recipe.tuning.model_copy(update={"seed": session.seed}),
        measured,
        catalogue,
        session,
        preparation=prepared.graph.preparation,
        reporter=reporter,
        stop=lambda: one_batch and reporter.last is not None and reporter.last.spent_now > 0,
    )
    return tuner.run(Arithmetic(measured, cut_after=cut_after))


def sequence(catalogue: Catalogue, session: SessionInfo, hashes: list[str]) -> dict[str, Any]:
    """A session's trials in their order, each as its task's position and the candidate's digest;
    failures have a mark. Then the winners of its finals, and how many results it reused."""
    trials = list(catalogue.trials.read(session_id=session.id))
    here = Conditions(session.target_json, session.host_fingerprint, toolchain_key(versions()))
    winners = catalogue.records.winners(here, hashes)
    digests = {trial.trial_id: trial.candidate_digest for trial in trials}
    return {
        "trials": [
            f"{hashes.index(trial.structural_hash)} {trial.candidate_digest}"
            + (" failed" if trial.failure else "")
            for trial in trials
        ],
        "winners": sorted(
            digests[winner.trial_id] for winner in winners if winner.trial_id in digests
        ),
        "reused": catalogue.sessions.get(session.id).reused,
    }


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Prints where two records differ; 1 if they do, else 0."""
    different = 0
    for name, model in after["models"].items():
        for session in ("first", "second"):
            pair = before["models"].get(name, {}).get(session), model[session]
            if pair[0] == pair[1]:
                print(f"{name}, {session} session: {len(pair[1]['trials'])} trials, identical")
                continue
            different = 1
            print(f"{name}, {session} session: {difference(*pair)}")
    if different and before["versions"] != after["versions"]:
        print(f"other versions: {before['versions']} and {after['versions']}")
    return different


def difference(before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    """How two sequences differ, in words."""
    if before is None:
        return "not in the earlier record"
    trials = list(zip(before["trials"], after["trials"], strict=False))
    for number, (old, new) in enumerate(trials, start=1):
        if old != new:
            return f"trial {number} was {old!r}, is {new!r}"
    if len(before["trials"]) != len(after["trials"]):
        return f"{len(before['trials'])} trials, now {len(after['trials'])}"
    keys = [key for key in after if before.get(key) != after[key]]
    return f"other {' and '.join(keys)}"


if __name__ == "__main__":
    sys.exit(main())

"""A whole tuning run among candidates that crash, hang, leak and compute nonsense.

The candidates are the search's own, but some of them are exchanged for kernels that misbehave on
their way to the real measurer.
"""

from __future__ import annotations

import dataclasses
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import tvm
import tvm_ffi
import wild_kernels as wild
from tvm import te

from tunekit.catalogue import Catalogue, FailureKind, NewSession
from tunekit.graph.task import Task
from tunekit.machine.host import detect_host
from tunekit.machine.target import ResolvedTarget
from tunekit.machine.toolchain import versions
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult
from tunekit.recipe import Tuning
from tunekit.search.progress import SilentReporter
from tunekit.search.tuner import Tuner

_BUDGET = 20

# What takes the place of every second candidate, until there is no more of it.
_WILD: list[tuple[FailureKind, object]] = [
    (FailureKind.CRASH, lambda: wild.calling("strlen", 0)),
    (FailureKind.CRASH, lambda: wild.calling("raise", signal.SIGILL)),
    (FailureKind.CRASH, lambda: wild.calling("exit", 3)),
    (FailureKind.OUT_OF_MEMORY, lambda: wild.needing(1 << 30)),
    (FailureKind.RUN_TIMEOUT, lambda: wild.calling("pause")),
    (FailureKind.WRONG_OUTPUT, lambda: wild.good(2)),
    (FailureKind.BUILD_ERROR, wild.for_a_gpu),
]


class _Chaos(LocalMeasurer):
    """Exchanges candidates on their way in; keeps what came out, by what had been put in."""

    def __init__(self, options: MeasureOptions) -> None:
        super().__init__(options)
        self._wild = list(_WILD)
        self.said: list[FailureKind | None] = []
        self.wild: list[tuple[FailureKind, FailureKind | None]] = []

    def measure(self, candidates: Sequence[Candidate], rounds: int = 1) -> Iterator[MeasureResult]:
        exchanged: dict[int, FailureKind] = {}
        mixed = []
        for number, candidate in enumerate(candidates):
            if rounds == 1 and number % 2 == 1 and self._wild:
                exchanged[candidate.key], make = self._wild.pop(0)
                candidate = dataclasses.replace(
                    candidate,
                    module_json=tvm.ir.save_json(make()),
                    arguments=wild.VECTORS,
                    best_s=None,
                    workload_arguments=None,
                    workload_json=tvm.ir.save_json(wild.good(1)),
                )
            mixed.append(candidate)
        for outcome in super().measure(mixed, rounds):
            if rounds == 1:
                self.said.append(outcome.failure)
                if outcome.key in exchanged:
                    self.wild.append((exchanged[outcome.key], outcome.failure))
            yield outcome


def _tasks() -> list[Task]:
    a, b = te.placeholder((32, 32), name="a"), te.placeholder((32, 32), name="b")
    k = te.reduce_axis((0, 32), name="k")
    c = te.compute((32, 32), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    module = tvm.IRModule({"main": te.create_prim_func([a, b, c])})
    return [Task("matmul", module, str(tvm_ffi.structural_hash(module)), 1, 6.5e4, 12288)]


@pytest.fixture(scope="module")
def options(native: ResolvedTarget) -> MeasureOptions:
    return MeasureOptions(native.spec, "cpu", 2, 1, 60, 4, 2, 2, "warm", 2 << 30)


def test_a_run_among_wild_candidates_spends_its_budget_and_counts_its_failures(
    native: ResolvedTarget, options: MeasureOptions, tmp_path: Path
) -> None:
    with Catalogue.open(tmp_path / "catalogue.db") as catalogue:
        session = catalogue.sessions.begin(
            NewSession(
                name="chaos",
                recipe_yaml="",
                recipe_digest="d",
                model_digest=None,
                model_name="m",
                target_json=native.spec,
                host=detect_host().as_dict(),
                host_fingerprint="host",
                toolchain=versions(),
                budget_trials=_BUDGET,
                seed=0,
            )
        )
        with _Chaos(options) as measurer:
            tuner = Tuner(
                _tasks(),
                native,
                Tuning(),
                options,
                catalogue,
                session,
                preparation="none",
                reporter=SilentReporter(),
                stop=lambda: False,
            )
            result = tuner.run(measurer)
        assert result.trials == _BUDGET
        assert [kind for kind, _ in measurer.wild] == [said for _, said in measurer.wild]
        assert len(measurer.wild) == len(_WILD)
        told = Counter(kind for kind in measurer.said if kind is not None)
        assert Counter(result.failures) == told
        trials = list(catalogue.trials.read())
        assert len(trials) == _BUDGET
        assert Counter(trial.failure.kind for trial in trials if trial.failure) == told
        good = [trial for trial in trials if trial.failure is None]
        # What is much slower than the best is run twice and no more, without calibration.
        assert any(trial.calibration_s and trial.slowdown for trial in good)


def test_what_a_candidate_leaves_running_ends_with_it(
    options: MeasureOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It leaves its parent, its process group and its session, as daemons do."""
    monkeypatch.setenv("MARK_OF_THIS_TEST", str(tmp_path))

    def marked() -> set[int]:
        found = set()
        for process in psutil.process_iter():
            try:
                if process.environ().get("MARK_OF_THIS_TEST") == str(tmp_path):
                    found.add(process.pid)
            except psutil.Error:
                continue
        return found

    with LocalMeasurer(options) as measurer:
        list(measurer.measure([wild.candidate(0, wild.good())]))
        servers = marked()
        assert len(servers) == 1
        [outcome] = measurer.measure([wild.candidate(0, wild.calling("daemon", 1))])
        assert outcome.failure not in (FailureKind.BUILD_ERROR, FailureKind.RUN_ERROR)
        assert marked() == servers
    assert not marked()

"""Trial -> catalogue -> MetaSchedule's files -> catalogue: what a record is, survives."""

from __future__ import annotations

import tempfile
from pathlib import Path

import kernels
import tvm
import tvm_ffi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunekit.catalogue import Catalogue, Failure, FailureKind, NewSession, NewTask, NewTrial
from tunekit.catalogue.queries.filters import RecordFilter
from tunekit.interchange.exporting import export_records
from tunekit.interchange.importing import import_folder
from tunekit.interchange.replay import Replayer
from tunekit.machine.host import detect_host
from tunekit.machine.toolchain import versions

_SECONDS = st.floats(min_value=1e-12, max_value=1e8, allow_nan=False)
_FACTORS = st.sampled_from(kernels.FACTORS)
_TARGETS = [
    '{"kind":"llvm","mcpu":"znver3","num-cores":2}',
    '{"kind":"llvm","mcpu":"znver2","num-cores":8}',
]

_trials = st.lists(
    st.tuples(
        st.sampled_from([8, 16]),
        _FACTORS,
        _FACTORS,
        st.booleans(),
        st.one_of(
            st.lists(_SECONDS, min_size=1, max_size=4).map(tuple), st.sampled_from(FailureKind)
        ),
    ),
    min_size=1,
    max_size=6,
)


def _measured(catalogue: Catalogue) -> set[tuple[object, ...]]:
    return {
        (
            each.structural_hash,
            each.candidate_digest,
            each.samples_s,
            each.score_s,
            each.target_json,
        )
        for each in catalogue.records.listed(RecordFilter(), limit=None)
    }


def _write(catalogue: Catalogue, trials: list[tuple[object, ...]], target: str) -> None:
    host = detect_host()
    session = catalogue.sessions.begin(
        NewSession(
            name="round",
            recipe_yaml="",
            recipe_digest="",
            model_digest=None,
            model_name="",
            target_json=target,
            host=host.as_dict(),
            host_fingerprint=host.fingerprint,
            toolchain=versions(),
            budget_trials=len(trials),
            seed=0,
        )
    )
    sizes = [8, 16]
    workloads = [kernels.workload(size) for size in sizes]
    tasks = catalogue.trials.ensure_tasks(session.id, [NewTask(w, w.name, 1.0) for w in workloads])
    for size, outer, inner, vectorized, result in trials:
        schedule = kernels.scheduled(size, outer, inner, vectorized=vectorized)  # type: ignore[arg-type]
        failed = isinstance(result, FailureKind)
        catalogue.trials.add(
            session.id,
            [
                NewTrial(
                    task_id=tasks[sizes.index(size)],  # type: ignore[arg-type]
                    candidate_digest=str(tvm_ffi.structural_hash(schedule.mod)),
                    trace_json=tvm.ir.save_json(schedule.trace),
                    samples_s=None if failed else result,  # type: ignore[arg-type]
                    failure=Failure(result, "why") if failed else None,  # type: ignore[arg-type]
                )
            ],
        )


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(trials=_trials, target=st.sampled_from(_TARGETS))
def test_every_record_comes_back_and_no_failure_does(
    replayer: Replayer, trials: list[tuple[object, ...]], target: str
) -> None:
    good = sum(isinstance(trial[-1], tuple) for trial in trials)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with (
            Catalogue.open(folder / "first.db") as first,
            Catalogue.open(folder / "second.db") as second,
        ):
            _write(first, trials, target)
            if not good:
                assert first.records.counts(RecordFilter()) == (0, len(trials))
                return
            written = export_records(first, RecordFilter(), folder / "out")
            assert (written.records, written.failures) == (good, len(trials) - good)
            assert written.unwritable == []
            report = import_folder(folder / "out", second, replayer, measured_on="this")
            assert report.bad == []
            assert _measured(second) == _measured(first)
            assert second.maintenance.check() == []
            again = import_folder(folder / "out", second, replayer, measured_on="this")
            assert (again.added, again.known) == (0, good)
            # And out again: what was imported can be exported like what was measured here.
            assert export_records(second, RecordFilter(), folder / "again").records == report.added

"""The catalogue as a database of MetaSchedule, for those who use MetaSchedule directly.

    with Catalogue.open("tuning_logs/catalogue.db") as catalogue:
        database = CatalogueDatabase(catalogue, "native")
        ms.tune_tir(module, database.target, database=database, ...)
        with database.target, database:
            module = relax.transform.MetaScheduleApplyDatabase()(module)

Against MetaSchedule's own databases: each record is in the catalogue when `commit_tuning_record`
returns, whatever becomes of the process; several processes may tune at once; and a lookup only
finds what was measured for the same target, on the same host, by a toolchain that replays the same
traces. A trial that `tunekit tune` measured is found here, and the other way round.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm.ir import IRModule
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.database import PyDatabase, TuningRecord, Workload
from tvm.target import Target

from tunekit.catalogue import (
    Catalogue,
    Conditions,
    Failure,
    FailureKind,
    NewSession,
    NewTask,
    NewTrial,
    NewWorkload,
    Record,
    toolchain_key,
)
from tunekit.catalogue.canonical_json import digest
from tunekit.catalogue.conditions import CpuCache
from tunekit.catalogue.entries import mean
from tunekit.catalogue.workload_digest import content_digest
from tunekit.ir.trace import load_trace
from tunekit.machine.host import detect_host
from tunekit.machine.target import ResolvedTarget, resolve_target, target_spec
from tunekit.machine.toolchain import versions

# From here on run seconds are MetaSchedule's word for "failed" (it writes 1e10).
_FAILED_S = 1e9
_NAME = "metaschedule"
# Records that are kept ready to be asked for again: the evolutionary search asks for its best at
# every batch, and reading a trace takes longer than finding it.
_KEPT_RECORDS = 4096


@derived_object
class CatalogueDatabase(PyDatabase):  # type: ignore[misc]
    """MetaSchedule's view of one target's trials in a catalogue, read and written as they happen.

    Only one thread at a time uses it, and the catalogue must stay open as long.

    Attributes:
        target: what is looked up where MetaSchedule names no target itself.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        target: ResolvedTarget | Target | str,
        *,
        name: str = _NAME,
        cache: CpuCache = "warm",
    ) -> None:
        """
        Args:
            catalogue: open; what is committed becomes a session in it, named `name`.
            target: as `resolve_target` takes it, or resolved, or TVM's own.
            name: of the session, for `tunekit sessions`.
            cache: what is in the caches when candidates are timed, "flush" where the runner is told
                to flush them. It is noted with what is committed; and seconds taken with caches in
                different states do not compare, so records of another state are looked up only
                for kernels that have none of this one.
        """
        super().__init__()
        if isinstance(target, str):
            target = resolve_target(target)
        self.target: Target = target.tvm if isinstance(target, ResolvedTarget) else target
        self._catalogue = catalogue
        self._spec = target_spec(self.target)
        self._host = detect_host()
        self._versions = versions()
        self._name = name
        self._cache: CpuCache = cache
        #: By target, the session that takes what is committed.
        self._sessions: dict[str, str] = {}
        self._tasks: dict[tuple[str, str], int] = {}
        #: By content, so that one kernel is one object for MetaSchedule.
        self._workloads: dict[str, Workload] = {}
        self._records: dict[tuple[int, float], TuningRecord] = {}

    def has_workload(self, mod: IRModule) -> bool:
        """Whether any session has this kernel."""
        return self._catalogue.records.has_workload(_structural_hash(mod))

    def commit_workload(self, mod: IRModule) -> Workload:
        """Enters the kernel unless it is there."""
        self._task(self._spec, mod)
        return self._workload(mod)

    def commit_tuning_record(self, record: TuningRecord) -> None:
        """Enters a measured candidate, or one that MetaSchedule says failed.

        ValueError for a record without run seconds.
        """
        seconds = tuple(float(second) for second in record.run_secs or ())
        if not seconds:
            raise ValueError("a record without run_secs was not measured")
        failure = None
        if max(seconds) >= _FAILED_S:
            # MetaSchedule keeps no reason. The least that is sure: no answer in acceptable time;
            # which does not keep anybody from trying the candidate again.
            failure = Failure(
                FailureKind.RUN_TIMEOUT,
                f"MetaSchedule committed {max(seconds):g} s, its word for failed, without a reason",
            )
        spec = self._spec if record.target is None else target_spec(record.target)
        task_id = self._task(spec, record.workload.mod)
        session_id = self._sessions[spec]
        self._catalogue.trials.add(
            session_id,
            [
                NewTrial(
                    task_id=task_id,
                    candidate_digest=_structural_hash(record.as_measure_candidate().sch.mod),
                    trace_json=tvm.ir.save_json(record.trace),
                    samples_s=None if failure else seconds,
                    failure=failure,
                    measure_options={"measured_by": _NAME, "cache": self._cache},
                )
            ],
        )
        # Whoever tunes keeps count of the budget; what was spent of it is all there is to say.
        self._catalogue.sessions.set_budget(
            session_id, self._catalogue.sessions.get(session_id).trials_done
        )

    def get_top_k(self, workload: Workload, top_k: int) -> list[TuningRecord]:
        """The fastest records of the kernel on this database's target, best first."""
        if top_k <= 0:
            return []
        module_digest = content_digest(tvm.ir.save_json(workload.mod))
        wherever = {
            "structural_hashes": [_structural_hash(workload.mod)],
            "top_k": top_k,
            **self._where(self._spec),
        }
        records = self._catalogue.records.best(
            **wherever, measured_with={"cache": self._cache}
        ) or self._catalogue.records.best(**wherever)
        # Traces find blocks by name, and the structural hash leaves these out.
        return [
            self._tuning_record(record, self.target)
            for record in records
            if content_digest(record.module_json) == module_digest
        ]

    def get_all_tuning_records(self) -> list[TuningRecord]:
        """Every good record on this database's target."""
        records = self._catalogue.records.best(
            structural_hashes=None, top_k=None, **self._where(self._spec)
        )
        return [self._tuning_record(record, self.target) for record in records]

    def query_tuning_record(
        self, mod: IRModule, target: Target, workload_name: str | None = None
    ) -> TuningRecord | None:
        """The record to compile the kernel with on `target`; None where nothing is known of it."""
        records = self._catalogue.records.to_compile(
            self._conditions(target_spec(target)), [_structural_hash(mod)]
        )
        for record in records:
            made = self._tuning_record(record, target)
            # Equal hashes are not yet equal kernels.
            if tvm_ffi.structural_equal(made.workload.mod, mod):
                return made
        return None

    def __len__(self) -> int:
        """How many good records there are on this database's target."""
        return self._catalogue.records.count(self._conditions(self._spec))

    def _conditions(self, spec: str) -> Conditions:
        return Conditions(spec, self._host.fingerprint, toolchain_key(self._versions), self._cache)

    def _where(self, spec: str) -> dict[str, Any]:
        return {
            "target_json": spec,
            "host_fingerprint": self._host.fingerprint,
            "toolchain_key": toolchain_key(self._versions),
        }

    def _task(self, spec: str, module: IRModule) -> int:
        """The kernel's task in the session of this target; both are made where they are not."""
        if spec not in self._sessions:
            session = self._catalogue.sessions.begin(
                NewSession(
                    name=self._name,
                    recipe_yaml="",
                    recipe_digest=digest(f"{_NAME} {self._name}"),
                    model_digest=None,
                    model_name="",
                    target_json=spec,
                    host=self._host.as_dict(),
                    host_fingerprint=self._host.fingerprint,
                    toolchain=self._versions,
                    budget_trials=0,
                    seed=0,
                    origin="metaschedule",
                )
            )
            # It has no budget that somebody could go on spending.
            self._catalogue.sessions.close(session.id, "finished")
            self._sessions[spec] = session.id
        module_json = tvm.ir.save_json(module)
        key = (spec, content_digest(module_json))
        if key not in self._tasks:
            workload = NewWorkload(_structural_hash(module), module_json, "", _name(module))
            task = NewTask(workload, workload.name, weight=1.0)
            (self._tasks[key],) = self._catalogue.trials.ensure_tasks(self._sessions[spec], [task])
        return self._tasks[key]

    def _workload(self, module: IRModule) -> Workload:
        return self._workloads.setdefault(
            content_digest(tvm.ir.save_json(module)), Workload(module)
        )

    def _tuning_record(self, record: Record, target: Target) -> TuningRecord:
        key = (record.trial_id, record.score_s)
        kept = self._records.get(key)
        if kept is not None:
            return kept
        module = tvm.ir.load_json(record.module_json)
        # Their mean is what MetaSchedule ranks by: as the host usually is, or as the final was.
        correction = record.score_s / mean(record.samples_s)
        made = TuningRecord(
            load_trace(record.trace_json),
            self._workload(module),
            [second * correction for second in record.samples_s],
            target,
            ArgInfo.from_entry_func(module, False),
        )
        while len(self._records) >= _KEPT_RECORDS:
            del self._records[next(iter(self._records))]
        self._records[key] = made
        return made


def _structural_hash(module: IRModule) -> str:
    return str(tvm_ffi.structural_hash(module))


def _name(module: IRModule) -> str:
    """What the kernel computes: the names of its blocks."""
    schedule = Schedule(module)
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    return "_".join(str(schedule.get(block).name_hint) for block in blocks)

"""The catalogue: the ledger of sessions, tasks and trials, good and failed.

    with Catalogue.open("tuning_logs/catalogue.db") as catalogue:
        session = catalogue.sessions.begin(NewSession(...))
        tasks = catalogue.trials.ensure_tasks(session.id, [NewTask(...)])
        catalogue.trials.add(session.id, [NewTrial(tasks[0], ...)])
        catalogue.records.best(structural_hashes=[...], target_json=...)

Importing this loads SQLAlchemy; it never loads TVM.
"""

from __future__ import annotations

from tunekit.catalogue.catalogue import Catalogue
from tunekit.catalogue.conditions import Conditions
from tunekit.catalogue.db.upgrade import UpgradeResult, upgrade
from tunekit.catalogue.entries import (
    BenchRun,
    BenchRunInfo,
    Failure,
    FailureKind,
    NewBenchRun,
    NewLibrary,
    NewSession,
    NewTask,
    NewTrial,
    NewWorkload,
    Record,
    SessionInfo,
    SessionState,
    TaskSummary,
    Trial,
    comparable,
    toolchain_key,
)
from tunekit.catalogue.queries.failures import FailureExample, FailureGroup
from tunekit.catalogue.queries.session_report import (
    CompiledLibrary,
    ResultPoint,
    SessionReport,
)

__all__ = [
    "BenchRun",
    "BenchRunInfo",
    "Catalogue",
    "CompiledLibrary",
    "Conditions",
    "Failure",
    "FailureExample",
    "FailureGroup",
    "FailureKind",
    "NewBenchRun",
    "NewLibrary",
    "NewSession",
    "NewTask",
    "NewTrial",
    "NewWorkload",
    "Record",
    "ResultPoint",
    "SessionInfo",
    "SessionReport",
    "SessionState",
    "TaskSummary",
    "Trial",
    "UpgradeResult",
    "comparable",
    "toolchain_key",
    "upgrade",
]

"""Sessions: begun, resumed, looked back at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tunekit.catalogue.db.transactions import Transactions
from tunekit.catalogue.entries import NewSession, SessionInfo, SessionState
from tunekit.catalogue.queries import session_report
from tunekit.catalogue.queries import sessions as _sessions
from tunekit.catalogue.queries.session_report import SessionReport

# Within the class `list` is its method.
_SessionList = list[SessionInfo]


class Sessions:
    """Sessions: begun, resumed, looked back at."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def begin(self, new: NewSession) -> SessionInfo:
        """A new session, run by this process."""
        with self._transactions.writing() as connection:
            return _sessions.begin(connection, new)

    def unfinished(
        self,
        recipe_digest: str,
        target_json: str,
        host_fingerprint: str,
        *,
        toolchain_key: str | None = None,
    ) -> SessionInfo | None:
        """The newest session of this work that was interrupted, failed, or whose process died; None
        when there is none. One that another living process runs does not count, nor one whose
        records this toolchain (`entries.toolchain_key`) cannot use, where it is given."""
        with self._transactions.reading() as connection:
            return _sessions.unfinished(
                connection, recipe_digest, target_json, host_fingerprint, toolchain_key
            )

    def resume(self, session_id: str, *, toolchain: Mapping[str, str] | None = None) -> SessionInfo:
        """Takes the session over for this process; later trials count as measured with
        `toolchain` when it is given. CatalogueError when another living process runs it."""
        with self._transactions.writing() as connection:
            return _sessions.resume(connection, session_id, toolchain)

    def heartbeat(self, session_id: str) -> None:
        """Says that this process still runs the session; `trials.add` says so too. Once in 30 s
        is enough. CatalogueError when another process has taken the session over."""
        with self._transactions.writing() as connection:
            _sessions.heartbeat(connection, session_id)

    def set_budget(self, session_id: str, trials: int, *, recipe_yaml: str | None = None) -> None:
        """Changes what the session may spend in all, trials done before included; and the recipe
        that says so, if it is given."""
        if trials < 0:
            raise ValueError(f"a budget of {trials} trials")
        values: dict[str, Any] = {} if recipe_yaml is None else {"recipe_yaml": recipe_yaml}
        with self._transactions.writing() as connection:
            _sessions.set_values(connection, session_id, budget_trials=trials, **values)

    def add_seconds(self, session_id: str, seconds: Mapping[str, float]) -> None:
        """Adds what a run of the session spent, by phase, to what earlier runs did; wall seconds.
        ValueError for seconds that are negative or not finite."""
        for phase, spent in seconds.items():
            if not (math.isfinite(spent) and spent >= 0):
                raise ValueError(f"{spent} seconds of {phase}")
        with self._transactions.writing() as connection:
            _sessions.add_seconds(connection, session_id, seconds)

    def close(self, session_id: str, state: Literal["finished", "interrupted", "failed"]) -> None:
        with self._transactions.writing() as connection:
            _sessions.set_values(connection, session_id, state=state)

    def get(self, session_id: str) -> SessionInfo:
        with self._transactions.reading() as connection:
            return _sessions.info(connection, session_id)

    def find(self, prefix: str) -> SessionInfo:
        """The session whose id starts so; CatalogueError where that is none or several."""
        with self._transactions.reading() as connection:
            return session_report.find(connection, prefix)

    def report(
        self, session_id: str, *, measured_with: Mapping[str, Any] | None = None
    ) -> SessionReport:
        """How a session went: tasks, outcomes in their order, failures with an example. What was
        known before counts where it was measured with these options; if left out, where its
        seconds are comparable with those of the session's first trial."""
        with self._transactions.reading() as connection:
            return session_report.report(connection, session_id, measured_with)

    def list(
        self,
        limit: int | None = 20,
        *,
        states: Iterable[SessionState] | None = None,
        name: str | None = None,
        host_fingerprint: str | None = None,
        recipe_digest: str | None = None,
        target_json: str | None = None,
    ) -> _SessionList:
        """The sessions, newest first; only those of which all that is given is true."""
        with self._transactions.reading() as connection:
            return session_report.listed(
                connection,
                limit=limit,
                states=states,
                name=name,
                host_fingerprint=host_fingerprint,
                recipe_digest=recipe_digest,
                target_json=target_json,
            )

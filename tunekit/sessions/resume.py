"""Which session a person means to go on with, and the recipe and folder that it was begun with."""

from __future__ import annotations

import json
from pathlib import Path

from tunekit.catalogue import Catalogue, SessionInfo, SessionState
from tunekit.errors import UsageError
from tunekit.machine.host import Host
from tunekit.recipe import Recipe, parse_recipe

_BEGUN_IN = "# begun in "
_LIBRARY_IN = "# library in "
_UNFINISHED: tuple[SessionState, ...] = ("interrupted", "failed")


def folders_of_session(begun_in: Path, library: Path) -> str:
    """The lines above a session's recipe that say where it was begun and where its library goes.

    A recipe may name modules and files that are found from the first; the second need not be the
    one that the recipe names (`tunekit tune -o`).
    """
    lines = ((_BEGUN_IN, begun_in), (_LIBRARY_IN, library.expanduser().absolute()))
    return "".join(f"{key}{json.dumps(str(folder))}\n" for key, folder in lines)


def folder_of(session: SessionInfo) -> Path | None:
    """The folder in which a session was begun; None where that is not known."""
    return _noted(session, _BEGUN_IN)


def library_folder_of(session: SessionInfo) -> Path | None:
    """The folder that gets a session's library; None where that is not known."""
    return _noted(session, _LIBRARY_IN)


def _noted(session: SessionInfo, key: str) -> Path | None:
    for line in session.recipe_yaml.splitlines():
        if not line.startswith("# "):
            break
        if line.startswith(key):
            return Path(json.loads(line[len(key) :]))
    return None


def recipe_of(session: SessionInfo) -> Recipe:
    """The recipe of a session, resolved.

    Raises:
        UsageError: its trials were imported, so that there is nothing to search.
        RecipeError: this version cannot use it.
    """
    if session.origin != "tune":
        raise UsageError(
            f"session {session.id} is an import, not a search",
            hint="its records are used by `tunekit tune` and `tunekit compile`",
        )
    return parse_recipe(session.recipe_yaml, f"recipe of session {session.id}")


def session_to_resume(
    catalogue: Catalogue, session_id: str | None, host: Host, *, more: bool = False
) -> SessionInfo:
    """The session whose id starts with `session_id`, else the newest unfinished one of this host.

    Args:
        catalogue: where the sessions are.
        session_id: the start of an id.
        host: this machine.
        more: its budget will be another one, so that a finished one will do.

    Raises:
        CatalogueError: no session has such an id, or several do.
        UsageError: it cannot be gone on with here and now, and why.
    """
    if session_id is None:
        return _newest_unfinished(catalogue, host)
    session = catalogue.sessions.find(session_id)
    if session.state == "running":
        raise _is_run(session)
    # What was measured on devices of a tracker can be gone on with from any machine.
    if session.host_fingerprint != host.fingerprint and recipe_of(session).tuning.rpc is None:
        described = catalogue.sessions.report(session.id).host
        raise UsageError(
            f"session {session.id} was begun on another kind of machine, "
            f"{described.get('cpu_name') or session.host_fingerprint}; "
            "seconds measured here would not compare with its own",
            hint="resume it there, or tune the recipe here: that is a session of its own",
        )
    if session.state == "finished" and not more:
        raise UsageError(
            f"session {session.id} is finished: {session.trials_done} of "
            f"{session.budget_trials} trials",
            hint=f"`tunekit resume {session.id} --trials N` gives it a larger budget, "
            f"`tunekit show {session.id}` shows how it went",
        )
    return session


def _newest_unfinished(catalogue: Catalogue, host: Host) -> SessionInfo:
    here = catalogue.sessions.list(
        limit=None, states=_UNFINISHED, host_fingerprint=host.fingerprint
    )
    for session in here:
        if session.origin == "tune":
            return session
    running = catalogue.sessions.list(
        limit=1, states=["running"], host_fingerprint=host.fingerprint
    )
    if running:
        raise _is_run(running[0])
    raise UsageError(
        f"{catalogue.location} has no unfinished session of this machine",
        hint="`tunekit sessions` lists all there are, `tunekit tune RECIPE` begins one",
    )


def _is_run(session: SessionInfo) -> UsageError:
    return UsageError(
        f"session {session.id} is being run by process {session.pid}",
        hint="wait for it to end, or stop it with Ctrl-C, then resume",
    )

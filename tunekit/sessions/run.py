"""A session: one run of a recipe against a budget, from the model to the verified library."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunekit.cache import ContentCache
from tunekit.catalogue import Catalogue, NewSession, SessionInfo, toolchain_key
from tunekit.errors import CatalogueError, Interrupted, UsageError
from tunekit.graph.pipeline import recipe_target
from tunekit.graph.sizes import PreparedSizes, prepare_sizes
from tunekit.library import Library, compile_prepared, compile_recipe
from tunekit.library.coverage import Knowledge, look_up
from tunekit.library.output import library_folder, require_writable
from tunekit.machine.host import detect_host
from tunekit.machine.linker import require_linker
from tunekit.machine.toolchain import require_tvm, versions
from tunekit.measure.interruption import GuardedMeasurer
from tunekit.measure.select import describe_device, make_measurer, require_tracker
from tunekit.processes.interrupts import Stop, interruptible
from tunekit.recipe import Recipe, dump_recipe, session_digest
from tunekit.search.progress import Reporter, TuningResult
from tunekit.search.tuner import Tuner, measure_options
from tunekit.sessions.resume import folders_of_session
from tunekit.wording import time_shares

_ANOTHER_SESSION = "tune the recipe: that is a session of its own"
Again = Callable[[str], str]
"""The command that goes on with a session, by its id."""


def resume_command(session_id: str) -> str:
    """Goes on with a session of the default catalogue."""
    return f"tunekit resume {session_id}"


def tune_recipe(
    recipe: Recipe,
    display: Reporter,
    *,
    again: Again = resume_command,
    fresh: bool = False,
    folder: Path | None = None,
    selection: bool = True,
    cache: ContentCache | None = None,
) -> Library:
    """Tunes a recipe's model, or goes on with its unfinished session, and compiles it.

    Args:
        recipe: what is wanted.
        display: shows the progress.
        again: the command that goes on after an interruption, for the message.
        fresh: begin another session even where one is unfinished.
        folder: the library's; `<recipe.output>/<recipe.name>` if left out.
        selection: compare the variants of the library end to end (see `compile_prepared`).
        cache: of imported models.

    Raises:
        Interrupted: by Ctrl-C; everything measured is in the catalogue.
        UsageError: another process runs the recipe's session.
        TunekitError: see `prepare_sizes` and `compile_prepared`.
    """
    folder = _writable(recipe, folder)
    if _is_cross(recipe):
        display.say("warning: nothing is measured: no device for the target is named")
        return compile_recipe(recipe, output=folder, cache=cache, say=display.say)
    with _opened(recipe, display, cache, folder=folder, selection=selection) as run:
        budget = recipe.tuning.budget(len(run.prepared.tasks))
        if budget == 0:
            display.say("no trials to spend: compiling with the records there are")
            return run.compile()
        session = None if fresh else run.unfinished()
        if session is None:
            return run.begin(budget).to_its_end(again)
        return run.go_on(session, budget).to_its_end(again)


def _writable(recipe: Recipe, folder: Path | None) -> Path:
    """The library's folder: told to be one that cannot be written before TVM is loaded, which takes
    seconds."""
    folder = folder.expanduser() if folder is not None else library_folder(recipe)
    require_writable(folder)
    return folder


def _is_cross(recipe: Recipe) -> bool:
    """Whether the target is for another architecture, with no device named to measure on.

    A target of this architecture that only asks for more than this CPU has is taken for a mistake,
    and refused where it would be measured.
    """
    if recipe.tuning.rpc is not None:
        return False
    require_tvm()
    target = recipe_target(recipe, only_compiled=True)
    return target.kind == "llvm" and target.architecture != detect_host().architecture


def resume_recipe(
    recipe: Recipe,
    session_id: str,
    display: Reporter,
    *,
    again: Again = resume_command,
    folder: Path | None = None,
    cache: ContentCache | None = None,
) -> Library:
    """Goes on with a session; `recipe` is the session's own, perhaps with another budget.

    Args:
        recipe: what is wanted.
        session_id: the session's.
        display: shows the progress.
        again: the command that goes on after an interruption, for the message.
        folder: the library's; `<recipe.output>/<recipe.name>` if left out.
        cache: of imported models.

    Raises:
        Interrupted: by Ctrl-C; everything measured is in the catalogue.
        CatalogueError: there is no such session, or another process runs it.
        TunekitError: see `prepare_sizes` and `compile_prepared`.
    """
    with _opened(recipe, display, cache, folder=_writable(recipe, folder)) as run:
        session = run.catalogue.sessions.get(session_id)
        budget = recipe.tuning.budget(len(run.prepared.tasks))
        return run.go_on(session, budget).to_its_end(again)


def look_up_recipe(
    recipe: Recipe, say: Callable[[str], None], *, cache: ContentCache | None = None
) -> Knowledge:
    """What the recipe's catalogue knows of its model; nothing is written or measured.

    Raises:
        CatalogueError: there is no catalogue.
        TunekitError: see `prepare_sizes`.
    """
    require_tvm()
    with Catalogue.open(recipe.catalogue, create=False) as catalogue:
        return _known(prepare_sizes(recipe, cache or ContentCache(), say), catalogue)


def _known(prepared: PreparedSizes, catalogue: Catalogue) -> Knowledge:
    return look_up(catalogue, prepared.tasks, prepared.conditions)


@contextmanager
def _opened(
    recipe: Recipe,
    display: Reporter,
    cache: ContentCache | None,
    *,
    folder: Path,
    selection: bool = True,
) -> Iterator[_Run]:
    require_tvm()
    rpc = recipe.tuning.rpc
    if rpc is not None:
        require_tracker(rpc, display.say)
    # Cheap beside the model's import, before which it is told what is wrong with it.
    target = recipe_target(recipe)
    if rpc is not None:
        require_linker(recipe.cc, target)
    with Catalogue.open(recipe.catalogue) as catalogue:
        cache = cache or ContentCache()
        prepared = prepare_sizes(recipe, cache, display.say, target=target)
        display.say(_known(prepared, catalogue).line())
        yield _Run(prepared, catalogue, folder, display, cache, selection)


@dataclass(frozen=True)
class _Run:
    """A prepared recipe and its open catalogue: all that a session needs to begin or to go on."""

    prepared: PreparedSizes
    catalogue: Catalogue
    folder: Path
    display: Reporter
    cache: ContentCache
    selection: bool

    def unfinished(self) -> SessionInfo | None:
        """The session to go on with.

        Raises:
            UsageError: there is one, but another process runs it.
        """
        digest = session_digest(self.prepared.recipe)
        target, host = self.prepared.target.spec, self.prepared.host.fingerprint
        session = self.catalogue.sessions.unfinished(
            digest, target, host, toolchain_key=toolchain_key(versions())
        )
        if session is not None:
            return session
        running = self.catalogue.sessions.list(
            limit=1,
            states=["running"],
            recipe_digest=digest,
            target_json=target,
            host_fingerprint=host,
        )
        if running:
            raise UsageError(
                f"session {running[0].id} of this recipe is being run by process {running[0].pid}",
                hint="wait for it to end or stop it with Ctrl-C; --fresh starts another beside it",
            )
        return None

    def begin(self, budget: int) -> _Session:
        """A new session."""
        prepared = self.prepared
        session = self.catalogue.sessions.begin(
            NewSession(
                name=prepared.recipe.name,
                recipe_yaml=self._recipe_yaml(),
                recipe_digest=session_digest(prepared.recipe),
                model_digest=prepared.digest,
                model_name=prepared.smallest.source.name,
                target_json=prepared.target.spec,
                host=self.prepared.host.as_dict(),
                host_fingerprint=self.prepared.host.fingerprint,
                toolchain=versions(),
                budget_trials=budget,
                seed=prepared.recipe.tuning.seed,
            )
        )
        self.display.say(f"session {session.id}: {len(prepared.tasks)} tasks, {budget} trials")
        return _Session(self, session)

    def go_on(self, session: SessionInfo, budget: int) -> _Session:
        """An earlier session, with this budget."""
        if session.host_fingerprint != self.prepared.host.fingerprint:
            raise UsageError(
                f"session {session.id} was measured on other machines than its recipe now names",
                hint=_ANOTHER_SESSION,
            )
        self._require_same_work(session)
        was = session.budget_trials
        session = self.catalogue.sessions.resume(session.id, toolchain=versions())
        # Also where the number is the same: how long to search and when to give up may not be.
        self.catalogue.sessions.set_budget(session.id, budget, recipe_yaml=self._recipe_yaml())
        session = self.catalogue.sessions.get(session.id)
        line = f"going on with session {session.id}: {session.trials_done} of {budget} trials done"
        if budget != was:
            line += f" (the budget was {was})"
        self.display.say(line)
        return _Session(self, session)

    def _require_same_work(self, session: SessionInfo) -> None:
        """Refuses to go on where the trials would count, and be of no use."""
        target, here = self.prepared.target.spec, toolchain_key(versions())
        if session.target_json != target:
            raise UsageError(
                f"session {session.id} is for target {session.target_json}, not for {target}",
                hint=_ANOTHER_SESSION,
            )
        if session.recipe_digest != session_digest(self.prepared.recipe):
            raise UsageError(
                f"session {session.id} is of other work: since it was begun, the model's file has "
                "changed, or more of the recipe than its budget",
                hint=_ANOTHER_SESSION,
            )
        if session.toolchain_key != here:
            raise UsageError(
                f"session {session.id} was measured with {session.toolchain_key}, and here is "
                f"{here}, which does not replay what another one found",
                hint=_ANOTHER_SESSION,
            )

    def compile(self, session_id: str | None = None) -> Library:
        """The library with the best records there are."""
        return compile_prepared(
            self.prepared,
            self.catalogue,
            folder=self.folder,
            say=self.display.say,
            session_id=session_id,
            cache=self.cache,
            selection=self.selection,
        )

    def _recipe_yaml(self) -> str:
        recipe = self.prepared.recipe
        # A session can be resumed from any folder.
        output = recipe.output.expanduser().absolute()
        folders = folders_of_session(Path.cwd(), self.folder)
        return folders + dump_recipe(recipe.model_copy(update={"output": output}))


@dataclass(frozen=True)
class _Session:
    """A session that this process runs."""

    run: _Run
    info: SessionInfo

    def to_its_end(self, again: Again) -> Library:
        """Searches until the budget is spent and compiles what came of it."""
        hint = f"go on with: {again(self.info.id)}"
        state: Literal["finished", "interrupted", "failed"] = "failed"
        try:
            result = self._search(hint)
            if result.interrupted:
                raise Interrupted(
                    f"stopped after {result.trials} of {self.info.budget_trials} trials; "
                    f"everything measured is in {self.run.catalogue.location}",
                    hint=hint,
                )
            self._conclude(result)
            library = self._compile(hint)
            state = "finished"
            return library
        except (Interrupted, KeyboardInterrupt):
            state = "interrupted"
            raise
        finally:
            self._close(state)

    def _search(self, hint: str) -> TuningResult:
        run, prepared = self.run, self.run.prepared
        tuning = prepared.recipe.tuning
        cpu_cache = prepared.conditions.cpu_cache or "warm"
        options = measure_options(
            tuning,
            prepared.target,
            detect_host().memory_bytes,
            cpu_cache,
            huge_pages=prepared.recipe.huge_pages and tuning.rpc is None,
        )
        if cpu_cache == "weights":
            run.display.say("candidates are timed with their weights in memory, not in the caches")
        stop = Stop(run.display.say)
        try:
            # The server starts first: it warms up while the tuner opens its searches.
            with (
                interruptible(),
                make_measurer(tuning, prepared.target, options, cc=prepared.recipe.cc) as measurer,
                stop.listening(),
            ):
                measurer.start()
                tuner = Tuner(
                    prepared.tasks,
                    prepared.target,
                    tuning,
                    options,
                    run.catalogue,
                    self.info,
                    preparation=prepared.preparation,
                    reporter=run.display,
                    stop=stop,
                )
                describe_device(measurer, run.display.say)
                return tuner.run(GuardedMeasurer(measurer, stop))
        except KeyboardInterrupt:
            done = run.catalogue.sessions.get(self.info.id).trials_done
            raise Interrupted(
                f"stopped at once after {done} trials; everything measured is in "
                f"{run.catalogue.location}",
                hint=hint,
            ) from None

    def _compile(self, hint: str) -> Library:
        try:
            with interruptible():
                return self.run.compile(self.info.id)
        except KeyboardInterrupt:
            raise Interrupted(
                "stopped while compiling; the search is done and everything measured is in "
                f"{self.run.catalogue.location}",
                hint=hint,
            ) from None

    def _conclude(self, result: TuningResult) -> None:
        say = self.run.display.say
        session = self.run.catalogue.sessions.get(self.info.id)
        say(f"{session.trials_done} trials, {session.failures} failed, {session.reused} reused")
        shares = time_shares(session.seconds or result.seconds)
        if shares:
            say(f"time: {shares}")
        if result.exhausted:
            say("every task's search space is used up; the rest of the budget was not needed")
        elif result.ending == "seconds":
            say("the time for searching is spent; the best so far is used")
        elif result.ending == "plateau":
            say("the last trials gained less than 1 %; the rest of the budget was left")
        if result.forecast is not None and not result.exhausted:
            say(result.forecast.in_words)

    def _close(self, state: Literal["finished", "interrupted", "failed"]) -> None:
        """Notes how it ended, unless that is what cannot be noted (disk full, server gone) or
        another process has taken the session over."""
        with suppress(CatalogueError):
            if self.run.catalogue.sessions.get(self.info.id).pid == os.getpid():
                self.run.catalogue.sessions.close(self.info.id, state)

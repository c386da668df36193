"""A session: one run of a recipe against a budget, from the model to the verified library."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from tunekit.cache import ContentCache
from tunekit.catalogue import Catalogue, NewSession, SessionInfo
from tunekit.errors import Interrupted
from tunekit.graph.staging import Staged, recipe_target, stage
from tunekit.host import detect_host
from tunekit.library import Library, compile_staged
from tunekit.library.compile import library_folder, require_writable
from tunekit.recipe import Recipe, dump_recipe, recipe_digest
from tunekit.search.engines import introduce, make_engine, require_linker, require_tracker
from tunekit.search.tuner import Progress, Tuner, TuningResult, measure_options
from tunekit.toolchain import require_tvm, versions

if TYPE_CHECKING:
    from types import FrameType


class Display(Protocol):
    """Who shows what happens."""

    def say(self, line: str) -> None:
        """A line for the person who waits."""

    def update(self, progress: Progress) -> None:
        """The session's progress."""


class _Stop:
    """Ctrl-C: once asks the tuner to stop after its batch, twice stops at once."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._display.say("stopping after this batch; once more stops at once")


def tune_recipe(
    recipe: Recipe, display: Display, *, again: str, cache: ContentCache | None = None
) -> Library:
    """Tunes a recipe's model, or goes on with its unfinished session, and compiles it.

    Args:
        recipe: what is wanted.
        display: shows the progress.
        again: the command that goes on after an interruption, for the message.
        cache: of imported models.

    Raises:
        Interrupted: by Ctrl-C; everything measured is in the catalogue.
        TunekitError: see `stage` and `compile_staged`.
    """
    require_tvm()
    rpc = recipe.tuning.rpc
    if rpc is not None:
        require_tracker(rpc, display.say)
    folder = library_folder(recipe)
    # All three are cheap, and what is wrong with them is told before the model is imported.
    target = recipe_target(recipe)
    require_writable(folder)
    if rpc is not None:
        require_linker(rpc, target)
    with Catalogue.open(recipe.catalogue) as catalogue:
        staged = stage(recipe, cache or ContentCache(), display.say)
        budget = recipe.tuning.budget(len(staged.tasks))
        display.say(f"{len(staged.tasks)} tasks, {budget} trials")
        if budget == 0:
            display.say("no trials to spend: compiling with the records there are")
            return compile_staged(staged, catalogue, folder=folder, say=display.say)
        session = _open_session(staged, catalogue, budget, display)
        result = _search(staged, catalogue, session, display, again)
        if result.interrupted:
            catalogue.close_session(session.id, "interrupted")
            raise Interrupted(
                f"stopped after {result.trials} of {budget} trials; everything measured is in "
                f"{catalogue.place}",
                hint=f"go on with: {again}",
            )
        _conclude(result, display)
        library = compile_staged(
            staged, catalogue, folder=folder, say=display.say, session_id=session.id
        )
        catalogue.close_session(session.id, "finished")
        return library


def _open_session(
    staged: Staged, catalogue: Catalogue, budget: int, display: Display
) -> SessionInfo:
    host = staged.host
    digest = recipe_digest(staged.recipe)
    unfinished = catalogue.unfinished_session(digest, staged.target.spec, host.fingerprint)
    if unfinished is not None:
        session = catalogue.resume_session(unfinished.id, toolchain=versions())
        display.say(
            f"going on with session {session.id}: {session.trials_done} of "
            f"{session.budget_trials} trials done"
        )
        return session
    return catalogue.begin_session(
        NewSession(
            name=staged.recipe.name,
            recipe_yaml=dump_recipe(staged.recipe),
            recipe_digest=digest,
            model_digest=staged.source.digest,
            model_name=staged.source.name,
            target_json=staged.target.spec,
            host=host.as_dict(),
            host_fingerprint=host.fingerprint,
            toolchain=versions(),
            budget_trials=budget,
            seed=staged.recipe.tuning.seed,
        )
    )


def _search(
    staged: Staged, catalogue: Catalogue, session: SessionInfo, display: Display, again: str
) -> TuningResult:
    options = measure_options(staged.recipe.tuning, staged.target, detect_host().memory_bytes)
    stop = _Stop(display)
    state = "interrupted"
    try:
        # The server starts first: it warms up while the tuner opens its searches.
        with (
            make_engine(staged.recipe.tuning, staged.target, options) as engine,
            _on_interrupt(stop),
        ):
            engine.start()
            tuner = Tuner(
                staged.tasks,
                staged.target,
                staged.recipe.tuning,
                options,
                catalogue,
                session,
                preparation=staged.graph.preparation,
                listener=display,
                stop=stop,
            )
            introduce(engine, display.say)
            result = tuner.run(engine)
            state = ""
            return result
    except KeyboardInterrupt:
        done = catalogue.session(session.id).trials_done
        raise Interrupted(
            f"stopped at once after {done} trials; everything measured is in {catalogue.place}",
            hint=f"go on with: {again}",
        ) from None
    finally:
        if state:
            catalogue.close_session(session.id, "interrupted")


def _conclude(result: TuningResult, display: Display) -> None:
    seconds = result.seconds
    total = sum(seconds.values())
    parts = (
        ", ".join(f"{name} {value / total:.0%}" for name, value in seconds.items()) if total else ""
    )
    display.say(
        f"{result.trials} trials, {sum(result.failures.values())} failed, {result.reused} reused"
        + (f"; time: {parts}" if parts else "")
    )
    if result.exhausted:
        display.say("every task's search space is used up; the rest of the budget was not needed")
    elif result.ending == "seconds":
        display.say("the time for searching is spent; the best so far is used")
    elif result.ending == "plateau":
        display.say("the last trials gained less than 1 %; the rest of the budget was left")
    if result.forecast is not None and not result.exhausted:
        display.say(result.forecast.in_words)


@contextmanager
def _on_interrupt(stop: _Stop) -> Iterator[None]:
    previous = signal.signal(signal.SIGINT, stop.handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)

"""An explanation of a recipe: runtimes profile themselves, in turns, in processes of their own."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.attribution import roofline
from tunekit.attribution.kept import keep
from tunekit.attribution.operators import Profiled, break_down, kernel_name
from tunekit.attribution.profilers import LIBRARY, PROFILED, STAGES, THREADS, parse_profiled
from tunekit.attribution.results import Explanation, Sort
from tunekit.attribution.stages import stage_entries
from tunekit.benchmark.registry import Preparation, Unprepared, find_runtime, prepared
from tunekit.errors import SandboxError, UsageError
from tunekit.runtimes.process import RunnerFailed, RunnerProcess
from tunekit.standalone.events import TraceEvent
from tunekit.wording import Say

if TYPE_CHECKING:
    import numpy as np

    from tunekit.library import Library
    from tunekit.recipe import Recipe


_TIMEOUT_S = 1800.0
_MOST_RUNS = 2000
_INPUTS = "inputs.npz"
_LIBRARY, _EAGER = "tuned", "pytorch"
_OWN = {_LIBRARY: LIBRARY, _EAGER: STAGES}


@dataclass(frozen=True)
class ExplainSettings:
    """How it is measured.

    Attributes:
        threads: of each runtime.
        rounds: in which each runtime has a turn.
        turn_s: seconds of a turn without and of one with a profiler.
        seed: of the inputs.
        sort: which operators come first.
    """

    threads: int
    rounds: int = 5
    turn_s: float = 1.0
    seed: int = 0
    sort: Sort = "gain"


def explain_recipe(
    recipe: Recipe,
    *,
    runtimes: Sequence[str],
    settings: ExplainSettings,
    say: Say = lambda _: None,
) -> Explanation:
    """Says where the time of a recipe's library goes; compiles it if there is none that fits.

    What it finds is kept in the library's folder, for pages.

    Args:
        recipe: the recipe.
        runtimes: to compare with, of PROFILED; one that fails or is missing becomes a remark.
            With any, the stages of a detector are compared with PyTorch's.
        settings: how it is measured.
        say: told what is done, a line at a time.

    Raises:
        UsageError: a runtime does not say where its time goes.
        SandboxError: the library itself crashed or hung.
        TunekitError: as for `tuned_library`.
    """
    from tunekit.cache import ContentCache
    from tunekit.library import tuned_library
    from tunekit.models import load_source, require_one_size
    from tunekit.recipe import dump_recipe

    runtimes = parse_profiled(",".join(runtimes) or "none")
    require_one_size(recipe.model)
    library = tuned_library(recipe, say=say)
    cache = ContentCache()
    source = load_source(recipe.model, cache=cache)
    inputs = source.sample_inputs(settings.seed)
    preparation = Preparation(recipe, source, inputs, cache, settings.threads, say)
    own_plan, remarks = _own_plan(library, preparation)
    staged = bool(library.manifest.stages and runtimes)
    plans, missing = _plans([*runtimes, _EAGER] if staged else runtimes, preparation)
    with tempfile.TemporaryDirectory(prefix="tunekit-explain-") as folder:
        measured = _measure({_LIBRARY: own_plan, **plans}, inputs, settings, Path(folder), say)
        try:
            trace = _traced(library, Path(folder), settings, say)
        except RunnerFailed as error:
            trace = ()
            remarks.append(f"no trace: {error.reason}")
    own, *others = measured
    if not own.usable:
        raise SandboxError(
            f"the library could not be profiled: {own.status}",
            hint="`tunekit bench` shows whether it runs at all",
        )
    others += missing
    eager = next((other for other in others if other.name == _EAGER), None)
    parts = break_down(
        own,
        [other for other in others if other is not eager],
        library.manifest.tasks,
        _trials(recipe, library),
        settings.sort,
    )
    if source.finds_objects and not library.manifest.stages:
        remarks.append("the library does not say what its stages are: `tunekit compile` again")
    explanation = Explanation(
        name=recipe.name,
        recipe=dump_recipe(recipe),
        source=recipe.model.source,
        library=str(library.path),
        cpu=str(library.manifest.host.get("cpu_name", "unknown CPU")),
        target=library.manifest.target,
        threads=settings.threads,
        rounds=settings.rounds,
        sorted_by=settings.sort,
        peaks=parts.peaks,
        runtimes=parts.runtimes,
        operators=parts.operators,
        unmatched=parts.unmatched,
        remarks=(*remarks, *_remarks(others, library)),
        trace=trace,
        stages=stage_entries(own, library.manifest.stages, eager),
    )
    keep(explanation, library, say)
    return explanation


def _own_plan(library: Library, preparation: Preparation) -> tuple[dict[str, Any], list[str]]:
    """What the library's process loads, with the roofline's kernels; and what has none."""
    from tunekit.graph.pipeline import recipe_target

    plan: dict[str, Any] = {
        "file": str(library.path.resolve()),
        "device": library.manifest.device,
        "input_names": [tensor.name for tensor in library.manifest.inputs],
    }
    target = recipe_target(preparation.recipe)
    if target.kind != "llvm":
        unknown = f"no roofline is measured for {target.kind}: shares of the peak are unknown"
        return plan, [unknown]
    preparation.say("building the roofline's kernels")
    plan["roofline"] = roofline.build(target, preparation.threads, preparation.cache)
    return plan, []


def _plans(
    names: Sequence[str], preparation: Preparation
) -> tuple[dict[str, Mapping[str, Any]], list[Profiled]]:
    """The plans of the runtimes that can be compared with, and the reasons of the others."""
    plans: dict[str, Mapping[str, Any]] = {}
    missing = []
    for name in dict.fromkeys(names):
        try:
            plan = prepared(name, find_runtime(name), preparation)
        except UsageError as error:
            plan = Unprepared("failed", error.message)
        if isinstance(plan, Unprepared):
            missing.append(Profiled(name, plan.reason))
        else:
            plans[name] = plan
    return plans, missing


def _measure(
    plans: Mapping[str, Mapping[str, Any]],
    inputs: Mapping[str, np.ndarray],
    settings: ExplainSettings,
    folder: Path,
    say: Say,
) -> list[Profiled]:
    """The turns of every runtime with a plan, in the order of the plans."""
    import numpy as np

    file = folder / _INPUTS
    np.savez(file, *inputs.values())
    with ExitStack() as stack:
        runners = _Runners(settings, folder, stack)
        for name, plan in plans.items():
            runners.start(name, plan, inputs=str(file), names=list(inputs))
        for turn in range(settings.rounds):
            say(f"round {turn + 1} of {settings.rounds}: {', '.join(runners.running)}")
            for name in list(runners.running):
                runners.turn(name)
            if _LIBRARY not in runners.running:
                break
    return [runners.measured(name) for name in plans]


def _traced(
    library: Library, folder: Path, settings: ExplainSettings, say: Say
) -> tuple[TraceEvent, ...]:
    """What the threads of the standalone library do; nothing where there is none.

    Raises:
        RunnerFailed: it cannot say, such as one from an older tunekit.
    """
    standalone = library.manifest.standalone
    if standalone is None:
        return ()
    say("following the threads of the library")
    names = [tensor.name for tensor in library.manifest.inputs]
    plan = {
        "file": str((library.folder / standalone.library).resolve()),
        "standalone": standalone.name,
        "input_names": names,
    }
    inputs, threads = str(folder / _INPUTS), settings.threads
    with RunnerProcess(THREADS, threads=threads, log=folder / "trace.log") as process:
        process.ask(
            "load", timeout_s=_TIMEOUT_S, plan=plan, inputs=inputs, names=names, threads=threads
        )
        told = process.ask("profile", timeout_s=_TIMEOUT_S, seconds=settings.turn_s)
    return tuple(
        TraceEvent(**{**event, "kernel": kernel_name(event["kernel"])}) for event in told["events"]
    )


class _Runners:
    """Runtimes in processes of their own and what their turns gave; who fails gets no more."""

    def __init__(self, settings: ExplainSettings, folder: Path, stack: ExitStack) -> None:
        self.running: dict[str, RunnerProcess] = {}
        self._settings = settings
        self._folder = folder
        self._stack = stack
        self._failed: dict[str, str] = {}
        self._runs_s: dict[str, list[float]] = defaultdict(list)
        self._profiles: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def start(
        self, name: str, plan: Mapping[str, Any], *, inputs: str, names: Sequence[str]
    ) -> None:
        """Starts a runtime's process, which loads what its plan says."""
        threads = self._settings.threads
        runner = _OWN.get(name) or PROFILED[name]
        process = RunnerProcess(runner, threads=threads, log=self._folder / f"{name}.log")
        self.running[name] = self._stack.enter_context(process)
        self._ask(name, "load", plan=plan, inputs=inputs, names=names, threads=threads)

    def turn(self, name: str) -> None:
        """Runs without a profiler, then with it; counts where both went well."""
        seconds = self._settings.turn_s
        timed = self._ask(name, "run", seconds=seconds, least=1, most=_MOST_RUNS, untimed=1)
        profile = self._ask(name, "profile", seconds=seconds) if timed else None
        if timed and profile:
            self._runs_s[name] += timed["seconds"]
            self._profiles[name].append(profile)

    def measured(self, name: str) -> Profiled:
        """What the turns of a runtime gave."""
        status = self._failed.get(name, "ok")
        return Profiled(name, status, self._runs_s[name], self._profiles[name])

    def _ask(self, name: str, do: str, **arguments: Any) -> dict[str, Any] | None:
        try:
            return self.running[name].ask(do, timeout_s=_TIMEOUT_S, **arguments)
        except RunnerFailed as error:
            self._failed[name] = error.reason
            self.running.pop(name).close()
            return None


def _trials(recipe: Recipe, library: Library) -> dict[str, int]:
    """Trials of each workload on this target and host, by structural hash."""
    from tunekit.catalogue import Catalogue, Conditions, toolchain_key
    from tunekit.graph.pipeline import recipe_target
    from tunekit.machine.host import detect_host
    from tunekit.machine.toolchain import versions

    here = Conditions(
        target=recipe_target(recipe).spec,
        host=detect_host().fingerprint,
        toolchain=toolchain_key(versions()),
    )
    with Catalogue.open(recipe.catalogue) as catalogue:
        return catalogue.trials.measured_before(
            here, [task.structural_hash for task in library.manifest.tasks]
        )


def _remarks(others: Sequence[Profiled], library: Library) -> list[str]:
    remarks = [f"{other.name}: {other.status}" for other in others if other.status != "ok"]
    if any(not task.space for task in library.manifest.tasks):
        remarks.append(
            "the library was compiled before manifests told what its kernels compute: "
            "`tunekit compile` again to see more"
        )
    return remarks

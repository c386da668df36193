"""An explanation of a recipe's library: everyone profiles itself, in turns, in its own process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.attribution import roofline
from tunekit.attribution.operators import Measured, account
from tunekit.attribution.profilers import LIBRARY, PROFILED
from tunekit.attribution.results import Explanation, Sort
from tunekit.benchmark.registry import Preparation, find_runtime, missing_package
from tunekit.errors import SandboxError, TunekitError
from tunekit.runtimes.process import RunnerFailed, RunnerProcess
from tunekit.wording import error_line

if TYPE_CHECKING:
    import numpy as np

    from tunekit.library import Library
    from tunekit.recipe import Recipe

    Say = Callable[[str], None]


_TIMEOUT_S = 1800.0
_MOST_RUNS = 2000


@dataclass(frozen=True)
class Settings:
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
    settings: Settings,
    say: Say = lambda _: None,
) -> Explanation:
    """Says where the time of a recipe's library goes; compiles it if there is none that fits.

    Args:
        recipe: the recipe.
        runtimes: to compare with, of PROFILED; one that fails or is missing becomes a remark.
        settings: how it is measured.
        say: told what is done, a line at a time.

    Raises:
        SandboxError: the library itself crashed or hung.
        TunekitError: as for `tuned_library`.
    """
    from tunekit.cache import ContentCache
    from tunekit.graph.pipeline import recipe_target
    from tunekit.library import tuned_library
    from tunekit.models import load_source

    target = recipe_target(recipe)
    library = tuned_library(recipe, say=say)
    cache = ContentCache()
    source = load_source(recipe.model, cache=cache)
    inputs = source.sample_inputs(settings.seed)
    remarks: list[str] = []
    plans: dict[str, dict[str, Any]] = {
        "tuned": {
            "file": str(library.path.resolve()),
            "device": library.manifest.device,
            "input_names": [tensor.name for tensor in library.manifest.inputs],
        }
    }
    if target.kind == "llvm":
        say("building the roofline's kernels")
        plans["tuned"]["roofline"] = roofline.build(target, settings.threads, cache)
    else:
        remarks.append(f"no roofline is measured for {target.kind}: shares of the peak are unknown")
    preparation = Preparation(recipe, source, inputs, cache, settings.threads, say)
    missing = []
    for name in dict.fromkeys(runtimes):
        plan, reason = _prepare(name, preparation)
        if plan is not None:
            plans[name] = plan
        else:
            missing.append(Measured(name, reason))
    with tempfile.TemporaryDirectory(prefix="tunekit-explain-") as folder:
        measured = _measure(plans, inputs, settings, Path(folder), say)
    own, *others = measured
    if not own.usable:
        raise SandboxError(
            f"the library could not be profiled: {own.status}",
            hint="`tunekit bench` shows whether it runs at all",
        )
    others += missing
    found = account(own, others, library.manifest.tasks, _trials(recipe, library), settings.sort)
    return Explanation(
        name=recipe.name,
        source=recipe.model.source,
        library=str(library.path),
        cpu=str(library.manifest.host.get("cpu_name", "unknown CPU")),
        target=library.manifest.target,
        threads=settings.threads,
        rounds=settings.rounds,
        sorted_by=settings.sort,
        peaks=found.peaks,
        runtimes=found.runtimes,
        operators=found.operators,
        unmatched=found.unmatched,
        remarks=(*remarks, *_remarks(others, library)),
    )


def _prepare(name: str, preparation: Preparation) -> tuple[dict[str, Any] | None, str]:
    """The plan of a runtime, or why there is none."""
    runtime = find_runtime(name)
    if package := missing_package(runtime):
        return None, f"not installed: pip install {package}"
    preparation.say(f"preparing {name}")
    try:
        return runtime.prepare(preparation), ""
    except TunekitError as error:
        return None, error.message
    except Exception as error:  # noqa: BLE001 - an exporter may raise anything: it is a remark
        return None, f"{error_line(error)} (while preparing)"


def _measure(
    plans: Mapping[str, Mapping[str, Any]],
    inputs: Mapping[str, np.ndarray],
    settings: Settings,
    folder: Path,
    say: Say,
) -> list[Measured]:
    """The turns of everyone with a plan, in the order of the plans."""
    import numpy as np

    file = folder / "inputs.npz"
    np.savez(file, *inputs.values())
    failed: dict[str, str] = {}
    runs: dict[str, list[float]] = {name: [] for name in plans}
    profiles: dict[str, list[dict[str, Any]]] = {name: [] for name in plans}
    with ExitStack() as stack:
        running: dict[str, RunnerProcess] = {}

        def ask(name: str, do: str, **arguments: Any) -> dict[str, Any] | None:
            try:
                return running[name].ask(do, timeout_s=_TIMEOUT_S, **arguments)
            except RunnerFailed as error:
                failed[name] = error.reason
                running.pop(name).close()
                return None

        for name, plan in plans.items():
            contestant = RunnerProcess(
                PROFILED.get(name, LIBRARY), threads=settings.threads, log=folder / f"{name}.log"
            )
            running[name] = stack.enter_context(contestant)
            names, threads = list(inputs), settings.threads
            ask(name, "load", plan=plan, inputs=str(file), names=names, threads=threads)
        for turn in range(settings.rounds):
            say(f"round {turn + 1} of {settings.rounds}: {', '.join(running)}")
            for name in list(running):
                timed = ask(
                    name, "run", seconds=settings.turn_s, least=1, most=_MOST_RUNS, untimed=1
                )
                profile = ask(name, "profile", seconds=settings.turn_s) if timed else None
                if timed and profile:
                    runs[name] += timed["seconds"]
                    profiles[name].append(profile)
            if "tuned" not in running:
                break
    return [Measured(name, failed.get(name, "ok"), runs[name], profiles[name]) for name in plans]


def _trials(recipe: Recipe, library: Library) -> dict[str, int]:
    """Trials of each workload on this target and host, by structural hash."""
    from tunekit.catalogue import Catalogue, toolchain_key
    from tunekit.graph.pipeline import recipe_target
    from tunekit.machine.host import detect_host
    from tunekit.machine.toolchain import versions

    with Catalogue.open(recipe.catalogue) as catalogue:
        return catalogue.trials.measured_before(
            structural_hashes=[task.structural_hash for task in library.manifest.tasks],
            target_json=recipe_target(recipe).spec,
            host_fingerprint=detect_host().fingerprint,
            toolchain_key=toolchain_key(versions()),
        )


def _remarks(others: Sequence[Measured], library: Library) -> list[str]:
    remarks = [f"{other.name}: {other.status}" for other in others if other.status != "ok"]
    if any(not task.space for task in library.manifest.tasks):
        remarks.append(
            "the library was compiled before manifests told what its kernels compute: "
            "`tunekit compile` again to see more"
        )
    return remarks

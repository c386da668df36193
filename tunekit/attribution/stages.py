"""The time of a detector by its stages: in the library, and where PyTorch runs it."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

from tunekit.attribution.operators import Profiled, kernel_name
from tunekit.attribution.results import StageEntry
from tunekit.detectors.stages import IN_ROI_HEAD, REST, ROI_HEAD, STAGES
from tunekit.library.manifest import StagedCallEntry


def stage_entries(
    library: Profiled, calls: Sequence[StagedCallEntry], eager: Profiled | None
) -> tuple[StageEntry, ...]:
    """The stages that a runtime spends time in, in the order of a run.

    Of each runtime they add up to its time from end to end.

    Args:
        library: its turns.
        calls: the stage of each call of its kernels; none of a model that has no stages.
        eager: PyTorch's turns, None where it took none.
    """
    if not calls:
        return ()
    seconds = {library.name: _with_rest(library, _of_library(library, calls))}
    if eager is not None and eager.usable:
        seconds[eager.name] = _with_rest(eager, _of_eager(eager))
    return tuple(
        StageEntry(
            name=stage,
            part_of=ROI_HEAD if stage in IN_ROI_HEAD else None,
            seconds={name: of_each.get(stage, 0.0) for name, of_each in seconds.items()},
        )
        for stage in STAGES
        if any(stage in of_each for of_each in seconds.values())
    )


def _of_library(library: Profiled, calls: Sequence[StagedCallEntry]) -> dict[str, float]:
    """Seconds of the stages of a run, by the medians of the calls over its turns.

    The compiler makes views of some kernels, which take no time; the calls of one kernel keep
    their order.
    """
    stages: dict[str, deque[str]] = defaultdict(deque)
    for call in calls:
        stages[call.kernel].append(call.stage)
    seconds: dict[str, float] = defaultdict(float)
    for position, call in enumerate(library.profiles[0]["calls"]):
        waiting = stages[kernel_name(str(call["function"]))]
        stage = waiting.popleft() if waiting else REST
        seconds[stage] += statistics.median(
            profile["calls"][position]["seconds"] for profile in library.profiles
        )
    return seconds


def _of_eager(eager: Profiled) -> dict[str, float]:
    names = {name for profile in eager.profiles for name in profile["stages"]}
    return {
        name: statistics.median(profile["stages"].get(name, 0.0) for profile in eager.profiles)
        for name in names
    }


def _with_rest(runtime: Profiled, seconds: Mapping[str, float]) -> dict[str, float]:
    """What no stage has of the time from end to end is the rest.

    Calls that are timed one by one may take longer than in a run that nobody looks at: their
    stages have that run's time in the same proportions then, and nothing is left.
    """
    total = statistics.median(runtime.runs_s)
    named = {name: value for name, value in seconds.items() if name != REST}
    timed = sum(named.values())
    if timed > total:
        return {name: value * total / timed for name, value in named.items()} | {REST: 0.0}
    return {**named, REST: total - timed}

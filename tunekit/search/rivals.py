"""Tasks that compete: algorithms of one convolution, of which the library will have the fastest.

Time spent on an algorithm that loses is time lost to those that run, so one that is behind has to
have a chance left: the further behind it is and the more it has been tried, the smaller that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunekit.graph.algorithms import Algorithm, Place, Site
    from tunekit.search.allocation import TaskState

# Trials after which an algorithm may be given up at all.
_FAIR_TRIALS = 8
# How far behind (1.0: twice the time) is no longer made up after that many trials; it shrinks
# inversely with further ones.
_HOPE = 1.0


@dataclass(frozen=True)
class Standings:
    """How the tasks of a model stand.

    Attributes:
        latency_s: seconds of one run of the model with the fastest algorithms, as far as times are
            known.
        complete: every task that runs then has a time.
        chances: for each task, from 1 (it runs, or may well come to run) to 0 (another algorithm
            has won).
    """

    latency_s: float
    complete: bool
    chances: tuple[float, ...]


def standings(states: Sequence[TaskState], places: Sequence[Place | None]) -> Standings:
    """Where the tasks stand.

    Args:
        states: of each task.
        places: of each task, None for those without a rival.
    """
    costs: dict[Site, dict[Algorithm, float]] = {}
    evidence: dict[tuple[Site, Algorithm], int] = {}
    latency_s = 0.0
    complete = True
    for state, place in zip(states, places, strict=True):
        cost = math.inf if state.best_s is None else state.weight * state.best_s
        if place is None:
            complete = complete and state.best_s is not None
            latency_s += cost if math.isfinite(cost) else 0.0
            continue
        of_site = costs.setdefault(place.site, {})
        of_site[place.algorithm] = of_site.get(place.algorithm, 0.0) + cost
        key = (place.site, place.algorithm)
        evidence[key] = min(evidence.get(key, state.evidence), state.evidence)
    leaders = {site: min(of_site.values()) for site, of_site in costs.items()}
    for cost in leaders.values():
        complete = complete and math.isfinite(cost)
        latency_s += cost if math.isfinite(cost) else 0.0
    chances = []
    for place in places:
        if place is None:
            chances.append(1.0)
            continue
        tried = evidence[(place.site, place.algorithm)]
        behind = costs[place.site][place.algorithm] / leaders[place.site] - 1
        if tried < _FAIR_TRIALS or not math.isfinite(behind):
            # A kernel that never ran is the allocation's matter; it gives up on those.
            chances.append(1.0)
        else:
            chances.append(max(0.0, 1 - behind * tried / (_HOPE * _FAIR_TRIALS)))
    return Standings(latency_s, complete, tuple(chances))

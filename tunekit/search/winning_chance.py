"""Tasks that compete: algorithms of one convolution, of which the library will have the fastest.

Time spent on an algorithm that loses is time lost to those that run, so one that is behind has to
have a chance left: the further behind it is and the more it has been tried, the smaller that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.implementations import standings

if TYPE_CHECKING:
    from tunekit.search.task_scheduler import TaskState

# Trials after which an algorithm may be given up at all.
_FAIR_TRIALS = 8
# How far behind (1.0: twice the time) is no longer made up after that many trials; it shrinks
# inversely with further ones.
_HOPE = 1.0


def chances(states: Sequence[TaskState]) -> list[float]:
    """For each task, from 1 (it runs, or may well come to run) to 0 (another algorithm won)."""
    stand = standings((state.implementation, state.seconds) for state in states)
    tried: dict[str, int] = {}
    for state in states:
        if state.implementation is not None:
            tried[state.implementation] = min(
                tried.get(state.implementation, state.evidence), state.evidence
            )
    return [
        1.0
        if state.implementation is None
        else _chance(standing.behind, tried[state.implementation])
        for state, standing in zip(states, stand, strict=True)
    ]


def _chance(behind: float, tried: int) -> float:
    if tried < _FAIR_TRIALS or not math.isfinite(behind):
        # One that never ran is the allocation's matter: it gives up on those.
        return 1.0
    return max(0.0, 1 - behind * tried / (_HOPE * _FAIR_TRIALS))

"""The model that ranks a task's candidates before they are measured.

Gradient-boosted trees (XGBoost) on what a candidate decided, and in spaces that are drawn from
also on what its code does (MetaSchedule's features of each buffer store). One model for one task,
small enough to be fitted anew for each batch from everything known: so it needs no state of its
own, and a session that goes on has the same model as one that was never interrupted. In tunekit's
own spaces the decisions alone rank as well as the features of the code do, and they are known
before anything is scheduled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tvm.s_tir.meta_schedule import TuneContext

    from tunekit.spaces.design_space import Point, ScheduledCandidate

    Features = NDArray[np.float32]

#: With fewer good trials than this the ranking is no better than chance.
WARM_UP_TRIALS = 8

_ROUNDS = 50
_PARAMETERS = {
    "max_depth": 6,
    "eta": 0.15,
    "min_child_weight": 0,
    "tree_method": "hist",
    # With several threads sums are rounded in another order each time.
    "nthread": 1,
    "verbosity": 0,
}
_LEAST_WEIGHT = 0.1


class CostModel:
    """Scores of one task's candidates: 1 is as fast as the best that was measured, 0 fails."""

    def __init__(self, rows: Sequence[Features], seconds: Sequence[float | None]) -> None:
        """Fits the model.

        Args:
            rows: features of each measured candidate.
            seconds: what it took, None where it failed; at least one did not.
        """
        import numpy as np
        import xgboost

        best = min(value for value in seconds if value is not None)
        scores = np.array([best / value if value else 0.0 for value in seconds])
        data = xgboost.DMatrix(
            _matrix(rows), label=scores, weight=np.maximum(scores, _LEAST_WEIGHT), nthread=1
        )
        self._booster = xgboost.train(_PARAMETERS, data, num_boost_round=_ROUNDS)

    def score(self, rows: Sequence[Features]) -> list[float]:
        """The score of each candidate."""
        import xgboost

        data = xgboost.DMatrix(_matrix(rows), nthread=1)
        return [float(value) for value in self._booster.predict(data)]


def decision_features(point: Point) -> Features:
    """What a candidate decided: its design, each choice's position, each tile's sizes."""
    import numpy as np

    values: list[float] = [point.design]
    for decision in point.decisions:
        if isinstance(decision, tuple):
            values += [math.log2(max(size, 1)) for size in decision]
        else:
            values.append(decision)
    return np.array(values, dtype=np.float32)


def code_features(context: TuneContext, candidates: Sequence[ScheduledCandidate]) -> list[Features]:
    """What each candidate decided and what its code does, summed and at its largest store."""
    import numpy as np
    from tvm.s_tir.meta_schedule.feature_extractor import PerStoreFeature
    from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate

    if not candidates:
        return []
    extractor: Any = PerStoreFeature()
    stores = extractor.extract_from(
        context, [MeasureCandidate(candidate.schedule, []) for candidate in candidates]
    )
    rows = []
    for candidate, features in zip(candidates, stores, strict=True):
        values = features.numpy().astype(np.float32)
        decisions = [] if candidate.point is None else [decision_features(candidate.point)]
        rows.append(np.concatenate([values.sum(0), values.max(0), *decisions]))
    return rows


def _matrix(rows: Sequence[Features]) -> Features:
    """Rows of unequal length side by side; what a row lacks is missing, which trees can handle."""
    import numpy as np

    matrix = np.full((len(rows), max(len(row) for row in rows)), np.nan, dtype=np.float32)
    for index, row in enumerate(rows):
        matrix[index, : len(row)] = row
    return matrix

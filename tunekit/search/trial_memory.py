"""What is known of a task's candidates: their results, and what the model sees of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tunekit.catalogue.entries import FailureKind, Trial
from tunekit.search.cost_model import WARM_UP_TRIALS, CostModel, code_features, decision_features
from tunekit.search.phase_clock import PhaseClock
from tunekit.spaces.design_space import DesignSpace, Point, ScheduledCandidate

# The best measured candidates, from which others are mutated.
_PARENTS = 8


@dataclass(frozen=True)
class _Sample:
    digest: str
    features: Any
    score_s: float | None
    point: Point | None


class TrialMemory:
    """The results of one task's candidates.

    Attributes:
        default: what the kernel would be compiled with had nothing been measured; None where no
            such default is known.
    """

    def __init__(
        self, space: DesignSpace, default: ScheduledCandidate | None, clock: PhaseClock
    ) -> None:
        self.default = default
        self._space = space
        self._clock = clock
        self._samples: dict[str, _Sample] = {}
        self._done: set[str] = set()
        self._done_points: set[Point] = set()
        self._digests: dict[Point, str | None] = {}
        self._features: dict[str, Any] = {}

    # -- what there is to try -------------------------------------------------------------------

    def undone(self, items: Iterable[ScheduledCandidate | None]) -> list[ScheduledCandidate]:
        """The candidates without a result, each once."""
        unique = {item.digest: item for item in items if item is not None}
        return [item for digest, item in unique.items() if digest not in self._done]

    def undone_points(self, points: Iterable[Point]) -> list[Point]:
        """The points without a result, in their order."""
        return [point for point in points if point not in self._done_points]

    def make(self, points: Iterable[Point]) -> list[ScheduledCandidate]:
        """The candidates at these points, but for those that could not be made before or came to
        code that has its result."""
        points = [
            point
            for point in points
            if point not in self._digests
            or (self._digests[point] and self._digests[point] not in self._done)
        ]
        made = self._space.make(points)
        for point, item in zip(points, made, strict=True):
            self._digests[point] = None if item is None else item.digest
        return [item for item in made if item is not None]

    # -- the model ------------------------------------------------------------------------------

    def fit_model(self) -> CostModel | None:
        """A model of everything known; None while that is too little."""
        samples = self._sorted()
        if sum(sample.score_s is not None for sample in samples) < WARM_UP_TRIALS:
            return None
        with self._clock.phase("model"):
            return CostModel(
                [sample.features for sample in samples], [sample.score_s for sample in samples]
            )

    def scores(self, model: CostModel, items: Iterable[ScheduledCandidate]) -> dict[str, float]:
        """What the model expects of each candidate, by its digest."""
        candidates = list(items)
        if not candidates:
            return {}
        with self._clock.phase("model"):
            scores = model.score(self._features_of(candidates))
        return {item.digest: score for item, score in zip(candidates, scores, strict=True)}

    def parents(self) -> list[Point]:
        """The points of the best measured candidates, best first."""
        good = [
            (sample.score_s, sample.digest, sample.point)
            for sample in self._sorted()
            if sample.score_s is not None and sample.point is not None
        ]
        return [point for _, _, point in sorted(good, key=lambda item: item[:2])[:_PARENTS]]

    # -- results --------------------------------------------------------------------------------

    def add(self, item: ScheduledCandidate, score_s: float | None) -> None:
        """A candidate's result; `score_s` is None where it failed."""
        self._add_samples([(item, score_s)])
        self._done.add(item.digest)
        if item.point is not None:
            self._done_points.add(item.point)

    def add_trials(self, trials: Iterable[Trial], settled: Iterable[int] | None = None) -> None:
        """Stored results.

        Args:
            trials: oldest first.
            settled: ids of the trials whose results hold here; None for all. A candidate that has
                only others was measured under other conditions: the model learns from it, and it is
                still worth measuring under these.
        """
        holds = None if settled is None else frozenset(settled)
        results: list[tuple[ScheduledCandidate, float | None]] = []
        located: list[tuple[Trial, Point]] = []
        for trial in trials:
            if trial.failure is not None and trial.failure.kind is FailureKind.LOST_DEVICE:
                continue
            point = self._space.locate(trial.trace_json)
            if holds is None or trial.trial_id in holds:
                self._done.add(trial.candidate_digest)
                if point is not None:
                    self._done_points.add(point)
            if self.default is not None and trial.candidate_digest == self.default.digest:
                results.append((self.default, trial.score_s))
            elif point is not None:
                located.append((trial, point))
        if self._sees_decisions:
            for trial, point in located:
                self._add_sample(
                    trial.candidate_digest, decision_features(point), trial.score_s, point
                )
        else:
            made = self._space.make([point for _, point in located])
            results += [
                (item, trial.score_s)
                for (trial, _), item in zip(located, made, strict=True)
                if item is not None
            ]
        self._add_samples(results)

    def _add_samples(self, results: Sequence[tuple[ScheduledCandidate, float | None]]) -> None:
        """Has the model know these results, as far as it can."""
        if self._sees_decisions:
            # A default that is not of the space has no decisions.
            for item, score_s in results:
                if item.point is not None:
                    features = decision_features(item.point)
                    self._add_sample(item.digest, features, score_s, item.point)
            return
        rows = self._features_of([item for item, _ in results])
        for (item, score_s), features in zip(results, rows, strict=True):
            self._add_sample(item.digest, features, score_s, item.point)

    def _add_sample(
        self, digest: str, features: Any, score_s: float | None, point: Point | None
    ) -> None:
        """What was measured twice counts with its seconds rather than with its failure."""
        before = self._samples.get(digest)
        if score_s is not None or before is None or before.score_s is None:
            self._samples[digest] = _Sample(digest, features, score_s, point)

    def _features_of(self, items: Sequence[ScheduledCandidate]) -> list[Any]:
        """What the model sees of code, extracted only where that was not done before."""
        missing = [item for item in items if item.digest not in self._features]
        rows = code_features(self._space.context, missing)
        self._features |= {item.digest: row for item, row in zip(missing, rows, strict=True)}
        return [self._features[item.digest] for item in items]

    @property
    def _sees_decisions(self) -> bool:
        """Whether the model sees decisions alone: in spaces that are listed as a whole."""
        return self._space.weights is not None

    def _sorted(self) -> list[_Sample]:
        """In an order that does not depend on which of a batch was measured first."""
        return sorted(self._samples.values(), key=lambda sample: sample.digest)

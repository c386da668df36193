"""The search of one task: candidates out, outcomes in.

What a batch proposes follows from the seed, the number of the batch and what was known before it,
and from nothing else: not from the clock, from threads or from the process. So a session with the
same seed and catalogue tries the same candidates in the same order, and one that was interrupted
goes on where it would have gone.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.catalogue.entries import FailureKind, Trial
from tunekit.measure.measurer import Candidate
from tunekit.search.candidates import candidate_of
from tunekit.search.cost_model import (
    WARM_UP_TRIALS,
    CostModel,
    code_features,
    decision_features,
)
from tunekit.search.phase_clock import PhaseClock
from tunekit.search.task_scheduler import TaskState
from tunekit.spaces import space_for
from tunekit.spaces.design_space import DesignSpace, Point, ScheduledCandidate, seeds

if TYPE_CHECKING:
    from tunekit.graph.tasks import Task
    from tunekit.machine.target import ResolvedTarget

# A candidate this many times slower than the task's best is timed once and no more.
_SLOW_FACTOR = 4.0
# Share of a batch that is drawn whatever the model says of it.
_RANDOM_SHARE = 0.15
# In spaces that are drawn from, for each candidate of a batch: drawn ones, mutations of the best
# measured ones, and mutations of what the model likes best among all these.
_DRAWN, _MUTATED, _MUTATED_AGAIN = 2, 3, 2
_PARENTS = 8
# Draws in vain before a space counts as used up, for each candidate that is wanted.
_DRAWS = 6

Known = Callable[[Sequence[str]], Mapping[str, Trial]]


@dataclass(frozen=True)
class Proposal:
    """A candidate as the search made it, and as the measuring server gets it.

    Attributes:
        scheduled: its code and decisions.
        candidate: what is measured.
        trace_json: replays it.
        trial: its result where this session has measured it already, before it was interrupted.
    """

    scheduled: ScheduledCandidate
    candidate: Candidate
    trace_json: str
    trial: Trial | None

    @property
    def digest(self) -> str:
        return self.scheduled.digest


@dataclass(frozen=True)
class History:
    """What is known of a task when its search is opened.

    Attributes:
        before: trials of other sessions, their seconds good for the model.
        own: trials of this session, whole batches only.
        reused: those of `before` whose results hold here: not to be measured again.
    """

    before: Sequence[Trial]
    own: Sequence[Trial]
    reused: frozenset[int]


@dataclass(frozen=True)
class _Sample:
    digest: str
    features: Any
    score_s: float | None
    point: Point | None


class TaskSearch:
    """The search of one task.

    Attributes:
        task: the task.
        task_id: its id in the catalogue.
        state: its standing, kept for the allocation of the budget.
        failures: failed trials by kind.
    """

    def __init__(
        self,
        task: Task,
        task_id: int,
        target: ResolvedTarget,
        *,
        seed: int,
        ceiling: int,
        threads: int,
        clock: PhaseClock,
        history: Callable[[], History],
    ) -> None:
        self.task = task
        self.task_id = task_id
        self.state = TaskState(
            weight=task.weight,
            flops=task.flops,
            bytes=task.bytes,
            ceiling=ceiling,
            implementation=None if task.implementation is None else str(task.implementation),
        )
        self.failures: Counter[FailureKind] = Counter()
        self._clock = clock
        self._target = target
        self._seed = seed
        self._threads = threads
        self._history = history
        self._saved: str | None = None
        self._space: DesignSpace | None = None
        self._default: ScheduledCandidate | None = None
        self._samples: dict[str, _Sample] = {}
        self._done: set[str] = set()
        self._spent_points: set[Point] = set()
        self._digests: dict[Point, str | None] = {}
        self._rows: dict[str, Any] = {}

    def propose(self, count: int, batch: int, known: Known) -> list[Proposal]:
        """The next batch, best expected first; empty when the space is used up. The first batch
        begins with the default.

        Args:
            count: candidates that are wanted.
            batch: the number of this batch among the task's, from 0.
            known: the results that the catalogue already has, by digest. Those of other sessions
                are learnt from and not proposed.
        """
        with self._clock.phase("sample"):
            space = self._opened()
            generator = random.Random(f"{self._seed} {self.task.structural_hash} {batch}")
            found: dict[str, tuple[ScheduledCandidate, Trial | None]] = {}
            start = [[self._default]] if batch == 0 and self._default is not None else []
            for group in itertools.chain(start, self._ranked(space, generator, count)):
                fresh = {
                    item.digest: item
                    for item in group
                    if item.digest not in self._done and item.digest not in found
                }
                results = known(list(fresh))
                for digest, item in fresh.items():
                    trial = results.get(digest)
                    if trial is not None and trial.task_id != self.task_id:
                        self._learn(item, trial.score_s)
                    elif len(found) < count:
                        found[digest] = (item, trial)
                if len(found) == count:
                    break
            return [self._proposal(key, *item) for key, item in enumerate(found.values())]

    def learn(self, proposal: Proposal, score_s: float | None, failure: FailureKind | None) -> None:
        """Tells the search what became of a proposal; `score_s` is None for a failure."""
        if failure is FailureKind.LOST_DEVICE:
            return  # says nothing about the candidate, which may be tried again
        self._learn(proposal.scheduled, score_s)

    def default_digest(self) -> str | None:
        """The candidate that the kernel would be compiled with had nothing been measured; None
        where there is no such default."""
        self._opened()
        return None if self._default is None else self._default.digest

    def workload_json(self) -> str:
        """The task's unscheduled module by `tvm.ir.save_json`."""
        import tvm

        if self._saved is None:
            self._saved = str(tvm.ir.save_json(self.task.module))
        return self._saved

    def absorb(self, trials: Iterable[Trial]) -> None:
        """Learns from trials that are not of a batch."""
        self._restore(self._opened(), trials)

    # -- ranking --------------------------------------------------------------------------------

    def _ranked(
        self, space: DesignSpace, generator: random.Random, count: int
    ) -> Iterable[list[ScheduledCandidate]]:
        """Candidates, best expected first, in groups of about `count`."""
        model = self._model()
        if space.weights is not None:
            return self._listed(space, space.weights, model, generator, count)
        if model is None:
            return self._drawn(space, generator, count)
        return self._evolved(space, model, generator, count)

    def _listed(
        self,
        space: DesignSpace,
        weights: Mapping[Point, float],
        model: CostModel | None,
        generator: random.Random,
        count: int,
    ) -> Iterable[list[ScheduledCandidate]]:
        """All points of a small space, ranked by the model or drawn by their weights."""
        # A weighted order without replacement (Efraimidis and Spirakis, 2006).
        keys = {point: generator.random() ** (1 / share) for point, share in weights.items()}
        left = [point for point in weights if point not in self._spent_points]
        drawn = sorted(left, key=lambda point: -keys[point])
        order = drawn
        if model is not None and left:
            scores = dict(
                zip(left, model.score([decision_features(point) for point in left]), strict=True)
            )
            # Where trees see no difference, what the space expects more of comes first.
            ranked = sorted(left, key=lambda point: (-scores[point], -weights[point]))
            order = _mixed(ranked, drawn, count)
        for start in range(0, len(order), count):
            # Not made again: what could not be made, or came to code that was tried before.
            points = [
                point
                for point in order[start : start + count]
                if point not in self._digests
                or (self._digests[point] and self._digests[point] not in self._done)
            ]
            made = space.make(points)
            for point, item in zip(points, made, strict=True):
                self._digests[point] = None if item is None else item.digest
            yield [item for item in made if item is not None]

    def _drawn(
        self, space: DesignSpace, generator: random.Random, count: int
    ) -> Iterable[list[ScheduledCandidate]]:
        for _ in range(_DRAWS):
            drawn = space.draw(seeds(generator.random() for _ in range(count)))
            yield [item for item in drawn if item is not None]

    def _evolved(
        self, space: DesignSpace, model: CostModel, generator: random.Random, count: int
    ) -> Iterable[list[ScheduledCandidate]]:
        """Drawn and mutated candidates, ranked by the model, and drawn ones when all are known."""
        good = [
            (sample.score_s, sample.digest, sample.point)
            for sample in self._sorted()
            if sample.score_s is not None and sample.point is not None
        ]
        parents = [point for _, _, point in sorted(good, key=lambda one: one[:2])[:_PARENTS]]

        def mutations(of: Sequence[Point], number: int) -> list[ScheduledCandidate | None]:
            numbers = seeds(generator.random() for _ in range(number))
            return space.mutate([(of[i % len(of)], seed) for i, seed in enumerate(numbers) if of])

        drawn = self._new(space.draw(seeds(generator.random() for _ in range(_DRAWN * count))))
        children = self._new(mutations(parents, _MUTATED * count))
        pool = {item.digest: item for item in (*drawn, *children)}
        scores = self._score(space, model, pool.values())
        if scores:
            likely = sorted(scores, key=lambda digest: (-scores[digest], digest))[:count]
            points = [pool[digest].point for digest in likely]
            again = self._new(
                mutations([point for point in points if point is not None], _MUTATED_AGAIN * count)
            )
            grandchildren = {item.digest: item for item in again if item.digest not in pool}
            scores |= self._score(space, model, grandchildren.values())
            pool |= grandchildren
            ranked = sorted(scores, key=lambda digest: (-scores[digest], digest))
            order = _mixed(ranked, [item.digest for item in drawn], count)
            for start in range(0, len(order), count):
                yield [pool[digest] for digest in order[start : start + count]]
        yield from self._drawn(space, generator, count)

    def _score(
        self, space: DesignSpace, model: CostModel, items: Iterable[ScheduledCandidate]
    ) -> dict[str, float]:
        candidates = list(items)
        if not candidates:
            return {}
        with self._clock.phase("model"):
            scores = model.score(self._features(space, candidates))
        return {item.digest: score for item, score in zip(candidates, scores, strict=True)}

    def _new(self, items: Iterable[ScheduledCandidate | None]) -> list[ScheduledCandidate]:
        unique = {item.digest: item for item in items if item is not None}
        return [item for digest, item in unique.items() if digest not in self._done]

    def _model(self) -> CostModel | None:
        samples = self._sorted()
        if sum(sample.score_s is not None for sample in samples) < WARM_UP_TRIALS:
            return None
        with self._clock.phase("model"):
            return CostModel(
                [sample.features for sample in samples], [sample.score_s for sample in samples]
            )

    def _sorted(self) -> list[_Sample]:
        """In an order that does not depend on which of a batch was measured first."""
        return sorted(self._samples.values(), key=lambda sample: sample.digest)

    # -- knowledge ------------------------------------------------------------------------------

    def _learn(self, item: ScheduledCandidate, score_s: float | None) -> None:
        self._keep_all(self._opened(), [(item, score_s)])
        self._done.add(item.digest)
        if item.point is not None:
            self._spent_points.add(item.point)

    def _keep_all(
        self, space: DesignSpace, results: Sequence[tuple[ScheduledCandidate, float | None]]
    ) -> None:
        """Has the model know these results, as far as it can."""
        if space.weights is not None:
            # It knows decisions; a default that is not of the space has none.
            for item, score_s in results:
                if item.point is not None:
                    self._keep(item.digest, decision_features(item.point), score_s, item.point)
            return
        rows = self._features(space, [item for item, _ in results])
        for (item, score_s), features in zip(results, rows, strict=True):
            self._keep(item.digest, features, score_s, item.point)

    def _features(self, space: DesignSpace, items: Sequence[ScheduledCandidate]) -> list[Any]:
        """What the model sees of code, extracted only where that is not seen already."""
        missing = [item for item in items if item.digest not in self._rows]
        rows = code_features(space.context, missing)
        self._rows |= {item.digest: row for item, row in zip(missing, rows, strict=True)}
        return [self._rows[item.digest] for item in items]

    def _keep(self, digest: str, features: Any, score_s: float | None, point: Point | None) -> None:
        """What was measured twice counts with its seconds rather than with its failure."""
        before = self._samples.get(digest)
        if score_s is not None or before is None or before.score_s is None:
            self._samples[digest] = _Sample(digest, features, score_s, point)

    def _opened(self) -> DesignSpace:
        if self._space is not None:
            return self._space
        with self._clock.phase("sample"):
            space = DesignSpace(
                self.task.module,
                self._target,
                space_for(self.task, self._target),
                name=self.task.name,
                threads=self._threads,
            )
            self._default = space.default()
        self._space = space
        with self._clock.phase("model"):
            history = self._history()
            self._restore(space, [*history.before, *history.own], others=history.reused)
        return space

    def _restore(
        self, space: DesignSpace, trials: Iterable[Trial], others: frozenset[int] | None = None
    ) -> None:
        """Learns from stored trials.

        Args:
            space: the task's.
            trials: oldest first.
            others: of those that are another task's, the ids whose results hold here too.
        """
        usable: list[tuple[Trial, Point]] = []
        results: list[tuple[ScheduledCandidate, float | None]] = []
        default = self._default
        for trial in trials:
            if trial.failure is not None and trial.failure.kind is FailureKind.LOST_DEVICE:
                continue
            point = space.locate(trial.trace_json)
            # Under other options it was good to know, and is still worth measuring under these.
            if trial.task_id == self.task_id or others is None or trial.trial_id in others:
                self._done.add(trial.candidate_digest)
                if point is not None:
                    self._spent_points.add(point)
            if default is not None and trial.candidate_digest == default.digest:
                results.append((default, trial.score_s))
            elif point is not None:
                usable.append((trial, point))
        if space.weights is not None:
            for trial, point in usable:
                self._keep(trial.candidate_digest, decision_features(point), trial.score_s, point)
        else:
            made = space.make([point for _, point in usable])
            results += [
                (item, trial.score_s)
                for (trial, _), item in zip(usable, made, strict=True)
                if item is not None
            ]
        self._keep_all(space, results)

    def _proposal(self, key: int, item: ScheduledCandidate, trial: Trial | None) -> Proposal:
        import tvm

        slow_s = _SLOW_FACTOR * self.state.best_s if self.state.best_s else math.inf
        return Proposal(
            scheduled=item,
            candidate=candidate_of(
                key,
                item.schedule.mod,
                self.task.module,
                slow_s,
                workload_json=self.workload_json(),
                best_s=self.state.best_s,
            ),
            trace_json=tvm.ir.save_json(item.schedule.trace),
            trial=trial,
        )


def _mixed(ranked: Sequence[Any], drawn: Sequence[Any], count: int) -> list[Any]:
    """The ranked ones with a share of each batch taken from the drawn ones instead."""
    surprises = round(_RANDOM_SHARE * count)
    first = list(ranked[: count - surprises])
    taken = set(first)
    first += [item for item in drawn if item not in taken][:surprises]
    taken.update(first)
    return first + [item for item in ranked if item not in taken]

"""Which candidates of a task to try next, best expected first: three search strategies.

A small space is searched exhaustively: all its points are ranked. In a larger one candidates are
drawn at random until there is a cost model; from then on the search is evolutionary: candidates
are drawn and mutated, and the model says which of them are worth measuring.

What a strategy gives follows from its generator, the model and what is known, and from nothing
else. It gives candidates in groups, and makes a group only when it is asked for: what was learnt
meanwhile counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from tunekit.search.cost_model import CostModel, decision_features
from tunekit.search.trial_memory import TrialMemory
from tunekit.spaces.design_space import DesignSpace, Point, ScheduledCandidate, seeds

# Share of a batch that is drawn whatever the model says of it.
_RANDOM_SHARE = 0.15
# In spaces that are drawn from, for each candidate of a batch: drawn ones, mutations of the best
# measured ones, and mutations of what the model likes best among all these.
_DRAWN, _MUTATED, _MUTATED_AGAIN = 2, 3, 2
# Draws in vain before a space counts as used up, for each candidate of a batch.
_DRAWS = 6

Groups = Iterator[list[ScheduledCandidate]]


def ranked_groups(
    space: DesignSpace,
    memory: TrialMemory,
    model: CostModel | None,
    generator: Random,
    count: int,
) -> Groups:
    """The candidates of a space, best expected first, in groups of about `count`.

    Args:
        space: where they come from.
        memory: what is known of them.
        model: ranks them; None while too little is known for one.
        generator: of everything random here.
        count: candidates of one batch.
    """
    if space.weights is not None:
        return exhaustive(space.weights, memory, model, generator, count)
    if model is None:
        return random_draws(space, generator, count)
    return evolutionary(space, memory, model, generator, count)


def exhaustive(
    weights: Mapping[Point, float],
    memory: TrialMemory,
    model: CostModel | None,
    generator: Random,
    count: int,
) -> Groups:
    """All points of a small space, ranked by the model or drawn by their weights."""
    # A weighted order without replacement (Efraimidis and Spirakis, 2006).
    keys = {point: generator.random() ** (1 / share) for point, share in weights.items()}
    points = memory.undone_points(weights)
    drawn = sorted(points, key=lambda point: -keys[point])
    order = drawn
    if model is not None and points:
        values = model.score([decision_features(point) for point in points])
        scores = dict(zip(points, values, strict=True))
        # Where trees see no difference, what the space expects more of comes first.
        ranked = sorted(points, key=lambda point: (-scores[point], -weights[point]))
        order = _mixed(ranked, drawn, count)
    for group in _in_groups(order, count):
        yield memory.make(group)


def random_draws(space: DesignSpace, generator: Random, count: int) -> Groups:
    """Candidates with random decisions, until many draws were made."""
    for _ in range(_DRAWS):
        drawn = space.draw(_seeds(generator, count))
        yield [item for item in drawn if item is not None]


def evolutionary(
    space: DesignSpace,
    memory: TrialMemory,
    model: CostModel,
    generator: Random,
    count: int,
) -> Groups:
    """Drawn and mutated candidates, ranked by the model, and drawn ones when all are known."""

    def mutations(parents: Sequence[Point], number: int) -> list[ScheduledCandidate]:
        pairs = zip(itertools.cycle(parents), _seeds(generator, number), strict=False)
        return memory.undone(space.mutate(list(pairs)))

    drawn = memory.undone(space.draw(_seeds(generator, _DRAWN * count)))
    children = mutations(memory.parents(), _MUTATED * count)
    pool = {item.digest: item for item in (*drawn, *children)}
    scores = memory.scores(model, pool.values())
    if scores:
        likely = [pool[digest].point for digest in _best_first(scores)[:count]]
        again = mutations([point for point in likely if point is not None], _MUTATED_AGAIN * count)
        grandchildren = {item.digest: item for item in again if item.digest not in pool}
        scores |= memory.scores(model, grandchildren.values())
        pool |= grandchildren
        order = _mixed(_best_first(scores), [item.digest for item in drawn], count)
        for group in _in_groups(order, count):
            yield [pool[digest] for digest in group]
    yield from random_draws(space, generator, count)


def _seeds(generator: Random, number: int) -> list[int]:
    return seeds(generator.random() for _ in range(number))


def _best_first(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda digest: (-scores[digest], digest))


def _mixed(ranked: Sequence[Any], drawn: Sequence[Any], count: int) -> list[Any]:
    """The ranked ones, with a share of the first batch taken from the drawn ones instead."""
    surprises = round(_RANDOM_SHARE * count)
    first = list(ranked[: count - surprises])
    taken = set(first)
    first += [item for item in drawn if item not in taken][:surprises]
    taken.update(first)
    return first + [item for item in ranked if item not in taken]


def _in_groups(items: Sequence[Any], count: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + count] for start in range(0, len(items), count))

"""Search strategies: what they give follows from generator, model and what is known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random

import pytest
import tuning_runs

from tunekit.machine.target import ResolvedTarget
from tunekit.search.phase_clock import PhaseClock
from tunekit.search.search_strategy import evolutionary, exhaustive, random_draws, ranked_groups
from tunekit.search.trial_memory import TrialMemory
from tunekit.spaces import space_for
from tunekit.spaces.design_space import DesignSpace, ScheduledCandidate, seeds

COUNT = 4


def _space(name: str, target: ResolvedTarget) -> DesignSpace:
    [task] = [task for task in tuning_runs.tasks(target) if task.name == name]
    return DesignSpace(task.module, target, space_for(task, target), name=name, threads=2)


@pytest.fixture(scope="module")
def listed(native: ResolvedTarget) -> DesignSpace:
    return _space("convolution", native)


@pytest.fixture(scope="module")
def drawn_from(native: ResolvedTarget) -> DesignSpace:
    return _space("contraction", native)


def _memory(space: DesignSpace) -> TrialMemory:
    return TrialMemory(space, None, PhaseClock())


def _digests(groups: Iterator[list[ScheduledCandidate]]) -> list[str]:
    return [item.digest for group in groups for item in group]


def _with_results(space: DesignSpace, number: int) -> TrialMemory:
    """What is known once so many candidates are measured; each is slower than the one before."""
    memory = _memory(space)
    for index, item in enumerate(_first_drawn(space, number)):
        memory.add(item, 1e-3 * (1 + index))
    return memory


def test_an_exhaustive_search_gives_each_point_that_has_no_result(listed: DesignSpace) -> None:
    assert listed.weights is not None
    memory = _with_results(listed, 6)
    unknown = memory.undone_points(listed.weights)
    assert len(unknown) < len(listed.weights)
    groups = list(exhaustive(listed.weights, memory, None, Random(0), COUNT))
    given = [item.point for group in groups for item in group]
    assert len(given) == len(set(given))
    assert set(given) == {item.point for item in listed.make(unknown) if item is not None}
    assert max(map(len, groups)) <= COUNT


def test_an_evolutionary_search_goes_from_the_fastest_and_gives_nothing_that_is_known(
    drawn_from: DesignSpace,
) -> None:
    memory = _with_results(drawn_from, 12)
    parents = memory.parents()
    assert parents
    assert parents == [item.point for item in _first_drawn(drawn_from, 12)][: len(parents)]
    model = memory.fit_model()
    assert model is not None
    first = next(evolutionary(drawn_from, memory, model, Random(0), COUNT))
    assert len({item.digest for item in first}) == COUNT
    assert memory.undone(first) == first


def _first_drawn(space: DesignSpace, number: int) -> list[ScheduledCandidate]:
    return _memory(space).undone(space.draw(seeds(index / number for index in range(number))))


def test_a_space_that_is_drawn_from_is_searched_at_random_until_there_is_a_model(
    drawn_from: DesignSpace,
) -> None:
    few = _with_results(drawn_from, 3)
    assert few.fit_model() is None
    ranked = _digests(ranked_groups(drawn_from, few, None, Random(0), COUNT))
    assert ranked == _digests(random_draws(drawn_from, Random(0), COUNT))


@pytest.mark.parametrize("results", [0, 12])
@pytest.mark.parametrize("name", ["listed", "drawn_from"])
def test_the_same_generator_gives_the_same_candidates_in_the_same_order(
    name: str, results: int, request: pytest.FixtureRequest
) -> None:
    space: DesignSpace = request.getfixturevalue(name)

    def ranked(seed: int) -> list[str]:
        memory = _with_results(space, results)
        groups = ranked_groups(space, memory, memory.fit_model(), Random(seed), COUNT)
        return _digests(islice(groups, 5))

    assert ranked(0) == ranked(0)
    assert ranked(0) != ranked(1)

"""Candidates of a workload: the same for the same seed, and found again from their traces."""

from __future__ import annotations

import pytest
import tuning_runs
import tvm

from tunekit.machine.target import ResolvedTarget
from tunekit.spaces import space_for
from tunekit.spaces.design_space import DesignSpace, seeds

SEEDS = seeds(number / 7 for number in range(6))


@pytest.fixture(scope="module", params=["convolution", "contraction"])
def space(request: pytest.FixtureRequest, native: ResolvedTarget) -> DesignSpace:
    return _space(request.param, native, threads=2)


def _space(name: str, target: ResolvedTarget, threads: int) -> DesignSpace:
    [task] = [task for task in tuning_runs.tasks(target) if task.name == name]
    generator = space_for(task, target)
    return DesignSpace(task.module, target, generator, name=name, threads=threads)


def test_a_seed_gives_one_candidate_whatever_the_threads(
    space: DesignSpace, native: ResolvedTarget
) -> None:
    name = "contraction" if space.weights is None else "convolution"
    alone = _space(name, native, threads=1)
    drawn = [made and (made.point, made.digest) for made in space.draw(SEEDS)]
    assert drawn == [made and (made.point, made.digest) for made in alone.draw(SEEDS)]
    assert len(set(drawn)) > 1


def test_a_point_and_a_stored_trace_lead_back_to_the_candidate(space: DesignSpace) -> None:
    drawn = [made for made in space.draw(SEEDS) if made is not None]
    assert drawn
    again = space.make([made.point for made in drawn])
    assert [made and made.digest for made in again] == [made.digest for made in drawn]
    for made in drawn:
        assert space.locate(tvm.ir.save_json(made.schedule.trace)) == made.point


def test_a_trace_of_another_workload_is_nowhere(native: ResolvedTarget) -> None:
    [drawn] = _space("contraction", native, threads=1).draw(SEEDS[:1])
    assert drawn is not None
    convolution = _space("convolution", native, threads=1)
    assert convolution.locate(tvm.ir.save_json(drawn.schedule.trace)) is None


def test_only_small_spaces_of_plain_choices_are_listed(native: ResolvedTarget) -> None:
    weights = _space("convolution", native, threads=1).weights
    assert weights is not None
    assert sum(weights.values()) == pytest.approx(len({point.design for point in weights}))
    first, *_, last = (weights[point] for point in weights if point.design == 0)
    assert first > last
    assert _space("contraction", native, threads=1).weights is None


def test_mutations_follow_from_the_seed_and_differ_from_their_parent(
    native: ResolvedTarget,
) -> None:
    space = _space("contraction", native, threads=2)
    [parent] = space.draw(SEEDS[:1])
    assert parent is not None
    asked = [(parent.point, seed) for seed in SEEDS]
    children = [made and made.digest for made in space.mutate(asked)]
    assert children == [made and made.digest for made in space.mutate(asked)]
    assert {child for child in children if child} - {parent.digest}

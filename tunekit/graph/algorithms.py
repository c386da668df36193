"""Which algorithm computes a convolution: the alternatives of each, and the choice between them.

A choice is made for a problem: all convolutions of a model with the same sizes. Which algorithm is
faster at a problem is for measurements to say; which are worth measuring is said here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import cast

from tunekit.graph.implementation import Algorithm, Choice, ConvProblem, is_direct, tile_of
from tunekit.graph.kernels import winograd
from tunekit.graph.task import Task

# Above this, transformed weights are read from memory in every inference, which has to save so many
# multiplications for each of their bytes; a third of a common last cache.
_LARGEST_WEIGHTS_BYTES = 12 << 20
_LEAST_SAVED_PER_BYTE = 8
# Up to this, they are no reason to prefer the smaller tile with its fewer weights.
_SMALL_WEIGHTS_BYTES = 4 << 20
# A tile that sticks out computes what nobody needs.
_LARGEST_WASTE = 1.4
_FEWEST_CHANNELS = 16


def alternatives(problem: ConvProblem) -> tuple[Algorithm, ...]:
    """The algorithms that may be worth measuring for a dense 3x3 convolution of stride 1, "direct"
    first; `accurate` says which are."""
    algorithms: list[Algorithm] = ["direct"]
    if min(problem.in_channels, problem.out_channels) >= _FEWEST_CHANNELS:
        for m in winograd.TILES:
            tiles = winograd.tiling(problem.height, problem.width, m)
            waste = tiles.rows * tiles.columns * m * m / (problem.height * problem.width)
            if waste <= _LARGEST_WASTE and _is_worth_its_weights(problem, m):
                algorithms.append(cast("Algorithm", f"winograd{m}"))
    return tuple(algorithms)


def rounding_error(problem: ConvProblem, algorithm: Algorithm) -> float:
    """Max abs error / max abs output that an algorithm other than the direct one is expected to
    have at a problem; 0 for the direct one, whose rounding is the framework's."""
    m = tile_of(algorithm)
    return 0.0 if m is None else winograd.rounding_error(problem.in_channels, m)


def accurate(problem: ConvProblem, limit: float) -> list[Algorithm]:
    """The alternatives whose rounding error is expected to be within the limit, "direct" first,
    but for those that cannot be faster than another."""
    algorithms = [
        algorithm
        for algorithm in alternatives(problem)
        if rounding_error(problem, algorithm) <= limit
    ]
    if (
        {"winograd2", "winograd4"} <= set(algorithms)
        and _weights_bytes(problem, 4) <= _SMALL_WEIGHTS_BYTES
        and multiplications(problem, "winograd4") < 0.75 * multiplications(problem, "winograd2")
    ):
        # A quarter of the multiplications less: the smaller tile cannot catch up.
        algorithms.remove("winograd2")
    return algorithms


def is_selected(task: Task, choice: Choice) -> bool:
    """Whether a task's kernel runs in a model with this choice."""
    implementation = task.implementation
    return implementation is None or choice[implementation.problem] == implementation.algorithm


def choose(
    tasks: Iterable[Task],
    seconds: Callable[[str], float | None],
    *,
    least_gain: float = 1.0,
) -> Choice:
    """The fastest algorithm of each problem.

    Args:
        tasks: those of all alternatives.
        seconds: of one call of the workload with this structural hash, None where it is unknown.
        least_gain: how many times as fast as the direct one another has to be.

    Returns:
        A choice for every problem; algorithms of which a kernel was not measured lose against one
        that was, and among unknown ones that wins which multiplies least.
    """
    costs: dict[ConvProblem, dict[Algorithm, float]] = {}
    for task in tasks:
        if task.implementation is None:
            continue
        of_problem = costs.setdefault(task.implementation.problem, {})
        known = seconds(task.structural_hash)
        cost = math.inf if known is None else task.weight * known
        if not is_direct(task.implementation):
            cost *= least_gain
        of_problem[task.implementation.algorithm] = (
            of_problem.get(task.implementation.algorithm, 0.0) + cost
        )
    return {
        problem: min(
            (algorithm for algorithm in alternatives(problem) if algorithm in of_problem),
            key=lambda algorithm: (of_problem[algorithm], multiplications(problem, algorithm)),
        )
        for problem, of_problem in costs.items()
    }


def choose_unmeasured(tasks: Iterable[Task]) -> Choice:
    """The algorithm of each problem where nothing was measured: what multiplies least."""
    return choose(tasks, lambda _: None)


def choose_direct(tasks: Iterable[Task]) -> Choice:
    """The direct algorithm for each problem: its rounding is the framework's."""
    return {task.implementation.problem: "direct" for task in tasks if task.implementation}


def multiplications(problem: ConvProblem, algorithm: Algorithm) -> int:
    """Multiplications of a convolution for each pair of an input and an output channel."""
    m = tile_of(algorithm)
    if m is None:
        return problem.height * problem.width * winograd.KERNEL**2
    tiles = winograd.tiling(problem.height, problem.width, m)
    return tiles.rows * tiles.columns * tiles.points


def _is_worth_its_weights(problem: ConvProblem, m: int) -> bool:
    weights_bytes, algorithm = _weights_bytes(problem, m), cast("Algorithm", f"winograd{m}")
    if weights_bytes <= _LARGEST_WEIGHTS_BYTES:
        return True
    saved = multiplications(problem, "direct") - multiplications(problem, algorithm)
    pairs = problem.batch * problem.in_channels * problem.out_channels
    return saved * pairs >= _LEAST_SAVED_PER_BYTE * weights_bytes


def _weights_bytes(problem: ConvProblem, m: int) -> int:
    return 4 * (m + winograd.KERNEL - 1) ** 2 * problem.in_channels * problem.out_channels

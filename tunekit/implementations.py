"""Kernels of which a library has one or the other: the fastest algorithm of a convolution.

A kernel's implementation is text, "ALGORITHM PROBLEM": where several algorithms of one problem are
known, only the fastest runs, so a model's latency is not the sum over all that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


def split(implementation: str) -> tuple[str, str]:
    """(problem, algorithm) of an implementation."""
    algorithm, _, problem = implementation.partition(" ")
    return problem, algorithm


def problem_costs(
    kernels: Iterable[tuple[str | None, float | None]],
) -> Mapping[str, Mapping[str, float]]:
    """Seconds of each algorithm of each problem, infinite where one of its kernels has no time.

    Args:
        kernels: (implementation, seconds in one run of the model); those without an
            implementation are passed over.
    """
    costs: dict[str, dict[str, float]] = {}
    for implementation, seconds in kernels:
        if implementation is not None:
            problem, algorithm = split(implementation)
            of_problem = costs.setdefault(problem, {})
            of_problem[algorithm] = of_problem.get(algorithm, 0.0) + (
                math.inf if seconds is None else seconds
            )
    return costs


@dataclass(frozen=True)
class Standing:
    """How a kernel stands among the implementations of its problem.

    Attributes:
        runs: it is the only one, or is of its problem's fastest algorithm.
        behind: by what share its algorithm is slower than the fastest: 1.0 is twice the time. Not
            finite where one of the two has no time.
    """

    runs: bool
    behind: float


def standings(kernels: Iterable[tuple[str | None, float | None]]) -> list[Standing]:
    """How each kernel stands.

    Args:
        kernels: (implementation or None, seconds in one run of the model or None).
    """
    pairs = list(kernels)
    costs = problem_costs(pairs)
    fastest = {
        problem: min(of_problem, key=of_problem.__getitem__)
        for problem, of_problem in costs.items()
    }

    def standing(implementation: str | None) -> Standing:
        if implementation is None:
            return Standing(True, 0.0)
        problem, algorithm = split(implementation)
        of_problem = costs[problem]
        behind = of_problem[algorithm] / of_problem[fastest[problem]] - 1
        return Standing(fastest[problem] == algorithm, behind)

    return [standing(implementation) for implementation, _ in pairs]


def selected(kernels: Iterable[tuple[str | None, float | None]]) -> list[bool]:
    """For each kernel, whether it runs: alone, or of its problem's fastest algorithm."""
    return [standing.runs for standing in standings(kernels)]


def model_latency_s(kernels: Iterable[tuple[str | None, float | None]]) -> float | None:
    """Seconds of one run of the model with the fastest algorithms.

    Args:
        kernels: (implementation or None, seconds in one run of the model or None).

    Returns:
        None where there are no kernels, or something that must run has no time.
    """
    pairs = list(kernels)
    if not pairs:
        return None
    total = sum(min(of_problem.values()) for of_problem in problem_costs(pairs).values())
    for implementation, seconds in pairs:
        if implementation is None:
            total += math.inf if seconds is None else seconds
    return total if math.isfinite(total) else None

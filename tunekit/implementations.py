"""Kernels of which a library has one or the other: the fastest algorithm of a convolution.

A kernel's place is text, "ALGORITHM SITE": where several algorithms of one site are known, only
the fastest runs, so a model's latency is not the sum over all that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


def split(place: str) -> tuple[str, str]:
    """(site, algorithm) of a place."""
    algorithm, _, site = place.partition(" ")
    return site, algorithm


def site_costs(
    kernels: Iterable[tuple[str | None, float | None]],
) -> Mapping[str, Mapping[str, float]]:
    """Seconds of each algorithm of each site, infinite where one of its kernels has no time.

    Args:
        kernels: (place, seconds in one run of the model); those without a place are passed over.
    """
    costs: dict[str, dict[str, float]] = {}
    for place, seconds in kernels:
        if place is not None:
            site, algorithm = split(place)
            of_site = costs.setdefault(site, {})
            of_site[algorithm] = of_site.get(algorithm, 0.0) + (
                math.inf if seconds is None else seconds
            )
    return costs


@dataclass(frozen=True)
class Standing:
    """How a kernel stands among its rivals.

    Attributes:
        runs: it has no rival, or is of its site's fastest algorithm.
        behind: by what share its algorithm is slower than the fastest: 1.0 is twice the time. Not
            finite where one of the two has no time.
    """

    runs: bool
    behind: float


def standings(kernels: Iterable[tuple[str | None, float | None]]) -> list[Standing]:
    """How each kernel stands.

    Args:
        kernels: (place or None, seconds in one run of the model or None).
    """
    every = list(kernels)
    costs = site_costs(every)
    fastest = {site: min(of_site, key=of_site.__getitem__) for site, of_site in costs.items()}

    def standing(place: str | None) -> Standing:
        if place is None:
            return Standing(True, 0.0)
        site, algorithm = split(place)
        of_site = costs[site]
        behind = of_site[algorithm] / of_site[fastest[site]] - 1
        return Standing(fastest[site] == algorithm, behind)

    return [standing(place) for place, _ in every]


def running(kernels: Iterable[tuple[str | None, float | None]]) -> list[bool]:
    """For each kernel, whether it runs: it has no rival, or is of its site's fastest algorithm."""
    return [standing.runs for standing in standings(kernels)]


def latency_s(kernels: Iterable[tuple[str | None, float | None]]) -> float | None:
    """Seconds of one run of the model with the fastest algorithms.

    Args:
        kernels: (place or None, seconds in one run of the model or None).

    Returns:
        None where there are no kernels, or something that must run has no time.
    """
    every = list(kernels)
    if not every:
        return None
    total = sum(min(of_site.values()) for of_site in site_costs(every).values())
    for place, seconds in every:
        if place is None:
            total += math.inf if seconds is None else seconds
    return total if math.isfinite(total) else None

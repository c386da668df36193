"""What the samples say: plain functions over seconds, standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Of values, that an interval for their median covers it with 95 %: none does from fewer.
LEAST_ROUNDS = 6


@dataclass(frozen=True)
class Interval:
    """An interval for a median, and the probability with which it covers the true one."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class PairedRatio:
    """How often faster one runner is than another: the median over rounds, and its interval.

    `value` 1.2 means: in the time the other needs for 10 runs, this one makes 12.
    """

    value: float
    interval: Interval
    rounds: int


def evenly(values: Sequence[float], most: int) -> Sequence[float]:
    """At most so many of the values, at even distances, in their order."""
    if len(values) <= most:
        return values
    return [values[index * len(values) // most] for index in range(most)]


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile (0 <= q <= 1), linear between order statistics (Hyndman and Fan's type 7).

    The same as `numpy.quantile` by default.

    Raises:
        ValueError: there are no values, or q is outside.
    """
    if not values:
        raise ValueError("a quantile of no values")
    if not 0 <= q <= 1:
        raise ValueError(f"q must be from 0 to 1, not {q}")
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    return quantile(values, 0.5)


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """A confidence interval for the median between two order statistics.

    Nothing is assumed of the distribution but that the values are independent: each lies below
    the true median with probability one half, so how many do is binomial, and the interval from
    the k-th smallest to the k-th largest covers it with probability 1 - 2 P(B < k) (Conover,
    Practical Nonparametric Statistics, 3.2). The narrowest such interval with at least
    `confidence` is given. With fewer than 6 values none reaches 95 %: then it is from the
    smallest to the largest, and `confidence` says what that is worth.
    """
    if not values:
        raise ValueError("an interval of no values")
    ordered, count = sorted(values), len(values)
    rank, covered = 1, 1 - 2 * 0.5**count
    while 2 * (rank + 1) <= count:
        narrower = 1 - 2 * sum(math.comb(count, i) for i in range(rank + 1)) / 2**count
        if narrower < confidence:
            break
        rank, covered = rank + 1, narrower
    return Interval(ordered[rank - 1], ordered[count - rank], covered)


def ratio_over_common_rounds(
    mine_s: Mapping[int, float], others_s: Mapping[int, float]
) -> PairedRatio | None:
    """As `paired_ratio`, of median seconds by the numbers of their rounds; None where the two have
    no round in common."""
    common = sorted(mine_s.keys() & others_s.keys())
    if not common:
        return None
    return paired_ratio([mine_s[key] for key in common], [others_s[key] for key in common])


def paired_ratio(
    mine_s: Sequence[float], others_s: Sequence[float], confidence: float = 0.95
) -> PairedRatio:
    """How many times as fast "mine" is, from the median seconds of both in the same rounds.

    A disturbance that lasts longer than a round slows both runners of that round and leaves
    the ratio in it, so ratios are taken within rounds first, and their median then.

    Raises:
        ValueError: the two differ in length or are empty.
    """
    if len(mine_s) != len(others_s):
        raise ValueError("paired ratios need the same rounds of both")
    ratios = [other / mine for mine, other in zip(mine_s, others_s, strict=True)]
    return PairedRatio(median(ratios), median_interval(ratios, confidence), len(ratios))


def relative_spread(values: Sequence[float]) -> float:
    """(Third quartile - first quartile) / median: how far a typical value strays."""
    return (quantile(values, 0.75) - quantile(values, 0.25)) / median(values)

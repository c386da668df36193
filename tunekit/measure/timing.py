"""How a candidate is timed, on this machine and on remote devices alike: in samples, which make
readings, of which there are more for leaders and on hosts that are slow at the moment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tunekit.catalogue.entries import mean
from tunekit.measure.measurer import MeasureOptions
from tunekit.measure.noise_guard import (
    Reading,
    UsualSpeed,
    disturbed,
    quiet_level,
    undisturbed_seconds,
)

_LEAST_SAMPLES = 3
# What looks slow is run so often, or for so long, before it is believed.
_SLOW_RUNS, _SLOW_S = 5, 0.05
# Near the best: worth twice the samples. Out of reach: not worth waiting for a quieter host.
_NEAR = 1.1
_OUT_OF_REACH = 1.5
# A slow host is waited for: so many readings in a turn, at first so long (then double).
_MOST_READINGS = 2
_FIRST_PAUSE_S = 0.02
# Calibrations in a row that say what is usual where nothing is known of this host.
_FIRST_CALIBRATIONS = 8
# A reading spends so long between the calls that it times, on what is evicted before each of them.
_MOST_EVICTING_S = 0.5
# Slower than another of its workload by this, in turns on a quiet host, a candidate has lost.
_LOST_RATIO = 1.2


@dataclass(frozen=True)
class MeasureOrder:
    """What is known when a candidate's turn comes.

    Attributes:
        slow_s: not timed again if its first runs take longer than this.
        best_s: the fastest so far, infinite before there is one.
        usual_s: the calibration kernel's usual seconds, None before they are known.
        once: take one reading, as other rounds follow.
    """

    slow_s: float
    best_s: float
    usual_s: float | None
    once: bool


def take_readings(
    sample: Callable[[int, int], list[float]],
    calibrate: Callable[[], list[float]] | None,
    options: MeasureOptions,
    order: MeasureOrder,
    *,
    evicts: bool,
) -> list[Reading]:
    """Times what `sample` runs.

    Args:
        sample: called with how many calls make a sample and how many samples there are to be;
            returns the seconds of one call in each.
        calibrate: seconds of a few runs of the calibration kernel; None without one.
        options: how to measure.
        order: what is known.
        evicts: something is evicted before each call.

    Returns:
        Readings, one at least.
    """
    between_s = 0.0

    def reading() -> Reading:
        number, repeat = _amount(min(first), options, between_s)
        if calibrate is None:
            return Reading(tuple(sample(number, repeat)))
        before = calibrate()
        samples = sample(number, repeat)
        return Reading(tuple(samples), quiet_level(before + calibrate()))

    first = sample(1, 1)
    # A few times: the first may have met a bad moment.
    while min(first) > order.slow_s and len(first) < _SLOW_RUNS and sum(first) < _SLOW_S:
        first += sample(1, 1)
    if min(first) > order.slow_s:
        return [Reading(tuple(first))]
    if evicts:
        # Not of the first, which touched its memory for the first time.
        started = time.monotonic()
        again = sample(1, 1)
        between_s = max(0.0, time.monotonic() - started - sum(again))
        first += again
    usual_s = order.usual_s
    if usual_s is None and calibrate is not None:
        usual_s = quiet_level([s for _ in range(_FIRST_CALIBRATIONS) for s in calibrate()])
    started = time.monotonic()
    readings = [reading()]
    reading_s = time.monotonic() - started
    # Further readings must not make a time-out of a good candidate.
    deadline = started + options.run_timeout_s / 2 - reading_s
    pause_s = _FIRST_PAUSE_S
    while not order.once and options.noise_guard and len(readings) < _MOST_READINGS:
        seconds = undisturbed_seconds(readings, usual_s)
        if seconds > _OUT_OF_REACH * order.best_s or time.monotonic() + pause_s > deadline:
            break
        if disturbed(readings, usual_s):
            time.sleep(pause_s)
            pause_s *= 2
        elif len(readings) > 1 or not seconds <= _NEAR * order.best_s < math.inf:
            break
        readings.append(reading())
    return readings


def time_samples(
    library: Any, device: Any, tensors: Sequence[Any], number: int, repeat: int, *, evict: str
) -> list[float]:
    """Seconds of one call in each of `repeat` samples, of `number` calls each, of a library's
    `main`; `evict` names the function that is run before each call, "" for none."""
    # TVM runs it before a sample, not before each of its calls.
    calls = number if evict else 1
    evaluator = library.time_evaluator(
        "main", device, number=number // calls, repeat=repeat * calls, f_preproc=evict
    )
    seconds = [float(value) for value in evaluator(*tensors).results]
    return [mean(tuple(seconds[first : first + calls])) for first in range(0, len(seconds), calls)]


def _amount(once_s: float, options: MeasureOptions, between_s: float) -> tuple[int, int]:
    """Calls in a sample, and samples, for something whose call takes `once_s`, with `between_s`
    before each."""
    sample_s = options.min_repeat_ms / 1000
    number = max(1, math.ceil(sample_s / max(once_s, 1e-7)))
    most = options.repeat
    if between_s:
        # A table of words is evicted for much longer than a few of its rows are read.
        calls = int(_MOST_EVICTING_S / between_s)
        number, most = max(1, min(number, calls // most)), min(most, max(_LEAST_SAMPLES, calls))
    affordable = math.ceil(most * sample_s / max(once_s * number, 1e-7))
    least = _LEAST_SAMPLES if once_s < options.run_timeout_s / 8 else 1
    return number, min(most, max(least, affordable))


class Bests:
    """The fastest of each workload so far, but for whoever asks.

    What a slow host makes of a candidate in its second turn is compared with the others: compared
    with its own first, the fastest would lose to itself.
    """

    def __init__(self) -> None:
        self._seconds: dict[str | None, dict[int, float]] = {}

    def note(self, workload: str | None, key: int, seconds: float) -> None:
        """What one call of a candidate takes, as far as it is known now."""
        self._seconds.setdefault(workload, {})[key] = seconds

    def beside(self, workload: str | None, key: int) -> float:
        """Seconds of the fastest candidate that is not this one, infinite without one."""
        noted = self._seconds.get(workload, {})
        return min((seconds for other, seconds in noted.items() if other != key), default=math.inf)


class Measurement:
    """All readings of a candidate, and what they say of it.

    Attributes:
        seconds: of one call on the undisturbed host; infinite before there is a reading.
    """

    def __init__(self, *, noise_guard: bool) -> None:
        self._guard = noise_guard
        self._readings: list[Reading] = []
        self.seconds = math.inf

    def add(self, readings: Sequence[Reading], usual: UsualSpeed) -> None:
        """Takes more of them, and lets the host's usual speed be known by them."""
        for reading in readings:
            if reading.calibration_s is not None:
                usual.note(reading.calibration_s)
        self._readings.extend(readings)
        if self._guard:
            self.seconds = undisturbed_seconds(self._readings, usual.seconds)
        else:
            self.seconds = mean(self.samples)

    def is_disturbed(self, usual_s: float | None) -> bool:
        """Whether the host was slow in all of the readings."""
        return self._guard and disturbed(self._readings, usual_s)

    def is_out_of_reach(self, best_s: float) -> bool:
        """Whether a quieter host would hardly make it the best."""
        return self.seconds > _OUT_OF_REACH * best_s

    def has_lost(self, best_s: float, usual_s: float | None) -> bool:
        """Whether a candidate that takes turns is so much slower than another of its workload that
        further rounds would not change it: they are for those between which noise decides."""
        return math.inf > self.seconds > _LOST_RATIO * best_s and not self.is_disturbed(usual_s)

    @property
    def samples(self) -> tuple[float, ...]:
        """Raw seconds of one call in each sample."""
        return tuple(second for reading in self._readings for second in reading.samples)

    @property
    def calibration_s(self) -> float | None:
        """The quiet level of the calibrations beside them, None where there were none."""
        calibrations = [r.calibration_s for r in self._readings if r.calibration_s is not None]
        return quiet_level(calibrations) if calibrations else None

    @property
    def slowdown(self) -> float | None:
        """The mean of the samples by what the candidate takes; None without the noise guard."""
        return mean(self.samples) / self.seconds if self._guard else None

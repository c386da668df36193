"""What else the machine did while the runners ran."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Noise(BaseModel):
    """What else happened on the machine during the rounds; None where it cannot be known.

    Load averages are those of the last 1, 5 and 15 minutes. Shares are of all cores' time:
    `others_share` went to processes that take no part, `steal_share` to other guests of the
    hypervisor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    load_before: tuple[float, float, float] | None
    load_after: tuple[float, float, float] | None
    others_share: float | None
    steal_share: float | None


@dataclass(frozen=True)
class CpuSeconds:
    """Seconds of all cores together since the start of the machine."""

    busy: float
    stolen: float
    total: float


@dataclass(frozen=True)
class Moment:
    """The machine at one moment, for a later one to be compared with."""

    load: tuple[float, float, float] | None
    cpu: CpuSeconds | None


def now() -> Moment:
    """Load averages and CPU seconds at this moment."""
    return Moment(_load(), read_cpu_seconds())


def read_cpu_seconds(file: Path = Path("/proc/stat")) -> CpuSeconds | None:
    """CPU seconds by kind from the kernel, or None where it does not say (not Linux).

    Fields as in proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guest time is in
    user already.
    """
    try:
        first = file.read_text(encoding="ascii").splitlines()[0].split()
        ticks = [int(field) for field in first[1:9]]
    except (OSError, IndexError, ValueError):
        return None
    if len(ticks) < 8:
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = ticks
    busy = user + nice + system + irq + softirq
    per_second = os.sysconf("SC_CLK_TCK")
    total = busy + idle + iowait + steal
    return CpuSeconds(busy / per_second, steal / per_second, total / per_second)


def noise_between(before: Moment, after: Moment, own_cpu_s: float) -> Noise:
    """What happened between two moments that was not the runners' own `own_cpu_s`."""
    others = steal = None
    if before.cpu and after.cpu and after.cpu.total > before.cpu.total:
        total = after.cpu.total - before.cpu.total
        others = max(0.0, after.cpu.busy - before.cpu.busy - own_cpu_s) / total
        steal = (after.cpu.stolen - before.cpu.stolen) / total
    return Noise(
        load_before=before.load, load_after=after.load, others_share=others, steal_share=steal
    )


def _load() -> tuple[float, float, float] | None:
    try:
        return os.getloadavg()
    except (OSError, AttributeError):
        return None

"""The machine, and what else it did while the contestants ran."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from tunekit.bench.results import Environment, Noise


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
    """What happened between two moments that was not the benchmark's own `own_cpu_s`."""
    others = steal = None
    if before.cpu and after.cpu and after.cpu.total > before.cpu.total:
        total = after.cpu.total - before.cpu.total
        others = max(0.0, after.cpu.busy - before.cpu.busy - own_cpu_s) / total
        steal = (after.cpu.stolen - before.cpu.stolen) / total
    return Noise(
        load_before=before.load, load_after=after.load, others_share=others, steal_share=steal
    )


def describe(noise: Noise, extra_packages: Sequence[str] = ()) -> Environment:
    """The environment for the report. Imports no framework."""
    from tunekit.host import detect_host
    from tunekit.toolchain import installed_version, versions

    found = versions()
    for package in extra_packages:
        if package not in found and (version := installed_version(package)) is not None:
            found[package] = version
    return Environment(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        host=detect_host().as_dict(),
        system=platform.platform(),
        versions=found,
        noise=noise,
    )


def _load() -> tuple[float, float, float] | None:
    try:
        return os.getloadavg()
    except (OSError, AttributeError):
        return None

"""Who am I: the CPU and the features that are really there, usable cores, memory, GPUs.

Everything is asked of the operating system, never of TVM: LLVM guesses the CPU from its family
and model, and so names features that a hypervisor has masked.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")
SYS = Path("/sys")
_SMI_TIMEOUT_S = 10.0
_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 says "no limit" with a number near 2**63."""


@dataclass(frozen=True)
class Host:
    """The machine that code is compiled for and measured on.

    Attributes:
        cpu_name: for people.
        vendor: the CPU's vendor_id (`GenuineIntel`, `AuthenticAMD`) or `unknown`.
        architecture: as the kernel calls it.
        features: by the kernel's names (`avx512f`, `avx512_vnni`, `asimd`).
        cores: that this process may use: affinity and cgroup quota, at least 1.
        memory_bytes: that it may use at most.
        hypervisor: None on bare metal or where nothing tells.
        fingerprint: the same between boots and with other GPUs or memory.
    """

    cpu_name: str
    vendor: str
    architecture: str
    features: frozenset[str]
    cores: int
    memory_bytes: int
    hypervisor: str | None
    gpus: tuple[str, ...]
    fingerprint: str

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON values, features sorted."""
        return {**asdict(self), "features": sorted(self.features), "gpus": list(self.gpus)}


@functools.cache
def detect_host() -> Host:
    """This machine; detected once in a process."""
    cpu = _first_cpu(PROC / "cpuinfo")
    architecture = _architecture()
    # x86 calls the line "flags", Arm "Features".
    features = frozenset((cpu.get("flags") or cpu.get("Features") or "").split())
    if not features:
        features = _archspec_features()
    cpu_name = cpu.get("model name") or platform.processor() or _archspec_name() or architecture
    vendor = cpu.get("vendor_id") or "unknown"
    cores = usable_cores()
    return Host(
        cpu_name=" ".join(cpu_name.split()),
        vendor=vendor,
        architecture=architecture,
        features=features,
        cores=cores,
        memory_bytes=_memory_bytes(),
        hypervisor=_hypervisor(features),
        gpus=_gpus(),
        fingerprint=_fingerprint(" ".join(cpu_name.split()), architecture, features, cores),
    )


def remote_host(key: str, target: str, architecture: str, cores: int) -> Host:
    """The devices of an RPC tracker's key, which count as one host: they are said to be equal.

    Its fingerprint depends on the key and the target (canonical JSON) alone, so that records are
    found again through another tracker and on a device that was added. `memory_bytes` is 0: a
    device does not say.
    """
    text = json.dumps(["rpc", key, target], separators=(",", ":"))
    return Host(
        cpu_name=f"rpc:{key}",
        vendor="unknown",
        architecture=architecture,
        features=frozenset(),
        cores=cores,
        memory_bytes=0,
        hypervisor=None,
        gpus=(),
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16],
    )


def usable_cores(proc: Path = PROC, cgroups: Path = SYS / "fs/cgroup") -> int:
    """Cores this process may keep busy: the fewer of its affinity and its cgroup quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cpu_quota(proc, cgroups)
    # A quota of 1.5 cores keeps two threads waiting for each other; one runs undisturbed.
    return max(1, cores if quota is None else min(cores, math.floor(quota)))


def last_level_cache_bytes(caches: Path = SYS / "devices/system/cpu/cpu0/cache") -> int | None:
    """Size of the largest cache that the first core has, None where the system does not say."""
    sizes = []
    for folder in caches.glob("index*"):
        size = _read(folder / "size")  # "32768K"
        if _read(folder / "type") in ("Data", "Unified") and size[:-1].isdigit():
            sizes.append(int(size[:-1]) << {"K": 10, "M": 20}[size[-1]])
    return max(sizes, default=None)


def cpu_quota(proc: Path, cgroups: Path) -> float | None:
    """The smallest CPU quota, in cores, of this process's cgroups and their parents; or None."""
    quotas = []
    for folder in _cgroup_folders(proc, cgroups, "cpu"):
        text = _read(folder / "cpu.max")  # version 2: "max 100000" or "150000 100000"
        limit, _, period = text.partition(" ")
        if not text:
            limit = _read(folder / "cpu.cfs_quota_us")  # version 1: -1 is no limit
            period = _read(folder / "cpu.cfs_period_us")
        if limit.isdigit() and period.isdigit() and int(period) > 0:
            quotas.append(int(limit) / int(period))
    return min(quotas, default=None)


def memory_limit_bytes(proc: Path, cgroups: Path) -> int | None:
    """The smallest memory limit of this process's cgroups and their parents; or None."""
    limits = []
    for folder in _cgroup_folders(proc, cgroups, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdigit() and int(text) < _UNLIMITED_BYTES:
                limits.append(int(text))
    return min(limits, default=None)


def _cgroup_folders(proc: Path, cgroups: Path, controller: str) -> list[Path]:
    """Folders of the cgroups this process is in, for one controller, from innermost to root."""
    folders = []
    for line in _read(proc / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            roots = [cgroups, cgroups / "unified"]
        elif controller in controllers.split(","):
            roots = [cgroups / controllers, cgroups / controller]
        else:
            continue
        for root in roots:
            inner = root / path.lstrip("/")
            # Inside a container the path may be the host's own: then only the root is visible.
            while inner != root and root in inner.parents:
                folders.append(inner)
                inner = inner.parent
            folders.append(root)
    return folders


def _first_cpu(cpuinfo: Path) -> dict[str, str]:
    """The fields of /proc/cpuinfo's first processor; empty where there is no such file."""
    fields: dict[str, str] = {}
    for line in _read(cpuinfo).splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            if fields:
                break
            continue
        fields[key.strip()] = value.strip()
    return fields


def _architecture() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _archspec_features() -> frozenset[str]:
    import archspec.cpu

    return frozenset(archspec.cpu.host().features)


def _archspec_name() -> str:
    import archspec.cpu

    return str(archspec.cpu.host().name)


def _memory_bytes() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit_bytes(PROC, SYS / "fs/cgroup")
    return total if limit is None else min(total, limit)


def _hypervisor(features: frozenset[str]) -> str | None:
    """The hypervisor's or cloud's name where the firmware says it; `unknown` when hidden."""
    xen = _read(SYS / "hypervisor/type")
    if xen:
        return xen
    if "hypervisor" not in features:
        return None
    vendor = _read(SYS / "class/dmi/id/sys_vendor")
    product = _read(SYS / "class/dmi/id/product_name")
    return " ".join(part for part in (vendor, product) if part) or "unknown"


def _gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs, by the driver's own tool or else its /proc files."""
    smi = shutil.which("nvidia-smi")
    if smi is not None:
        try:
            done = subprocess.run(
                [smi, "--query-gpu=name", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=_SMI_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            done = None
        if done is not None and done.returncode == 0:
            return tuple(name.strip() for name in done.stdout.splitlines() if name.strip())
    files = sorted((PROC / "driver/nvidia/gpus").glob("*/information"))
    return tuple(_first_cpu(file).get("Model", "NVIDIA GPU") for file in files)


def _fingerprint(cpu_name: str, architecture: str, features: frozenset[str], cores: int) -> str:
    text = json.dumps([cpu_name, architecture, sorted(features), cores], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(file: Path) -> str:
    """A small file's text without surrounding blanks; empty when it cannot be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""

"""What a host says about itself, against the kernel's own files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tunekit.machine.host import (
    cpu_quota,
    detect_host,
    last_level_cache_bytes,
    memory_limit_bytes,
    usable_cores,
)


def test_features_are_those_the_kernel_reports() -> None:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    line = re.search(r"^(?:flags|Features)\s*: (.*)$", cpuinfo, re.M)
    assert line is not None
    assert detect_host().features == frozenset(line[1].split())


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    code = "from tunekit.machine.host import detect_host; print(detect_host().fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == detect_host().fingerprint
    assert re.fullmatch(r"[0-9a-f]{16}", detect_host().fingerprint)


def test_the_host_is_plain_json() -> None:
    host = json.loads(json.dumps(detect_host().as_dict()))
    assert host["cores"] == detect_host().cores
    assert host["features"] == sorted(detect_host().features)


def test_detecting_the_host_imports_neither_tvm_nor_torch() -> None:
    code = (
        "import sys; from tunekit.machine.host import detect_host; detect_host();"
        "print(sorted({'tvm', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cores_follow_the_affinity_of_the_process() -> None:
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, [{one}]);"
        "from tunekit.machine.host import detect_host; print(detect_host().cores)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_the_last_cache_is_the_largest_that_holds_data(tmp_path: Path) -> None:
    for index, (kind, size) in enumerate(
        [("Data", "48K"), ("Instruction", "99M"), ("Unified", "2048K"), ("Unified", "32M")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "type").write_text(f"{kind}\n")
        (folder / "size").write_text(f"{size}\n")
    assert last_level_cache_bytes(tmp_path) == 32 << 20
    assert last_level_cache_bytes(tmp_path / "elsewhere") is None


def test_memory_is_at_most_what_the_machine_has() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < detect_host().memory_bytes <= total


def test_gpus_are_those_that_the_driver_names(tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho NVIDIA H100 80GB HBM3\necho NVIDIA L4\n")
    smi.chmod(0o755)
    code = "from tunekit.machine.host import detect_host; print(detect_host().gpus)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "('NVIDIA H100 80GB HBM3', 'NVIDIA L4')"


@pytest.fixture
def machine(tmp_path: Path):
    """Folders as /proc and /sys/fs/cgroup are, for one process in one cgroup."""

    def write(membership: str, files: dict[str, str]) -> tuple[Path, Path]:
        proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        (proc / "self/cgroup").write_text(membership)
        for name, text in files.items():
            file = cgroups / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return proc, cgroups

    return write


def test_the_smallest_cgroup_2_quota_on_the_way_up_limits_the_cores(machine) -> None:
    places = machine(
        "0::/pod/box\n", {"pod/box/cpu.max": "300000 100000", "pod/cpu.max": "100000 100000"}
    )
    assert cpu_quota(*places) == 1.0
    assert usable_cores(*places) == 1


def test_a_cgroup_1_quota_limits_the_cores(machine) -> None:
    places = machine(
        "5:cpu,cpuacct:/box\n1:name=systemd:/\n",
        {
            "cpu,cpuacct/box/cpu.cfs_quota_us": "150000",
            "cpu,cpuacct/box/cpu.cfs_period_us": "100000",
        },
    )
    assert cpu_quota(*places) == 1.5
    assert usable_cores(*places) == 1


def test_inside_a_container_the_visible_root_counts(machine) -> None:
    places = machine("0::/docker/0123\n", {"cpu.max": "50000 100000"})
    assert cpu_quota(*places) == 0.5
    assert usable_cores(*places) == 1


def test_no_limit_is_no_limit(machine) -> None:
    places = machine(
        "4:memory:/box\n3:cpu:/box\n0::/\n",
        {
            "cpu/box/cpu.cfs_quota_us": "-1",
            "cpu/box/cpu.cfs_period_us": "100000",
            "memory/box/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    assert cpu_quota(*places) is None
    assert memory_limit_bytes(*places) is None
    assert usable_cores(*places) == len(os.sched_getaffinity(0))


def test_the_smallest_memory_limit_on_the_way_up_counts(machine) -> None:
    places = machine("0::/pod/box\n", {"pod/box/memory.max": "max", "pod/memory.max": str(3 << 30)})
    assert memory_limit_bytes(*places) == 3 << 30


def test_a_system_without_cgroups_has_no_limits(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path, tmp_path) is None
    assert memory_limit_bytes(tmp_path, tmp_path) is None

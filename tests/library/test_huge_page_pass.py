"""Libraries that ask for huge pages: the same results, fewer pages, and nothing where it is of no
use."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tunekit.library.build import export
from tunekit.library.huge_page_pass import ADVISE, wants_huge_pages
from tunekit.machine.target import resolve_target

Array = npt.NDArray[Any]
SIZE, ROWS = 1280, 4
_MADV_COLLAPSE = 25

# Runs a library a few times, in a process of its own: its outputs, and how much of the process's
# memory is in huge pages.
_RUN = """
import sys
import numpy as np
import tvm
from tvm.runtime.vm import VirtualMachine

library, inputs, outputs = sys.argv[1:]
machine = VirtualMachine(tvm.runtime.load_module(library), tvm.cpu())
other = VirtualMachine(tvm.runtime.load_module(library), tvm.cpu())
data = tvm.runtime.tensor(np.load(inputs))
found = [one["main"](data).numpy() for one in (machine, other, machine, machine)]
np.save(outputs, np.stack(found))
for line in open("/proc/self/smaps_rollup"):
    if line.startswith("AnonHugePages"):
        print(line.split()[1])
"""


def _module(size: int) -> tuple[Any, Array]:
    """relu(relu(x W) W), and W."""
    from tvm import relax
    from tvm.script import relax as script

    weights = np.random.default_rng(0).standard_normal((size, size), np.float32)
    builder = relax.BlockBuilder()
    data = relax.Var("x", script.Tensor((ROWS, size), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            constant = relax.const(weights)
            first = builder.emit(relax.op.nn.relu(relax.op.matmul(data, constant)))
            second = builder.emit(relax.op.nn.relu(relax.op.matmul(first, constant)))
            result = builder.emit_output(second)
        builder.emit_func_output(result)
    return builder.get(), weights


def _run(library: Path, folder: Path, data: Array) -> tuple[Array, int]:
    np.save(folder / "in.npy", data)
    command = [sys.executable, "-c", _RUN, library, folder / "in.npy", folder / "out.npy"]
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return np.load(folder / "out.npy"), int(done.stdout)


def _linux_makes_huge_pages() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    memory = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    memory[:] = bytes(8 << 20)  # What nobody has touched has no pages to collapse.
    aligned = -(-start // (2 << 20)) * (2 << 20)
    return bool(libc.madvise(ctypes.c_void_p(aligned), 2 << 20, _MADV_COLLAPSE) == 0)


def test_it_gives_the_same_with_its_weights_in_huge_pages(tmp_path: Path) -> None:
    target = resolve_target("native")
    if not wants_huge_pages(target):
        pytest.skip("no Linux on a CPU of 64 bits")
    module, weights = _module(SIZE)
    data = np.random.default_rng(1).standard_normal((ROWS, SIZE), np.float32)
    export(module, target, tmp_path / "plain.so")
    export(module, target, tmp_path / "huge.so", in_huge_pages=True)
    expected, few = _run(tmp_path / "plain.so", tmp_path, data)
    actual, many = _run(tmp_path / "huge.so", tmp_path, data)
    np.testing.assert_array_equal(actual, expected)
    assert np.abs(actual[0] - np.maximum(np.maximum(data @ weights, 0) @ weights, 0)).max() < 1.0
    if not _linux_makes_huge_pages():
        pytest.skip("this Linux makes no huge pages when asked")
    # KiB; without those at both ends there are most of two machines' weights.
    assert many - few > 1.5 * weights.nbytes / 1024


def test_small_models_do_not_ask(tmp_path: Path) -> None:
    module, _ = _module(256)
    target = resolve_target("native")
    export(module, target, tmp_path / "small.so", in_huge_pages=True)
    export(_module(SIZE)[0], target, tmp_path / "large.so", in_huge_pages=True)
    assert ADVISE.encode() not in (tmp_path / "small.so").read_bytes()
    assert (ADVISE.encode() in (tmp_path / "large.so").read_bytes()) == wants_huge_pages(target)


@pytest.mark.parametrize(
    ("spec", "wants"),
    [
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64-v3", True),
        ("llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72", True),
        ("llvm -mtriple=x86_64-pc-windows-msvc -mcpu=x86-64-v3", False),
        ("llvm -mtriple=arm64-apple-macos", False),
        ("llvm -mtriple=armv7l-linux-gnueabihf -mcpu=cortex-a9", False),
    ],
)
def test_only_linux_of_64_bits_is_asked(spec: str, wants: bool) -> None:
    assert wants_huge_pages(resolve_target(spec, measured_elsewhere=True)) == wants

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from tunekit.errors import SandboxError
from tunekit.processes.sandbox import run_library

if TYPE_CHECKING:
    from tests.conftest import StillRunning


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """main(x: (2, 3) f32, y: (2, 3) f32) -> (x + y, (x - y, x))."""
    import tvm
    from tvm import relax

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    y = relax.Var("y", relax.TensorType((2, 3), "float32"))
    with builder.function("main", [x, y]):
        with builder.dataflow():
            total = builder.emit(relax.op.add(x, y))
            difference = builder.emit(relax.op.subtract(x, y))
            pair = relax.Tuple([total, relax.Tuple([difference, x])])
            result = builder.emit_output(pair)
        builder.emit_func_output(result)
    compiled = tvm.compile(builder.get(), target=tvm.target.Target({"kind": "llvm"}))
    path = tmp_path_factory.mktemp("library") / "sum.so"
    compiled.export_library(str(path))
    return path


def dying_library(folder: Path, statement: str) -> Path:
    """A shared object that does this the moment it is loaded."""
    source = folder / "dying.c"
    source.write_text(
        "#include <signal.h>\n#include <stdio.h>\n#include <unistd.h>\n"
        f"__attribute__((constructor)) static void die(void) {{ {statement}; }}\n"
    )
    path = folder / "dying.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, source], check=True)
    return path


@pytest.fixture
def left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What is in the folder for temporary files, which this test has for itself."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return lambda: sorted(path.name for path in folder.iterdir())


def test_outputs_come_back_flat_and_in_order_for_each_input_set(
    library: Path, monkeypatch: pytest.MonkeyPatch, left_over: Callable[[], list[str]]
) -> None:
    x = np.arange(6, dtype="float32").reshape(2, 3)
    y = np.full((2, 3), 0.5, "float32")
    monkeypatch.chdir(library.parent)
    # A bare file name, and names in another order than the parameters.
    results = run_library(
        Path(library.name), [{"y": y, "x": x}, {"x": y, "y": x}], input_names=["x", "y"], threads=1
    )
    assert len(results) == 2
    for outputs, expected in zip(results, ([x + y, x - y, x], [x + y, y - x, y]), strict=True):
        for output, value in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(output, value)
    assert left_over() == []


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("*(volatile int *)0 = 1", "SIGSEGV"),
        ("__builtin_trap()", "SIG(ILL|TRAP)"),
        ("kill(getpid(), SIGKILL)", "SIGKILL"),
    ],
)
def test_a_library_that_dies_is_reported_by_its_signal(
    tmp_path: Path, statement: str, name: str, left_over: Callable[[], list[str]]
) -> None:
    with pytest.raises(SandboxError, match=name):
        run_library(dying_library(tmp_path, statement), [{}], input_names=[])
    assert left_over() == []


def test_a_library_that_ends_the_process_is_not_taken_for_success(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="exit status 7"):
        run_library(dying_library(tmp_path, "_exit(7)"), [{}], input_names=[])
    with pytest.raises(SandboxError, match="exit status 0"):
        run_library(dying_library(tmp_path, "_exit(0)"), [{}], input_names=[])


def test_a_library_that_hangs_is_stopped_with_all_its_children(
    tmp_path: Path, still_running: StillRunning
) -> None:
    note = tmp_path / "pid"
    hanging = dying_library(
        tmp_path,
        f'if (fork() == 0) {{ execl("/bin/sh", "sh", "-c", "echo $$ > {note}; sleep 300", 0); }}'
        " sleep(300)",
    )
    # The limit is waited for in full, and must be long enough for TVM's runtime to load and the
    # library after it: a second most of the time.
    for timeout_s in (4, 20, 120):
        with pytest.raises(SandboxError, match=f"did not finish within {timeout_s} s"):
            run_library(hanging, [{}], input_names=[], timeout_s=timeout_s)
        if note.exists():
            break
    with contextlib.suppress(psutil.NoSuchProcess):
        assert still_running([psutil.Process(int(note.read_text()))]) == []


def test_an_exception_inside_is_told_by_its_text(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes(b"not a shared object" * 100)
    with pytest.raises(SandboxError, match=r"damaged\.so failed: .*invalid ELF header"):
        run_library(damaged, [{}], input_names=[])
    with pytest.raises(SandboxError, match="there is no library"):
        run_library(tmp_path / "absent.so", [{}], input_names=[])


def test_the_child_dies_with_its_parent(tmp_path: Path, still_running: StillRunning) -> None:
    note = tmp_path / "pid"
    hanging = dying_library(
        tmp_path,
        f'FILE *f = fopen("{note}", "w"); fprintf(f, "%d", getpid()); fclose(f); sleep(300)',
    )
    program = (
        "from pathlib import Path; from tunekit.processes.sandbox import run_library; "
        f"run_library(Path({str(hanging)!r}), [{{}}], input_names=[])"
    )
    # Killed outright, it cannot remove its folder: that goes where pytest removes it.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        deadline = time.monotonic() + 300
        while not (note.exists() and note.read_text()):
            assert parent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child = psutil.Process(int(note.read_text()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert still_running([child]) == []
    finally:
        parent.kill()
        parent.wait()

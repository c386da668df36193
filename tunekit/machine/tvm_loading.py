"""TVM in processes that need less than all of it: loaded sooner, and smaller.

TVM imports torch first wherever that is installed, which takes two thirds of its seconds and of its
memory. A process that holds torch's models needs it anyway; one that builds or runs does not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunekit.machine.toolchain import require_tvm


@contextmanager
def without_torch() -> Iterator[None]:
    """TVM that is imported in here does not bring torch along, unless it is loaded already."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        yield
    finally:
        del sys.modules["torch"]


def runtime_only(device: str) -> Any:
    """TVM without its compiler, with what libraries may call: sorting and the like, the device.

    As a deployed library has it. Without the compiler, `import tvm` leaves the latter out too.

    Args:
        device: where libraries will run, "cpu" or another of TVM's names.

    Raises:
        ToolchainError: see `require_tvm`.
    """
    require_tvm()
    os.environ["TVM_USE_RUNTIME_LIB"] = "1"
    if device == "cuda" and (home := cuda_home()) is not None:
        os.environ["CUDA_PATH"] = str(home)
    with without_torch():
        import tvm
        from tvm import libinfo
        from tvm_ffi.libinfo import load_lib_ctypes

    extras = ["tvm_runtime_extra"] + ([f"tvm_runtime_{device}"] if device != "cpu" else [])
    for name in extras:
        load_lib_ctypes("tvm", name, "RTLD_LOCAL", extra_lib_paths=libinfo.package_lib_paths())
    return tvm


def cuda_home() -> Path | None:
    """The CUDA toolkit whose headers TVM needs, None where there is none.

    A library holds its kernels for GPUs as CUDA, which NVRTC compiles when it is loaded. TVM looks
    for the headers beside the `nvcc` of the PATH, which may be a script in another place.
    """
    named = os.environ.get("CUDA_PATH")
    places = [Path(named)] if named else []
    places += [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True)]
    return next((place for place in places if (place / "include/cuda_runtime.h").is_file()), None)


def arrays_of(result: Any) -> list[Any]:
    """The NumPy arrays of what a library's function returned: one tensor, or nested tuples of
    them, flattened."""
    if hasattr(result, "numpy"):
        return [result.numpy()]
    return [array for part in result for array in arrays_of(part)]

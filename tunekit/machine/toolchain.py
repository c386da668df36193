"""Which versions are installed, and whether they fit each other.

Read from the distributions' metadata: nothing here imports what it asks about, so the pair of
packages that would kill the process is found before it can.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from tunekit.errors import ToolchainError

TVM_VERSION = "0.27.0.post1"
TVM_FFI_VERSION = "0.1.14.post1"
TVM_FFI_SERIES = "0.1.14"

_TVM_PAIR = (f"apache-tvm=={TVM_VERSION}", f"apache-tvm-ffi=={TVM_FFI_VERSION}")

NEEDED_TO_TUNE: tuple[str, ...] = ("psutil", "cloudpickle", "xgboost")
"""What MetaSchedule imports only when it needs it: missing, it fails in the middle of a run."""

DISTRIBUTIONS: tuple[str, ...] = (
    "apache-tvm",
    "apache-tvm-ffi",
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "xgboost",
    "psutil",
    "cloudpickle",
    "tornado",
    "numpy",
    "sqlalchemy",
    "alembic",
    "archspec",
    "pydantic",
    "ruamel.yaml",
    "rich",
    "typer",
)
"""The distributions whose versions can change a result or a run; the order they are shown in."""


@dataclass(frozen=True)
class ToolchainProblem:
    """One thing that does not fit: the distribution, what is wrong and the command that mends it.

    `fatal`: tuning fails, or the process dies, as long as it stays.
    """

    distribution: str
    message: str
    fix: str
    fatal: bool = True


def installed_version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of the distributions in DISTRIBUTIONS that are installed."""
    by_package = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for name in DISTRIBUTIONS:
        version = installed_version(name)
        if version is not None:
            by_package[name] = version
    return by_package


def pip_install(*requirements: str) -> str:
    """The command that installs these requirements into the running interpreter's environment."""
    quoted = " ".join(shlex.quote(requirement) for requirement in requirements)
    return f"{shlex.quote(sys.executable)} -m pip install {quoted}"


def tvm_problems() -> Iterator[ToolchainProblem]:
    """What keeps TVM from being used here, worst first; nothing when all fits."""
    tvm = installed_version("apache-tvm")
    ffi = installed_version("apache-tvm-ffi")
    fix_pair = pip_install(*_TVM_PAIR)
    if tvm is None:
        yield ToolchainProblem("apache-tvm", "apache-tvm is not installed", fix_pair)
    if ffi is None:
        yield ToolchainProblem("apache-tvm-ffi", "apache-tvm-ffi is not installed", fix_pair)
    elif re.match(re.escape(TVM_FFI_SERIES) + r"($|[^0-9])", ffi) is None:
        yield ToolchainProblem(
            "apache-tvm-ffi",
            f"apache-tvm {tvm or TVM_VERSION} does not work with apache-tvm-ffi {ffi}: writing a "
            f"tuning record would kill the process; it needs apache-tvm-ffi {TVM_FFI_VERSION}",
            fix_pair,
        )
    if tvm is not None and tvm != TVM_VERSION:
        yield ToolchainProblem(
            "apache-tvm",
            f"apache-tvm {tvm} is installed, but tunekit is written for {TVM_VERSION}: "
            "names and passes move between its releases",
            fix_pair,
        )
    missing = [name for name in NEEDED_TO_TUNE if installed_version(name) is None]
    for name in missing:
        yield ToolchainProblem(
            name,
            f"{name} is not installed, and TVM's tuning needs it",
            pip_install(*missing),
        )


def require_tvm() -> None:
    """Refuse to go on where TVM is missing or would kill the process.

    Called before `import tvm` at every entry point that uses it; reads metadata only, a few
    milliseconds.

    Raises:
        ToolchainError: lists all problems, with the command that mends them.
    """
    problems = list(tvm_problems())
    if not problems:
        return
    raise ToolchainError(
        "\n  ".join(problem.message for problem in problems),
        hint="run: " + " && ".join(dict.fromkeys(problem.fix for problem in problems)),
    )

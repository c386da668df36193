"""What a fresh clone relies on: the make targets, the pins, and other ways to call the command."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tunekit import __version__
from tunekit.benchmark.registry import find_runtime
from tunekit.machine import toolchain
from tunekit.recipe import PEER_RUNTIMES
from tunekit.runtimes import nvml

ROOT = Path(__file__).parent.parent
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line
)


def make(*arguments: str) -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def optional_dependencies() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(project["optional-dependencies"])


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_quickstart_installs_then_tunes_and_benchmarks() -> None:
    commands = make("-n", "quickstart", "VENV=/nowhere").splitlines()
    order = ("-m venv", "-c constraints.txt", "tunekit tune", "tunekit bench")
    places = [next(i for i, line in enumerate(commands) if part in line) for part in order]
    assert places == sorted(places)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_test_checks_form_types_and_behaviour() -> None:
    commands = make("-n", "test", "VENV=/nowhere")
    for part in ("ruff check", "ruff format --check", "mypy", "-m pytest"):
        assert part in commands


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_alone_lists_its_targets_without_installing() -> None:
    listed = make("VENV=/nowhere")
    for target in ("quickstart", "test", "lint", "format", "docs", "examples", "clean"):
        assert f"make {target}" in listed


def test_ci_runs_the_tests_from_any_folder() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert re.search(
        r'^cd "\$\(dirname "\$\{BASH_SOURCE\[0\]\}"\)/\.\."$', script.read_text(), re.M
    )
    assert "make test" in script.read_text()


def test_the_pins_name_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line


def test_every_requirement_is_pinned() -> None:
    pinned = {normal(name) for name in PINS}
    for requirement in metadata.requires("tunekit") or []:
        name = normal(re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0])
        # An extra that is several others names the package itself.
        if 'extra == "postgres"' not in requirement and name != "tunekit":
            assert name in pinned, requirement


def test_the_pinned_pair_is_the_one_that_the_toolchain_check_accepts() -> None:
    assert PINS["apache-tvm"] == toolchain.TVM_VERSION
    assert PINS["apache-tvm-ffi"] == toolchain.TVM_FFI_VERSION
    requirements = metadata.requires("tunekit") or []
    assert f"apache-tvm=={toolchain.TVM_VERSION}" in requirements
    assert f"apache-tvm-ffi=={toolchain.TVM_FFI_VERSION}" in requirements


def test_the_package_has_one_version() -> None:
    assert metadata.version("tunekit") == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_what_a_missing_runtime_is_installed_with_is_its_extra() -> None:
    """With the versions that fit, and all of its packages at once."""
    extras = optional_dependencies()
    names = [name for name in PEER_RUNTIMES if name in extras]
    assert len(names) == 6
    for name in names:
        assert shlex.split(find_runtime(name).install) == extras[name]


def test_what_is_said_to_be_missing_beside_a_gpu_is_its_extra() -> None:
    extras = optional_dependencies()
    assert extras["gpu"] == [nvml.PACKAGE]
    # What this package asks for itself is in step with the extra of that name.
    assert set(extras["executorch"]) < set(shlex.split(find_runtime("torch-tensorrt").install))

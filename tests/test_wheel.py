"""A wheel, built and installed as a person would have it: it works from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `tunekit` of a fresh environment. What tunekit needs is that of the tests' own: only
    tunekit itself is built and installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # A build leaves files beside the sources, which the next one would take along.
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("tunekit", "recipes"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=leave)
    _run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder)),
        cwd=source,
    )
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # pip is the tests' own, too.
    python = environment / "bin" / "python"
    _run(
        *(str(python), "-m", "pip", "install", "--no-deps", "--no-index", str(wheel)),
        cwd=folder,
    )
    return environment / "bin" / "tunekit"


def _run(*command: str, cwd: Path) -> str:
    # What is installed is to be found, and not the sources that the tests run.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_it_has_its_verbs_and_its_recipes(installed: Path, tmp_path: Path) -> None:
    tunekit = str(installed)
    assert "tune" in _run(tunekit, "--help", cwd=tmp_path)
    listed = _run(tunekit, "recipe", "list", cwd=tmp_path)
    names = sorted(file.stem for file in (ROOT / "recipes").glob("*.yaml"))
    assert [line.split()[0] for line in listed.splitlines()] == names
    assert _run(tunekit, "recipe", "copy", "quickstart", cwd=tmp_path) == "quickstart.yaml\n"
    checked = _run(tunekit, "recipe", "check", "quickstart.yaml", cwd=tmp_path)
    assert checked == "quickstart.yaml: ok (quickstart: torchvision:resnet18)\n"
    assert '"title": "Recipe"' in _run(tunekit, "recipe", "schema", cwd=tmp_path)


def test_it_is_the_installed_package_with_all_its_files(installed: Path, tmp_path: Path) -> None:
    code = "import tunekit; print(tunekit.__file__)"
    package = Path(_run(str(installed.parent / "python"), "-c", code, cwd=tmp_path).strip()).parent
    assert installed.parent.parent in package.parents
    here = {
        file.relative_to(ROOT / "tunekit")
        for file in (ROOT / "tunekit").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    here |= {Path("recipes") / file.name for file in (ROOT / "recipes").iterdir()}
    there = {
        file.relative_to(package)
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert there == here


def test_it_makes_a_catalogue_and_finds_this_machine_fit(installed: Path, tmp_path: Path) -> None:
    made = "from tunekit.catalogue import Catalogue; Catalogue.open('measured.db').close()"
    _run(str(installed.parent / "python"), "-c", made, cwd=tmp_path)
    info = _run(str(installed), "catalogue", "info", "--catalogue", "measured.db", cwd=tmp_path)
    assert "measured.db" in info
    assert "No problems found." in _run(str(installed), "doctor", "--quick", cwd=tmp_path)


def test_torch_knows_its_backend_by_name(installed: Path, tmp_path: Path) -> None:
    code = "from torch._dynamo.backends.registry import lookup_backend as f; print(f('tunekit'))"
    found = _run(str(installed.parent / "python"), "-c", code, cwd=tmp_path)
    assert "tunekit_backend" in found

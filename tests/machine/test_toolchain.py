"""The check of versions, against real installed metadata in folders of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tunekit.errors import ToolchainError
from tunekit.machine.toolchain import require_tvm, tvm_problems, versions


def install(folder: Path, **distributions: str) -> None:
    """Write the metadata that an installed distribution has; ``_`` stands for ``-``."""
    for name, version in distributions.items():
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        )


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installs exactly these distributions for the rest of the test."""

    def replace(**distributions: str) -> None:
        install(tmp_path, **distributions)
        monkeypatch.setattr(sys, "path", [str(tmp_path)])

    return replace


FITTING = {
    "apache_tvm": "0.27.0.post1",
    "apache_tvm_ffi": "0.1.14.post1",
    "psutil": "7.0",
    "cloudpickle": "3.1",
    "xgboost": "3.0",
}


def test_the_pinned_versions_are_accepted(only) -> None:
    only(**FITTING)
    require_tvm()


def test_what_is_installed_here_is_accepted() -> None:
    require_tvm()


@pytest.mark.parametrize("ffi", ["0.1.15", "0.1.15.post1", "0.1.140", "0.1.13", "0.2.0", "1.0"])
def test_the_pair_that_segfaults_is_refused_with_the_command_that_mends_it(only, ffi) -> None:
    only(**{**FITTING, "apache_tvm_ffi": ffi})
    with pytest.raises(ToolchainError) as caught:
        require_tvm()
    assert f"apache-tvm-ffi {ffi}" in caught.value.message
    assert "would kill the process" in caught.value.message
    assert "-m pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1" in str(
        caught.value.hint
    )
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("ffi", ["0.1.14", "0.1.14.post0", "0.1.14.post2"])
def test_any_build_of_the_fitting_ffi_series_is_accepted(only, ffi) -> None:
    only(**{**FITTING, "apache_tvm_ffi": ffi})
    require_tvm()


def test_another_release_of_tvm_is_refused(only) -> None:
    only(**{**FITTING, "apache_tvm": "0.26.0"})
    with pytest.raises(ToolchainError, match=r"apache-tvm 0\.26\.0 is installed"):
        require_tvm()


@pytest.mark.parametrize("name", list(FITTING))
def test_a_missing_package_is_named_with_its_installation(only, name) -> None:
    only(**{key: version for key, version in FITTING.items() if key != name})
    with pytest.raises(
        ToolchainError, match=f"{name.replace('_', '-')} is not installed"
    ) as caught:
        require_tvm()
    assert name.replace("_", "-") in str(caught.value.hint)


def test_all_problems_are_told_at_once(only) -> None:
    only(apache_tvm="0.27.0.post1", apache_tvm_ffi="0.1.15")
    named = [problem.distribution for problem in tvm_problems()]
    assert named == ["apache-tvm-ffi", "psutil", "cloudpickle", "xgboost"]
    with pytest.raises(ToolchainError) as caught:
        require_tvm()
    assert str(caught.value.hint).count("psutil cloudpickle xgboost") == 1


def test_versions_lists_only_what_is_installed(only) -> None:
    only(**FITTING)
    found = versions()
    assert found["apache-tvm"] == "0.27.0.post1"
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert "torch" not in found


def test_checking_versions_imports_none_of_the_packages() -> None:
    code = (
        "import sys; from tunekit.machine.toolchain import require_tvm, versions;"
        "require_tvm(); versions();"
        "print(sorted({'tvm', 'tvm_ffi', 'torch', 'numpy', 'xgboost'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

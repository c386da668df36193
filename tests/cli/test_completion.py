"""What Tab offers, asked for as bash and zsh ask; and that help fits a terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shell_completion import SHELLS, offered

from tunekit.cli.app import VERBS
from tunekit.cli.complete import complete_recipes


@SHELLS
def test_recipes_and_models_are_offered(tmp_path: Path, shell: str) -> None:
    for name in ("one.yaml", "two.onnx", "other.txt"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    shown = offered(tmp_path, "tunekit tune ", shell)
    for name in ("one.yaml", "two.onnx", "more/"):
        assert name in shown
    assert "other.txt" not in shown


@SHELLS
def test_ready_recipes_are_offered(tmp_path: Path, shell: str) -> None:
    assert "resnet50_x86" in offered(tmp_path, "tunekit recipe copy resnet5", shell)


@SHELLS
def test_runtimes_are_offered_one_after_the_other(tmp_path: Path, shell: str) -> None:
    shown = offered(tmp_path, "tunekit bench --runtimes tuned,o", shell)
    assert "tuned,onnxruntime" in shown
    assert "tuned,openvino" in shown


def test_a_file_in_a_folder_is_offered_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "net.onnx").touch()
    monkeypatch.chdir(tmp_path)
    assert complete_recipes("a/") == ["a/b/", "a/net.onnx"]
    assert complete_recipes("a/n") == ["a/net.onnx"]
    assert complete_recipes("gone/") == []
    assert complete_recipes(f"{tmp_path}/a/n") == [f"{tmp_path}/a/net.onnx"]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_eighty_columns_and_cuts_nothing_off(run_warm, verb: str) -> None:
    help_text = run_warm(*verb.split(), "--help", env={"COLUMNS": "80"}).stdout
    assert max(map(len, help_text.splitlines())) <= 80
    assert "..." not in help_text.replace("[ARGS]...", "").replace("]...", "").replace("}...", "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_the_script_that_tunekit_gives_it(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "tunekit"
    command.parent.mkdir()
    command.write_text(
        f"#!{sys.executable}\nfrom tunekit.cli.app import main\n\nmain()\n", encoding="utf-8"
    )
    command.chmod(0o755)
    session = """
        eval "$(_TUNEKIT_COMPLETE=source_bash tunekit)"
        COMP_WORDS=(tunekit recipe copy resnet5) COMP_CWORD=3
        _tunekit_completion tunekit
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", session],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("resnet50_x86\n", "")

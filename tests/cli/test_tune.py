"""What `tunekit tune` refuses: one message, what to do, exit 2, and everything as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tunekit.machine.host import detect_host


def _refused(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in done.stderr


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--trials", "-1"], "--trials: must be at least 0, not -1"),
        (["--trials-per-task", "0"], "--trials-per-task: must be at least 1, not 0"),
        (["--max-seconds", "0"], "--max-seconds: must be more than 0"),
        (["--patience", "0"], "--patience: must be at least 1, not 0"),
        (["--repeat", "0"], "--repeat: must be at least 1"),
        (["--timeout", "0"], "--timeout: must be more than 0"),
        (["--layout", "NCWH"], "did you mean"),
        (["--trials", "8", "--trials-per-task-factor", "2"], "cannot be given together"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_make_no_sense(run_warm, recipe_file: Path, flags, text: str) -> None:
    _refused(run_warm("tune", recipe_file, *flags), text)


def test_a_recipe_that_is_not_there(run_warm, recipe_file: Path) -> None:
    _refused(run_warm("tune", "smal.yaml"), "smal.yaml: no such file", "small.yaml")


def test_a_model_file_that_is_not_there(run_warm, recipe_file: Path) -> None:
    text = recipe_file.read_text().replace("torchvision:resnet18", "missing.onnx")
    recipe_file.write_text(text)
    _refused(run_warm("tune", recipe_file), "small.yaml:3: model.source: ", "missing.onnx")


@pytest.mark.parametrize("flags", [("--artifacts", "taken"), ("-o", "taken/small")])
@pytest.mark.parametrize("verb", ["tune", "compile"])
def test_an_output_folder_that_is_a_file(
    run_warm, recipe_file: Path, verb: str, flags: tuple[str, str]
) -> None:
    (recipe_file.parent / "taken").write_text("mine")
    before = sorted(recipe_file.parent.rglob("*"))
    _refused(
        run_warm(verb, recipe_file, *flags),
        "error: cannot write to the output folder taken/small: ",
        "  hint: choose another with --artifacts",
    )
    assert (recipe_file.parent / "taken").read_text() == "mine"
    assert sorted(recipe_file.parent.rglob("*")) == before


def test_a_catalogue_that_is_something_else_is_left_alone(run_warm, recipe_file: Path) -> None:
    letter = recipe_file.parent / "letter.txt"
    letter.write_text("Dear catalogue, " * 300)
    before = letter.read_bytes()
    _refused(run_warm("tune", recipe_file, "--catalogue", letter), "letter.txt", "  hint: ")
    assert letter.read_bytes() == before
    assert not list(recipe_file.parent.glob("letter.txt-*"))
    assert not list(recipe_file.parent.rglob("model.so"))


@pytest.mark.skipif("amx_tile" in detect_host().features, reason="this CPU has AMX")
def test_a_target_that_this_machine_cannot_run(run_warm, recipe_file: Path) -> None:
    done = run_warm("tune", recipe_file, "--target", "llvm -mcpu=sapphirerapids")
    _refused(done, "error: target needs ", "amx-tile", "does not offer", "  hint: use 'native'")
    assert not (recipe_file.parent / "tuning_logs").exists()

"""The program in C that runs a library and times itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tunekit.runtimes.c_program import SOURCE
from tunekit.standalone.build import SOURCES
from tunekit.timing.rounds import Entry, RoundSettings, run_rounds


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_program_is_c_that_compilers_have_nothing_to_say_about(compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    warnings = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-std=c99")
    options = ("-fsyntax-only", "-DTIMED_API=any_api", f"-I{SOURCES}")
    command = [compiler, *warnings, *options, str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_that_ends_says_what_it_said(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho the model is damaged >&2\nexit 3\n")
    program.chmod(0o755)
    plan = {"program": str(program), "input_names": ["x"], "outputs": []}
    result = run_rounds(
        [Entry("tuned-c", "tunekit.runtimes.c_program:CProgram", plan)],
        {"x": np.zeros(3, "float32")},
        RoundSettings(rounds=1, threads=1),
        folder=tmp_path,
        say=lambda _: None,
    )
    [outcome] = result.outcomes
    assert outcome.reason == (
        "RuntimeError: the program ended with exit status 3: the model is damaged (while loading)"
    )

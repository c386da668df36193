"""What becomes of a program that ends before it should."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tunekit.timing.rounds import Entry, RoundSettings, run_rounds


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

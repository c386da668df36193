"""What a shell offers when Tab is pressed, asked for in the way that its completion script asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHELLS = pytest.mark.parametrize("shell", ["bash", "zsh"])

_ASK = """
import sys
from tunekit.cli.app import main
try:
    main()
finally:
    print("loaded", sorted({"tvm", "torch", "onnxruntime"} & set(sys.modules)), file=sys.stderr)
"""


def offered(folder: Path, words: str, shell: str) -> str:
    """What the shell is offered for the last of these words."""
    variables = {
        "bash": {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": words},
    }
    done = subprocess.run(
        [sys.executable, "-c", _ASK.replace("main()", 'sys.argv[0] = "tunekit"; main()', 1)],
        cwd=folder,
        env={**os.environ, "_TUNEKIT_COMPLETE": f"complete_{shell}", **variables[shell]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "loaded []" in done.stderr, done.stderr
    return done.stdout

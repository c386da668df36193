"""Commands as a person types them, on a machine without tunekit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def shell(*command: str | Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs a command with nothing but PATH in its environment; it has to end with this code."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done

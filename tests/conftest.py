"""What all tests share: a shell that runs tunekit as a person does, and places of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# A shell starts what it runs in the background with Ctrl-C ignored, and every process that the
# tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True, scope="session")
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The person's catalogue, settings and cache must neither help nor be touched."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TUNEKIT_")]:
            patch.delenv(name)
        patch.setenv("TUNEKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def run_tunekit(tmp_path: Path) -> Run:
    """Runs the command line in a process of its own, in ``tmp_path``, without a terminal."""

    def run(
        *arguments: str | Path, env: dict[str, str] | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                "from tunekit.cli.app import main; main()",
                *map(str, arguments),
            ],
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture
def recipe_text() -> str:
    """A small recipe that is right in every way."""
    return """\
name: small
model:
  source: torchvision:resnet18
  inputs:
    - name: input
      shape: [1, 3, 32, 32]
tuning:
  trials: 8
"""


@pytest.fixture
def recipe_file(tmp_path: Path, recipe_text: str) -> Path:
    """The file of ``recipe_text``."""
    file = tmp_path / "small.yaml"
    file.write_text(recipe_text)
    return file

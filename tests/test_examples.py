"""Examples are programs that a newcomer copies: each loads, and the quick ones run."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("[0-9]*.py"))


def load(name: str) -> Any:
    (file,) = (example for example in EXAMPLES if example.stem == name)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [example.stem for example in EXAMPLES])
def test_each_loads_without_running_and_says_how_it_is_run(name: str) -> None:
    module = load(name)
    assert callable(module.main)
    assert f"python examples/{name}.py" in module.__doc__


def test_an_onnx_file_with_an_open_batch_is_tuned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load("02_onnx").main(tmp_path, trials=2)
    assert "scores: (4, 10)" in capsys.readouterr().out


def test_metaschedule_finds_in_the_catalogue_what_it_put_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load("05_metaschedule_database").main(tmp_path)
    assert "metaschedule.db: 3\n" in capsys.readouterr().out


def test_one_that_needs_pictures_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["06_detect.py"])
        runpy.run_path(str(EXAMPLES[-1]), run_name="__main__")
    assert "python examples/06_detect.py artifacts/" in capsys.readouterr().out

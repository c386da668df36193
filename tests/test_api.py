"""The Python API: nothing to import, everything offered, and a script that needs no guard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tunekit
from tunekit import api
from tunekit.errors import UsageError

_LOADED = """
import sys
before = set(sys.modules)
import tunekit
dir(tunekit), tunekit.__all__, tunekit.__version__
names = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(names - sys.stdlib_module_names), "tunekit.api" in sys.modules)
"""

_MODEL = """
import torch


def line():
    return torch.nn.Linear(16, 4)
"""

_SCRIPT = """
import json

import numpy as np

import tunekit


class Told:
    def __init__(self):
        self.lines, self.updates = [], 0

    def say(self, line):
        self.lines.append(line)

    def update(self, progress):
        self.updates += 1


told = Told()
library = tunekit.tune(
    "python:line_model:line",
    inputs={"x": (2, 16)},
    trials=2,
    output="out",
    catalogue="measured.db",
    settings={"tuning.measure.repeat": 3, "layout": "NCHW"},
    selection=False,
    reporter=told,
)
known = tunekit.lookup(
    "python:line_model:line", inputs={"x": (2, 16)}, catalogue="measured.db"
)
with tunekit.Catalogue.open("measured.db", create=False) as catalogue:
    sessions = catalogue.sessions.list()
recipe = tunekit.load_recipe(library.folder / "recipe.yaml")
outputs = library.run(np.ones((2, 16), "float32"))
by_name = library.run(x=np.ones((2, 16), "float32"))
print(
    json.dumps(
        {
            "folder": str(library.folder),
            "sessions": len(sessions),
            "shape": outputs.shape,
            "alike": bool((outputs == by_name).all()),
            "name": library.manifest.name,
            "lines": len(told.lines),
            "updates": told.updates,
            "known": len(known.tasks),
            "repeat": recipe.tuning.measure.repeat,
        }
    )
)
"""


def test_importing_it_loads_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['tunekit'] False\n"


def test_it_offers_what_it_says_it_does() -> None:
    for name in tunekit.__all__:
        assert getattr(tunekit, name) is getattr(api, name)
        assert name in dir(tunekit)
        assert (getattr(tunekit, name).__doc__ or "").strip(), name
    assert tunekit.__all__ == api.__all__
    with pytest.raises(AttributeError, match="no attribute 'tunes'"):
        _ = tunekit.tunes


def test_a_script_without_a_guard_tunes_a_model(tmp_path: Path) -> None:
    (tmp_path / "line_model.py").write_text(_MODEL)
    (tmp_path / "script.py").write_text(_SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    assert (printed["folder"], printed["name"], printed["repeat"]) == ("out/line", "line", 3)
    assert (printed["known"], printed["sessions"]) == (1, 1)
    assert (printed["shape"], printed["alike"]) == ([2, 4], True)
    assert min(printed["lines"], printed["updates"]) > 0
    assert (tmp_path / "out" / "line" / "model.so").is_file()


def test_settings_in_python_are_named_by_their_keys(recipe_file: Path) -> None:
    recipe = tunekit.load_recipe(
        recipe_file,
        trials=9,
        output="out",
        catalogue=Path("other.db"),
        inputs={"input": (2, 3, 32, 32)},
        settings={"tuning.measure.repeat": 10},
    )
    assert (recipe.tuning.trials, recipe.tuning.measure.repeat) == (9, 10)
    assert (recipe.output, recipe.catalogue) == (Path("out"), "other.db")
    assert recipe.model.inputs[0].shape == (2, 3, 32, 32)
    assert tunekit.load_recipe(recipe) is recipe
    with pytest.raises(UsageError, match=r"^tuning\.measure\.repeat: must be at least 1, not 0"):
        tunekit.load_recipe(recipe, settings={"tuning.measure.repeat": 0})
    with pytest.raises(UsageError, match="is a recipe, which has no sizes with names"):
        tunekit.load_recipe(recipe, dims={"batch": 1})


@pytest.mark.parametrize("name", ["mnn", "tuned", "openvno"])
def test_who_does_not_say_where_its_time_goes_is_refused_at_once(
    recipe_file: Path, name: str
) -> None:
    with pytest.raises(UsageError, match=f"'{name}' does not say where its time goes"):
        tunekit.explain(recipe_file, runtimes=[name])

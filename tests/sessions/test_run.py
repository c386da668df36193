"""`tunekit tune` and `resume` from an empty folder to a library, through Ctrl-C and kill -9.

One small model is tuned once, in several goes, and its traces are looked at from all sides: that
takes a few seconds a process, and the tests share them.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from killable import Command, WarmStarter, still_running, wait_until

from tunekit.catalogue import Catalogue, Trial, toolchain_key
from tunekit.machine.toolchain import versions
from tunekit.recipe import load_recipe

_BUDGET = 16
_MORE = 6
_MODEL = """\
import torch


def tiny():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 16 * 16, 10),
    )
"""
_RECIPE = f"""\
name: tiny
model:
  source: python:tiny_model:tiny
  weights: weights.pt
  inputs:
    - name: image
      shape: [1, 3, 16, 16]
layout: NCHW
catalogue: ledger/catalogue.db
tuning:
  trials: {_BUDGET}
  measure: {{repeat: 2, min_repeat_ms: 1, jobs: 1}}
"""


@dataclass(frozen=True)
class Run:
    """A finished process, and the trials in the catalogue when it ended."""

    returncode: int
    stdout: str
    stderr: str
    trials: int


@dataclass(frozen=True)
class Story:
    """The folder in which all happened, and the runs in their order."""

    folder: Path
    elsewhere: Path
    session_id: str
    interrupted: Run
    resumed_beside: Run
    tuned_beside: Run
    killed: Run
    finished: Run
    left_behind: Sequence[psutil.Process]

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger" / "catalogue.db"

    @property
    def budget(self) -> int:
        """Of the last run."""
        return self.killed.trials + _MORE

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts" / "tiny"

    def trials(self) -> list[Trial]:
        with Catalogue.open(self.ledger, create=False) as catalogue:
            return list(catalogue.trials.read())


def _prepare(folder: Path) -> None:
    (folder / "tiny_model.py").write_text(_MODEL)
    (folder / "tiny.yaml").write_text(_RECIPE)
    names: dict[str, Any] = {}
    exec(_MODEL, names)
    torch.manual_seed(11)
    torch.save(names["tiny"]().state_dict(), folder / "weights.pt")


def _trials(folder: Path, ledger: str = "ledger/catalogue.db") -> int:
    """Trials in the catalogue, read beside whoever writes it; 0 before there is one."""
    path = folder / ledger
    if not path.is_file():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("select count(*) from trials").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


class Tunekit:
    """Starts commands, and waits for their end."""

    def __init__(self, starter: WarmStarter, logs: Path) -> None:
        self._starter = starter
        self._logs = logs
        self._number = itertools.count()

    def start(self, folder: Path, *arguments: str) -> Command:
        number = next(self._number)
        out, err = self._logs / f"{number}.out", self._logs / f"{number}.err"
        return self._starter.start(folder, out, err, arguments)

    def run(self, folder: Path, *arguments: str, place: Path | None = None) -> Run:
        """Until it has ended; the trials are those of the catalogue in `place`."""
        return finish(self.start(folder, *arguments), place or folder)


def finish(command: Command, folder: Path) -> Run:
    code = command.wait()
    return Run(code, command.out.read_text(), command.errors, _trials(folder))


@pytest.fixture(scope="module")
def tunekit(starter: WarmStarter, tmp_path_factory: pytest.TempPathFactory) -> Tunekit:
    return Tunekit(starter, tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def story(tunekit: Tunekit, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """One session: interrupted, resumed from another folder with a larger budget, tried to be run
    twice, killed, and gone on with to its end."""
    folder = tmp_path_factory.mktemp("story")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    ledger = str(folder / "ledger" / "catalogue.db")
    _prepare(folder)
    command = tunekit.start(folder, "tune", "tiny.yaml")
    wait_until(lambda: _trials(folder) >= 1)
    command.send(signal.SIGINT)
    interrupted = finish(command, folder)
    with Catalogue.open(ledger, create=False) as catalogue:
        (session,) = catalogue.sessions.list()

    # More than it could spend before it is killed.
    command = tunekit.start(elsewhere, "resume", "--trials", "100", "--catalogue", ledger)
    wait_until(lambda: _trials(folder) > interrupted.trials)
    family = command.family()
    # It lives, but does not get any further meanwhile.
    command.send(signal.SIGSTOP)
    beside = [
        tunekit.run(folder, "resume", session.id[:6], "--catalogue", ledger),
        tunekit.run(folder, "tune", "tiny.yaml"),
    ]
    command.send(signal.SIGKILL)
    killed = finish(command, folder)
    left_behind = still_running(family)

    budget = str(killed.trials + _MORE)
    # What the library is like depends on the records alone, and not on which is faster.
    finished = tunekit.run(folder, "tune", "tiny.yaml", "--trials", budget, "--no-contest")
    return Story(folder, elsewhere, session.id, interrupted, *beside, killed, finished, left_behind)


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(story: Story) -> None:
    run = story.interrupted
    assert run.returncode == 130, run.stderr
    assert run.stdout == ""
    assert "stopping after this batch" in run.stderr
    assert f"error: stopped after {run.trials} of {_BUDGET} trials" in run.stderr
    again = f"tunekit resume {story.session_id} --catalogue ledger/catalogue.db"
    assert f"  hint: go on with: {again}\n" in run.stderr
    assert "Traceback" not in run.stderr


def test_ctrl_c_lets_the_running_batch_end(story: Story) -> None:
    assert 1 < story.interrupted.trials < _BUDGET


def test_a_killed_session_keeps_what_it_measured_and_leaves_no_process(story: Story) -> None:
    assert story.killed.returncode == -signal.SIGKILL
    assert story.killed.trials > story.interrupted.trials
    assert not story.left_behind


def test_resuming_goes_on_from_another_folder_and_with_another_budget(story: Story) -> None:
    run = story.killed
    assert f"in {story.folder}\n" in run.stderr
    assert (
        f"going on with session {story.session_id}: {story.interrupted.trials} of 100 trials done "
        f"(the budget was {_BUDGET})\n"
    ) in run.stderr
    assert not list(story.elsewhere.iterdir())


def test_tuning_goes_on_with_the_session_whatever_its_budget_was(story: Story) -> None:
    assert (
        f"going on with session {story.session_id}: {story.killed.trials} of {story.budget} trials "
        "done (the budget was 100)\n"
    ) in story.finished.stderr
    with Catalogue.open(story.ledger, create=False) as catalogue:
        session = catalogue.sessions.get(story.session_id)
    assert session.state == "finished"
    assert session.trials_done == session.budget_trials == story.budget


def test_a_session_is_run_by_one_process_at_a_time(story: Story) -> None:
    for run in (story.resumed_beside, story.tuned_beside):
        assert run.returncode == 2, run.stderr
        assert run.stdout == ""
        assert f"error: session {story.session_id} " in run.stderr
        assert "is being run by process " in run.stderr
        assert "  hint: wait for it to end" in run.stderr
    assert "--fresh starts another" in story.tuned_beside.stderr


def test_what_is_known_is_said_before_anything_is_spent(story: Story) -> None:
    assert "\nnone of 2 tasks known\n" in story.interrupted.stderr
    known = [line for line in story.finished.stderr.splitlines() if " tasks known" in line]
    # Both, or the one whose batch was finished when Ctrl-C came.
    assert len(known) == 1
    assert re.match(r"2 of 2 tasks known, 100 %|1 of 2 tasks known, \d+ % .*; 1 new", known[0])


def test_the_budget_is_spent_exactly_once_however_often_it_was_interrupted(story: Story) -> None:
    assert story.finished.returncode == 0, story.finished.stderr
    assert story.finished.trials == story.budget
    trials = story.trials()
    assert [trial.position for trial in trials] == list(range(story.budget))
    keys = [(trial.structural_hash, trial.candidate_digest) for trial in trials]
    assert len(set(keys)) == story.budget


def test_every_trial_has_seconds_or_a_failure_and_its_trace(story: Story) -> None:
    for trial in story.trials():
        assert (trial.samples_s is None) == (trial.failure is not None)
        assert json.loads(trial.trace_json)
        if trial.samples_s is not None:
            assert trial.score_s
            assert min(trial.samples_s) > 0
    assert any(trial.samples_s for trial in story.trials())


def test_the_library_lies_where_standard_output_says(story: Story) -> None:
    assert story.finished.stdout == "artifacts/tiny\n"
    assert sorted(file.name for file in story.artifacts.iterdir()) == [
        "libtiny.so",
        "manifest.json",
        "model.so",
        "recipe.yaml",
    ]


def test_without_a_terminal_the_progress_is_plain_lines(story: Story) -> None:
    assert "\x1b" not in story.finished.stderr
    assert "\r" not in story.finished.stderr
    assert f"{story.budget}/{story.budget} trials, estimated latency " in story.finished.stderr


def test_the_manifest_describes_the_library(story: Story) -> None:
    manifest = json.loads((story.artifacts / "manifest.json").read_text())
    library = (story.artifacts / manifest["library"]).read_bytes()
    assert manifest["sha256"] == hashlib.sha256(library).hexdigest()
    assert manifest["size_bytes"] == len(library)
    assert manifest["inputs"] == [{"name": "image", "shape": [1, 3, 16, 16], "dtype": "float32"}]
    assert [output["shape"] for output in manifest["outputs"]] == [[1, 10]]
    assert manifest["coverage"] == 1.0
    assert manifest["applied"] == manifest["kernels"] == len(manifest["tasks"])
    assert all(0 <= error < 1e-4 for error in manifest["relative_errors"])
    assert len(manifest["relative_errors"]) == 2
    assert manifest["versions"]["apache-tvm"]
    assert manifest["target"]["kind"] == "llvm"
    assert manifest["host"]["cores"] >= 1
    good = {trial.trial_id: trial for trial in story.trials() if trial.samples_s}
    for task in manifest["tasks"]:
        # Which of a task's good trials it is was settled in a final, with seconds of its own.
        assert good[task["trial_id"]].structural_hash == task["structural_hash"]
        assert task["latency_s"] > 0
    total = sum(task["weight"] * task["latency_s"] for task in manifest["tasks"])
    assert manifest["estimated_latency_s"] == pytest.approx(total)


def test_the_library_is_in_the_catalogue(story: Story) -> None:
    manifest = json.loads((story.artifacts / "manifest.json").read_text())
    path = story.folder / "ledger" / "catalogue.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows = connection.execute("select path, sha256 from libraries").fetchall()
    assert rows == [(str((story.artifacts / "model.so").resolve()), manifest["sha256"])]


def test_the_resolved_recipe_beside_the_library_says_everything(story: Story) -> None:
    recipe = load_recipe(story.artifacts / "recipe.yaml")
    asked = load_recipe(story.folder / "tiny.yaml")
    assert recipe.model == asked.model
    assert recipe.tuning == asked.tuning.model_copy(update={"trials": story.budget})
    assert recipe.layout == "NCHW"
    assert isinstance(recipe.target, dict)
    assert recipe.target["kind"] == "llvm"
    manifest = json.loads((story.artifacts / "manifest.json").read_text())
    assert recipe.model_dump(mode="json") == manifest["recipe"]


def test_the_library_loads_without_tunekit_and_computes_what_torch_does(
    story: Story, tmp_path: Path
) -> None:
    image = np.random.default_rng(3).standard_normal((1, 3, 16, 16), dtype=np.float32)
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"  # TVM would load it first
        "import numpy as np\n"
        "import tvm\n"
        "from tvm import relax\n"
        "library = tvm.runtime.load_module(sys.argv[1])\n"
        "machine = relax.VirtualMachine(library, tvm.cpu())\n"
        "outputs = machine['main'](tvm.runtime.tensor(np.load('image.npy')))\n"
        "output = outputs if hasattr(outputs, 'numpy') else outputs[0]\n"
        "np.save('output.npy', output.numpy())\n"
        "assert 'tunekit' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(story.artifacts / "model.so")],
        cwd=tmp_path,
        check=True,
        timeout=120,
    )
    names: dict[str, Any] = {}
    exec(_MODEL, names)
    model = names["tiny"]()
    model.load_state_dict(torch.load(story.folder / "weights.pt"))
    with torch.no_grad():
        wanted = model.eval()(torch.from_numpy(image)).numpy()
    output = np.load(tmp_path / "output.npy")
    assert output.shape == wanted.shape
    assert np.abs(output - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.fixture(scope="module")
def tuned_again(story: Story, tunekit: Tunekit) -> Run:
    """The resolved recipe, tuned with the budget of one batch more into a folder of its own."""
    recipe = str(story.artifacts / "recipe.yaml")
    return tunekit.run(
        story.folder, "tune", recipe, "--trials", "2", "-o", "again/mine", "--no-contest"
    )


def test_the_resolved_recipe_does_the_same_work_again_from_what_is_known(
    story: Story, tuned_again: Run
) -> None:
    """It starts from the known best and compiles the same."""
    before = json.loads((story.artifacts / "manifest.json").read_text())
    assert tuned_again.returncode == 0, tuned_again.stderr
    assert tuned_again.trials == story.budget + 2
    assert "0/2 trials, estimated latency" in tuned_again.stderr  # not "0 of 2 tasks have a time"
    after = json.loads((story.folder / "again" / "mine" / "manifest.json").read_text())
    assert after["work_digest"] == before["work_digest"]
    assert after["target"] == before["target"]
    assert after["coverage"] == 1.0
    # Every kernel starts from a record: what the first run measured was not measured in vain.
    assert all(task["trial_id"] is not None for task in after["tasks"])


def test_a_resumed_session_puts_its_library_where_it_was_told_to(
    story: Story, tuned_again: Run, tunekit: Tunekit
) -> None:
    """In the folder of `-o`, and from wherever it is resumed."""
    with Catalogue.open(str(story.ledger), create=False) as catalogue:
        newest = catalogue.sessions.list()[0]
    assert newest.id != story.session_id
    run = tunekit.run(
        story.elsewhere,
        *("resume", newest.id, "--trials", "3", "--catalogue", str(story.ledger)),
        place=story.folder,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{story.folder / 'again' / 'mine'}\n"


def test_a_session_is_not_gone_on_with_where_its_trials_would_be_of_no_use(
    story: Story, tunekit: Tunekit
) -> None:
    """Other weights in the file that the recipe names, and a TVM that replays other traces."""
    ledger, weights = str(story.ledger), story.folder / "weights.pt"
    resume = ("resume", story.session_id, "--trials", "100", "--catalogue", ledger)
    before, trained = _trials(story.folder), weights.read_bytes()
    names: dict[str, Any] = {}
    exec(_MODEL, names)
    torch.save(names["tiny"]().state_dict(), weights)
    try:
        other_weights = tunekit.run(story.elsewhere, *resume, place=story.folder)
    finally:
        weights.write_bytes(trained)
    with Catalogue.open(ledger, create=False) as catalogue:
        catalogue.sessions.resume(story.session_id, toolchain={"apache-tvm": "0.26.0"})
        catalogue.sessions.close(story.session_id, "interrupted")
    try:
        other_tvm = tunekit.run(story.elsewhere, *resume, place=story.folder)
    finally:
        with Catalogue.open(ledger, create=False) as catalogue:
            catalogue.sessions.resume(story.session_id, toolchain=versions())
            catalogue.sessions.close(story.session_id, "finished")
    for run, reason in (
        (other_weights, "the model's file has changed, or more of the recipe than its budget"),
        (
            other_tvm,
            f"was measured with apache-tvm==0.26.0, and here is {toolchain_key(versions())}",
        ),
    ):
        assert (run.returncode, run.trials) == (2, before), run.stderr
        assert f"error: session {story.session_id} " in run.stderr
        assert reason in run.stderr
        assert "hint: tune the recipe: that is a session of its own" in run.stderr


def test_a_finished_session_is_not_resumed_without_a_larger_budget(
    story: Story, tunekit: Tunekit
) -> None:
    ledger = ("--catalogue", str(story.ledger))
    run = tunekit.run(story.elsewhere, "resume", story.session_id, *ledger, place=story.folder)
    assert run.returncode == 2
    assert f"error: session {story.session_id} is finished: " in run.stderr
    assert f"  hint: `tunekit resume {story.session_id} --trials N`" in run.stderr

"""`tunekit` commands that can be killed, a place for them, and what must hold when all is over."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from tunekit.cache import file_digest
from tunekit.catalogue import Catalogue, Trial

# No healthy run comes near it, on whatever machine.
_PATIENCE_S = 300.0
_MODEL = """\
import torch


def two():
    return torch.nn.Sequential(torch.nn.Linear(32, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8))


def one():
    return torch.nn.Linear(16, 12)
"""
_WIDTHS = {"two": 32, "one": 16}
# One thread: the search draws the same candidates each time, and leaves the machine its other core.
_RECIPE = """\
name: {name}
model:
  source: python:tortured_model:{model}
  inputs: [{{name: x, shape: [4, {width}]}}]
target: llvm -num-cores=1
layout: NCHW
catalogue: ledger.db
tuning:
  trials: {trials}
  measure: {{repeat: 1, min_repeat_ms: 0, jobs: 1}}
"""


def wait_until(condition: Callable[[], object]) -> None:
    """Polls until it holds; AssertionError after minutes."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def still_running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended within a minute; most of the time none, at once."""
    deadline = time.monotonic() + 60
    left = list(processes)
    while (left := [process for process in left if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _runs(process: psutil.Process) -> bool:
    # One that has ended but is not collected is gone: whoever inherits it may never do so.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Command:
    """A `tunekit` command that runs or has ended.

    Attributes:
        pid: of its process.
        server: of the measuring server that waits for it; None where it starts its own.
        out: the file that gets its standard output.
        err: the file that gets its standard error.
    """

    pid: int
    server: int | None
    out: Path
    err: Path
    _wait: Callable[[int], int]

    @property
    def errors(self) -> str:
        """What it has said on standard error so far."""
        return self.err.read_text() if self.err.exists() else ""

    def family(self) -> list[psutil.Process]:
        """All processes that it and its measuring server have started, and the server."""
        found: list[psutil.Process] = []
        for pid in (self.pid, self.server):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                found += [process] if pid == self.server else []
                found += process.children(recursive=True)
        return found

    def send(self, number: int) -> None:
        """Sends it a signal unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code, -9 after SIGKILL."""
        return self._wait(self.pid)

    def kill(self) -> int:
        """Ends it with SIGKILL unless it has ended; its exit code."""
        self.send(signal.SIGKILL)
        return self.wait()


class WarmStarter:
    """Starts commands in processes forked from one that has loaded the frameworks (`warm.py`)."""

    def __init__(self, cache: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TUNEKIT_CACHE": str(cache)},
        )
        self._codes: dict[int, int] = {}
        self._started: queue.Queue[dict[str, int]] = queue.Queue()
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline())["ready"]
        self._listener = threading.Thread(target=self._listen, args=[self._process.stdout])
        self._listener.start()

    def start(
        self,
        folder: Path,
        out: Path,
        err: Path,
        argv: Iterable[str],
        env: Mapping[str, str] | None = None,
    ) -> Command:
        request = {
            "argv": [*argv],
            "cwd": str(folder),
            "stdout": str(out),
            "stderr": str(err),
            "env": dict(env or {}),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        started = self._started.get(timeout=_PATIENCE_S)
        return Command(started["pid"], started["server"], out, err, self._wait)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=_PATIENCE_S)
        self._listener.join()

    def _wait(self, pid: int) -> int:
        wait_until(lambda: pid in self._codes)
        return self._codes[pid]

    def _listen(self, answers: IO[str]) -> None:
        with answers:
            for line in answers:
                message = json.loads(line)
                if "status" in message:
                    self._codes[message["pid"]] = message["status"]
                else:
                    self._started.put(message)


class ColdStarter:
    """Starts commands as a shell does."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, folder: Path, out: Path, err: Path, argv: Iterable[str]) -> Command:
        with out.open("wb") as output, err.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tunekit", *argv],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={**os.environ, "TUNEKIT_CACHE": str(self._cache)},
            )
        self._processes[process.pid] = process
        return Command(process.pid, None, out, err, self._wait)

    def close(self) -> None:
        """Nothing is kept."""

    def _wait(self, pid: int) -> int:
        return self._processes.pop(pid).wait(timeout=_PATIENCE_S)


@dataclass
class Place:
    """A folder with recipes, whose commands share a catalogue."""

    folder: Path
    starter: WarmStarter | ColdStarter
    _started: int = 0

    def __post_init__(self) -> None:
        (self.folder / "tortured_model.py").write_text(_MODEL)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def recipe(self, name: str, trials: int, model: str = "two") -> str:
        """Writes a recipe; the file's name in the folder."""
        text = _RECIPE.format(name=name, model=model, width=_WIDTHS[model], trials=trials)
        (self.folder / f"{name}.yaml").write_text(text)
        return f"{name}.yaml"

    def start(self, *argv: str) -> Command:
        """Runs ``tunekit ARGV`` in the folder."""
        self._started += 1
        out, err = (self.folder / f".{kind}-{self._started}" for kind in ("out", "err"))
        return self.starter.start(self.folder, out, err, argv)

    def count(self) -> int:
        """Trials in the catalogue, counted beside whoever writes it; 0 before there is one."""
        if not self.ledger.exists():
            return 0
        with contextlib.closing(
            sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)
        ) as connection:
            try:
                return int(connection.execute("SELECT count(*) FROM trials").fetchone()[0])
            except sqlite3.OperationalError:
                return 0

    def trials(self) -> list[Trial]:
        with Catalogue.open(self.ledger, create=False) as catalogue:
            return list(catalogue.trials.read())

    def manifest(self, name: str) -> dict[str, Any]:
        text = (self.folder / "artifacts" / name / "manifest.json").read_text()
        found: dict[str, Any] = json.loads(text)
        return found

    def problems(self, name: str, budget: int) -> list[str]:
        """What is not as one undisturbed run of the recipe would have left it, in sentences."""
        with Catalogue.open(self.ledger, create=False) as catalogue:
            found = catalogue.maintenance.check()
            sessions = [
                session for session in catalogue.sessions.list(None) if session.name == name
            ]
            trials = [
                trial for one in sessions for trial in catalogue.trials.read(session_id=one.id)
            ]
        if len(sessions) != 1:
            found.append(f"{len(sessions)} sessions of one recipe")
        found += [
            f"session {session.id} is {session.state} with {session.trials_done} of "
            f"{session.budget_trials} trials, asked for {budget}"
            for session in sessions
            if (session.state, session.trials_done, session.budget_trials)
            != ("finished", budget, budget)
        ]
        if [trial.position for trial in trials] != list(range(budget)):
            found.append(f"trials at {[trial.position for trial in trials]}")
        keys = [
            (trial.structural_hash, trial.candidate_digest, str(trial.measure_options))
            for trial in trials
        ]
        found += [f"measured {n} times: {key}" for key, n in Counter(keys).items() if n > 1]
        return found + self._library_problems(name, trials)

    def _library_problems(self, name: str, trials: Iterable[Trial]) -> list[str]:
        good = {trial.trial_id: trial.structural_hash for trial in trials if trial.samples_s}
        manifest = self.manifest(name)
        library = self.folder / "artifacts" / name / manifest["library"]
        bare = manifest["selection"]["shipped"] == "default"
        found = [
            f"{task['name']} has the record {task['trial_id']}, which is none of its good trials"
            for task in manifest["tasks"]
            if good.get(task["trial_id"]) != (None if bare else task["structural_hash"])
        ]
        if file_digest(library) != manifest["sha256"]:
            found.append("the library is not the one that its manifest describes")
        if not max(manifest["relative_errors"]) < 1e-4:
            found.append(f"the library's errors are {manifest['relative_errors']}")
        return found

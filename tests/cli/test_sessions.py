"""`tunekit sessions`, `show` and `resume` as a shell meets them, on two sessions."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from shell_completion import SHELLS, offered

from tunekit.catalogue import (
    Catalogue,
    Failure,
    FailureKind,
    NewSession,
    NewTask,
    NewTrial,
    NewWorkload,
)
from tunekit.cli.style import resume_command
from tunekit.environment import DEFAULT_CATALOGUE
from tunekit.machine.host import detect_host

HEAVY = ("tvm", "torch", "torchvision", "onnx", "onnxruntime", "openvino", "numpy", "xgboost")


@pytest.fixture
def ids(tmp_path: Path) -> tuple[str, str]:
    """A finished session, and a newer one that was interrupted."""
    host = detect_host()
    found = []
    with Catalogue.open(tmp_path / "tuning_logs" / "catalogue.db") as catalogue:
        for name, state, machine in (
            ("first", "finished", host.fingerprint),
            ("second", "interrupted", "another machine"),
        ):
            session = catalogue.sessions.begin(
                NewSession(
                    name=name,
                    recipe_yaml=f"name: {name}\n",
                    recipe_digest=name,
                    model_digest=None,
                    model_name="tiny",
                    target_json='{"kind":"llvm","mcpu":"znver3"}',
                    host=host.as_dict(),
                    host_fingerprint=machine,
                    toolchain={},
                    budget_trials=4,
                    seed=0,
                )
            )
            workload = NewWorkload(f"hash of {name}", "{}", "fused", "fused_add")
            (task,) = catalogue.trials.ensure_tasks(
                session.id, [NewTask(workload, "fused_add", 3.0)]
            )
            crash = Failure(FailureKind.CRASH, "SIGILL: illegal instruction")
            catalogue.trials.add(
                session.id,
                [
                    NewTrial(task, "a", "[]", samples_s=(2e-3,)),
                    NewTrial(task, "b", "[]", failure=crash),
                    NewTrial(task, "c", "[]", samples_s=(1e-3,)),
                ],
            )
            catalogue.sessions.close(session.id, state)  # type: ignore[arg-type]
            found.append(session.id)
    return found[0], found[1]


def test_sessions_are_listed_newest_first_in_every_form(run_warm, ids) -> None:
    older, newer = ids
    table = run_warm("sessions")
    assert (table.returncode, table.stderr) == (0, "")
    lines = [line.split() for line in table.stdout.splitlines()]
    assert [line[:4] for line in lines] == [
        ["session", "name", "state", "trials"],
        [newer, "second", "interrupted", "3/4"],
        [older, "first", "finished", "3/4"],
    ]
    listed = json.loads(run_warm("sessions", "-f", "json").stdout)
    assert [session["id"] for session in listed] == [newer, older]
    rows = list(csv.DictReader(io.StringIO(run_warm("sessions", "-f", "csv").stdout)))
    assert [(row["id"], row["state"], row["failures"]) for row in rows] == [
        (newer, "interrupted", "1"),
        (older, "finished", "1"),
    ]


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--state", "finished"], ["first"]),
        (["--state", "unfinished"], ["second"]),
        (["--state", "finished", "--state", "interrupted"], ["second", "first"]),
        (["--state", "running"], []),
        (["--name", "first"], ["first"]),
        (["-n", "1"], ["second"]),
        (["--here"], ["first"]),
    ],
    ids=" ".join,
)
def test_sessions_are_filtered(run_warm, ids, flags: list[str], names: list[str]) -> None:
    listed = json.loads(run_warm("sessions", "-f", "json", *flags).stdout)
    assert [session["name"] for session in listed] == names


def test_a_list_of_nothing_is_no_error(run_warm, ids) -> None:
    done = run_warm("sessions", "--name", "third")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no such sessions\n")


def test_a_session_is_shown_whole_and_the_newest_by_default(run_warm, ids) -> None:
    older, newer = ids
    shown = run_warm("show", older[:6])
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"session {older}: first, finished\n")
    for part in ("1 crash: SIGILL: illegal instruction (fused_add)", "3.00 ms estimated, from 6.0"):
        assert part in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "3 trials\n" in shown.stdout  # below the curve
    assert run_warm("show").stdout.startswith(f"session {newer}: second, interrupted\n")
    value = json.loads(run_warm("show", newer, "-f", "json").stdout)
    assert value["id"] == newer
    assert [point["trials"] for point in value["curve"]] == [1, 3]


def test_a_curve_can_be_drawn_where_there_is_only_ascii(run_tunekit, ids) -> None:
    shown = run_tunekit("show", env={"PYTHONIOENCODING": "ascii"})
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.isascii()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "nothing"], "there is no session 'nothing'"),
        (["resume", "nothing"], "there is no session 'nothing'"),
        (["sessions", "--catalogue", "gone.db"], "there is no catalogue at gone.db"),
        (["show", "--catalogue", "gone.db"], "there is no catalogue at gone.db"),
        (["resume", "--catalogue", "gone.db"], "there is no catalogue at gone.db"),
        (["lookup", "small.yaml", "--catalogue", "gone.db"], "there is no catalogue at gone.db"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_there_is_said_with_2(
    run_warm, ids, recipe_file: Path, arguments: list[str], words: str
) -> None:
    done = run_warm(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "  hint: " in done.stderr
    assert not list(recipe_file.parent.glob("gone.db*"))


def test_a_finished_session_says_what_to_do(run_warm, ids) -> None:
    older, _ = ids
    done = run_warm("resume", older)
    assert done.returncode == 2
    assert f"error: session {older} is finished: 3 of 4 trials\n" in done.stderr
    assert f"`tunekit resume {older} --trials N` gives it a larger budget" in done.stderr


def test_what_was_to_be_exported_still_is_after_an_interruption(
    run_warm, ids, recipe_file: Path
) -> None:
    again = resume_command(DEFAULT_CATALOGUE, Path("my bundle"))
    assert again("k5d3") == "tunekit resume k5d3 --export 'my bundle'"
    (recipe_file.parent / "taken").touch()
    refused = run_warm("resume", ids[0], "--export", "taken")
    assert refused.returncode == 2
    assert "taken is a file" in refused.stderr


def test_looking_at_sessions_loads_no_framework(ids, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tunekit.cli.app import main\n"
        "for arguments in (['sessions'], ['show'], ['resume', 'nothing']):\n"
        "    sys.argv[1:] = arguments\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit:\n"
        f"        print('loaded', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = [line for line in done.stdout.splitlines() if line.startswith("loaded")]
    assert loaded == ["loaded []"] * 3


@SHELLS
def test_sessions_are_offered_by_their_ids(
    ids: tuple[str, str], tmp_path: Path, shell: str
) -> None:
    first, second = ids
    for verb in ("show", "resume"):
        shown = offered(tmp_path, f"tunekit {verb} ", shell)
        assert first in shown
        assert second in shown
    assert offered(tmp_path, f"tunekit show {first[:-1]}", shell).count(second) == 0
    assert first not in offered(tmp_path, "tunekit show --catalogue gone.db ", shell)

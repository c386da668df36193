"""Kills tuning sessions at random moments, resumes each until its budget is spent, and checks.

    python benchmarks/kill_and_resume.py [--kills 200] [--cold] [--seed 0] [--minutes M] [-o FILE]

One session after the other is tuned, with a catalogue of its own; its `tunekit tune` is ended with
SIGKILL after a random part of the time that an undisturbed one takes, and started again, until a
run of it gets through. After each kill: the catalogue is sound, every trial that the command said
was done is in it, the session counts as interrupted at once, and none of its processes is left.
After each session: see `Place.problems` (budget spent to the trial, nothing measured twice, library
there and right). What is wrong is listed, and ends the script with 1.

By default the commands are forked from a process that has loaded TVM and torch (see
tests/support/warm.py): so they are killed at work rather than while they import. With ``--cold``
each is started as a shell does.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import psutil  # noqa: E402
from killable import ColdStarter, Command, Place, WarmStarter, still_running  # noqa: E402

from tunekit.catalogue import Catalogue  # noqa: E402
from tunekit.machine.host import detect_host  # noqa: E402
from tunekit.machine.toolchain import versions  # noqa: E402

_BUDGET = 12
# What a command that has said this last was doing when it was killed.
_DOING = (
    ("deciding", r" deciding "),
    ("measuring", r" measuring "),
    ("searching", r" searching "),
    (
        "compiling or verifying",
        r"^(compiling|coverage|selection|contest|the \w+ library|verified)|\d+ trials, .* reused",
    ),
    ("opening the session", r"\d+ tasks|going on with session"),
    ("importing the model", r""),
)


def main() -> int:
    arguments = _arguments()
    luck = random.Random(arguments.seed)
    found: dict[str, Any] = {
        "what": f"{'cold' if arguments.cold else 'warm'} `tunekit tune` commands killed at random",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": detect_host().as_dict(),
        "versions": versions(),
        "seed": arguments.seed,
        "kills_asked_for": arguments.kills,
        "budget_trials": _BUDGET,
    }
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kill-and-resume-") as folder:
        cache = Path(folder) / "cache"
        starter = ColdStarter(cache) if arguments.cold else WarmStarter(cache)
        try:
            until = started + 60 * arguments.minutes
            found.update(_torture(Path(folder), starter, luck, arguments.kills, until))
        finally:
            starter.close()
    found["minutes"] = round((time.monotonic() - started) / 60, 1)
    text = json.dumps(found, indent=1)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    print(text)
    return 1 if found["problems"] else 0


def _torture(
    folder: Path,
    starter: ColdStarter | WarmStarter,
    luck: random.Random,
    kills: int,
    until: float,
) -> dict[str, Any]:
    undisturbed_s = _undisturbed_s(folder, starter)
    done, sessions, trials = 0, 0, 0
    doing: Counter[str] = Counter()
    problems: list[str] = []
    while done < kills and time.monotonic() < until:
        sessions += 1
        name = f"session_{sessions}"
        place = _place(folder / name, starter)
        recipe = place.recipe(name, _BUDGET, model="one")
        while True:
            command = place.start("tune", recipe, "--seed", str(sessions))
            wanted = done < kills and time.monotonic() < until
            family: list[psutil.Process] = []
            if wanted:
                time.sleep(luck.uniform(0, undisturbed_s))
                family = command.family()
            code = command.kill() if wanted else command.wait()
            if code == 0:
                trials += place.count()
                problems += [f"{name}: {problem}" for problem in place.problems(name, _BUDGET)]
                break
            if code != -signal.SIGKILL or not wanted:
                problems.append(f"{name} ended with {code}: {command.errors}")
                break
            done += 1
            doing[_last_heard(command.errors)] += 1
            problems += [f"kill {done}: {process} is left" for process in still_running(family)]
            problems += [f"kill {done}: {problem}" for problem in _after_kill(place, name, command)]
            print(f"kill {done}, {doing.most_common()}", file=sys.stderr)
    return {
        "kills": done,
        "sessions": sessions,
        "trials": trials,
        "killed_while": dict(doing),
        "undisturbed_s": round(undisturbed_s, 1),
        "problems": problems,
    }


def _place(folder: Path, starter: ColdStarter | WarmStarter) -> Place:
    folder.mkdir()
    return Place(folder, starter)


def _undisturbed_s(folder: Path, starter: ColdStarter | WarmStarter) -> float:
    """Seconds of a whole run; of the second, as the first imports the model into the cache."""
    for name in ("first", "second"):
        place = _place(folder / name, starter)
        began = time.monotonic()
        command = place.start("tune", place.recipe(name, _BUDGET, "one"))
        code = command.wait()
        assert code == 0, command.errors
    return time.monotonic() - began


def _after_kill(place: Place, name: str, command: Command) -> list[str]:
    if not place.ledger.exists():
        return []
    with Catalogue.open(place.ledger) as catalogue:
        found = catalogue.maintenance.check()
        sessions = [session for session in catalogue.sessions.list(None) if session.name == name]
    found += [f"it is {session.state}" for session in sessions if session.state != "interrupted"]
    stored = sum(session.trials_done for session in sessions)
    said = re.findall(rf"^(\d+)/{_BUDGET} trials", command.errors, re.M)
    if said and int(said[-1]) > stored:
        found.append(f"{said[-1]} trials were done and {stored} are kept")
    return found


def _last_heard(errors: str) -> str:
    last = errors.splitlines()[-1] if errors else ""
    return next(doing for doing, pattern in _DOING if re.search(pattern, last))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--cold", action="store_true", help="start each command as a shell does")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e6, help="no more kills after these")
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

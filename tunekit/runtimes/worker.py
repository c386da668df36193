"""A runner in a process of its own, which times itself when it is its turn.

    python -m tunekit.runtimes.worker <package.module:Class> <command fd> <reply fd> <now>

`now` is what `time.monotonic` said when the process was started. Commands come one JSON object a
line on a pipe of their own, and replies go back on another, so whatever a library prints cannot be
taken for an answer: standard output and standard error are the parent's log file. A process whose
parent is gone ends itself, even in the middle of a run.

    {"do": "load", "plan": {...}, "inputs": FILE, "names": [...], "threads": N}
    {"do": "convert", "given": {...}, "inputs": FILE, "names": [...], "threads": N, "folder": DIR}
    {"do": "run", "seconds": S, "least": N, "most": N, "untimed": N}
    {"do": "idle", "seconds": S}
    {"do": "outputs", "to": FILE}
    {"do": "profile", "seconds": S}
    {"do": "turns", "seconds": S, "most": N}
    {"do": "close"}

A reply is {"ok": true, ...} or {"ok": false, "error": a line, "trace": text}.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tunekit.processes.child import die_with_parent
from tunekit.runtimes.events import INSTRUCTIONS, EventCounter
from tunekit.runtimes.usage import come_to_rest, cpu_s, memory
from tunekit.wording import error_line

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Runner

_DETAIL_CHARACTERS = 3000


def main(arguments: list[str]) -> None:
    """Answers commands until the pipe closes."""
    class_path, command_fd, reply_fd = arguments[0], int(arguments[1]), int(arguments[2])
    started_s = float(arguments[3])
    _end_with_parent(command_fd)
    # Ctrl-C is for the parent, which ends this process when it has tidied up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    with (
        os.fdopen(command_fd, "r", encoding="utf-8") as commands,
        os.fdopen(reply_fd, "w", encoding="utf-8") as replies,
    ):
        _answer(class_path, commands, replies, started_s)
    # Not sys.exit: some libraries crash or wait for their threads while the interpreter ends.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _answer(class_path: str, commands: IO[str], replies: IO[str], started_s: float) -> None:
    runner: Runner | None = None
    counter = EventCounter(INSTRUCTIONS)  # before any library starts a thread
    for line in commands:
        command = json.loads(line)
        do = command.pop("do")
        answer: dict[str, Any]
        try:
            if do == "load":
                runner, reply = _load(class_path, started_s, **command)
            elif do == "convert":
                reply = _convert(class_path, **command)
            elif runner is None:
                raise RuntimeError(f"'{do}' before 'load'")
            elif do == "run":
                reply = _run(runner, counter, **command)
            elif do == "idle":
                reply = _idle(runner, **command)
            elif do == "outputs":
                reply = _outputs(runner, **command)
            elif do == "profile":
                reply = {**runner.profile(**command), "at_rest": come_to_rest(os.getpid())}
            elif do == "turns":
                reply = runner.take_turns(**command)
            elif do == "close":
                runner.close()
                reply = {}
            else:
                raise ValueError(f"unknown command '{do}'")
            pid = _process_of(runner)
            answer = {"ok": True, "pid": pid, **reply, **memory(pid)}
        except Exception as error:  # noqa: BLE001 - whatever a library raises is its row's reason
            answer = {
                "ok": False,
                "error": error_line(error),
                "kind": type(error).__name__,
                "trace": whole_text(error),
            }
        replies.write(json.dumps(answer) + "\n")
        replies.flush()
        if do == "close":
            return


def _load(
    class_path: str,
    started_s: float,
    *,
    plan: dict[str, Any],
    inputs: str,
    names: list[str],
    threads: int,
) -> tuple[Runner, dict[str, Any]]:
    runner: Runner = _named(class_path)()
    runner.imports(plan)
    importlib.import_module("numpy")  # every runner is given its arrays
    import_s = time.monotonic() - started_s
    arrays = _arrays(inputs, names)
    runner.seen_at_first()
    start = time.perf_counter()
    settings = {**runner.load(plan, arrays, threads), **plan.get("shown", {})}
    load_s = time.perf_counter() - start
    if runner.elsewhere is not None:
        import_s, load_s = runner.elsewhere.import_s, runner.elsewhere.load_s
    return runner, {"settings": settings, "import_s": import_s, "load_s": load_s}


def _convert(
    class_path: str,
    *,
    given: dict[str, Any],
    inputs: str,
    names: list[str],
    threads: int,
    folder: str,
) -> dict[str, Any]:
    arrays = _arrays(inputs, names)
    return {"forms": _named(class_path).convert(given, arrays, threads, Path(folder))}


def _named(class_path: str) -> Any:
    module_name, _, class_name = class_path.partition(":")
    return getattr(importlib.import_module(module_name), class_name)


def _arrays(file: str, names: list[str]) -> dict[str, Any]:
    import numpy as np

    with np.load(file) as archive:
        return {name: archive[f"arr_{index}"] for index, name in enumerate(names)}


def _run(runner: Runner, counter: EventCounter, **arguments: Any) -> dict[str, Any]:
    before = counter.read()
    done = runner.turn(**arguments)
    after = counter.read()
    runs = len(done["seconds"]) + arguments["untimed"]
    instructions = None if before is None or after is None else (after - before) / runs
    at_rest = come_to_rest(_process_of(runner))
    return {**done, "instructions": instructions, "at_rest": at_rest}


def _idle(runner: Runner, *, seconds: float) -> dict[str, Any]:
    """What the process uses while nothing is asked of it, right after a run."""
    runner.turn(seconds=0, least=1, most=1, untimed=0)
    before_s = cpu_s(_process_of(runner))
    time.sleep(seconds)
    used_s = cpu_s(_process_of(runner)) - before_s
    return {"idle_cpu_s": used_s, "settings": runner.seen_at_last()}


def _process_of(runner: Runner | None) -> int:
    """The process that runs the model."""
    return os.getpid() if runner is None or runner.elsewhere is None else runner.elsewhere.pid


def _outputs(runner: Runner, *, to: str) -> dict[str, Any]:
    import numpy as np

    arrays = [np.asarray(array) for array in runner.arrays(runner.infer())]
    for index, array in enumerate(arrays):
        if array.dtype.hasobject:
            raise TypeError(f"output {index} is no array of numbers")
    np.savez(to, *arrays)
    return {"count": len(arrays)}


def whole_text(error: BaseException) -> str:
    """An exception with its traceback, without the middle of it where it prints whole tensors."""
    text = "".join(traceback.format_exception(error))
    if len(text) <= 2 * _DETAIL_CHARACTERS:
        return text
    return f"{text[:_DETAIL_CHARACTERS]}\n[...]\n{text[-_DETAIL_CHARACTERS:]}"


def _end_with_parent(command_fd: int) -> None:
    """Makes this process die with its parent, whatever it is doing then.

    The kernel does it where it can (Linux); a thread that waits for the pipe to close does it
    elsewhere, unless the main thread sits in code that holds the interpreter lock.
    """
    die_with_parent()
    poll = select.poll()
    poll.register(command_fd, 0)  # hang-up and error are always reported

    def wait() -> None:
        poll.poll()
        os._exit(1)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1:])

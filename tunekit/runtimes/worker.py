"""A runner in a process of its own, which times itself when it is its turn.

    python -m tunekit.runtimes.worker <package.module:Class> <command fd> <reply fd>

Commands come one JSON object a line on a pipe of their own, and replies go back on another, so
whatever a library prints cannot be taken for an answer: standard output and standard error are
the parent's log file. A process whose parent is gone ends itself, even in the middle of a run.

    {"do": "load", "plan": {...}, "inputs": FILE, "names": [...], "threads": N}
    {"do": "run", "seconds": S, "least": N, "most": N, "untimed": N}
    {"do": "outputs", "to": FILE}
    {"do": "profile", "seconds": S}
    {"do": "turns", "seconds": S, "most": N}
    {"do": "close"}

A reply is {"ok": true, ...} or {"ok": false, "error": a line, "trace": text}.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
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
from tunekit.runtimes.runner import time_runs
from tunekit.wording import error_line

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Runner

# A process is at rest when it uses less than this share of one core.
_REST_SHARE = 0.1
_REST_WINDOW_S = 0.02
_REST_LIMIT_S = 2.0

_DETAIL_CHARACTERS = 3000


def main(arguments: list[str]) -> None:
    """Answers commands until the pipe closes."""
    class_path, command_fd, reply_fd = arguments[0], int(arguments[1]), int(arguments[2])
    _end_with_parent(command_fd)
    # Ctrl-C is for the parent, which ends this process when it has tidied up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    with (
        os.fdopen(command_fd, "r", encoding="utf-8") as commands,
        os.fdopen(reply_fd, "w", encoding="utf-8") as replies,
    ):
        _answer(class_path, commands, replies)
    # Not sys.exit: some libraries crash or wait for their threads while the interpreter ends.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _answer(class_path: str, commands: IO[str], replies: IO[str]) -> None:
    runner: Runner | None = None
    for line in commands:
        command = json.loads(line)
        do = command.pop("do")
        try:
            if do == "load":
                runner, reply = _load(class_path, **command)
            elif runner is None:
                raise RuntimeError(f"'{do}' before 'load'")
            elif do == "run":
                reply = _run(runner, **command)
            elif do == "outputs":
                reply = _outputs(runner, **command)
            elif do == "profile":
                reply = {**runner.profile(**command), "at_rest": _come_to_rest()}
            elif do == "turns":
                reply = runner.take_turns(**command)
            elif do == "close":
                runner.close()
                reply = {}
            else:
                raise ValueError(f"unknown command '{do}'")
            answer = {"ok": True, **reply, **memory()}
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
    class_path: str, *, plan: dict[str, Any], inputs: str, names: list[str], threads: int
) -> tuple[Runner, dict[str, Any]]:
    import numpy as np

    module_name, _, class_name = class_path.partition(":")
    runner: Runner = getattr(importlib.import_module(module_name), class_name)()
    with np.load(inputs) as archive:
        arrays = {name: archive[f"arr_{index}"] for index, name in enumerate(names)}
    start = time.perf_counter()
    settings = runner.load(plan, arrays, threads)
    return runner, {"settings": settings, "load_s": time.perf_counter() - start}


def _run(runner: Runner, *, seconds: float, least: int, most: int, untimed: int) -> dict[str, Any]:
    """One turn: `untimed` runs, then timed ones for `seconds`, between `least` and `most` of them.

    The garbage collector waits.
    """
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    try:
        for _ in range(untimed):
            runner.infer()
        cpu_start, start_ns = time.process_time_ns(), clock()
        samples_ns = time_runs(runner, seconds=seconds, least=least, most=most)
        wall_ns, cpu_ns = clock() - start_ns, time.process_time_ns() - cpu_start
    finally:
        gc.enable()
    return {
        "seconds": [sample / 1e9 for sample in samples_ns],
        "wall_s": wall_ns / 1e9,
        "cpu_s": cpu_ns / 1e9,
        "at_rest": _come_to_rest(),
    }


def _come_to_rest() -> bool:
    """Waits until this process's threads have stopped spinning; False if they never do.

    Thread pools keep their threads awake for some milliseconds after the last work (ONNX
    Runtime for 40), which would be taken from whoever has the next turn.
    """
    deadline = time.perf_counter() + _REST_LIMIT_S
    while time.perf_counter() < deadline:
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(_REST_WINDOW_S)
        idle = time.process_time() - cpu < _REST_SHARE * (time.perf_counter() - wall)
        # On a busy machine a thread may spin without getting a core for a whole window.
        if idle and not _another_thread_wants_to_run():
            return True
    return False


def _another_thread_wants_to_run() -> bool:
    """Whether another thread of this process runs or waits for a core (False if unknown)."""
    mine = str(threading.get_native_id())
    for thread in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):
            # The name in parentheses may itself hold spaces and parentheses.
            state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
            if state == "R" and thread.name != mine:
                return True
    return False


def _outputs(runner: Runner, *, to: str) -> dict[str, Any]:
    import numpy as np

    arrays = [np.asarray(array) for array in runner.arrays(runner.infer())]
    np.savez(to, *arrays)
    return {"count": len(arrays)}


def memory() -> dict[str, int]:
    """This process's resident memory in bytes: the most it ever had, and now (0 if unknown).

    Linux says both in /proc/self/status. Elsewhere `ru_maxrss` stands in for the peak; on Linux
    it would not do, as a process starts with its parent's.
    """
    fields = {"VmHWM": 0, "VmRSS": 0}
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key in fields:
                fields[key] = int(value.split()[0]) * 1024
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        fields["VmHWM"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"peak_rss_bytes": fields["VmHWM"], "rss_bytes": fields["VmRSS"]}


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

"""The parent's handle on a runner's process: start it, ask it, and find out how it died."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tunekit.processes.child import tvm_may_pin
from tunekit.processes.exit import Exit
from tunekit.processes.python import python_module
from tunekit.wording import last_lines

# Whatever sizes a thread pool when its library loads, before any code could set it.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TVM_NUM_THREADS",
)
LONGER = "--runtime-timeout SECONDS gives it longer"
"""What a person can do for a runtime that took too long in a benchmark."""

_LOG_TAIL_LINES = 20
_READ_BYTES = 1 << 16
_CLOSE_S = 5.0
_HASTY_CLOSE_S = 1.0


class RunnerFailed(Exception):  # noqa: N818 - reads as what happened
    """A runner did not answer as it should: `reason` in one line, `detail` all there is."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class RunnerHung(RunnerFailed):
    """It took longer than it may."""


class RunnerProcess:
    """A runner in a child process, which lives as long as this object is open.

    Attributes:
        model_pid: the process that runs the model, where the child has one of its own.

    Args:
        class_path: `package.module:Class` of the runner.
        threads: threads its libraries may use.
        log: file that takes what it prints.
        apart: whether it gets a part of this process's cores once it runs.

    Raises:
        OSError: the process cannot be started; `ask` says when it has died.
    """

    def __init__(self, class_path: str, *, threads: int, log: Path, apart: bool = False) -> None:
        command_read, command_write = os.pipe()
        try:
            reply_read, reply_write = os.pipe()
        except OSError:
            os.close(command_read)
            os.close(command_write)
            raise
        self._log = log
        try:
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    python_module(
                        "tunekit.runtimes.worker",
                        class_path,
                        str(command_read),
                        str(reply_write),
                        str(time.monotonic()),
                    ),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(command_read, reply_write),
                    env=_environment(threads, may_pin=tvm_may_pin() and not apart),
                    # Ctrl-C in the terminal goes to the parent alone, which ends its children.
                    start_new_session=True,
                )
        except BaseException:
            os.close(command_write)
            os.close(reply_read)
            raise
        finally:
            os.close(command_read)
            os.close(reply_write)
        self.model_pid = self.pid
        self._commands, self._replies = command_write, reply_read
        self._received = b""
        self._open = True

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def ask(self, do: str, *, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Sends one command and waits for its reply.

        Raises:
            RunnerFailed: the child raises, dies, or takes longer than `timeout_s`; after the last
                two it is gone.
        """
        line = json.dumps({"do": do, **arguments}) + "\n"
        try:
            os.write(self._commands, line.encode())
        except BrokenPipeError:
            raise self._died() from None
        reply: dict[str, Any] = json.loads(self._read_line(timeout_s))
        if not reply.pop("ok"):
            raise RunnerFailed(str(reply["error"]), str(reply["trace"]))
        self.model_pid = int(reply["pid"])
        return reply

    def cpu_s(self) -> float:
        """CPU seconds of the process that runs the model, of all its threads; 0 when it is gone."""
        import psutil

        try:
            times = psutil.Process(self.model_pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def close(self, limit_s: float = _CLOSE_S) -> None:
        """Asks the child to end, and ends it if it does not. May be called again."""
        if not self._open:
            return
        try:
            if self._process.poll() is None:
                self.ask("close", timeout_s=limit_s)
        except RunnerFailed:
            pass  # closing is the child's last duty; its row is already written
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends the child now, and lets go of its pipes. May be called again."""
        if not self._open:
            return
        self._open = False
        os.close(self._commands)
        os.close(self._replies)
        self.end()

    def __enter__(self) -> RunnerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What it keeps on the disk goes when it closes, also where somebody presses Ctrl-C.
        self.close(_CLOSE_S if kind is None else _HASTY_CLOSE_S)

    def _read_line(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        replies = select.poll()
        replies.register(self._replies, select.POLLIN)
        while b"\n" not in self._received:
            if not replies.poll(max(0.0, 1e3 * (deadline - time.monotonic()))):
                raise self._hung(timeout_s)
            part = os.read(self._replies, _READ_BYTES)
            if not part:
                raise self._died()
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _hung(self, timeout_s: float) -> RunnerHung:
        # SIGABRT makes the child's fault handler write where it hangs before it ends.
        self._process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        self.end()
        reason = f"timeout: no answer within {timeout_s:g} s"
        return RunnerHung(f"{reason}{self._printed_last()}", self.log_tail())

    def _died(self) -> RunnerFailed:
        try:
            code = self._process.wait(timeout=_CLOSE_S)
        except subprocess.TimeoutExpired:
            self.end()
            return RunnerFailed("closed its pipe without answering", self.log_tail())
        reason = Exit.of_code(code).explained
        return RunnerFailed(f"{reason}{self._printed_last()}", self.log_tail())

    def _printed_last(self) -> str:
        # Of the whole log: the fault handler's stack may be longer than the tail.
        last = _last_words(self._printed())
        return f', after printing "{last}"' if last else ""

    def end(self) -> None:
        """Kills the child, and what it started: a compiler would go on for minutes.

        Another thread that waits for a reply is told that the child has died.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # it leads a group of its own
        self._process.wait()

    def log_tail(self) -> str:
        """The last lines that the child printed, with the fault handler's if it left any."""
        return "\n".join(self._printed().splitlines()[-_LOG_TAIL_LINES:])

    def _printed(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


def _last_words(log: str) -> str:
    """The last line a library printed by itself before the fault handler wrote its dump."""
    own = log.partition("Fatal Python error")[0]
    return last_lines(own)[:160]


def _environment(threads: int, *, may_pin: bool) -> dict[str, str]:
    """The child's environment: this one, with every thread pool set to `threads`.

    How long idle threads spin (OMP_WAIT_POLICY and the like) is left at each library's default,
    which is its best for runs in a row; a runner waits until its threads are quiet before it
    ends its turn, and says so when they never are.
    """
    return {
        **os.environ,
        **{name: str(threads) for name in _THREAD_VARIABLES},
        "TVM_BIND_THREADS": str(int(may_pin)),
        # What the parent can import (a model given as package.module:callable), the child can; ""
        # is where a notebook lies.
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
        "PYTHONUNBUFFERED": "1",
    }

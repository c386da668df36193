"""A program in C as a runner: it runs a standalone library and times itself."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.processes.exit import Exit
from tunekit.runtimes.runner import OtherProcess, Runner
from tunekit.wording import last_lines

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

SOURCE = Path(__file__).with_name("timed_program.c")


class CProgram(Runner):
    """Asks the program of timed_program.c, which is told a turn's length and answers in JSON.

    Its plan: `program`, `input_names`, `outputs` (shape and dtype of each), and for a library of
    several sizes the `sizes` of its axes.
    """

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        # Removed when this process ends as it should; what is left else is in the system's folder.
        self._folder = tempfile.TemporaryDirectory(prefix="tunekit-c-program-")
        self._outputs = plan["outputs"]
        files = []
        for number, name in enumerate(plan["input_names"]):
            files.append(Path(self._folder.name) / f"input-{number}")
            files[-1].write_bytes(inputs[name].tobytes())
        start = time.monotonic()
        self._program = subprocess.Popen(
            self.command(plan, files, threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        ready = self._answer()
        self.elsewhere = OtherProcess(self._program.pid, ready["began_s"] - start, ready["load_s"])
        return {"threads": ready["threads"]}

    def command(self, plan: Mapping[str, Any], files: Sequence[Path], threads: int) -> list[str]:
        """The program with its arguments; `files` hold the inputs."""
        numbers = ",".join(map(str, [threads, *plan.get("sizes", ())]))
        return [plan["program"], numbers, *map(str, files)]

    def turn(self, *, seconds: float, least: int, most: int, untimed: int) -> dict[str, Any]:
        return self._ask(f"run {seconds} {least} {most} {untimed}")

    def infer(self) -> object:
        file = Path(self._folder.name) / "outputs"
        self._ask(f"outputs {file}")
        return file

    def arrays(self, result: Any) -> Sequence[Array]:
        import numpy as np

        content, arrays, start = result.read_bytes(), [], 0
        for shape, dtype in self._outputs:
            count = int(np.prod(shape, dtype="int64"))
            arrays.append(np.frombuffer(content, dtype, count, start).reshape(shape))
            start += arrays[-1].nbytes
        return arrays

    def close(self) -> None:
        self._program.communicate()
        self._folder.cleanup()

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._program.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which is told below
            self._program.stdin.write(command + "\n")
            self._program.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        if not line:
            said = last_lines(self._program.communicate()[1])
            ended = Exit.of_code(self._program.returncode)
            raise RuntimeError(f"the program ended with {ended}: {said or 'it said nothing'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

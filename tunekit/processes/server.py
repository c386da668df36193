"""The parent's side of a server process: it is started, waited for and ended; what it is asked is
for those that inherit this."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from multiprocessing.connection import Connection
from types import TracebackType
from typing import IO, TYPE_CHECKING, ClassVar

from tunekit.errors import SandboxError
from tunekit.processes.python import python_module, with_this_package
from tunekit.wording import last_lines

if TYPE_CHECKING:
    from typing import Self

_START_TIMEOUT_S = 120.0


class ServerProcess:
    """A process that answers over a socket pair, whose closing ends it.

    A context manager: the process starts on first use and ends with the block.

    Attributes:
        MODULE: run as the process, with its end of the socket pair as the only argument; says
            something once it is ready.
        NAME: what it is called in errors.
    """

    MODULE: ClassVar[str]
    NAME: ClassVar[str]

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._ready = False
        self._log: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Starts the server without waiting for it: it warms up meanwhile."""
        if self._process is not None and self._process.poll() is None:
            return
        self._stop()
        if self._log is None:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115
        mine, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            python_module(self.MODULE, str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        theirs.close()
        self._connection = Connection(mine.detach())
        self._greet()

    def close(self) -> None:
        """Ends the server and whatever it is doing; what is asked next starts another."""
        self._stop()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _greet(self) -> None:
        """Sends what a server that was just started needs to get ready; by default nothing."""

    def _environment(self) -> dict[str, str]:
        # Symbolizing a C++ backtrace takes TVM up to tens of seconds a failure.
        return {**with_this_package(), "TVM_BACKTRACE": "0"}

    @property
    def _socket(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def _await_ready(self) -> None:
        """Waits until the server takes requests.

        Raises:
            SandboxError: it does not get there.
        """
        if self._ready:
            return
        try:
            if not self._socket.poll(_START_TIMEOUT_S):
                raise EOFError
            self._socket.recv()
        except (EOFError, OSError) as error:
            tail = self._tail()
            self._stop()
            raise SandboxError(
                f"the {self.NAME} did not start: {tail}",
                hint="run `tunekit doctor` to see what is missing",
            ) from error
        self._ready = True

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._ready = False

    def _tail(self) -> str:
        """The last line that the server wrote."""
        assert self._log is not None
        self._log.seek(0)
        return last_lines(self._log.read().decode(errors="replace")) or "it said nothing"

"""All children of a server: forked, and ended with all that they started."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection

from tunekit.processes.child import Child, Closable, end_children_except, fork


class ChildPool:
    """All children of this process.

    Args:
        control: this process's connection to whoever it works for; not for its children.
    """

    def __init__(self, control: Connection) -> None:
        self._control = control
        self._living: dict[int, Child] = {}

    def fork(
        self,
        job: Callable[[Connection], None],
        *,
        inherited: Iterable[Closable] = (),
        memory_bytes: int | None = None,
    ) -> Child:
        """A child that does a job; see `tunekit.processes.child.fork`. It has no hold on the
        connections of the others."""
        siblings = [child.connection for child in self._living.values()]
        child = fork(
            job, inherited=[self._control, *siblings, *inherited], memory_bytes=memory_bytes
        )
        self._living[child.pid] = child
        return child

    def end(self, child: Child) -> None:
        """Kills a child and whatever it has started, in its group or out of it."""
        if self._living.pop(child.pid, None) is None:
            return
        child.kill()
        end_children_except(self._living)

    def end_all(self) -> None:
        """Kills all children."""
        for child in list(self._living.values()):
            self.end(child)

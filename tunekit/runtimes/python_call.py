"""A standalone library as a Python program calls it, with what Python and NumPy cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.standalone import StandaloneLibrary

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array


class PythonCall(StandaloneLibrary):
    """`tunekit.load(...).run(...)` as it stands: inputs checked and bound, outputs made, each time.

    Its plan is that of the class above.
    """

    def _bind(self, inputs: Sequence[Array]) -> None:
        self._inputs = inputs

    def infer(self) -> object:
        return self._model.run(*self._inputs)

    def arrays(self, result: Any) -> Sequence[Array]:
        return list(result.values()) if isinstance(result, dict) else [result]

"""A standalone library as a runner: its C functions, called from this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.runner import Runner
from tunekit.standalone.loaded import LoadedModel

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array


class StandaloneLibrary(Runner):
    """Inputs and outputs bound once, as a program in C would; a run is one call.

    Its plan: `file`, `standalone` (the name with which its functions begin) and `input_names`.
    """

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        self._model = LoadedModel(Path(plan["file"]), plan["standalone"], threads=threads)
        self._bind([inputs[name] for name in plan["input_names"]])
        return {"threads": self._model.threads}

    def _bind(self, inputs: Sequence[Array]) -> None:
        self._run, self._outputs = self._model.bound(inputs)

    def infer(self) -> object:
        self._run()
        return self._outputs

    def arrays(self, result: Any) -> Sequence[Array]:
        return [array.copy() for array in result]

    def close(self) -> None:
        self._model.close()

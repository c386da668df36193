"""A library of its own as a Python program calls it, with what Python and NumPy cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.runner import Runner
from tunekit.standalone.loaded import LoadedModel

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array


class PythonCall(Runner):
    """`tunekit.load(...).run(...)` as it stands: inputs checked and bound, outputs made, each time.

    Its plan: `file`, `standalone` (the name with which its functions begin), `input_names`, and in
    `shown` what belongs to its settings.
    """

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        self._model = LoadedModel(Path(plan["file"]), plan["standalone"], threads=threads)
        self._inputs = [inputs[name] for name in plan["input_names"]]
        return {"threads": self._model.threads, **plan.get("shown", {})}

    def infer(self) -> object:
        return self._model.run(*self._inputs)

    def arrays(self, result: Any) -> Sequence[Array]:
        return list(result.values()) if isinstance(result, dict) else [result]

    def close(self) -> None:
        self._model.close()

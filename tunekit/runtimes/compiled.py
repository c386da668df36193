"""A compiled library as a runner: by its own functions, or in TVM's virtual machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.relax_vm import RelaxLibrary
from tunekit.runtimes.runner import Runner
from tunekit.runtimes.standalone import StandaloneLibrary

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array


class AnyLibrary(Runner):
    """A standalone library where the plan's `standalone` names its functions; else one for TVM's
    virtual machine. Its plan besides: see either."""

    def imports(self, plan: Mapping[str, Any]) -> None:
        self._library: Runner = StandaloneLibrary() if plan.get("standalone") else RelaxLibrary()
        self._library.imports(plan)

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        settings = self._library.load(plan, inputs, threads)
        self._infer = self._library.infer
        return settings

    def infer(self) -> object:
        return self._infer()

    def arrays(self, result: Any) -> Sequence[Array]:
        return self._library.arrays(result)

    def close(self) -> None:
        self._library.close()

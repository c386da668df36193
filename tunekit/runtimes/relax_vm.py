"""A compiled Relax library as a runner."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.machine.tvm_loading import arrays_of, runtime_only
from tunekit.runtimes.runner import Runner

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array


class RelaxLibrary(Runner):
    """A `.so` with a Relax executable, run by TVM's virtual machine on the device it is for.

    With TVM's runtime alone, as a deployed library has it. Its plan: `file`, `device` and
    `input_names`.
    """

    def imports(self, plan: Mapping[str, Any]) -> None:
        runtime_only(plan["device"])
        importlib.import_module("tvm.runtime.vm")

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        tvm = runtime_only(plan["device"])
        from tvm.runtime.vm import VirtualMachine

        # The thread pool's size comes from TVM_NUM_THREADS, which every runner process gets.
        device = tvm.device(plan["device"], 0)
        machine = VirtualMachine(tvm.runtime.load_module(plan["file"]), device)
        self._device, self._wait = device, plan["device"] != "cpu"
        self._main = machine["main"]
        self._inputs = [
            tvm.runtime.tensor(inputs[name], device=device) for name in plan["input_names"]
        ]
        threads = int(tvm.get_global_func("runtime.NumThreads")())
        return {"threads": threads, "device": plan["device"]}

    def infer(self) -> object:
        result = self._main(*self._inputs)
        if self._wait:
            self._device.sync()
        return result

    def arrays(self, result: Any) -> Sequence[Array]:
        return arrays_of(result)

"""The libraries that tunekit builds itself: tuned, with default schedules, without any."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.bench.runtimes.base import Preparation, Runtime
from tunekit.loading import runtime_only

if TYPE_CHECKING:
    from tunekit.bench.runtimes.base import Array


class _RelaxLibrary(Runtime):
    """A `.so` with a Relax executable, run by TVM's virtual machine on the device it is for.

    With TVM's runtime alone, as a deployed library has it. The whole of TVM, which brings torch
    along where it is installed, would make it 600 MiB larger than what is compared.
    """

    needs: ClassVar[Mapping[str, str]] = {"tvm": "apache-tvm"}

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        tvm = runtime_only(plan["device"])
        from tvm.runtime.vm import VirtualMachine

        # The thread pool's size comes from TVM_NUM_THREADS, which every contestant gets.
        device = tvm.device(plan["device"], 0)
        machine = VirtualMachine(tvm.runtime.load_module(plan["file"]), device)
        self._device, self._wait = device, plan["device"] != "cpu"
        self._main = machine["main"]
        self._inputs = [
            tvm.runtime.tensor(inputs[name], device=device) for name in plan["input_names"]
        ]
        threads = int(tvm.get_global_func("runtime.NumThreads")())
        return {"threads": threads, "device": plan["device"], **plan.get("shown", {})}

    def infer(self) -> object:
        result = self._main(*self._inputs)
        if self._wait:
            self._device.sync()
        return result

    def arrays(self, result: Any) -> Sequence[Array]:
        outputs = [result] if hasattr(result, "numpy") else list(result)
        return [output.numpy() for output in outputs]


class Tuned(_RelaxLibrary):
    """The library with the best records of the catalogue, as `tunekit compile` writes it."""

    name = "tuned"

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.library import tuned_library

        library = tuned_library(preparation.recipe, say=preparation.say)
        manifest = library.manifest
        return {
            "file": str(Path(library.path).resolve()),
            "device": manifest.device,
            "input_names": [tensor.name for tensor in manifest.inputs],
            "shown": {"coverage": manifest.coverage},
        }


class _Untuned(_RelaxLibrary):
    """A library for which nothing was measured: there to say what tuning gained."""

    yardstick = False

    @staticmethod
    @abstractmethod
    def build(preparation: Preparation) -> Path:
        """Path of the library, from the cache if it was built before."""

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.target import resolve_target

        return {
            "file": str(cls.build(preparation).resolve()),
            "device": resolve_target(preparation.recipe.target).device,
            "input_names": [tensor.name for tensor in preparation.source.inputs],
        }


class Default(_Untuned):
    """The prepared model with default schedules: what tuning starts from."""

    name = "default"

    @staticmethod
    def build(preparation: Preparation) -> Path:
        from tunekit.library import build_default

        return build_default(preparation.recipe, cache=preparation.cache, say=preparation.say)


class Unscheduled(_Untuned):
    """The model compiled with TVM's own default pipeline: naive loops."""

    name = "unscheduled"
    few_samples = True

    @staticmethod
    def build(preparation: Preparation) -> Path:
        from tunekit.library import build_unscheduled

        return build_unscheduled(preparation.recipe, cache=preparation.cache, say=preparation.say)

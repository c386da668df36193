"""TVM on an NVIDIA GPU: with its schedules by rule, and with the records of a search."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.cache import content_key
from tunekit.errors import TargetError
from tunekit.machine.tvm_loading import arrays_of, runtime_only
from tunekit.runtimes.gpu import OnGpu
from tunekit.runtimes.runtime import NotApplicable, Preparation

if TYPE_CHECKING:
    from tunekit.library import Library
    from tunekit.machine.target import ResolvedTarget
    from tunekit.recipe import Recipe
    from tunekit.runtimes.runner import Array

_FILE = "model.so"


class TvmCuda(OnGpu):
    """The model as imported, every kernel scheduled by TVM's own rules for GPUs."""

    name = "tvm-cuda"
    needs: ClassVar[Mapping[str, str]] = {"tvm": "apache-tvm"}

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        return cls.plan(preparation, _the_gpu())

    @classmethod
    def plan(cls, preparation: Preparation, target: ResolvedTarget) -> dict[str, Any]:
        """What `load` takes, compiled for a target that need not be this machine's."""
        file = build_by_rule(preparation, target)
        return {"file": str(file), "input_names": list(preparation.inputs)}

    def imports(self, plan: Mapping[str, Any]) -> None:
        runtime_only(self.device)
        importlib.import_module("tvm.runtime.vm")

    def open(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        tvm = runtime_only(self.device)
        from tvm.runtime.vm import VirtualMachine

        self._device = tvm.device(self.device, 0)
        machine = VirtualMachine(tvm.runtime.load_module(plan["file"]), self._device)
        self._main = machine["main"]
        self._host = [inputs[name] for name in plan["input_names"]]
        self._inputs = [tvm.runtime.tensor(array, device=self._device) for array in self._host]
        return {"device": self.device}

    def upload(self) -> None:
        for inside, outside in zip(self._inputs, self._host, strict=True):
            inside.copyfrom(outside)
        self._device.sync()

    def compute(self) -> None:
        self._result = self._main(*self._inputs)
        self._device.sync()

    def download(self) -> Sequence[Array]:
        return arrays_of(self._result)


class TvmCudaTuned(TvmCuda):
    """The library that `tunekit compile` writes for the GPU: kernels by their records, and by
    TVM's rules where there is none."""

    name = "tvm-cuda-tuned"

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.library import tuned_library

        _the_gpu()
        return library_plan(tuned_library(on_gpu(preparation.recipe), say=preparation.say))


def _the_gpu() -> ResolvedTarget:
    """This machine's GPU, as TVM sees it.

    Raises:
        NotApplicable: TVM sees none, which concerns these rows alone.
    """
    from tunekit.machine.target import resolve_target

    try:
        return resolve_target("cuda")
    except TargetError as error:
        raise NotApplicable(error.message) from error


def on_gpu(recipe: Recipe) -> Recipe:
    """The recipe for this machine's GPU, its library beside the one for the CPU."""
    output = str(Path(recipe.output) / "cuda")
    return recipe.model_copy(update={"target": "cuda", "more_targets": (), "output": output})


def library_plan(library: Library) -> dict[str, Any]:
    """What `load` takes of a compiled library."""
    manifest = library.manifest
    return {
        "file": str(library.path.resolve()),
        "input_names": [tensor.name for tensor in manifest.inputs],
        "shown": {"coverage": manifest.coverage},
    }


def build_by_rule(preparation: Preparation, target: ResolvedTarget) -> Path:
    """Path of a library of the model as imported, compiled for a GPU; in the cache."""
    from tunekit.library.build import export
    from tunekit.machine.toolchain import versions
    from tunekit.models import import_model

    recipe, cache = preparation.recipe, preparation.cache

    def build(folder: Path) -> None:
        imported = import_model(
            preparation.source,
            max_relative_error=recipe.reference.import_relative_error,
            cache=cache,
            say=preparation.say,
        )
        preparation.say("compiling for the GPU, scheduled by rule")
        export(imported.module, target, folder / _FILE)

    key = content_key("by rule", preparation.source.digest, target.spec, versions())
    return cache.made("by-rule", key, build, "the compiled library") / _FILE

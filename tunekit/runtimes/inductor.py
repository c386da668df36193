"""TorchInductor: the model compiled ahead of time into a package."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import importlib
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.conversion import Converted
from tunekit.runtimes.pytorch import built_module, flat_tensors, use_threads
from tunekit.wording import error_line

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_WARM_UP_RUNS = 3
_TURNS = 10
_DEEPEST = 20_000
_FORMATS = {False: "as it is", True: "channels last"}


class Inductor(Converted):
    """AOTInductor's package with frozen weights; `torch.compile` where none can be made.

    Forms: the memory format as the model has it or channels last, and the faster of both with
    `max_autotune`. Loading a package checks its compiler, which takes seconds.
    """

    name = "inductor"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch"}
    packages = ("torch",)
    reads = "torch"

    @classmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        use_threads(threads)  # kernels are compiled for a number of threads
        _allow_depth()
        module = built_module(given)
        forms: dict[str, dict[str, Any]] = {}
        refused: dict[str, str] = {}

        def package(*, channels_last: bool, autotuned: bool = False) -> None:
            name = _FORMATS[channels_last] + (", max-autotune" if autotuned else "")
            file = f"{len(forms) + len(refused)}.pt2"
            try:
                _package(module, inputs, channels_last, autotuned, folder / file)
            except Exception as error:  # noqa: BLE001 - a compiler may raise anything
                refused[name] = error_line(error)
                (folder / file).unlink(missing_ok=True)
            else:
                forms[name] = {"package": file, "channels_last": channels_last}

        formats = (False, True) if convolves(module) else (False,)
        for channels_last in formats:
            package(channels_last=channels_last)
        quickest = _quickest(forms, inputs, folder)
        if quickest is not None:
            # It takes minutes, and changes what products cost: the format that is slower without
            # is slower with it.
            package(channels_last=forms[quickest]["channels_last"], autotuned=True)
        if not forms:
            forms = {
                f"torch.compile, {_FORMATS[channels_last]}": {"channels_last": channels_last}
                for channels_last in formats
            }
        for form in forms.values():
            form["shown"] = {"refused": refused} if refused else {}
        return forms

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        import torch

        settings = use_threads(threads)
        self._inputs = tensors(inputs, channels_last=plan["channels_last"])
        self._no_grad = torch.no_grad
        if "package" in plan:
            inductor: Any = importlib.import_module("torch._inductor")
            self._run = inductor.aoti_load_package(str(Path(plan["folder"]) / plan["package"]))
        else:
            module = in_format(built_module(plan), channels_last=plan["channels_last"])
            self._run = compiled_at_once(module, self._inputs, "inductor")
        return {**settings, "freezing": True}

    def infer(self) -> object:
        with self._no_grad():
            return self._run(*self._inputs)

    def close(self) -> None:
        # A package is unpacked in /tmp, and goes from there with what runs it.
        del self._run
        gc.collect()

    def arrays(self, result: Any) -> Sequence[Array]:
        return [tensor.contiguous().numpy() for tensor in flat_tensors(result)]


def _package(
    module: Any, inputs: Mapping[str, Array], channels_last: bool, autotuned: bool, file: Path
) -> None:
    import torch

    inductor: Any = importlib.import_module("torch._inductor")
    with torch.no_grad():
        arguments = tuple(tensors(inputs, channels_last=channels_last))
        # Some modules remember what they computed, which no other export can use.
        module = in_format(copy.deepcopy(module), channels_last=channels_last)
        inductor.aoti_compile_and_package(
            torch.export.export(module, arguments, strict=False),
            package_path=str(file),
            inductor_configs={"freezing": True, "max_autotune": autotuned},
        )


def _quickest(
    forms: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, Array], folder: Path
) -> str | None:
    """The form whose package has the fastest run, by turns; None where none runs."""
    import torch

    inductor: Any = importlib.import_module("torch._inductor")
    runs: dict[str, Callable[[], Any]] = {}
    for name, form in forms.items():
        # What is wrong with it is told where it is run by itself.
        with contextlib.suppress(Exception), torch.no_grad():
            package = inductor.aoti_load_package(str(folder / form["package"]))
            run = functools.partial(package, *tensors(inputs, channels_last=form["channels_last"]))
            run()
            runs[name] = run
    if len(runs) < 2:
        return next(iter(runs), None)
    seconds = dict.fromkeys(runs, math.inf)
    with torch.no_grad():
        for _ in range(_TURNS):
            for name, timed in runs.items():
                start = time.perf_counter()
                timed()
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return min(seconds, key=lambda name: seconds[name])


def _allow_depth() -> None:
    """Compilers of torch go through the layers of a deep network by calls in calls."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _DEEPEST))


def convolves(module: Any) -> bool:
    """Whether a module has weights of convolutions of images, which know memory formats."""
    return any(parameter.dim() == 4 for parameter in module.parameters())


def in_format(module: Any, *, channels_last: bool) -> Any:
    """The module with its weights in this memory format."""
    import torch

    return module.to(memory_format=torch.channels_last) if channels_last else module


def tensors(inputs: Mapping[str, Array], *, channels_last: bool) -> list[Any]:
    """The inputs as tensors in this memory format."""
    import torch

    made = [torch.from_numpy(array) for array in inputs.values()]
    if not channels_last:
        return made
    return [
        tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for tensor in made
    ]


def compiled_at_once(module: Any, inputs: Sequence[Any], backend: str) -> Callable[..., Any]:
    """The module by `torch.compile` with frozen weights, compiled before this returns."""
    import torch

    _allow_depth()
    config: Any = importlib.import_module("torch._inductor.config")
    compiled: Callable[..., Any] = torch.compile(module, backend=backend)
    with torch.no_grad(), config.patch(freezing=True):
        for _ in range(_WARM_UP_RUNS):
            compiled(*inputs)
    return compiled

"""The runtimes a model can be benchmarked in, by name.

A runtime that is not here can still enter: `package.module:Class` of a `Runtime` subclass is
accepted wherever a name is.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tunekit.errors import TunekitError, UsageError
from tunekit.recipe import GPU_RUNTIMES, OWN_RUNTIMES, PEER_RUNTIMES, Recipe
from tunekit.runtimes.runtime import NotApplicable, Preparation, Runtime
from tunekit.runtimes.worker import whole_text
from tunekit.wording import did_you_mean, error_line

__all__ = [
    "RUNTIMES",
    "NotApplicable",
    "Preparation",
    "Runtime",
    "Unprepared",
    "default_runtimes",
    "find_runtime",
    "missing_package",
    "prepared",
]

# As text: naming a runtime must not import it.
RUNTIMES: dict[str, str] = {
    "tuned": "tunekit.benchmark.own_libraries:Tuned",
    "default": "tunekit.benchmark.own_libraries:Default",
    "unscheduled": "tunekit.benchmark.own_libraries:Unscheduled",
    "tuned-vm": "tunekit.benchmark.tuned_forms:TunedVm",
    "tuned-c": "tunekit.benchmark.tuned_forms:TunedC",
    "tuned-ctypes": "tunekit.benchmark.tuned_forms:TunedCtypes",
    "tuned-again": "tunekit.benchmark.own_libraries:TunedAgain",
    "pytorch": "tunekit.runtimes.pytorch:PyTorch",
    "torchscript": "tunekit.runtimes.torchscript:TorchScript",
    "onnxruntime": "tunekit.runtimes.onnxruntime:OnnxRuntime",
    "openvino": "tunekit.runtimes.openvino:OpenVINO",
    **PEER_RUNTIMES,
    **GPU_RUNTIMES,
}


def default_runtimes(recipe: Recipe) -> tuple[str, ...]:
    """Who takes part where nobody says: tunekit's own, and those that the recipe names."""
    return (*OWN_RUNTIMES, *recipe.reference.runtimes)


def find_runtime(name: str) -> type[Runtime]:
    """The runtime of this name, or of this `package.module:Class`.

    Raises:
        UsageError: there is none.
    """
    class_path = name if ":" in name else RUNTIMES.get(name)
    if class_path is None:
        raise UsageError(
            f"no runtime is called {name!r}{did_you_mean(name, RUNTIMES)}",
            hint=f"there are {', '.join(RUNTIMES)}, and your own as package.module:Class",
        )
    module_name, _, class_name = class_path.partition(":")
    try:
        runtime = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # whatever a module does as it is imported
        raise UsageError(
            f"cannot find runtime '{name}': {error_line(error)}",
            hint="give it as package.module:Class, importable from here",
        ) from error
    if not (
        isinstance(runtime, type) and issubclass(runtime, Runtime) and hasattr(runtime, "name")
    ):
        raise UsageError(
            f"'{name}' is not a runtime",
            hint="it must be a subclass of tunekit.runtimes.runtime.Runtime with a name",
        )
    return runtime


def missing_package(runtime: type[Runtime]) -> str | None:
    """What pip would have to install before this runtime can run, or None. Imports nothing."""
    for module, requirement in runtime.needs.items():
        if not _is_installed(module):
            return requirement
    return None


@dataclass(frozen=True)
class Unprepared:
    """Why a runtime does not take part: `reason` in a line, `detail` all there is."""

    status: Literal["not applicable", "not installed", "failed"]
    reason: str
    detail: str | None = None


def prepared(
    name: str, runtime: type[Runtime], preparation: Preparation
) -> Mapping[str, Any] | Unprepared:
    """What a runtime's runner is started with, or why it is not.

    Raises:
        UsageError: the recipe or a flag is wrong, which concerns all runtimes.
    """
    try:
        if missing := runtime.lacks():
            return Unprepared("not applicable", f"there is no {missing} here")
        if package := missing_package(runtime):
            command = f"pip install {runtime.install or package}"
            return Unprepared("not installed", f"not installed: {command}")
        preparation.say(f"preparing {name}")
        # Standard output is the report's.
        with contextlib.redirect_stdout(sys.stderr):
            plan = dict(runtime.prepare(preparation))
        json.dumps(plan)  # As it goes to the runner's process.
        return plan
    except UsageError:
        raise
    except NotApplicable as error:
        return Unprepared("not applicable", str(error))
    except TunekitError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return Unprepared("failed", f"{error}{hint}", whole_text(error))
    except Exception as error:  # noqa: BLE001 - an exporter may raise anything: it is the reason
        return Unprepared("failed", f"{error_line(error)} (while preparing)", whole_text(error))


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False

"""The runtimes a model can be benchmarked in, by name.

A runtime that is not here can still enter: `package.module:Class` of a `Runtime` subclass is
accepted wherever a name is.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util

from tunekit.errors import UsageError
from tunekit.runtimes.runtime import NotApplicable, Preparation, Runtime

__all__ = ["RUNTIMES", "NotApplicable", "Preparation", "Runtime", "find_runtime", "missing_package"]

# As text: naming a runtime must not import it.
RUNTIMES: dict[str, str] = {
    "tuned": "tunekit.benchmark.own_libraries:Tuned",
    "default": "tunekit.benchmark.own_libraries:Default",
    "unscheduled": "tunekit.benchmark.own_libraries:Unscheduled",
    "pytorch": "tunekit.runtimes.pytorch:PyTorch",
    "torchscript": "tunekit.runtimes.torchscript:TorchScript",
    "onnxruntime": "tunekit.runtimes.onnxruntime:OnnxRuntime",
    "openvino": "tunekit.runtimes.openvino:OpenVINO",
}


def find_runtime(name: str) -> type[Runtime]:
    """The runtime of this name, or of this `package.module:Class`. UsageError if there is none."""
    place = name if ":" in name else RUNTIMES.get(name)
    if place is None:
        near = difflib.get_close_matches(name, RUNTIMES, n=1)
        raise UsageError(
            f"no runtime is called '{name}'",
            hint=f"did you mean '{near[0]}'?" if near else f"known: {', '.join(RUNTIMES)}",
        )
    module_name, _, class_name = place.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"cannot find runtime '{name}': {error}",
            hint="give it as package.module:Class, importable from here",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Runtime)):
        raise UsageError(
            f"'{name}' is not a runtime",
            hint="it must be a subclass of tunekit.benchmark.registry.Runtime",
        )
    return found


def missing_package(runtime: type[Runtime]) -> str | None:
    """What pip would have to install before this runtime can run, or None. Imports nothing."""
    for module, requirement in runtime.needs.items():
        if importlib.util.find_spec(module) is None:
            return requirement
    return None

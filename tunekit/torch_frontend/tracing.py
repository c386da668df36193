"""From a module to a traced program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.overrides import TorchFunctionMode

from tunekit.errors import ImportFailed
from tunekit.processes.quiet import quiet
from tunekit.torch_frontend.known_buffers import known_buffers
from tunekit.torch_frontend.known_values import find_answers, known_values, needs_values
from tunekit.torch_frontend.places import user_line
from tunekit.torch_frontend.recurrent_shapes import plain_shapes
from tunekit.wording import first_line

_HINT = (
    "what the model computes must not depend on the values of its inputs: take such parts "
    "(post-processing, loops until convergence) out of the model, or use torch.where and "
    "torch.cond"
)
_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]
_SCRIPT_HINT = "give the module of which the script was made"


def export_program(
    module: torch.nn.Module,
    arguments: Sequence[torch.Tensor],
    name: str,
    keywords: Mapping[str, Any] | None = None,
) -> ExportedProgram:
    """Traces a module in evaluation mode.

    A scripted module is converted first.

    Raises:
        ImportFailed: with the reason and the line of the user's code.
    """
    is_script = isinstance(module, torch.jit.ScriptModule)
    try:
        with quiet(), torch.no_grad(), plain_shapes(), _TraceableData():
            if isinstance(module, torch.jit.ScriptModule):
                return _converted(module, tuple(arguments), dict(keywords or {}))
            return _traced(module, tuple(arguments), dict(keywords or {}))
    except Exception as error:
        what = (
            "its script cannot be converted" if is_script else "torch.export cannot trace the model"
        )
        raise ImportFailed(
            f"{name}: {what}: {first_line(error)}{user_line(error)}",
            hint=_SCRIPT_HINT if is_script else _HINT,
        ) from error


def is_data_dependent(error: BaseException | None) -> bool:
    """Whether a failure is that sizes, or the way taken, depend on the values of inputs."""
    while error is not None:
        if isinstance(error, DataDependent | GuardOnDataDependentSymNode):
            return True
        error = error.__cause__
    return False


class DataDependent(Exception):  # noqa: N818 - the cause of a refusal
    """A size depends on the values of inputs."""


class _TraceableData(TorchFunctionMode):
    """`tensor.data` as `tensor.detach()`, which tracing can follow."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == _DATA:
            return args[0].detach()
        return func(*args, **(kwargs or {}))


def _traced(
    module: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> ExportedProgram:
    """The program; a second time, where the first one needs values that no input decides."""
    try:
        program = torch.export.export(module, arguments, keywords)
    except Exception as error:
        if not is_data_dependent(error):
            raise
    else:
        if not needs_values(program):
            return program
    answers = find_answers(module, arguments, keywords)
    with known_buffers(module), known_values(module, answers):
        return torch.export.export(module, arguments, keywords)


def _converted(
    module: torch.jit.ScriptModule, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> ExportedProgram:
    from torch._export.converter import TS2EPConverter

    converter: Any = TS2EPConverter
    converted = converter(module, arguments, keywords).convert().module(check_guards=False)
    # What was converted computes sizes; traced again, they are numbers.
    return torch.export.export(converted, arguments, keywords)

"""From a module to a traced program."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.export import ExportedProgram

from tunekit.errors import ImportFailed
from tunekit.frontends.torch.places import user_line
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line


def export_program(
    module: torch.nn.Module, arguments: Sequence[torch.Tensor], name: str
) -> ExportedProgram:
    """Traces a module in evaluation mode.

    Raises:
        ImportFailed: with the reason and the line of the user's code.
    """
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, tuple(arguments))
    except Exception as error:
        raise ImportFailed(
            f"{name}: torch.export cannot trace the model: {first_line(error)}{user_line(error)}",
            hint="what the model computes must not depend on the values of its inputs: take such "
            "parts (post-processing, loops until convergence) out of the model, or use "
            "torch.where and torch.cond",
        ) from error

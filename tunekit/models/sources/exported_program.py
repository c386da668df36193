"""`file.pt2`: a program saved by torch.export.save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.export import ExportedProgram

from tunekit.cache import ContentCache, KeyPart, file_digest
from tunekit.errors import ModelFileError
from tunekit.models.binding import given_inputs, require_dtype, require_fixed, require_inputs
from tunekit.models.sources.torch_calls import Call, TracedCall
from tunekit.models.sources.torch_model import TorchModel, Weights
from tunekit.models.spec import DeclaredInput, TensorSpec
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line

if TYPE_CHECKING:
    from tunekit.recipe.schema import ModelSpec


def fingerprint(spec: ModelSpec) -> Mapping[str, KeyPart]:
    """The file's contents."""
    return {"file": file_digest(Path(spec.source))}


def load(
    spec: ModelSpec, digest: str, cache: ContentCache | None, state: Path | None
) -> TorchModel:
    """The program.

    Raises:
        ModelFileError: the file is damaged, or the inputs do not fit.
    """
    path = Path(spec.source)
    for item in spec.inputs:
        if item.is_bound:
            raise ModelFileError(
                f"input {item.name!r} of {path.name} cannot be given a value: the file holds a "
                "finished trace",
                hint="give the value where the model is traced (torch.export.export takes plain "
                "numbers), or take the model itself as python:<package.module>:<callable>",
            )
    inputs = given_inputs(spec)
    return ExportedModel(path.stem, digest, spec.seed, inputs, read_program(path), path.name)


class ExportedModel(TorchModel):
    """A traced program; where it was traced with open sizes, they are fixed by the inputs."""

    def __init__(
        self,
        name: str,
        digest: str,
        seed: int,
        inputs: Sequence[TensorSpec],
        traced: ExportedProgram,
        file_name: str,
    ) -> None:
        declared = [item.spec() for item in _declared_inputs(traced)]
        own_names = {spec.name for spec in declared}
        if not inputs:
            inputs = require_fixed(file_name, declared)
        elif own_names.isdisjoint(spec.name for spec in inputs) and len(inputs) == len(declared):
            # The recipe's own names, by position.
            declared = [
                TensorSpec(spec.name, own.shape, own.dtype)
                for spec, own in zip(inputs, declared, strict=True)
            ]
        require_inputs(file_name, declared, inputs)
        by_name = {spec.name: spec for spec in inputs}
        # The program takes its inputs by position.
        ordered = [by_name[spec.name] for spec in declared]
        super().__init__(name, digest, seed, ordered, traced.module, Weights(random=False))
        self._traced = traced
        self._is_fixed = all(0 not in spec.shape for spec in declared)

    @cached_property
    def module(self) -> Call:
        with quiet():
            return TracedCall(self._traced)

    @property
    def _built(self) -> torch.nn.Module:
        return self.module.model

    def _by_position(self, module: torch.nn.Module) -> Call:
        return self.module

    def _trace(self) -> ExportedProgram:
        return self._traced if self._is_fixed else super()._trace()


def read_program(path: Path) -> ExportedProgram:
    """Reads a .pt2 file.

    Raises:
        ModelFileError: it is missing, damaged or something else.
    """
    if not path.is_file():
        raise ModelFileError(f"there is no model file {path}")
    try:
        with quiet():
            return torch.export.load(str(path))
    except Exception as error:
        raise ModelFileError(
            f"{path} cannot be read: damaged, or not a file of torch.export.save: "
            f"{first_line(error)}",
            hint="write it again with torch.export.save(torch.export.export(model, inputs), path)",
        ) from error


def declared_inputs(path: Path) -> list[DeclaredInput]:
    """The inputs that a program was traced with; torch keeps symbols for open sizes, not names.

    Raises ModelFileError when the file is damaged.
    """
    return _declared_inputs(read_program(path))


def _declared_inputs(program: ExportedProgram) -> list[DeclaredInput]:
    names = set(program.graph_signature.user_inputs)
    declared = []
    for node in program.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if node.name not in names or value is None or isinstance(value, bool | int | float | str):
            continue  # A weight, or an argument whose value is part of the trace.
        if not isinstance(value, torch.Tensor):
            raise ModelFileError(f"input {node.name!r} of the program is not a tensor")
        dims = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
        dtype = str(value.dtype).removeprefix("torch.")
        require_dtype(node.name, dtype)
        declared.append(DeclaredInput(node.name, dims, dtype))
    return declared

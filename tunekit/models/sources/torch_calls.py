"""Torch modules as functions of tensors: inputs by position, results flat.

Models take keywords, tuples and dictionaries and return dataclasses, dictionaries, nested tuples,
None and numbers. What is traced, run as the reference and compared takes the recipe's inputs in
their order and gives tensors in order; all else in a result is left out.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, TensorArgument
from torch.utils import _pytree as pytree

from tunekit.errors import ModelFileError
from tunekit.models.binding import keyword_order
from tunekit.models.preprocessing import CHANNELS_FIRST, Preprocessing
from tunekit.models.spec import TensorSpec

if TYPE_CHECKING:
    from tunekit.models.binding import BoundValue

Path = tuple[str, ...]


class Call(torch.nn.Module):
    """A module that takes tensors by position and gives tensors: one, or a flat tuple.

    Attributes:
        model: what is called.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    @abstractmethod
    def arguments(self, inputs: Sequence[torch.Tensor]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The model's own arguments of these inputs: by position, and by name."""

    def named_results(self, inputs: Sequence[torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        """The results with their names: the key or field of one that has it, else `output` or
        `output_<index>`."""
        positional, named = self.arguments(inputs)
        results = list(_tensors(self.model(*positional, **named), ()))
        return [
            (_output_name(path, index, len(results)), _plain(tensor))
            for index, (path, tensor) in enumerate(results)
        ]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        results = tuple(tensor for _, tensor in self.named_results(inputs))
        return results[0] if len(results) == 1 else results


class NamedCall(Call):
    """Of a module as people write it; some of its parameters may be bound to constants.

    An input whose name has dots goes into a container: `batch.image` under `image` into a
    dictionary that is the parameter `batch`, `pair.0` and `pair.1` into a tuple.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        inputs: Sequence[TensorSpec],
        name: str,
        bound: Mapping[str, BoundValue],
    ) -> None:
        """Raises ModelFileError where the model does not take these inputs."""
        super().__init__(model)
        self.paths = [tuple(spec.name.split(".")) for spec in inputs]
        parameters = list(dict.fromkeys(path[0] for path in self.paths))
        tops = [TensorSpec(parameter, (), "float32") for parameter in parameters]
        self.parameters_in_order = parameters
        self.names = keyword_order(_forward(model), tops, name, bound)
        self.numbers = {name: value for name, value in bound.items() if not _is_array(value)}
        self.arrays = {name: f"bound_{name}" for name in bound if name not in self.numbers}
        for parameter, buffer in self.arrays.items():
            self.register_buffer(buffer, torch.from_numpy(bound[parameter]), persistent=False)

    def arguments(self, inputs: Sequence[torch.Tensor]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        values = _nested(list(zip(self.paths, inputs, strict=True)))
        given = [values[parameter] for parameter in self.parameters_in_order]
        arrays = {name: getattr(self, buffer) for name, buffer in self.arrays.items()}
        if self.names is None:
            return given, {}
        return (), {**dict(zip(self.names, given, strict=True)), **arrays, **self.numbers}


class WithPreprocessing(torch.nn.Module):
    """A module that takes tensors by position, behind what turns them into its own."""

    def __init__(self, model: torch.nn.Module, steps: Sequence[Preprocessing | None]) -> None:
        """`steps` has one for each input, None for those that stay as they are."""
        super().__init__()
        self.model = model
        self.steps = list(steps)
        for index, step in enumerate(steps):
            if step is not None:
                factor, offset = step.constants()
                self.register_buffer(f"factor_{index}", torch.from_numpy(factor), persistent=False)
                self.register_buffer(f"offset_{index}", torch.from_numpy(offset), persistent=False)

    def forward(self, *inputs: torch.Tensor) -> Any:
        own = []
        for index, (step, value) in enumerate(zip(self.steps, inputs, strict=True)):
            if step is not None:
                factor: torch.Tensor = getattr(self, f"factor_{index}")
                offset: torch.Tensor = getattr(self, f"offset_{index}")
                moved = value.permute(CHANNELS_FIRST) if step.moves_channels else value
                value = moved.to(factor.dtype)
                if step.normalizes:
                    value = value * factor + offset
                value = value.contiguous()
            own.append(value)
        return self.model(*own)


class TracedCall(Call):
    """Of a traced program, which knows how its arguments are nested."""

    def __init__(self, program: ExportedProgram) -> None:
        # A traced program has no mode to change: it is what it was when it was traced.
        super().__init__(program.module(check_guards=False))
        self.tree = program.call_spec.in_spec
        self.constants = [
            None if isinstance(spec.arg, TensorArgument) else (spec.arg.value,)
            for spec in program.graph_signature.input_specs
            if spec.kind is InputKind.USER_INPUT
        ]

    def arguments(self, inputs: Sequence[torch.Tensor]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        remaining = iter(inputs)
        leaves = [
            next(remaining) if constant is None else constant[0] for constant in self.constants
        ]
        positional, named = pytree.tree_unflatten(leaves, self.tree)
        return positional, named


def require_stateless(call: Call, samples: Sequence[Sequence[torch.Tensor]], name: str) -> None:
    """A model whose buffers change when it runs must still give the same for the same inputs.

    Args:
        call: of the model.
        samples: two sets of inputs.
        name: of the model.

    Raises:
        ModelFileError: it does not.
    """
    before = {key: buffer.clone() for key, buffer in call.model.named_buffers()}
    first = _copied_results(call, samples[0])
    changed = [
        key
        for key, buffer in call.model.named_buffers()
        if key in before and not _are_equal(buffer, before[key])
    ]
    if not changed:
        return
    _copied_results(call, samples[1])
    again = _copied_results(call, samples[0])
    if all(torch.equal(old, new) for old, new in zip(first, again, strict=True)):
        return
    raise ModelFileError(
        f"{name} keeps a state between calls (buffer {', '.join(changed)}), so that the same "
        "inputs give other results later; a library has no state",
        hint="take the state as an input of the model and return the new one as an output",
    )


def _are_equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    return torch.equal(*(tensor.to_dense() for tensor in (left, right)))


def _copied_results(call: Call, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Results that later calls do not change."""
    return [tensor.clone() for _, tensor in call.named_results([item.clone() for item in inputs])]


def _forward(model: torch.nn.Module) -> Any:
    """What `inspect.signature` can read the parameters of."""
    if not isinstance(model, torch.jit.ScriptModule):
        return model.forward
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    declared: Any = model.forward
    parameters = [
        inspect.Parameter(
            item.name, kind, default=item.default_value if item.has_default_value() else empty
        )
        for item in declared.schema.arguments[1:]
    ]

    def forward() -> None:
        """Has the signature of the script."""

    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward


def _tensors(result: Any, path: Path) -> Iterator[tuple[Path, torch.Tensor]]:
    """The tensors in what a model returned, in order, with where they stand."""
    if isinstance(result, torch.Tensor):
        yield path, result
        return
    for key, value in _items(result):
        yield from _tensors(value, (*path, str(key)))


def _items(result: Any) -> list[tuple[Any, Any]]:
    """The parts of a container, in order; of anything else none."""
    if isinstance(result, Mapping):
        return list(result.items())
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return list(enumerate(result))
    if isinstance(result, list | tuple):
        return list(enumerate(result))
    if is_dataclass(result) and not isinstance(result, type):
        return [(field.name, getattr(result, field.name)) for field in fields(result)]
    if type(result) in pytree.SUPPORTED_NODES:
        return list(enumerate(pytree.tree_leaves(result)))
    return []


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A result as a library gives it: dense, complex numbers as pairs, bfloat16 as float32."""
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.float() if tensor.dtype is torch.bfloat16 else tensor


def _nested(items: list[tuple[Path, torch.Tensor]]) -> dict[str, Any]:
    """Tensors at paths as dictionaries of dictionaries; one with keys 0, 1, ... is a tuple."""
    groups: dict[str, list[tuple[Path, torch.Tensor]]] = {}
    for path, tensor in items:
        groups.setdefault(path[0], []).append((path[1:], tensor))
    return {
        key: parts[0][1] if not parts[0][0] else _as_tuple(_nested(parts))
        for key, parts in groups.items()
    }


def _as_tuple(values: dict[str, Any]) -> Any:
    is_numbered = list(values) == [str(index) for index in range(len(values))]
    return tuple(values.values()) if is_numbered else values


def _is_array(value: BoundValue) -> bool:
    return not isinstance(value, bool | int | float)


def _output_name(path: Path, index: int, count: int) -> str:
    if len(path) == 1 and not path[0].isdigit():
        return path[0]
    return "output" if count == 1 else f"output_{index}"

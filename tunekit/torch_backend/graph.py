"""A graph that dynamo found, with its weights: what identifies it, and the program that it is."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import TensorArgument
from torch.fx import GraphModule

from tunekit.cache import ENVIRONMENT_VARIABLE, content_key
from tunekit.errors import TunekitError
from tunekit.machine.host import detect_host
from tunekit.machine.toolchain import versions
from tunekit.models.sources.contents import tensor_digest
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line


class NotCompiled(TunekitError):  # noqa: N818 - reads as what happened
    """A graph that stays with PyTorch; the message says why."""


class TrackedWeights:
    """The weights of a model, as they are now.

    Args:
        tensors: by their places in a call's arguments.
    """

    def __init__(self, tensors: Mapping[int, torch.Tensor]) -> None:
        # A model that nobody else has any more is not kept.
        self._tensors = {place: weakref.ref(tensor) for place, tensor in tensors.items()}
        self._versions = {place: _version(tensor) for place, tensor in tensors.items()}

    @property
    def are_gone(self) -> bool:
        """Whether some are, and with them the model."""
        return any(tensor() is None for tensor in self._tensors.values())

    def are_in(self, arguments: Sequence[Any]) -> bool:
        """Whether a call is this model's."""
        return all(arguments[place] is tensor() for place, tensor in self._tensors.items())

    def were_written(self, arguments: Sequence[Any]) -> bool:
        """Whether a call's, which are these, have changed since, in a way that torch counts."""
        return any(_version(arguments[place]) != was for place, was in self._versions.items())


class WeightedGraph:
    """A graph, some of whose arguments are a model's weights. Models of one class share it.

    Attributes:
        module: the graph, which takes weights and inputs in one row and gives a tuple.
    """

    def __init__(self, module: GraphModule, examples: Sequence[Any]) -> None:
        self.module = module
        self._places = {place for place, value in enumerate(examples) if _is_weight(value)}

    def weights(self, arguments: Sequence[Any]) -> dict[int, torch.Tensor]:
        """Those of a call's arguments that are weights, by their places."""
        return {place: arguments[place] for place in sorted(self._places)}

    def inputs(self, arguments: Sequence[Any]) -> list[Any]:
        """Those of a call's arguments that are no weights."""
        return [value for place, value in enumerate(arguments) if place not in self._places]

    def digest(self, arguments: Sequence[Any], options: Mapping[str, Any]) -> str:
        """Identifies the library: the graph's code, its weights, its inputs' form, the options,
        this machine and what is installed."""
        parts = [part for part in self.module.modules() if isinstance(part, GraphModule)]
        constants = {name: tensor_digest(value) for name, value in _tensors(self.module).items()}
        return content_key(
            [part.code for part in parts],
            constants,
            {
                str(place): tensor_digest(weight)
                for place, weight in self.weights(arguments).items()
            },
            [[list(value.shape), str(value.dtype)] for value in self.inputs(arguments)],
            {name: str(value) for name, value in options.items()},
            detect_host().fingerprint,
            {name: str(version) for name, version in versions().items()},
        )

    def require_compilable(self, arguments: Sequence[Any]) -> None:
        """Refuses a call that no library can stand for.

        Raises:
            NotCompiled: says why.
        """
        if not all(isinstance(value, torch.Tensor) for value in arguments):
            raise NotCompiled(
                "its sizes vary from call to call",
                hint="torch.compile(..., dynamic=False) makes a library for each size",
            )
        if any(value.device.type != "cpu" for value in arguments):
            raise NotCompiled("its tensors are not on the CPU")
        if torch.is_grad_enabled() and any(value.requires_grad for value in arguments):
            raise NotCompiled(
                "gradients are asked for",
                hint="call the model in torch.inference_mode() or torch.no_grad()",
            )
        if torch.is_autocast_enabled("cpu"):
            raise NotCompiled("autocast chooses its types")

    def save(self, arguments: Sequence[Any], path: Path) -> None:
        """Writes the graph, its weights in it, as a .pt2 file.

        Raises:
            NotCompiled: torch cannot export it, or it does more than give tensors.
        """
        self._require_no_writes(arguments)
        module = _Bound(self.module, self.weights(arguments), len(arguments))
        inputs = tuple(value.detach().clone() for value in self.inputs(arguments))
        try:
            with quiet(), torch.inference_mode(False), torch.no_grad():
                program = torch.export.export(module, inputs)
        except Exception as error:
            raise NotCompiled(f"torch.export refuses it: {first_line(error)}") from error
        outputs = program.graph_signature.output_specs
        if not all(isinstance(output.arg, TensorArgument) for output in outputs):
            raise NotCompiled("it gives something else than tensors")
        try:
            with quiet():
                torch.export.save(program, path)
        except (OSError, RuntimeError) as error:  # torch's own of a full disk
            path.unlink(missing_ok=True)
            raise NotCompiled(
                f"{path} cannot be written: {first_line(error)}",
                hint=f"make room, or set {ENVIRONMENT_VARIABLE} to a folder on another disk",
            ) from error

    def _require_no_writes(self, arguments: Sequence[Any]) -> None:
        """Refuses a graph that changes weights or inputs, by letting it run on copies of them."""
        with torch.inference_mode(False), torch.no_grad():
            copies = [value.detach().clone() for value in arguments]
            before = [copy._version for copy in copies]
            self.module(*copies)
        if before != [copy._version for copy in copies]:
            raise NotCompiled("it changes a tensor in place")


class _Bound(torch.nn.Module):
    """A graph whose weights are its own."""

    def __init__(
        self, graph: GraphModule, weights: Mapping[int, torch.Tensor], arguments: int
    ) -> None:
        super().__init__()
        self.graph = graph
        self.places = [f"weight_{n}" if n in weights else "" for n in range(arguments)]
        for place, weight in weights.items():
            self.register_buffer(f"weight_{place}", weight.detach())

    def forward(self, *inputs: torch.Tensor) -> Any:
        given = iter(inputs)
        return self.graph(*(self.get_buffer(name) if name else next(given) for name in self.places))


def _is_weight(value: Any) -> bool:
    """A parameter, or a buffer: dynamo marks those of modules as staying where they are."""
    return isinstance(value, torch.nn.Parameter) or hasattr(value, "_dynamo_static_input_type")


def _version(tensor: torch.Tensor) -> tuple[int, int]:
    """Another one with every write to a tensor that torch counts, and with other memory under it.

    What is written through `.data`, or to tensors made in inference mode, is not counted.
    """
    return -1 if tensor.is_inference() else tensor._version, tensor.data_ptr()


def _tensors(module: GraphModule) -> Mapping[str, torch.Tensor]:
    """Those that a graph holds itself."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}

"""A graph that dynamo found, with its weights: what identifies it, and the program that it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import TensorArgument
from torch.fx import GraphModule

from tunekit.cache import content_key
from tunekit.errors import TunekitError
from tunekit.machine.host import detect_host
from tunekit.machine.toolchain import versions
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line


class NotCompiled(TunekitError):  # noqa: N818 - reads as what happened
    """A graph that stays with PyTorch; the message says why."""


class WeightedGraph:
    """A graph and those of its arguments that are the model's weights.

    Attributes:
        module: the graph, which takes weights and inputs in one row and gives a tuple.
        weights: the weights by their place in that row, as they were when dynamo found the graph.
    """

    def __init__(self, module: GraphModule, examples: Sequence[Any]) -> None:
        self.module = module
        self.weights = {place: value for place, value in enumerate(examples) if _is_weight(value)}
        self._versions = {place: _version(value) for place, value in self.weights.items()}

    def inputs(self, arguments: Sequence[Any]) -> list[Any]:
        """Those of a call's arguments that are no weights."""
        return [value for place, value in enumerate(arguments) if place not in self.weights]

    def is_changed(self, arguments: Sequence[Any]) -> bool:
        """Whether a call comes with other weights, or these were written to."""
        return any(
            arguments[place] is not weight or _version(weight) != self._versions[place]
            for place, weight in self.weights.items()
        )

    def digest(self, arguments: Sequence[Any], options: Mapping[str, Any]) -> str:
        """Identifies the library: the graph's code, its weights, its inputs' form, the options,
        this machine and what is installed."""
        parts = [part for part in self.module.modules() if isinstance(part, GraphModule)]
        constants = {name: _content(value) for name, value in _tensors(self.module).items()}
        return content_key(
            [part.code for part in parts],
            constants,
            {str(place): _content(weight) for place, weight in self.weights.items()},
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
        module = _Bound(self.module, self.weights, len(arguments))
        inputs = tuple(value.detach().clone() for value in self.inputs(arguments))
        try:
            with quiet(), torch.inference_mode(False), torch.no_grad():
                program = torch.export.export(module, inputs)
        except Exception as error:
            raise NotCompiled(f"torch.export refuses it: {first_line(error)}") from error
        outputs = program.graph_signature.output_specs
        if not all(isinstance(output.arg, TensorArgument) for output in outputs):
            raise NotCompiled("it gives something else than tensors")
        with quiet():
            torch.export.save(program, path)

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


def _version(tensor: torch.Tensor) -> int:
    """Grows with every write to a tensor; those made in inference mode do not count."""
    return -1 if tensor.is_inference() else tensor._version


def _tensors(module: GraphModule) -> Mapping[str, torch.Tensor]:
    """Those that a graph holds itself."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _content(tensor: torch.Tensor) -> str:
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    digest = hashlib.sha256(flat.numpy().data).hexdigest()
    return f"{tensor.dtype} {list(tensor.shape)} {digest}"

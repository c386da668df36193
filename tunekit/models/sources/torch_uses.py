"""What a torch module does with its inputs, as far as that says what they may hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tunekit.models.samples import Use
from tunekit.processes.quiet import quiet

_MOVING = frozenset(
    {
        *("view", "_unsafe_view", "reshape", "expand", "unsqueeze", "squeeze", "permute"),
        *("transpose", "t", "slice", "select", "clone", "_to_copy", "detach", "alias", "repeat"),
        *("split", "split_with_sizes", "unbind", "add", "cat", "stack", "lift_fresh"),
    }
)
"""Operators whose result holds the values of their input, at other places or shifted."""
_KEEPING_SIGN = frozenset(
    {
        *("mm", "bmm", "addmm", "mul", "div", "sum", "mean", "amax", "convolution"),
        *("avg_pool2d", "max_pool2d_with_indices"),
    }
)
"""Operators whose result is not negative where none of their inputs is."""
_POSITIVE = frozenset({"log", "log2", "log10", "sqrt", "rsqrt"})
_INDEXED: Mapping[str, Callable[[Sequence[Any]], tuple[Any, int]]] = {
    **dict.fromkeys(
        ("embedding", "_embedding_bag", "_embedding_bag_forward_only"),
        lambda args: (args[1], args[0].shape[0]),
    ),
    **dict.fromkeys(
        (
            *("index_select", "index_add", "index_copy", "index_fill", "gather", "scatter"),
            *("scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "index_add_"),
        ),
        lambda args: (args[2], args[0].shape[args[1]]),
    ),
    **dict.fromkeys(("take", "put"), lambda args: (args[1], args[0].numel())),
    **dict.fromkeys(
        ("nll_loss_forward", "nll_loss2d_forward"), lambda args: (args[1], args[0].shape[1])
    ),
}
"""Operators with their indices and the size of what those index, from the arguments."""

_WITH_LISTS = ("index", "_unsafe_index", "index_put", "index_put_", "_unsafe_index_put")
"""Operators with a list of indices, one for each axis."""


def uses_of_arguments(
    module: torch.nn.Module, arguments: Sequence[torch.Tensor], names: Sequence[str]
) -> dict[str, Use]:
    """How the module uses each of its arguments; those of which nothing is known are left out.

    The module, in evaluation mode, is run once with integers of zero, which are in every table;
    what they index then shows how far they were shifted.
    """
    zeros = [
        value.clone() if value.is_floating_point() else torch.zeros_like(value)
        for value in arguments
    ]
    watch = _Watch(dict(zip(names, zeros, strict=True)))
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), quiet(), watch:
            module(*zeros)
    except Exception:  # noqa: BLE001 - what does not run is told where it is run in earnest
        # torch.cond is compiled where it is called, and remembers that it cannot be watched.
        torch._dynamo.reset()
    return watch.uses()


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows tensors through the operators of a run."""

    def __init__(self, inputs: Mapping[str, torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # By identity; what is followed is kept, so that no other tensor gets its number.
        self._moved = {id(tensor): name for name, tensor in inputs.items()}
        self._signed = dict(self._moved)
        self._kept: list[Any] = list(inputs.values())
        self._sizes: dict[str, list[int]] = defaultdict(list)
        self._positive: set[str] = set()

    def uses(self) -> dict[str, Use]:
        return {
            name: Use(min(self._sizes.get(name, []), default=None), name in self._positive)
            for name in [*self._sizes, *self._positive]
        }

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        operator = func.overloadpacket.__name__
        if operator in _INDEXED:
            self._note_table(*_INDEXED[operator](args))
        elif operator in _WITH_LISTS:
            for axis, indices in enumerate(args[1]):
                if indices is not None and indices.dtype != torch.bool:
                    self._note_table(indices, args[0].shape[axis])
        self._follow(operator, args, result)
        return result

    def _note_table(self, indices: torch.Tensor, size: int) -> None:
        name = self._moved.get(id(indices))
        if name is not None and indices.numel():
            self._sizes[name].append(size - max(int(indices.max()), 0))

    def _follow(self, operator: str, args: Any, result: Any) -> None:
        """Where the values, and the signs, of inputs go."""
        tensors = [leaf for leaf in pytree.tree_leaves(args) if isinstance(leaf, torch.Tensor)]
        carriers = [self._moved[id(tensor)] for tensor in tensors if id(tensor) in self._moved]
        if carriers and operator in _MOVING:
            self._carry(self._moved, carriers[0], result)
        signed = [self._signed[id(tensor)] for tensor in tensors if id(tensor) in self._signed]
        if not signed:
            return
        if operator in _POSITIVE or (operator == "pow" and _is_root(args)):
            self._positive.add(signed[0])
        elif operator in _MOVING | _KEEPING_SIGN and all(
            id(tensor) in self._signed or bool((tensor >= 0).all()) for tensor in tensors
        ):
            self._carry(self._signed, signed[0], result)

    def _carry(self, followed: dict[int, str], name: str, result: Any) -> None:
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                followed[id(leaf)] = name
                self._kept.append(leaf)


def _is_root(args: Sequence[Any]) -> bool:
    return isinstance(args[1], float) and not args[1].is_integer()

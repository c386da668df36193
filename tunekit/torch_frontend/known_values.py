"""Values that decide sizes or branches of a model and that no input decides.

`x[mask]`, `torch.nonzero(mask)` or `int(count)` have no fixed size, or no value, in a trace. Where
a model makes the mask of its buffers, of ranges or of its inputs' shapes, the answer is the same
in every run. A run outside of the trace gives it, and tells by the operators on the way from which
values it came; a second trace then takes it as a constant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tunekit.torch_frontend.questions import Question, question, tensors_in


@dataclass(frozen=True)
class _Answer:
    """To a question about values.

    Attributes:
        asked: what and of which shapes.
        value: with tensors as constants; None where inputs decide it.
    """

    asked: tuple[Any, ...]
    value: Any


@dataclass(frozen=True)
class _Constant:
    """A tensor outside of any trace."""

    values: Any
    dtype: torch.dtype
    shape: torch.Size

    @classmethod
    def of(cls, tensor: torch.Tensor) -> _Constant:
        return cls(tensor.tolist(), tensor.dtype, tensor.shape)

    def tensor(self) -> torch.Tensor:
        """Made anew, of which a trace makes a constant."""
        return torch.tensor(self.values, dtype=self.dtype).reshape(self.shape)


Answers = Sequence[_Answer]


def needs_values(program: ExportedProgram) -> bool:
    """Whether a traced program has sizes or numbers that are known only as it runs."""
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    return any(
        free_unbacked_symbols(leaf)
        for node in program.graph.nodes
        for leaf in pytree.tree_leaves(node.meta.get("val"))
        if isinstance(leaf, torch.Tensor | torch.SymInt | torch.SymFloat | torch.SymBool)
    )


def find_answers(
    module: torch.nn.Module, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> Answers:
    """Runs the module, and gives in their order the answers to what it asks of values."""
    arguments, keywords = pytree.tree_map_only(
        torch.Tensor, torch.clone, (tuple(arguments), dict(keywords))
    )
    origins = _Origins(tensors_in((arguments, keywords)))
    asking = _Asking(origins)
    with torch.random.fork_rng(devices=[]), _forwarding(module, asking), origins:
        module(*arguments, **keywords)
    return asking.answers


@contextmanager
def known_values(module: torch.nn.Module, answers: Answers) -> Iterator[None]:
    """Within it, the module's `forward` takes the answers that no input decides as constants."""
    with _forwarding(module, _Answering(answers)):
        yield


@contextmanager
def _forwarding(module: torch.nn.Module, mode: TorchFunctionMode) -> Iterator[None]:
    """Within it, the module's `forward` runs in a mode, which so sees calls before all others."""
    forward, own = module.forward, vars(module).get("forward")

    @functools.wraps(forward)
    def within_mode(*arguments: Any, **keywords: Any) -> Any:
        with mode:
            return forward(*arguments, **keywords)

    module.forward = within_mode
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


class _Origins(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows through the operators of a run which tensors depend on its inputs, or on chance."""

    def __init__(self, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dependent: set[int] = set()
        # What is followed is kept, so that no other memory gets its number.
        self._kept: list[torch.Tensor] = []
        # A number outside of tensors depends on inputs, and so may all that comes.
        self._is_lost = False
        self._follow(inputs)

    def knows(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether the values of these are the same in every run."""
        return not self._is_lost and not any(
            _memory(tensor) in self._dependent for tensor in tensors
        )

    def lose(self) -> None:
        """A number that inputs decide has left the tensors."""
        self._is_lost = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags or not self.knows(
            tensors_in((args, kwargs))
        ):
            written = [
                value
                for parameter, value in zip(func._schema.arguments, args, strict=False)
                if parameter.alias_info is not None and parameter.alias_info.is_write
            ]
            self._follow(tensors_in((result, written)))
            if func is torch.ops.aten._local_scalar_dense.default:
                self.lose()
        return result

    def _follow(self, tensors: Sequence[torch.Tensor]) -> None:
        self._kept += tensors
        self._dependent |= {_memory(tensor) for tensor in tensors}


class _Asking(TorchFunctionMode):
    """Writes down the answers of a run."""

    def __init__(self, origins: _Origins) -> None:
        super().__init__()
        self.answers: list[_Answer] = []
        self._origins = origins

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = functools.partial(func, *args, **(kwargs or {}))
        asked = question(func, args, kwargs or {})
        if asked is None:
            return call()
        known = self._origins.knows(asked.deciding)
        answer = asked.answer() if known else None
        if func is torch.Tensor.tolist:
            # In a trace it asks each element for its number.
            numbers = [None] * args[0].numel() if answer is None else pytree.tree_leaves(answer)
            self.answers += [_Answer((torch.Tensor.item, ()), number) for number in numbers]
        else:
            constant = pytree.tree_map_only(torch.Tensor, _Constant.of, answer)
            self.answers.append(_Answer(_key(func, asked), constant))
        if not known and asked.is_number:
            self._origins.lose()
        return call()


class _Answering(TorchFunctionMode):
    """Gives the answers of an earlier run."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._remaining = list(answers)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asked = question(func, args, kwargs or {})
        if asked is not None and self._remaining:
            answer = self._remaining.pop(0)
            if answer.asked != _key(func, asked):
                # Another way than the run took: no later answer would be to its question.
                self._remaining.clear()
            elif answer.value is not None:
                return asked.result(pytree.tree_map_only(_Constant, _Constant.tensor, answer.value))
        return func(*args, **(kwargs or {}))


def _key(func: Callable[..., Any], asked: Question) -> tuple[Any, ...]:
    return func, *(tuple(tensor.shape) for tensor in asked.deciding)


def _memory(tensor: torch.Tensor) -> int:
    """The same for a tensor and its views."""
    strided = tensor.layout is torch.strided
    return int(tensor.untyped_storage()._cdata) if strided else id(tensor)

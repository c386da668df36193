"""Shapes of recurrent layers while a program is traced.

To learn what an LSTM or a GRU gives, torch writes it out step by step with fake tensors, at each
of the two traces, which takes longer than all else where there are hundreds. torch 2.12 gives an
LSTM's states an axis too many besides. The shapes follow from the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

# Reads, when torch first loads it in a trace, what is taken out of torch's table here.
import torch.nn.utils._expanded_weights
from torch._decomp import decomposition_table

_KEYS = (
    torch._C.DispatchKey.CompositeImplicitAutograd,
    torch._C.DispatchKey.Autograd,
)
"""Where torch registers what it writes out."""


@contextmanager
def plain_shapes() -> Iterator[None]:
    """Within it, recurrent layers give tensors of their shapes and no values."""
    aten = torch.ops.aten
    shapes: dict[Any, Any] = {
        aten.lstm.input: _lstm,
        aten.gru.input: _layer,
        aten.rnn_tanh.input: _layer,
        aten.rnn_relu.input: _layer,
    }
    kernels = {operator: dict(operator.py_kernels) for operator in shapes}
    # Fake tensors look here first.
    written_out = {operator: decomposition_table.pop(operator) for operator in shapes}
    try:
        for operator, shape in shapes.items():
            _set_kernels(operator, {**kernels[operator], **dict.fromkeys(_KEYS, shape)})
        yield
    finally:
        decomposition_table.update(written_out)
        for operator, own in kernels.items():
            _set_kernels(operator, own)


def _set_kernels(operator: Any, kernels: dict[Any, Any]) -> None:
    operator.py_kernels.clear()
    operator.py_kernels.update(kernels)
    operator._dispatch_cache.clear()


def _layer(
    inputs: torch.Tensor,
    state: torch.Tensor,
    params: Sequence[torch.Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    width = state.shape[2] * (2 if bidirectional else 1)
    return inputs.new_empty((*inputs.shape[:2], width)), torch.empty_like(state)


def _lstm(
    inputs: torch.Tensor, states: Sequence[torch.Tensor], *arguments: Any
) -> tuple[torch.Tensor, ...]:
    outputs, hidden = _layer(inputs, states[0], *arguments)
    return outputs, hidden, torch.empty_like(states[1])

"""Shapes of recurrent layers while a program is traced.

To learn what an LSTM or a GRU gives, torch writes it out step by step with fake tensors, at each
of the two traces: a GRU of two layers and 500 steps takes a minute. With oneDNN torch 2.12 gives
an LSTM's traced states an axis too many besides. The shapes follow from the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

_KEYS = (
    torch._C.DispatchKey.CompositeImplicitAutograd,
    torch._C.DispatchKey.Autograd,
)
"""Where torch registers what it writes out."""


@contextmanager
def plain_shapes() -> Iterator[None]:
    """Within it, recurrent layers give tensors of their shapes and no values."""
    aten = torch.ops.aten
    kernels: dict[Any, Any] = {
        aten.lstm.input: _lstm,
        aten.gru.input: _layer,
        aten.rnn_tanh.input: _layer,
        aten.rnn_relu.input: _layer,
    }
    before = {operator: dict(operator.py_kernels) for operator in kernels}
    try:
        for operator, kernel in kernels.items():
            _set_kernels(operator, dict.fromkeys(_KEYS, kernel))
        yield
    finally:
        for operator, kept in before.items():
            operator.py_kernels.clear()
            _set_kernels(operator, kept)


def _set_kernels(operator: Any, kernels: dict[Any, Any]) -> None:
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

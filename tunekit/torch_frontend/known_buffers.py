"""Buffers that hold a single integer, as numbers that a trace knows.

Some modules keep sizes such as a kernel's width in buffers and compute paddings from them. In a
trace a buffer has no value, so that a branch on such a padding would depend on data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def known_buffers(module: torch.nn.Module) -> Iterator[None]:
    """Within it, such buffers are constants that are made where they are read."""
    changed = []
    for part in module.modules():
        numbers = {
            name: buffer
            for name, buffer in part._buffers.items()
            if buffer is not None and buffer.numel() == 1 and not buffer.is_floating_point()
        }
        if numbers:
            changed.append((part, type(part), dict(part._buffers)))
            for name in numbers:
                del part._buffers[name]
            constants = {name: _constant(buffer) for name, buffer in numbers.items()}
            part.__class__ = type(type(part).__name__, (type(part),), constants)
    try:
        yield
    finally:
        for part, kind, buffers in changed:
            part.__class__ = kind
            part._buffers.update(buffers)


def _constant(buffer: torch.Tensor) -> Any:
    value, dtype = buffer.tolist(), buffer.dtype
    return property(lambda _: torch.tensor(value, dtype=dtype))

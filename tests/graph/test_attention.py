"""Attention is found in every form, becomes one kernel, and computes what torch does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from attentions import Attentions, Lookalikes, Windows

from tunekit.graph.attention.fuse import fuse_attention

TOLERANCE = 1e-5


def _kernels(module: Any) -> int:
    """Calls of attention in `main`."""
    return sum(
        str(binding.value.args[0].name_hint).startswith("attention")
        for block in module["main"].body.blocks
        for binding in block.bindings
        if "call_tir" in str(getattr(binding.value, "op", ""))
    )


@pytest.mark.parametrize("network", [Attentions, Windows, Lookalikes])
def test_each_attention_is_one_kernel_and_right(
    imported: Callable[..., Any],
    execute: Callable[..., Any],
    relative_error: Callable[..., float],
    network: Any,
) -> None:
    torch.manual_seed(0)
    model = network().eval()
    inputs = [torch.randn(shape) for shape in network.shapes]
    module = fuse_attention(imported(model, inputs), 8)
    assert _kernels(module) == network.count
    with torch.no_grad():
        expected = model(*inputs)
    actual = execute(module, [tensor.numpy() for tensor in inputs])
    errors = [
        relative_error(reference.numpy(), output)
        for reference, output in zip(expected, actual, strict=True)
    ]
    assert max(errors) < TOLERANCE


def test_heads_are_joined_by_the_kernel(imported: Callable[..., Any]) -> None:
    module = imported(Attentions(), [torch.zeros(shape) for shape in Attentions.shapes])
    text = str(fuse_attention(module, 8)["main"])
    # What remains are those of the last, which returns its heads apart.
    assert text.count("permute_dims") <= 3

"""Weights with columns that fill no vectors are packed when the model is compiled, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize(
    ("rows", "columns", "wide"),
    [
        (32, 1003, 1008),  # 1024 would be too many more
        (32, 4093, 4096),
        (32, 1000, 1008),
        (1, 1000, 1000),  # in half vectors, each weight is read once all the same
        (1, 4093, 4096),
        (32, 1024, 1024),
        (32, 9, 9),  # less than a vector
        (2, 129, 129),  # too little work for two kernels
    ],
)
def test_columns_fill_vectors_where_it_pays(
    rows: int,
    columns: int,
    wide: int,
    imported: Callable[..., Any],
    execute: Callable[..., list[Array]],
    relative_error: Callable[[Array, Array], float],
) -> None:
    from tunekit.graph.padded_columns import pad_columns
    from tunekit.ir.relax import bindings_of, operator_name, static_shape

    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(512, columns), nn.ReLU()), torch.randn(1, rows, 512)
    padded = pad_columns(imported(model, [x]), 16)
    [product] = [
        value for _, value in bindings_of(padded["main"]) or () if operator_name(value) == "matmul"
    ]
    assert static_shape(product.args[1]) == (512, wide)
    [actual] = execute(padded, [x.numpy()])
    assert relative_error(model(x).detach().numpy(), actual) < 1e-5


def test_no_run_packs_the_weights_of_an_odd_vocabulary(imported: Callable[..., Any]) -> None:
    from tunekit.graph.prepare import prepare
    from tunekit.graph.tasks import extract_tasks
    from tunekit.machine.target import resolve_target
    from tunekit.spaces.matmul import matmul_tiles
    from tunekit.spaces.matmul_pattern import find_matmul

    target = resolve_target("llvm -mcpu=x86-64-v3 -num-cores=2", measured_elsewhere=True)
    module = imported(nn.Linear(256, 5003, bias=False), [torch.randn(1, 64, 256)])
    [task] = extract_tasks(prepare(module, target, "auto"), target)
    matmul = find_matmul(task.module)
    assert matmul is not None
    assert {tile.operand for tile in matmul_tiles(matmul, target)} == {"constant panels"}

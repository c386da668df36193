"""Kernels as the recognisers see them."""

from __future__ import annotations

import pytest
from family_kernels import kernel
from kernels import matmul

from tunekit.ir.tir import Kernel


def test_the_axes_of_a_block_are_spatial_or_reduced():
    [block] = Kernel.of(matmul(16)).blocks
    assert (block.name, block.roles) == ("product", ("spatial", "spatial", "reduced"))
    assert (block.spatial, block.reduced) == ((16, 16), (16,))
    assert block.divide("ijk") == (["i", "j"], ["k"])
    assert block.dimensions_read == [2, 2]


def test_blocks_come_in_program_order_and_know_who_reads_them():
    from tvm import te, topi

    x = te.placeholder((4, 16), name="x")
    read = Kernel.of(kernel([x, topi.nn.relu(topi.sum(x, axis=1))]))
    total, output = read.blocks
    assert [block.name for block in read.reducing] == [total.name]
    assert [block.name for block in read.consumers(total)] == [output.name]
    assert [block.name for block in read.producers(output)] == [total.name]
    assert read.consumers(output) == ()


def test_a_symbolic_extent_is_none():
    from tvm import te, topi

    x = te.placeholder((te.var("length", "int64"), 16), name="x")
    [block] = Kernel.of(kernel([x, topi.tanh(x)])).blocks
    assert [axis.extent for axis in block.axes] == [None, 16]
    assert not block.static
    with pytest.raises(ValueError, match="no constant"):
        _ = block.extents


def test_a_kernel_of_one_block_with_loops_of_its_own_has_none():
    from tvm import te, topi

    x = te.placeholder((4, 16), name="x")
    assert Kernel.of(kernel([x, topi.cumsum(x, 1)])).blocks == ()

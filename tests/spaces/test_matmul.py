"""Matrix products: which kernels they are, and that every candidate computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from family_kernels import (
    assert_all_compute_the_same,
    assert_every_target_compiles,
    default,
    kernel,
    variants,
)
from fused_convolutions import ELSEWHERE, NATIVE, compiled
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.spaces.matmul import matmul_tiles
from tunekit.spaces.matmul_pattern import find_matmul
from tunekit.spaces.registry import find_family

FAMILY = "matrix product"
EPILOGUES = ("none", "bias and relu", "residual")


def product(
    *,
    batch: tuple[int, ...] = (),
    rows: int = 13,
    columns: int = 24,
    steps: int = 20,
    parallel: bool = True,
    transposed: bool = False,
    constant: bool = True,
    epilogue: str = "none",
) -> Any:
    """(batch, rows, steps) by (steps, columns), or by a matrix for each batch if not `parallel`."""
    from tvm import te, topi

    left = te.placeholder((*batch, rows, steps), name="left")
    last = (columns, steps) if transposed else (steps, columns)
    right = te.placeholder(last if parallel else (*batch, *last), name="right")
    k = te.reduce_axis((0, steps), name="k")

    def multiply(*index: Any) -> Any:
        *outer, m, n = index
        at = (n, k) if transposed else (k, n)
        return te.sum(left(*outer, m, k) * right(*(() if parallel else outer), *at), axis=k)

    result = te.compute((*batch, rows, columns), multiply, name="product")
    more = []
    if epilogue == "bias and relu":
        more = [te.placeholder((columns,), name="bias")]
        result = topi.nn.relu(topi.add(result, more[0]))
    elif epilogue == "residual":
        more = [te.placeholder((*batch, rows, columns), name="other")]
        result = topi.add(more[0], topi.tanh(result))
    return kernel([left, right, *more, result], constants=[1] if constant else [])


@st.composite
def products(draw: st.DrawFn) -> Any:
    batch = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    columns = draw(st.sampled_from([5, 8, 13, 24, 40, 64]))
    return product(
        batch=batch,
        rows=draw(st.sampled_from([1, 2, 7, 13, 19, 24])),
        columns=columns,
        steps=draw(st.sampled_from([1, 7, 16, 36])),
        parallel=draw(st.booleans()),
        transposed=draw(st.booleans()),
        # Few rows by weights that no vector divides are left to the generic space.
        constant=columns % 4 == 0 and draw(st.booleans()),
        epilogue=draw(st.sampled_from(EPILOGUES)),
    )


@given(module=products(), seed=st.integers(1, 1000))
@settings(max_examples=4)
def test_every_variant_computes_the_product(module: Any, seed: int) -> None:
    assert_all_compute_the_same(module, seed, FAMILY)


def test_rows_and_columns_that_no_tile_divides_are_right() -> None:
    assert_all_compute_the_same(
        product(batch=(2,), rows=29, columns=29, steps=8, parallel=False, constant=False), 1, FAMILY
    )
    assert_all_compute_the_same(product(rows=17, columns=13), 1, FAMILY, most=1)


def test_operands_are_told_from_each_other() -> None:
    found = find_matmul(product(batch=(2,), transposed=True, parallel=False, constant=False))
    assert found is not None
    assert (found.roles, found.extents) == ("bmnk", (2, 13, 24, 20))
    assert (found.right, found.constant, found.columns_last) == (1, False, False)
    parallel = find_matmul(product(batch=(1, 5)))
    assert parallel is not None
    assert (parallel.roles, parallel.constant, parallel.columns_last) == ("bbmnk", True, True)


def test_what_is_no_product_of_two_matrices_is_not_taken_for_one() -> None:
    from tvm import te, topi

    a, b = te.placeholder((16, 32), name="a"), te.placeholder((16, 32), name="b")
    k = te.reduce_axis((0, 32), name="k")
    row = te.compute((16,), lambda i: te.sum(a[i, k] * b[i, k], axis=k))
    assert find_matmul(kernel([a, b, row])) is None
    assert find_matmul(kernel([a, topi.sum(a, axis=1)])) is None
    difference = te.compute((16, 16), lambda i, j: te.sum(a[i, k] - b[j, k], axis=k))
    assert find_matmul(kernel([a, b, difference])) is None
    whole = [te.placeholder((8, 8), name=name, dtype="int32") for name in "cd"]
    assert find_matmul(kernel([*whole, topi.matmul(*whole)])) is None


@given(
    rows=st.integers(1, 300),
    columns=st.integers(1, 300),
    constant=st.booleans(),
)
@settings(max_examples=15)
def test_tiles_stay_within_the_registers(rows: int, columns: int, constant: bool) -> None:
    found = find_matmul(product(rows=rows, columns=columns, constant=constant))
    assert found is not None
    for target, registers in ((ELSEWHERE["avx2"], 16), (ELSEWHERE["neon"], 32)):
        for tile in matmul_tiles(found, target):
            assert tile.lanes * 32 <= target.vector_bits
            assert tile.operand != "constant panels" or columns % tile.width == 0
            assert tile.rows <= rows
            assert tile.rows * tile.vectors + tile.vectors + 1 <= registers


@pytest.mark.parametrize("name", ["avx512", "neon"])
def test_every_target_compiles_products(name: str) -> None:
    assert_every_target_compiles(product(epilogue="bias and relu"), name, FAMILY)
    assert_every_target_compiles(
        product(batch=(2,), columns=13, parallel=False, constant=False), name, FAMILY, most=1
    )


@pytest.mark.parametrize(("name", "instruction"), [("avx512", "%zmm"), ("neon", "fmla\t")])
def test_tiles_become_vector_multiply_adds(name: str, instruction: str) -> None:
    target = ELSEWHERE[name]
    module = product(rows=24, columns=64, steps=32)
    assembly = str(compiled(default_for(module, name).mod, target).inspect_source("asm"))
    assert assembly.count(instruction) >= 8


def default_for(module: Any, name: str) -> Any:
    from tunekit.spaces.sampling import first_choices

    with first_choices():
        return variants(module, ELSEWHERE[name], 1, FAMILY)[0]


def test_constants_are_packed_when_compiling_and_other_operands_in_the_kernel() -> None:
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    remove = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)
    packed = remove(default(product(), FAMILY).mod)["main"]
    assert len(packed.params[1].shape) == 3
    made = default(product(transposed=True, constant=False), FAMILY).mod
    assert len(remove(made)["main"].params[1].shape) == 2


def test_a_model_with_products_is_right_and_its_weights_are_repacked() -> None:
    """A torch model all the way through preparation, default schedules and compilation."""
    import torch
    import tvm
    from tvm import relax

    from tunekit.graph.prepare import prepare
    from tunekit.graph.tasks import extract_tasks
    from tunekit.library.apply import apply_records
    from tunekit.torch_frontend import export_program, program_to_relax

    model = torch.nn.Sequential(
        torch.nn.Linear(20, 48), torch.nn.GELU(), torch.nn.Linear(48, 16), torch.nn.ReLU()
    ).eval()
    x = torch.randn(13, 20, generator=torch.Generator().manual_seed(1))
    module = program_to_relax(export_program(model, [x], "test"), ["x"], "test")
    graph = prepare(module, NATIVE, "NCHW")
    tasks = extract_tasks(graph, NATIVE)
    applied = apply_records(graph, tasks, [], NATIVE)
    assert applied.scheduled == {task.name for task in tasks}
    assert "layout_rewrite" not in applied.module.script()
    executable = tvm.compile(applied.module, target=NATIVE.tvm)
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x.numpy()))
    actual = result.numpy()
    with torch.inference_mode():
        expected = model(x).numpy()
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("constant", [True, False])
def test_points_of_the_search_are_found_again_from_their_stored_traces(constant: bool) -> None:
    import tvm

    from tunekit.spaces.design_space import DesignSpace
    from tunekit.spaces.registry import family_space

    module = product(transposed=True, constant=constant)
    found = find_family(module, NATIVE)
    assert found is not None
    space = DesignSpace(module, NATIVE, family_space(found[1]), name="product", threads=1)
    assert space.weights is not None
    points = list(space.weights)[:: max(1, len(space.weights) // 8)]
    for point, made in zip(points, space.make(points), strict=True):
        assert made is not None
        assert space.locate(tvm.ir.save_json(made.schedule.trace)) == point


def test_symbolic_shapes_are_left_alone() -> None:
    from tvm import te, topi

    left = te.placeholder((te.var("n"), 8), name="left")
    right = te.placeholder((8, 16), name="right")
    assert find_family(kernel([left, right, topi.matmul(left, right)]), NATIVE) is None


def test_a_reduction_longer_than_the_caches_is_cut_into_passes_and_right() -> None:
    module = product(batch=(1,), rows=101, columns=48, steps=3072, epilogue="bias and relu")
    made = variants(module, NATIVE, 1, FAMILY)
    cut = ["_rf" in variant.mod.script() for variant in made]
    assert True in cut
    assert False in cut
    assert_all_compute_the_same(module, 1, FAMILY, most=2)
    for name in ELSEWHERE:
        assert_every_target_compiles(module, name, FAMILY, most=1)

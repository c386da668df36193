"""Register tiles: which kernels get them, and that every candidate computes the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fused_convolutions import (
    ELSEWHERE,
    EPILOGUES,
    NATIVE,
    Kernel,
    compiled,
    random_arguments,
    run,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.machine.target import ResolvedTarget
from tunekit.spaces.convolution import convolution_designs, find_anchor, variants
from tunekit.spaces.register_tiles import Anchor
from tunekit.spaces.registry import family_space, find_family


def _anchor(module: Any) -> Anchor:
    anchor = find_anchor(module)
    assert anchor is not None
    return anchor


def _variants(module: Any, target: ResolvedTarget, seeds: range) -> list[Any]:
    """Every structural variant with decisions as each seed draws them."""
    from tvm.s_tir import Schedule

    anchor = _anchor(module)
    return [
        variant
        for seed in seeds
        for variant in convolution_designs(Schedule(module, seed=seed), anchor, target)
    ]


# -- which kernels ------------------------------------------------------------------------------


def test_dense_grouped_and_depthwise_convolutions_are_recognised() -> None:
    dense = _anchor(Kernel(epilogue="residual").module())
    assert dense.spatial == (1, 3, 9, 7, 8)
    assert dense.reduction == (2, 3, 3, 8)
    assert not dense.depthwise
    grouped = _anchor(Kernel("grouped", epilogue="silu").module())
    assert (grouped.spatial, grouped.depthwise) == ((1, 6, 9, 7, 8), False)
    depthwise = _anchor(Kernel("depthwise", stride=2).module())
    assert depthwise.spatial == (1, 3, 5, 4, 8)
    assert depthwise.reduction == (3, 3)
    assert depthwise.depthwise


def _other_kernels() -> dict[str, Callable[[], list[Any]]]:
    from tvm import te, topi

    def blocked() -> Any:
        return te.placeholder((1, 2, 8, 8, 8), name="x")

    def matmul() -> list[Any]:
        a, b = te.placeholder((16, 32), name="a"), te.placeholder((32, 8), name="b")
        return [a, b, topi.matmul(a, b)]

    def pooling() -> list[Any]:
        x, pads = blocked(), [0, 0, 0, 0]
        return [x, topi.nn.pool2d(x, [2, 2], [2, 2], [1, 1], pads, "max", layout="NCHW8c")]

    def plain_convolution() -> list[Any]:
        x, k = te.placeholder((1, 8, 8, 8), name="x"), te.placeholder((8, 8, 3, 3), name="k")
        return [x, k, topi.nn.conv2d_nchw(x, k, 1, 1, 1)]

    def softmax() -> list[Any]:
        x = blocked()
        return [x, topi.nn.softmax(x, axis=1)]

    def elementwise() -> list[Any]:
        x = blocked()
        return [x, topi.nn.relu(x)]

    def scalar() -> list[Any]:
        x = te.placeholder((), name="x")
        return [x, topi.exp(x)]

    def symbolic() -> list[Any]:
        x = te.placeholder((te.var("n"), 8), name="x")
        return [x, topi.sum(x, axis=1)]

    makers = (matmul, pooling, plain_convolution, softmax, elementwise, scalar, symbolic)
    return {maker.__name__: maker for maker in makers}


@pytest.mark.parametrize("name", _other_kernels())
def test_other_kernels_are_left_to_other_spaces(name: str) -> None:
    import tvm
    from tvm import te

    function = te.create_prim_func(_other_kernels()[name]())
    assert find_anchor(tvm.IRModule({"main": function})) is None


def test_what_cannot_be_scheduled_does_not_fit_and_never_raises() -> None:
    """Two results, a kernel that looks ahead of itself, one that reads its own residual late."""
    import tvm
    from tvm import te, topi

    from tunekit.graph.kernels.convolution import ConvolutionShape, blocked_convolution

    def both(x: Any) -> list[Any]:
        return [topi.nn.relu(x), topi.tanh(x)]

    def itself_and_more(x: Any) -> list[Any]:
        return [x, topi.nn.relu(x)]

    def two_tails(x: Any) -> list[Any]:
        return [te.compute((n, *x.shape[1:]), lambda _, *rest: x(0, *rest)) for n in (2, 3)]

    def there_and_back(x: Any) -> list[Any]:
        shape = (*x.shape[:2], x.shape[2] * 2, *x.shape[3:])
        wide = te.compute(shape, lambda n, c, h, w, b: x[n, c, h // 2, w, b])
        return [
            te.compute(x.shape, lambda n, c, h, w, b: wide[n, c, h * 2, w, b] + x[n, c, h, w, b])
        ]

    for following in (both, itself_and_more, two_tails, there_and_back):
        data = te.placeholder((1, 2, 9, 7, 8), name="data")
        weights = te.placeholder((3, 2, 3, 3, 8, 8), name="weights")
        shape = ConvolutionShape((1, 1), (1, 1, 1, 1), (1, 1), 1)
        results = following(blocked_convolution(data, weights, shape, "float32"))
        module = tvm.IRModule({"main": te.create_prim_func([data, weights, *results])})
        assert find_anchor(module) is not None
        found = find_family(module, NATIVE)
        assert found is None or found[0] != "register tile", following.__name__


@pytest.mark.parametrize("kind", ["dense", "grouped", "depthwise", "pointwise"])
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_what_a_fused_convolution_looks_like_fits(kind: str, epilogue: str) -> None:
    kernel = Kernel(kind, epilogue=epilogue)
    if kind == "pointwise":
        kernel = Kernel(kernel=(1, 1), padding=(0, 0, 0, 0), epilogue=epilogue)
    module = kernel.module()
    assert _anchor(module).pointwise is (kind == "pointwise")
    found = find_family(module, NATIVE)
    assert found is not None
    assert found[0] == "register tile"


@pytest.mark.parametrize("kind", ["dense", "depthwise"])
def test_what_is_added_to_a_convolution_is_computed_with_its_tiles(kind: str) -> None:
    """An identity that has been normalized, as a block beside the convolution."""
    added, computed = (
        _variants(Kernel(kind, epilogue=epilogue).module(), NATIVE, range(1, 2))
        for epilogue in ("residual", "normalized identity")
    )
    assert list(map(_blocks, computed)) == list(map(_blocks, added))


def _blocks(schedule: Any) -> int:
    return len(schedule.get_child_blocks(schedule.get_sblock("root")))


# -- candidates ---------------------------------------------------------------------------------


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    kernel = (draw(st.sampled_from([1, 2, 3, 5])), draw(st.sampled_from([1, 3])))
    dilation = draw(st.sampled_from([1, 1, 2]))
    height, width = ((extent - 1) * dilation + 1 + draw(st.integers(0, 13)) for extent in kernel)
    pad = st.integers(0, 2)
    return Kernel(
        kind=draw(st.sampled_from(["dense", "grouped", "depthwise"])),
        batch=draw(st.sampled_from([1, 1, 2])),
        in_blocks=draw(st.integers(1, 3)),
        out_blocks=draw(st.integers(1, 6)),
        in_block=draw(st.sampled_from([1, 4, 8, 16])),
        out_block=draw(st.sampled_from([4, 8, 16])),
        size=(height, width),
        kernel=kernel,
        stride=draw(st.integers(1, 3)),
        dilation=dilation,
        padding=(draw(pad), draw(pad), draw(pad), draw(pad)),
        epilogue=draw(st.sampled_from(EPILOGUES)),
    )


@given(kernel=kernels(), seed=st.integers(1, 1000))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_every_variant_computes_what_the_kernel_computes(kernel: Kernel, seed: int) -> None:
    module = kernel.module()
    arguments = random_arguments(module)
    expected = run(module, arguments)
    assert np.abs(expected).max() > 0
    for variant in _variants(module, NATIVE, range(seed, seed + 1)):
        assert np.allclose(run(variant.mod, arguments), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["dense", "grouped", "depthwise"])
@pytest.mark.parametrize(("width", "stride"), [(61, 1), (300, 2), (1031, 1)])
def test_threads_share_the_columns_of_a_signal(kind: str, width: int, stride: int) -> None:
    """Of one block of channels, too; and every variant computes the same."""
    kernel = Kernel(
        kind,
        out_blocks=1,
        size=(1, width),
        kernel=(1, 5),
        padding=(0, 2, 0, 2),
        stride=stride,
        epilogue="bias and relu",
    )
    module = kernel.module()
    arguments = random_arguments(module)
    expected = run(module, arguments)
    found = _variants(module, NATIVE, range(1, 3))
    assert found
    assert any(_parallel_extent(variant) > kernel.out_blocks for variant in found)
    for variant in found:
        assert np.allclose(run(variant.mod, arguments), expected, rtol=1e-3, atol=1e-4)


def _parallel_extent(schedule: Any) -> int:
    """Of the loop that threads share around a convolution."""
    [name] = [
        str(block.name_hint)
        for block in map(schedule.get, schedule.get_child_blocks(schedule.get_sblock("root")))
        if "conv2d" in str(block.name_hint) and "init" not in str(block.name_hint)
    ][:1]
    return int(schedule.get(schedule.get_loops(schedule.get_sblock(name))[0]).extent)


def test_every_tile_of_a_kernel_computes_the_same() -> None:
    """All decisions of one sampler, replayed from a trace as the evolutionary search does."""
    from tvm.s_tir import Schedule

    module = Kernel(out_blocks=4, size=(8, 6), epilogue="residual").module()
    arguments = random_arguments(module)
    expected = run(module, arguments)
    trace = _variants(module, NATIVE, range(1, 2))[-1].trace
    first = next(inst for inst in trace.insts if inst.kind.name == "SampleCategorical")
    count = len(variants(_anchor(module), NATIVE, padded=True)[-1].tiles)
    for decision in range(0, count, max(1, count // 10)):
        replayed = Schedule(module)
        trace.with_decision(first, decision, remove_postproc=False).apply_to_schedule(
            replayed, remove_postproc=False
        )
        assert np.allclose(run(replayed.mod, arguments), expected, rtol=1e-3, atol=1e-4)


def test_what_the_search_draws_computes_the_same() -> None:
    """Points from all over the space, as the search makes them."""
    from tunekit.spaces.design_space import DesignSpace

    module = Kernel(out_blocks=4, size=(8, 6), epilogue="bias and relu").module()
    arguments = random_arguments(module)
    expected = run(module, arguments)
    found = find_family(module, NATIVE)
    assert found is not None
    space = DesignSpace(module, NATIVE, family_space(found[1]), name="kernel", threads=1)
    assert space.weights is not None
    points = list(space.weights)
    for made in space.make(points[:: max(1, len(points) // 6)]):
        assert made is not None
        assert np.allclose(run(made.schedule.mod, arguments), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_every_target_compiles_every_kind(name: str) -> None:
    """Machine code for CPUs that need not be here; each kind with another epilogue."""
    target = ELSEWHERE[name]
    for kind, epilogue in zip(("dense", "grouped", "depthwise"), EPILOGUES[1:], strict=False):
        block = target.vector_bits // 32
        module = Kernel(kind, in_block=block, out_block=block, epilogue=epilogue).module()
        for variant in _variants(module, target, range(1, 2))[-2:]:
            compiled(variant.mod, target)


@pytest.mark.parametrize(
    ("name", "instruction"),
    [("avx512", "%zmm"), ("avx2", "vfmadd"), ("neon", "fmla\t")],
)
def test_tiles_become_vector_multiply_adds(name: str, instruction: str) -> None:
    target = ELSEWHERE[name]
    block = target.vector_bits // 32
    module = Kernel(in_block=block, out_block=block, size=(8, 8)).module()
    [variant, *_] = _variants(module, target, range(1, 2))
    assembly = str(compiled(variant.mod, target).inspect_source("asm"))
    assert assembly.count(instruction) >= 8


def test_a_convolution_that_reads_its_own_places_is_pointwise() -> None:
    def pointwise(**kernel: Any) -> bool:
        return _anchor(
            Kernel(kernel=(1, 1), **{"padding": (0, 0, 0, 0), **kernel}).module()
        ).pointwise

    assert pointwise()
    assert pointwise(epilogue="residual", size=(7, 7))
    assert not pointwise(stride=2)
    assert not pointwise(kind="grouped")
    assert not _anchor(Kernel(padding=(0, 0, 0, 0)).module()).pointwise


@pytest.mark.parametrize(
    ("kernel", "orders"),
    [
        # Weights of four channel blocks that do not fit the second cache beside anything.
        (Kernel(in_blocks=64, out_blocks=16, size=(5, 5)), {"channels", "partial"}),
        # Many places, few weights.
        (Kernel(in_blocks=2, out_blocks=3, size=(24, 24)), {"channels", "pixels"}),
        (
            Kernel(in_blocks=2, out_blocks=7, size=(17, 16), kernel=(1, 1), padding=(0, 0, 0, 0)),
            {"channels", "pixels"},
        ),
        (Kernel("depthwise", out_blocks=9, size=(9, 11), kernel=(5, 5)), {"channels"}),
        # What squeeze-and-excite has: nothing to cut into strips.
        (
            Kernel(in_blocks=6, size=(1, 1), kernel=(1, 1), padding=(0, 0, 0, 0)),
            {"channels"},
        ),
    ],
    ids=["large weights", "large image", "pointwise", "depthwise", "one place"],
)
def test_every_order_of_the_loops_computes_the_same(kernel: Kernel, orders: set[str]) -> None:
    module = kernel.module()
    found = variants(_anchor(module), NATIVE, padded=any(kernel.padding))
    assert {variant.order for variant in found} == orders
    arguments = random_arguments(module)
    expected = run(module, arguments)
    scripts = set()
    for variant in _variants(module, NATIVE, range(3, 5)):
        scripts.add(variant.mod.script())
        assert np.allclose(run(variant.mod, arguments), expected, rtol=1e-3, atol=1e-3)
    assert len(scripts) >= len(found)


def test_blocked_convolutions_get_register_tiles_and_others_the_generic_space() -> None:
    from tvm.s_tir.meta_schedule.space_generator import PostOrderApply, ScheduleFn

    from tunekit.graph.task import Task
    from tunekit.spaces import space_for

    def task(module: Any) -> Task:
        return Task("task", module, "0", weight=1, flops=1.0, bytes=1)

    import tvm
    from tvm import te

    assert isinstance(space_for(task(Kernel().module()), NATIVE), ScheduleFn)
    plain = te.create_prim_func(_other_kernels()["plain_convolution"]())
    assert isinstance(space_for(task(tvm.IRModule({"main": plain})), NATIVE), PostOrderApply)

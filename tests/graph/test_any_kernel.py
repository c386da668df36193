"""Whatever kernels a model brings, they are prepared, scheduled and right, or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from any_kernels import AnyKernel, any_kernels, numbers
from targets import unoptimized
from tvm import relax, te, topi

from tunekit.errors import ModelError
from tunekit.graph.lowering.build import compile_model
from tunekit.graph.open_sizes import require_fixed_sizes
from tunekit.graph.operation import describe, operation_of
from tunekit.graph.prepare import prepare
from tunekit.graph.tasks import extract_tasks
from tunekit.ir.tir import Kernel
from tunekit.library.apply import apply_records
from tunekit.spaces.registry import FAMILIES, find_family, fit

TARGET = unoptimized()
Array = np.ndarray[Any, Any]
Emit = Callable[..., Any]


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", "2")


def model(emit: Emit, *inputs: Array) -> Any:
    """`main` of what `emit` gives for a builder and its parameters, one for each input."""
    builder = relax.BlockBuilder()
    parameters = [
        relax.Var(f"x{number}", relax.TensorType(array.shape, str(array.dtype)))
        for number, array in enumerate(inputs)
    ]
    with builder.function("main", parameters):
        with builder.dataflow():
            result = builder.emit_output(emit(builder, *parameters))
        builder.emit_func_output(result)
    return builder.get()


def run(executable: Any, inputs: list[Array]) -> list[Array]:
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return _flat(machine["main"](*map(tvm.runtime.tensor, inputs)))


def _flat(result: Any) -> list[Array]:
    if hasattr(result, "numpy"):
        return [result.numpy()]
    return [array for field in result for array in _flat(field)]


def compiled_by_default(module: Any, layout: Any = "auto") -> Any:
    """By the way of a library without records."""
    graph = prepare(module, TARGET, layout)
    applied = apply_records(graph, extract_tasks(graph, TARGET), [], TARGET)
    return compile_model(applied.module, TARGET.tvm)


def assert_same(expected: Array, actual: Array, name: str) -> None:
    assert (expected.shape, expected.dtype) == (actual.shape, actual.dtype), name
    wide = actual.astype("float64") - expected.astype("float64")
    limit = {"f2": 2e-2, "f4": 1e-4, "f8": 1e-4}.get(expected.dtype.str[1:], 0.0)
    assert np.abs(wide).max(initial=0) <= limit * np.abs(expected).max(initial=0), name


def main_of(kernel: AnyKernel) -> Any:
    inputs = [te.placeholder(array.shape, dtype=str(array.dtype)) for array in kernel.inputs]
    outputs = kernel.compute(*inputs)
    outputs = [outputs] if isinstance(outputs, te.Tensor) else list(outputs)
    function = te.create_prim_func([*inputs, *outputs]).with_attr("global_symbol", "main")
    return tvm.IRModule({"main": function})


def test_no_kernel_makes_a_family_or_a_description_fail() -> None:
    for kernel in any_kernels():
        module = main_of(kernel)
        assert describe(module)
        operation_of(module)
        if Kernel.of(module).regular:
            for family in FAMILIES:
                fit(family, module, TARGET)


def test_every_kernel_computes_with_its_default_schedule_what_it_does_without() -> None:
    kernels = any_kernels()
    inputs = [array for kernel in kernels for array in kernel.inputs]
    names: list[str] = []

    def emit(builder: Any, *parameters: Any) -> Any:
        left, results = list(parameters), []
        for kernel in kernels:
            given = [left.pop(0) for _ in kernel.inputs]
            result = builder.emit(
                builder.call_te(kernel.compute, *given, primfunc_name_hint=kernel.name)
            )
            several = isinstance(result.ty, relax.TupleType)
            names.extend([kernel.name] * (len(result.ty.fields) if several else 1))
            results.append(result)
        return relax.Tuple(results)

    module = model(emit, *inputs)
    expected = run(tvm.compile(module, target=TARGET.tvm), inputs)
    actual = run(compiled_by_default(module), inputs)
    for name, one, other in zip(names, expected, actual, strict=True):
        # TVM's own loops leave a sum of nothing as the memory was.
        assert_same(np.zeros_like(one) if name.startswith("empty") else one, other, name)


@pytest.mark.parametrize("layout", ["auto", "NHWC"])
def test_kernels_that_came_beside_main_stay_between_convolutions(layout: str) -> None:
    image = numbers(1, 16, 8, 8)
    weights = relax.const(numbers(16, 16, 3, 3), "float32")

    def emit(builder: Any, x: Any) -> Any:
        def convolved(value: Any) -> Any:
            return builder.emit(relax.op.nn.conv2d(value, weights, padding=1))

        clipped = builder.emit_te(topi.clip, convolved(x), 0, 6)
        padded = builder.emit_te(
            topi.nn.reflect_pad, convolved(clipped), [0, 0, 1, 1], [0, 0, 1, 1]
        )
        summed = builder.emit_te(topi.cumsum, padded, 2)
        half, rest = (
            builder.emit(relax.TupleGetItem(halves, number))
            for halves in [
                builder.emit_te(topi.split, builder.emit_te(topi.tile, summed, (1, 2, 1, 1)), 2, 1)
            ]
            for number in range(2)
        )
        return relax.Tuple([builder.emit(relax.op.add(convolved(half), rest)), x, clipped, clipped])

    module = model(emit, image)
    expected = run(tvm.compile(module, target=TARGET.tvm), [image])
    actual = run(compiled_by_default(module, layout), [image])
    for number, (one, other) in enumerate(zip(expected, actual, strict=True)):
        assert_same(one, other, str(number))


def test_a_model_may_have_no_kernel_and_give_one_value_as_several_outputs() -> None:
    x, constant = numbers(3, 4), numbers(2, 2)

    def emit(builder: Any, value: Any) -> Any:
        reshaped = builder.emit(relax.op.reshape(value, (4, 3)))
        return relax.Tuple([value, value, reshaped, reshaped, relax.const(constant)])

    actual = run(compiled_by_default(model(emit, x)), [x])
    for one, other in zip([x, x, x.reshape(4, 3), x.reshape(4, 3), constant], actual, strict=True):
        assert_same(one, other, "")


def test_kernels_of_open_size_are_no_tasks_but_run() -> None:
    x, bounds = numbers(6, 4), [np.array(b, "int64") for b in ([1, 0], [4, 4], [1, 1])]

    def emit(builder: Any, *values: Any) -> Any:
        return builder.emit(relax.op.dynamic_strided_slice(*values))

    module = model(emit, x, *bounds)
    (actual,) = run(compiled_by_default(module), [x, *bounds])
    assert_same(x[1:4], actual, "slice")
    with pytest.raises(
        ModelError, match=r"output 'part' \(operator dynamic_strided_slice\) depends"
    ):
        require_fixed_sizes(module, ["part"], "sliced")


def test_a_size_that_nobody_knows_inside_of_a_model_is_refused() -> None:
    def emit(builder: Any, x: Any) -> Any:
        places = builder.emit(relax.op.nonzero(x))
        return builder.emit(relax.op.sum(builder.emit(relax.op.astype(places, "float32"))))

    with pytest.raises(ModelError, match="counted: the size of the result of nonzero depends"):
        require_fixed_sizes(model(emit, numbers(3, 4)), ["sum"], "counted")


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_a_product_keeps_its_space_with_an_activation_that_is_a_polynomial(activation: str) -> None:
    weights, bias = relax.const(numbers(16, 32)), relax.const(numbers(32))

    def emit(builder: Any, x: Any) -> Any:
        total = builder.emit(relax.op.add(relax.op.matmul(x, weights), bias))
        return builder.emit(getattr(relax.op.nn, activation)(total))

    graph = prepare(model(emit, numbers(8, 16)), TARGET, "auto")
    [task] = extract_tasks(graph, TARGET)
    assert activation in task.name
    found = find_family(task.module, TARGET)
    assert found is not None
    assert found[0] == "matrix product"

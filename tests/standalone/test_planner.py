"""A lowered model becomes a list of calls; what is decided only when it runs is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tvm import relax, tirx

from tunekit.errors import CompileError
from tunekit.graph.lowering.build import lower_model
from tunekit.machine.target import ResolvedTarget
from tunekit.standalone.plan import Arena, Input, NotStandalone, Output, Plan, Weight
from tunekit.standalone.planner import plan

Body = Callable[..., Any]


@pytest.fixture(scope="module")
def plan_of(target: ResolvedTarget) -> Callable[..., Plan]:
    """The plan of a graph: `body` gets a builder and a variable for each input's type."""

    def planned(inputs: Sequence[relax.TensorType], body: Body, unneeded: Sequence[str] = ()):
        builder = relax.BlockBuilder()
        variables = [relax.Var(f"x{index}", type_) for index, type_ in enumerate(inputs)]
        with builder.function("main", variables):
            with builder.dataflow():
                result = builder.emit_output(body(builder, *variables))
            builder.emit_func_output(result)
        legal = relax.transform.LegalizeOps()(builder.get())
        return plan(lower_model(legal, target.tvm), unneeded)

    return planned


def _tensor(*shape: int, dtype: str = "float32") -> relax.TensorType:
    return relax.TensorType(shape, dtype)


def _run(planned: Plan, *inputs: np.ndarray) -> list[np.ndarray]:
    """What a plan gives whose kernels add 1, 2, 4, ... to what they read: its places are real."""
    arena = np.zeros(planned.arena, "uint8")
    outputs = [np.zeros(output.shape, output.element.name) for output in planned.outputs]

    def at(number: int) -> np.ndarray:
        tensor = planned.tensors[number]
        dtype = np.dtype(tensor.element.name)
        size = int(np.prod(tensor.shape, dtype="int64")) * dtype.itemsize
        match tensor.place:
            case Arena(offset):
                return arena[offset : offset + size].view(dtype).reshape(tensor.shape)
            case Weight(index):
                return planned.weights[index].reshape(tensor.shape)
            case Input(index):
                return inputs[index].reshape(tensor.shape)
            case Output(index):
                return outputs[index].reshape(tensor.shape)

    for index, step in enumerate(planned.steps):
        *read, written = step.tensors
        at(written)[...] = sum(at(number) for number in read) + 2**index
    for output, array in zip(planned.outputs, outputs, strict=True):
        if not output.direct:
            array[...] = at(output.tensor).reshape(output.shape)
    return outputs


def test_kernels_are_called_in_order_and_write_outputs_where_they_are_bound(
    plan_of: Callable[..., Plan],
) -> None:
    planned = plan_of(
        [_tensor(4, 4)],
        lambda bb, x: bb.emit(relax.op.exp(bb.emit(relax.op.abs(bb.emit(relax.op.sin(x)))))),
    )
    assert [step.kernel for step in planned.steps] == planned.kernels
    assert len(planned.steps) == 3
    [output] = planned.outputs
    assert output.direct
    assert planned.tensors[output.tensor].place == Output(0)
    x = np.arange(16, dtype="float32").reshape(4, 4)
    [found] = _run(planned, x)
    np.testing.assert_array_equal(found, x + 7)


def test_several_outputs_and_a_tuple_are_flattened(plan_of: Callable[..., Plan]) -> None:
    def body(bb: Any, x: Any, y: Any) -> Any:
        a, b = bb.emit(relax.op.sin(x)), bb.emit(relax.op.abs(y))
        return relax.Tuple([a, relax.Tuple([b, bb.emit(relax.op.exp(a))])])

    planned = plan_of([_tensor(2), _tensor(3)], body)
    assert [output.shape for output in planned.outputs] == [(2,), (3,), (2,)]
    assert all(output.direct for output in planned.outputs)
    x, y = np.ones(2, "float32"), np.zeros(3, "float32")
    found = _run(planned, x, y)
    assert [array.tolist() for array in found] == [[2, 2], [2, 2, 2], [6, 6]]


def test_an_output_that_is_an_input_reshaped_is_copied(plan_of: Callable[..., Plan]) -> None:
    planned = plan_of([_tensor(4, 4)], lambda bb, x: bb.emit(relax.op.reshape(x, (16,))))
    [output] = planned.outputs
    assert not planned.steps
    assert not output.direct
    assert planned.tensors[output.tensor].place == Input(0)
    # The copy of the input and the output's own place are needed at the same time.
    assert abs(planned.inputs[0].copy - output.own) >= 64
    x = np.arange(16, dtype="float32").reshape(4, 4)
    assert _run(planned, x)[0].tolist() == list(range(16))


def test_a_constant_is_an_output(plan_of: Callable[..., Plan]) -> None:
    values = np.arange(5, dtype="float32")
    planned = plan_of(
        [_tensor(5)],
        lambda bb, x: relax.Tuple([bb.emit(relax.op.abs(x)), bb.emit(relax.const(values))]),
    )
    assert [output.direct for output in planned.outputs] == [True, False]
    assert _run(planned, values)[1].tolist() == values.tolist()


def test_one_tensor_may_be_several_outputs(plan_of: Callable[..., Plan]) -> None:
    def body(bb: Any, x: Any) -> Any:
        once = bb.emit(relax.op.abs(x))
        return relax.Tuple([once, once, bb.emit(relax.op.reshape(once, (2, 3)))])

    planned = plan_of([_tensor(6)], body)
    assert not any(output.direct for output in planned.outputs)
    owns = sorted(output.own for output in planned.outputs)
    assert len(set(owns)) == 3
    found = _run(planned, np.zeros(6, "float32"))
    assert [array.shape for array in found] == [(6,), (6,), (2, 3)]
    assert all((array == 1).all() for array in found)


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8", "bool", "float16", "float64"])
def test_tensors_have_any_type(plan_of: Callable[..., Plan], dtype: str) -> None:
    planned = plan_of(
        [_tensor(3, 2, dtype=dtype)],
        lambda bb, x: bb.emit(relax.op.permute_dims(x)),
    )
    assert [tensor.element.name for tensor in planned.tensors] == [dtype, dtype]
    assert planned.outputs[0].shape == (2, 3)


def test_scalars_have_a_place_too(plan_of: Callable[..., Plan]) -> None:
    planned = plan_of([_tensor()], lambda bb, x: bb.emit(relax.op.abs(x)))
    assert planned.outputs[0].shape == ()
    assert _run(planned, np.float32(3).reshape(()))[0] == 4


def test_constants_of_equal_bytes_are_kept_once(plan_of: Callable[..., Plan]) -> None:
    def body(bb: Any, x: Any) -> Any:
        first, second = (relax.const(np.full(100, 2.5, "float32")) for _ in range(2))
        return bb.emit(relax.op.add(bb.emit(relax.op.add(x, first)), second))

    assert len(plan_of([_tensor(100)], body).weights) == 1


def test_kernels_that_change_nothing_are_left_out(plan_of: Callable[..., Plan]) -> None:
    def body(bb: Any, x: Any) -> Any:
        bb.emit(relax.op.sin(x))
        return bb.emit(relax.op.abs(x))

    planned = plan_of([_tensor(4)], body, unneeded=["tir_sin"])
    assert planned.kernels == ["tir_abs"]


def test_a_builtin_that_is_not_known_is_refused_by_name(plan_of: Callable[..., Plan]) -> None:
    def body(bb: Any, x: Any) -> Any:
        return bb.emit(relax.Call(relax.ExternFunc("my.runtime.sorted"), [x], ty_args=[_tensor(8)]))

    with pytest.raises(NotStandalone, match=r"its graph calls my\.runtime\.sorted") as caught:
        plan_of([_tensor(8)], body)
    assert "tunekit export --vm" in (caught.value.hint or "")


def test_a_kernel_that_needs_tvms_runtime_is_refused_by_name(plan_of: Callable[..., Plan]) -> None:
    def body(builder: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return builder.emit(relax.op.argsort(x))

    with pytest.raises(NotStandalone, match=r"kernel argsort calls tvm\.contrib\.sort\.argsort of"):
        plan_of([_tensor(2, 9)], body)


def test_sizes_that_depend_on_the_call_are_refused(plan_of: Callable[..., Plan]) -> None:
    n = tirx.Var("n", "int64")
    with pytest.raises(NotStandalone, match="is known only when it runs"):
        plan_of([relax.TensorType((n, 4), "float32")], lambda bb, x: bb.emit(relax.op.abs(x)))


def test_a_type_without_whole_bytes_is_refused_by_name(plan_of: Callable[..., Plan]) -> None:
    with pytest.raises(CompileError, match="int4"):
        plan_of([_tensor(8, dtype="int4")], lambda bb, x: bb.emit(relax.op.reshape(x, (2, 4))))


def test_a_graph_that_branches_is_refused(target: ResolvedTarget) -> None:
    from tvm.script import ir as I
    from tvm.script import relax as R

    @I.ir_module
    class Branches:
        @R.function
        def main(
            c: R.Tensor((), "bool"),  # noqa: N805
            x: R.Tensor((4,), "float32"),
        ) -> R.Tensor((4,), "float32"):
            if c:  # noqa: SIM108 - TVM's script has no other form
                y = R.abs(x)
            else:
                y = R.sin(x)
            return y

    lowered = lower_model(relax.transform.LegalizeOps()(Branches), target.tvm)
    with pytest.raises(NotStandalone, match="branches"):
        plan(lowered)

"""From a lowered model to its plan.

A model that TVM has lowered for its virtual machine is one block of bindings: calls of kernels that
write into tensors they are given, and between them the allocation, reshaping and release of these.
Everything but the calls is decided here, once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunekit.standalone.elements import Element, element_of
from tunekit.standalone.memory import Lifetime, pack
from tunekit.standalone.plan import (
    Arena,
    Input,
    InputPlan,
    KernelCall,
    Output,
    OutputPlan,
    Place,
    PlacedTensor,
    Plan,
    Weight,
    refusal,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from tvm.ir import IRModule
    from tvm.relax import Call, Function

    Array = npt.NDArray[np.generic]

# They check what the runtime checks when a tensor is bound, or release what has its place for good.
_NOTHING = {
    "relax.null_value",
    "relax.vm.kill_object",
    "relax.memory.kill_tensor",
    "relax.memory.kill_storage",
    "vm.builtin.check_tensor_info",
    "vm.builtin.match_shape",
    # Tensors are laid out anew, each by its own life.
    "relax.vm.alloc_storage",
    "relax.memory.alloc_storage",
}
_RESHAPE = "vm.builtin.reshape"
_LOOK_UPS = {"tirx.tvm_call_packed", "tirx.tvm_call_cpacked"}


def plan(lowered: IRModule, unneeded: Sequence[str] = ()) -> Plan:
    """The plan of a lowered model's `main`.

    Args:
        lowered: as TVM's virtual machine would run it.
        unneeded: kernels whose calls change no tensor of the model: they are left out.

    Raises:
        NotStandalone: something in it is decided only when it runs.
    """
    planned = _Planner(lowered["main"], frozenset(unneeded)).plan()
    for name in planned.kernels:
        if called := _runtime_functions(lowered[name]):
            raise refusal(f"kernel {name} calls {called[0]} of TVM's runtime")
    return planned


@dataclass(eq=False)
class _Buffer:
    """Memory of the arena that tensors share, and the steps between which it is needed."""

    size: int
    first: int | None = None
    last: int = -1


@dataclass(frozen=True)
class _View:
    """A tensor before its place is known."""

    base: _Buffer | Weight | Input
    shape: tuple[int, ...]
    element: Element


@dataclass
class _Planner:
    """Reads the bindings of a function, one after another."""

    main: Function
    unneeded: frozenset[str]
    values: dict[Any, Any] = field(default_factory=dict)
    views: list[_View] = field(default_factory=list)
    steps: list[KernelCall] = field(default_factory=list)
    buffers: list[_Buffer] = field(default_factory=list)
    weights: dict[bytes, tuple[int, Array]] = field(default_factory=dict)
    constants: dict[int, int] = field(default_factory=dict)

    def plan(self) -> Plan:
        inputs = [self._parameter(index, var) for index, var in enumerate(self.main.params)]
        for block in self.main.body.blocks:
            for binding in block.bindings:
                self._bind(binding)
        outputs = list(_flat(self._value(self.main.body.body)))
        return self._placed(inputs, outputs)

    def _parameter(self, index: int, var: Any) -> int:
        shape = tuple(_size(extent) for extent in var.ty.shape)
        number = self._number(_View(Input(index), shape, element_of(str(var.ty.dtype))))
        self.values[var] = number
        return number

    def _number(self, view: _View) -> int:
        self.views.append(view)
        return len(self.views) - 1

    def _bind(self, binding: Any) -> None:
        from tvm import relax

        value = binding.value
        if not isinstance(binding, relax.VarBinding) or isinstance(value, relax.If):
            raise refusal(f"its graph branches, or matches shapes while it runs ({value})")
        self.values[binding.var] = (
            self._call(value) if isinstance(value, relax.Call) else self._value(value)
        )

    def _value(self, expression: Any) -> Any:
        """The number of a tensor, a list of values, or None for what is none."""
        from tvm import relax
        from tvm.ir import GenericConst

        if isinstance(expression, relax.Var):
            return self.values[expression]
        if isinstance(expression, relax.Tuple):
            return [self._value(part) for part in expression.fields]
        if isinstance(expression, relax.TupleGetItem):
            return self._value(expression.tuple_value)[expression.index]
        if isinstance(expression, GenericConst):
            return self._constant(expression)
        raise refusal(f"its graph holds {type(expression).__name__}")

    def _constant(self, constant: Any) -> int:
        identity = constant.value.__hash__()
        if identity in self.constants:
            return self.constants[identity]
        array = constant.value.numpy()
        digest = hashlib.sha256(array.tobytes()).digest()
        number, _ = self.weights.setdefault(digest, (len(self.weights), array))
        view = _View(Weight(number), array.shape, element_of(str(constant.value.dtype)))
        self.constants[identity] = self._number(view)
        return self.constants[identity]

    def _call(self, call: Call) -> Any:
        from tvm import relax
        from tvm.ir import GlobalVar, Op

        if isinstance(call.op, GlobalVar):
            return self._kernel(call)
        name = str(call.op.global_symbol if isinstance(call.op, relax.ExternFunc) else "")
        if isinstance(call.op, Op):
            name = str(call.op.name)
        if name in _NOTHING:
            return None
        if name == _RESHAPE:
            return self._reshaped(call)
        if name.endswith("alloc_tensor"):
            return self._allocated(call)
        raise refusal(f"its graph calls {name or call.op}")

    def _reshaped(self, call: Call) -> int:
        view = self.views[self._value(call.args[0])]
        shape = tuple(_size(extent) for extent in call.args[1].values)
        return self._number(_View(view.base, shape, view.element))

    def _allocated(self, call: Call) -> int:
        _storage, _offset, shape, dtype, *_ = call.args
        extents = tuple(_size(extent) for extent in shape.values)
        element = element_of(str(dtype.value))
        buffer = _Buffer(math.prod(extents) * element.size)
        self.buffers.append(buffer)
        return self._number(_View(buffer, extents, element))

    def _kernel(self, call: Call) -> None:
        name = str(call.op.name_hint)
        if name in self.unneeded:
            return
        numbers = [self._value(argument) for argument in call.args]
        if not all(isinstance(number, int) for number in numbers):
            raise refusal(f"kernel {name} gets something else than tensors")
        for number in numbers:
            self._used(number, len(self.steps))
        self.steps.append(KernelCall(name, tuple(numbers)))

    def _used(self, number: int, step: int) -> None:
        base = self.views[number].base
        if isinstance(base, _Buffer):
            base.first = step if base.first is None else base.first
            base.last = max(base.last, step)

    def _placed(self, inputs: Sequence[int], results: Sequence[int]) -> Plan:
        """With a place in memory for each buffer.

        Args:
            inputs: numbers of the tensors that are the model's inputs.
            results: numbers of those that are its outputs.
        """
        # Outputs stay until the next run; what has to be copied to them has its place then.
        end = len(self.steps)
        for number in results:
            self._used(number, end)
        bases = [self.views[number].base for number in results]
        direct = [isinstance(base, _Buffer) and bases.count(base) == 1 for base in bases]
        copied = [
            number for number, is_direct in zip(results, direct, strict=True) if not is_direct
        ]
        last_reads = self._last_reads(results)
        packing = pack(
            [
                *(Lifetime(buffer.size, buffer.first or 0, buffer.last) for buffer in self.buffers),
                *(Lifetime(self._bytes(number), -1, last_reads[number]) for number in inputs),
                *(Lifetime(self._bytes(number), end, end) for number in copied),
            ]
        )
        offsets = iter(packing.offsets)
        arena = {id(buffer): next(offsets) for buffer in self.buffers}
        copies = [next(offsets) for _ in inputs]
        own = [
            arena[id(base)] if is_direct else next(offsets)
            for base, is_direct in zip(bases, direct, strict=True)
        ]
        places: dict[int, Place] = {key: Arena(offset) for key, offset in arena.items()}
        for index, (base, is_direct) in enumerate(zip(bases, direct, strict=True)):
            if is_direct:
                places[id(base)] = Output(index)
        return Plan(
            tensors=[
                PlacedTensor(
                    places[id(view.base)] if isinstance(view.base, _Buffer) else view.base,
                    view.shape,
                    view.element,
                )
                for view in self.views
            ],
            steps=self.steps,
            inputs=[
                InputPlan(self.views[number].shape, self.views[number].element, copy)
                for number, copy in zip(inputs, copies, strict=True)
            ],
            outputs=[
                OutputPlan(view.shape, view.element, number, is_direct, offset)
                for view, number, is_direct, offset in zip(
                    (self.views[number] for number in results), results, direct, own, strict=True
                )
            ],
            weights=[array for _, array in self.weights.values()],
            arena=packing.size,
        )

    def _bytes(self, number: int) -> int:
        view = self.views[number]
        return math.prod(view.shape) * view.element.size

    def _last_reads(self, results: Sequence[int]) -> dict[int, int]:
        """The last step that reads each input, by the number of its tensor: -1 if none does, and
        one after all of them for an input that is an output."""
        last: dict[Any, int] = {}
        for index, step in enumerate(self.steps):
            last |= {self.views[number].base: index for number in step.tensors}
        last |= {self.views[number].base: len(self.steps) for number in results}
        return {
            number: last.get(view.base, -1)
            for number, view in enumerate(self.views)
            if isinstance(view.base, Input)
        }


def _runtime_functions(kernel: Any) -> list[str]:
    """The functions that a kernel looks up by name when it runs."""
    from tvm.ir import Call, Op
    from tvm_ffi import structural_walk

    calls: list[Any] = []
    structural_walk(kernel.body, [(Call, calls.append)])
    return [
        str(call.args[0].value)
        for call in calls
        if isinstance(call.op, Op) and call.op.name in _LOOK_UPS
    ]


def _flat(value: Any) -> list[int]:
    if isinstance(value, list):
        return [number for part in value for number in _flat(part)]
    if not isinstance(value, int):
        raise refusal("one of its results is no tensor")
    return [value]


def _size(extent: Any) -> int:
    from tvm.tirx import IntImm

    if not isinstance(extent, int | IntImm):
        raise refusal(f"the size {extent} is known only when it runs")
    return int(extent)

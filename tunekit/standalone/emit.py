"""A plan as tables in C, and its weights as a file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.standalone.interface import c_text
from tunekit.standalone.memory import aligned
from tunekit.standalone.plan import Arena, Input, InputPlan, Output, OutputPlan, Place, Plan, Weight
from tunekit.standalone.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

#: What the generated code puts before the name of a kernel to call it.
KERNEL_PREFIX = "__tvm_ffi_"


@dataclass(frozen=True)
class ExpectedValue:
    """A value that the self test expects: `element` of output number `output`, give or take."""

    output: int
    element: int
    value: float
    tolerance: float


@dataclass(frozen=True)
class Program:
    """A model for one kind of CPU, at one size.

    Attributes:
        plan: what it does.
        features: that the CPU must have, by LLVM's names.
        cores: threads that its kernels were compiled for.
        input_names: of the model.
        output_names: of the model.
        input_ranges: the smallest and largest value of each input in the self test.
        checks: what the self test expects.
        huge_pages: whether activations are to be in huge pages.
        workspace: what kernels take while they run.
        checked_by_framework: whether `checks` have what the model's framework gave, as nobody ran
            these kernels.
        size: of each of the library's axes.
        input_axes: for each input and each of its dimensions the number of the library's axis that
            it is, or -1; none where the library has no axes.
        output_axes: the same of the outputs.
    """

    plan: Plan
    features: Sequence[str]
    cores: int
    input_names: Sequence[str]
    output_names: Sequence[str]
    input_ranges: Sequence[tuple[float, float]]
    checks: Sequence[ExpectedValue]
    huge_pages: bool
    workspace: Workspace
    checked_by_framework: bool = False
    size: Sequence[int] = ()
    input_axes: Sequence[Sequence[int]] = ()
    output_axes: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class WeightOffsets:
    """Where the weights of a plan are in the file, and how long that is, in bytes."""

    offsets: Sequence[int]
    size: int


def write_weights(weights: Iterable[Array], path: Path) -> WeightOffsets:
    """Writes constants one after another, each aligned; those with equal bytes once."""
    import numpy as np

    known: dict[bytes, int] = {}
    offsets: list[int] = []
    end = 0
    with path.open("wb") as file:
        for array in weights:
            content = np.ascontiguousarray(array).tobytes()
            digest = hashlib.sha256(content).digest()
            if digest not in known:
                known[digest] = end
                file.write(content)
                following = end + aligned(len(content))
                file.write(bytes(following - end - len(content)))
                end = following
            offsets.append(known[digest])
    return WeightOffsets(offsets, end)


def program_source(program: Program, symbol: str, weight_offsets: Sequence[int]) -> str:
    """The C source of a program's tables, which go together under one symbol."""
    plan = program.plan
    shapes, shape_starts = _pool([tensor.shape for tensor in plan.tensors])
    arguments, argument_starts = _pool([step.tensors for step in plan.steps])
    tensors = [
        _braces(
            _place_name(tensor.place),
            tensor.element.code,
            tensor.element.bits,
            len(tensor.shape),
            start,
            f"{_offset(tensor.place, weight_offsets)}u",
        )
        for tensor, start in zip(plan.tensors, shape_starts, strict=True)
    ]
    steps = [
        _braces(KERNEL_PREFIX + step.kernel, c_text(step.kernel), start, len(step.tensors))
        for step, start in zip(plan.steps, argument_starts, strict=True)
    ]
    checks = [
        _braces(check.output, f"{check.element}u", _real(check.value), _real(check.tolerance))
        for check in program.checks
    ]
    return "\n".join(
        [
            '#include "model.h"',
            "",
            *(
                f"int {KERNEL_PREFIX}{name}(void *, const tk_any *, int32_t, tk_any *);"
                for name in plan.kernels
            ),
            *_CONNECT,
            _table("const char *const", "features", [*map(c_text, program.features), "NULL"]),
            _table("int64_t", "size", program.size),
            _table("int64_t", "shapes", shapes),
            _table("uint32_t", "arguments", arguments),
            _table("tk_tensor", "tensors", tensors),
            _table("tk_step", "steps", steps),
            *_inputs(program),
            *_outputs(program),
            _table("tk_check", "checks", checks),
            _struct(
                f"const tk_program {symbol}",
                {
                    "features": "features",
                    "size": "size",
                    "tensors": "tensors",
                    "steps": "steps",
                    "arguments": "arguments",
                    "shapes": "shapes",
                    "inputs": "inputs",
                    "outputs": "outputs",
                    "checks": "checks",
                    "tensor_count": len(plan.tensors),
                    "step_count": len(plan.steps),
                    "argument_count": len(arguments),
                    "input_count": len(plan.inputs),
                    "output_count": len(plan.outputs),
                    "check_count": len(program.checks),
                    "cores": program.cores,
                    "huge_pages": int(program.huge_pages),
                    "checked_by_framework": int(program.checked_by_framework),
                    "arena_bytes": plan.arena,
                    "kernel_workspace_bytes": program.workspace.kernel,
                    "task_workspace_bytes": program.workspace.task,
                    "connect": "connect",
                },
            ),
            "",
        ]
    )


# The kernels look for the runtime's functions in these variables, of which only those exist that
# they use.
_CONNECT = """
extern tk_launch_function __TVMBackendParallelLaunch __attribute__((weak));
extern tk_allocate_function __TVMBackendAllocWorkspace __attribute__((weak));
extern tk_free_function __TVMBackendFreeWorkspace __attribute__((weak));

static void connect(tk_launch_function launch, tk_allocate_function allocate,
                    tk_free_function release) {
  if (&__TVMBackendParallelLaunch) __TVMBackendParallelLaunch = launch;
  if (&__TVMBackendAllocWorkspace) __TVMBackendAllocWorkspace = allocate;
  if (&__TVMBackendFreeWorkspace) __TVMBackendFreeWorkspace = release;
}
""".splitlines()


def _inputs(program: Program) -> list[str]:
    entries = [
        _braces(
            _description(name, planned, f"input_shape_{index}"),
            f"{planned.copy}u",
            _real(low),
            _real(high),
            f"input_axes_{index}" if program.input_axes else "NULL",
        )
        for index, (name, planned, (low, high)) in enumerate(
            zip(program.input_names, program.plan.inputs, program.input_ranges, strict=True)
        )
    ]
    return [
        *_shapes("input", program.plan.inputs),
        *_axes("input", program.input_axes),
        _table("tk_input", "inputs", entries),
    ]


def _outputs(program: Program) -> list[str]:
    entries = [
        _braces(
            _description(name, planned, f"output_shape_{index}"),
            f"{planned.own}u",
            planned.tensor,
            int(planned.direct),
            f"output_axes_{index}" if program.output_axes else "NULL",
        )
        for index, (name, planned) in enumerate(
            zip(program.output_names, program.plan.outputs, strict=True)
        )
    ]
    return [
        *_shapes("output", program.plan.outputs),
        *_axes("output", program.output_axes),
        _table("tk_output", "outputs", entries),
    ]


def _shapes(kind: str, plans: Sequence[InputPlan | OutputPlan]) -> list[str]:
    return [
        _table("int64_t", f"{kind}_shape_{index}", planned.shape)
        for index, planned in enumerate(plans)
    ]


def _axes(kind: str, axes: Sequence[Sequence[int]]) -> list[str]:
    return [
        _table("int8_t", f"{kind}_axes_{index}", of_tensor) for index, of_tensor in enumerate(axes)
    ]


def _description(name: str, planned: InputPlan | OutputPlan, shape: str) -> str:
    element = planned.element
    size = math.prod(planned.shape) * element.size
    return _braces(
        c_text(name),
        c_text(element.name),
        shape,
        len(planned.shape),
        element.code,
        element.bits,
        0,
        f"{size}u",
    )


def _place_name(place: Place) -> str:
    names = {Arena: "TK_ARENA", Weight: "TK_WEIGHTS", Input: "TK_INPUT", Output: "TK_OUTPUT"}
    return names[type(place)]


def _offset(place: Place, weight_offsets: Sequence[int]) -> int:
    if isinstance(place, Arena):
        return place.offset
    return weight_offsets[place.number] if isinstance(place, Weight) else place.number


def _pool(lists: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Lists one after another, equal ones once, and where each begins."""
    pool: list[int] = []
    known: dict[tuple[int, ...], int] = {}
    starts = []
    for items in lists:
        key = tuple(items)
        if key not in known:
            known[key] = len(pool)
            pool.extend(key)
        starts.append(known[key])
    return pool, starts


def _table(type_name: str, name: str, entries: Sequence[object]) -> str:
    # C has no empty tables; one entry more than none is never looked at.
    body = ",\n    ".join(map(str, entries)) or "{0}" * type_name.startswith("tk_") or "0"
    constant = "" if "const" in type_name else "const "
    return f"static {constant}{type_name} {name}[] = {{\n    {body}}};"


def _struct(declaration: str, fields: Mapping[str, object]) -> str:
    body = "".join(f"    .{name} = {value},\n" for name, value in fields.items())
    return f"{declaration} = {{\n{body}}};"


def _braces(*parts: object) -> str:
    return "{" + ", ".join(map(str, parts)) + "}"


def _real(value: float) -> str:
    """A double as C has it, NaN and infinities as expressions that need no header."""
    if value != value:
        return "(0.0 / 0.0)"
    if value in (float("inf"), float("-inf")):
        return "(1.0 / 0.0)" if value > 0 else "(-1.0 / 0.0)"
    return repr(float(value))

"""A small library of several sizes, whose kernels are written in C: see `sized_kernels.c`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from toy_library import STRICT, headers_and_kernels

from tunekit.standalone.axes import SizedAxis
from tunekit.standalone.build import Linked, Part, Toolchain, build
from tunekit.standalone.elements import element_of
from tunekit.standalone.emit import Program
from tunekit.standalone.memory import aligned
from tunekit.standalone.plan import (
    Arena,
    Input,
    InputPlan,
    KernelCall,
    Output,
    OutputPlan,
    PlacedTensor,
    Plan,
    Weight,
)
from tunekit.standalone.self_test import checks_of, make_input
from tunekit.standalone.workspace import Workspace

BATCH, WIDTH = SizedAxis("batch", (1, 2, 4), is_padded=False), SizedAxis("width", (3, 8), True)
ROWS = SizedAxis("rows", (2, 4), is_padded=True)
_FLOAT, _INT = element_of("float32"), element_of("int64")
_RANGES = ((-1.0, 1.0), (-5.0, 5.0))
_FACTOR = np.array([3.0], "float32")


def _plan(batch: int, width: int) -> Plan:
    x, n, one = (batch, width), (batch,), (1,)
    sizes = [4 * batch * width, 8 * batch, 4 * batch * width, 4, 4 * batch * width, 8 * batch, 4]
    first, second, third, total, copy_x, copy_n, _, end = np.cumsum(
        [0, *map(aligned, sizes)]
    ).tolist()
    return Plan(
        tensors=[
            PlacedTensor(Input(0), x, _FLOAT),
            PlacedTensor(Weight(0), one, _FLOAT),
            PlacedTensor(Output(0), x, _FLOAT),
            PlacedTensor(Input(1), n, _INT),
            PlacedTensor(Output(1), n, _INT),
            PlacedTensor(Arena(total), one, _FLOAT),
        ],
        steps=[
            KernelCall("scale", (0, 1, 2)),
            KernelCall("next", (3, 4)),
            KernelCall("sum", (0, 5)),
        ],
        inputs=[InputPlan(x, _FLOAT, copy_x), InputPlan(n, _INT, copy_n)],
        outputs=[
            OutputPlan(x, _FLOAT, 2, True, first),
            OutputPlan(n, _INT, 4, True, second),
            OutputPlan(x, _FLOAT, 0, False, third),
            OutputPlan(one, _FLOAT, 5, False, total),
        ],
        weights=[_FACTOR],
        arena=end,
    )


def _program(axes: Sequence[SizedAxis], size: Sequence[int], features: Sequence[str]) -> Program:
    batch, width = size if len(size) == 2 else (size[0], 3)
    second = 1 if len(axes) == 2 else -1
    x, numbers = (
        make_input(index, shape, dtype, _RANGES[index])
        for index, (shape, dtype) in enumerate([((batch, width), "float32"), ((batch,), "int64")])
    )
    return Program(
        plan=_plan(batch, width),
        features=features,
        cores=1,
        input_names=["x", "n"],
        output_names=["first", "second", "third", "total"],
        input_ranges=_RANGES,
        checks=checks_of([x * _FACTOR, numbers + 1, x], 0.0),
        huge_pages=False,
        workspace=Workspace(),
        size=size,
        input_axes=[(0, second), (0,)],
        output_axes=[(0, second), (0,), (0, second), (-1,)],
    )


def build_sized(
    folder: Path, axes: Sequence[SizedAxis], compiler: str, *features: Sequence[str]
) -> Linked:
    """Builds `lib/libtoy.so` and `lib/libtoy.a` with these axes, and their headers, in `folder`.

    Args:
        folder: gets them.
        axes: BATCH and WIDTH, or ROWS.
        compiler: and its options.
        features: of each of the library's kinds of CPU, the best first; one that needs none if left
            out.
    """
    toolchain = Toolchain(f"{compiler} {STRICT}")
    kernels = headers_and_kernels("sized_kernels.c", folder, toolchain)
    parts = [
        Part(_program(axes, size, needed), kernels)
        for needed in features or [()]
        for size in itertools.product(*(axis.sizes for axis in axes))
    ]
    return build("toy", parts, folder / "lib", toolchain, static=True, axes=axes)

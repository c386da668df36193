"""A small standalone library, whose kernels are written in C: no compiler but the system's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tunekit.standalone.build import SOURCES, Linked, Part, Toolchain, build
from tunekit.standalone.elements import element_of
from tunekit.standalone.emit import Program
from tunekit.standalone.interface import header
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
)
from tunekit.standalone.self_test import checks_of, make_input
from tunekit.standalone.workspace import Workspace

C_TESTS = Path(__file__).parent.parent / "standalone" / "c"
STRICT = "-std=c99 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror"

_FLOAT, _INT = element_of("float32"), element_of("int64")
_SQUARE, _ROW, _FOUR = (32, 32), (1024,), (4,)
_RANGES = ((-1.0, 1.0), (-5.0, 5.0))
_WEIGHTS = np.arange(1024, dtype="float32").reshape(_SQUARE)


def _plan() -> Plan:
    places: list[tuple[Place, tuple[int, ...]]] = [
        (Input(0), _SQUARE),
        (Weight(0), _SQUARE),
        (Arena(0), _ROW),
        (Output(0), _ROW),
        (Input(1), _FOUR),
        (Output(2), _FOUR),
    ]
    sizes = [4096, 4096, 4096, 64, 4096, 64]
    own_first, own_second, own_third, copy_x, copy_n, end = np.cumsum(sizes).tolist()
    return Plan(
        tensors=[
            PlacedTensor(place, shape, _INT if shape == _FOUR else _FLOAT)
            for place, shape in places
        ],
        steps=[
            KernelCall("add", (0, 1, 2)),
            KernelCall("twice", (2, 3)),
            KernelCall("next", (4, 5)),
        ],
        inputs=[InputPlan(_SQUARE, _FLOAT, copy_x), InputPlan(_FOUR, _INT, copy_n)],
        outputs=[
            OutputPlan(_ROW, _FLOAT, 3, True, own_first),
            OutputPlan(_SQUARE, _FLOAT, 0, False, own_second),
            OutputPlan(_FOUR, _INT, 5, True, own_third),
        ],
        weights=[_WEIGHTS],
        arena=end,
    )


def toy_program(features: Sequence[str] = ()) -> Program:
    """The tables of the model in `toy_kernels.c`."""
    x, numbers = (
        make_input(index, shape, dtype, _RANGES[index])
        for index, (shape, dtype) in enumerate([(_SQUARE, "float32"), (_FOUR, "int64")])
    )
    return Program(
        plan=_plan(),
        features=features,
        cores=2,
        input_names=["x", "n"],
        output_names=["first", "second", "third"],
        input_ranges=_RANGES,
        checks=checks_of([(x + _WEIGHTS) * 2, x, numbers + 1], 0.0),
        huge_pages=False,
        workspace=Workspace(task=4096),
    )


def build_toy(folder: Path, compiler: str, *features: Sequence[str]) -> Linked:
    """Builds `lib/libtoy.so` and `lib/libtoy.a`, and their headers, in `folder`.

    Args:
        folder: gets them.
        compiler: and its options.
        features: of each of the library's programs, the best first; one that needs none if left
            out.
    """
    toolchain = Toolchain(f"{compiler} {STRICT}")
    kernels = headers_and_kernels("toy_kernels.c", folder, toolchain)
    parts = [Part(toy_program(needed), kernels) for needed in features or [()]]
    return build("toy", parts, folder / "lib", toolchain, manifest='{"name": "toy"}', static=True)


def headers_and_kernels(source: str, folder: Path, toolchain: Toolchain) -> Path:
    """Writes the headers of the library toy, compiles its kernels, and gives their object."""
    for name in ("lib", "include"):
        (folder / name).mkdir(parents=True)
    kernels = folder / "kernels.o"
    toolchain.compile(C_TESTS / source, kernels, "-fPIC", f"-I{SOURCES}")
    (folder / "include" / "tunekit.h").write_text((SOURCES / "tunekit.h").read_text())
    (folder / "include" / "toy.h").write_text(header("toy"))
    return kernels


def build_program(name: str, folder: Path, compiler: str, *options: str) -> Path:
    """Builds one of the programs that test the runtime, with the library in `folder`."""
    path = folder / name
    Toolchain(f"{compiler} {STRICT}").call(
        str(C_TESTS / f"{name}.c"),
        f"-I{folder / 'include'}",
        f"-I{C_TESTS}",
        str(folder / "lib" / "libtoy.a"),
        *options,
        *("-o", str(path), "-lm", "-pthread"),
    )
    return path

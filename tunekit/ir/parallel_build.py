"""Kernels of a model made into code on all cores.

LLVM works on one module at a time, and takes most of the seconds of a compilation. Kernels do not
need each other, so each core gets modules of some of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.target import Target

# Modules for each core: kernels differ in what they cost.
_SHARES = 4


@dataclass(frozen=True)
class BuiltKernels:
    """Kernels as code.

    Attributes:
        root: the runtime module of some of them, through which TVM links all.
        objects: the object files of the others.
        modules: the runtime modules of them all.
    """

    root: Any
    objects: Sequence[Path]
    modules: Sequence[Any]


def build_in_parallel(
    kernels: IRModule,
    target: Target,
    *,
    pipeline: str,
    folder: Path,
    apart: Callable[[Any], bool] = lambda function: False,
) -> BuiltKernels:
    """Builds kernels for a target.

    Args:
        kernels: functions that do not call each other.
        target: what for; only those of LLVM are built side by side.
        pipeline: TVM's name of the passes that lower them.
        folder: gets the object files.
        apart: which functions are in no module with others: LLVM keeps sums in memory, and not in
            registers, in all kernels of a module in which one hands addresses to a function in C.
    """
    import tvm
    from tvm import IRModule

    cores = len(os.sched_getaffinity(0))
    functions = sorted(kernels.functions_items(), key=lambda item: str(item[0].name_hint))
    alone = [item for item in functions if apart(item[1])]
    together = [item for item in functions if not apart(item[1])]
    is_one = cores == 1 and not (alone and together)
    if target.kind.name != "llvm" or is_one or len(functions) <= 1:
        root = tvm.tirx.build(kernels, target=target, pipeline=pipeline)
        return BuiltKernels(root, [], [root])

    # TVM writes the root once more when it links: it has one kernel.
    first, *others = together or alone
    count = min(len(others), _SHARES * cores)
    shares = [others[number::count] for number in range(count)]
    if together and alone:
        shares.append(alone)
    paths = [folder / f"kernels{number}.o" for number in range(len(shares))]

    def build(number: int) -> Any:
        share = IRModule(dict(shares[number]), attrs=kernels.attrs)
        module = tvm.tirx.build(share, target=target, pipeline=pipeline)
        module.write_to_file(str(paths[number]), "o")
        return module

    with ThreadPoolExecutor(cores) as pool:
        modules = list(pool.map(build, range(len(shares))))
    root = tvm.tirx.build(
        IRModule(dict([first]), attrs=kernels.attrs), target=target, pipeline=pipeline
    )
    return BuiltKernels(root, paths, [root, *modules])

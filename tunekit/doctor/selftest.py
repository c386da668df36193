"""`python -m tunekit.doctor.selftest`: whether TVM really builds, runs and records here.

Prints one JSON object. A process of its own, because what it finds out may end it: an
instruction this CPU does not have, or a pair of packages that segfaults.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

_SIZE = 64
_LARGEST_RELATIVE_ERROR = 1e-4


def run_selftest() -> dict[str, str | float]:
    """Schedule, record, build, link, load and run one small matrix product for this CPU.

    Returns the CPU that LLVM compiles for, the relative error of the product against NumPy, and
    the seconds it all took (TVM's import included).
    """
    started = time.perf_counter()
    from tunekit.machine.target import resolve_target

    target = resolve_target("native")

    import numpy as np
    import tvm
    from tvm import te
    from tvm.s_tir import Schedule

    a = te.placeholder((_SIZE, _SIZE), "float32", name="a")
    b = te.placeholder((_SIZE, _SIZE), "float32", name="b")
    k = te.reduce_axis((0, _SIZE), name="k")
    c = te.compute((_SIZE, _SIZE), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    schedule = Schedule(te.create_prim_func([a, b, c]))
    block = schedule.get_sblock("c")
    row, column, reduced = schedule.get_loops(block)
    outer, inner = schedule.split(column, [None, 8])
    schedule.reorder(row, outer, reduced, inner)
    schedule.vectorize(inner)
    schedule.decompose_reduction(block, reduced)
    # What a tuning run does with every candidate, and where a wrong pair of packages dies.
    tvm.ir.load_json(tvm.ir.save_json(schedule.trace))
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "selftest.so")
        tvm.tirx.build(schedule.mod, target.tvm).export_library(str(library))
        product = tvm.runtime.load_module(str(library))
        generator = np.random.default_rng(0)
        left, right = generator.standard_normal((2, _SIZE, _SIZE), dtype=np.float32)
        arrays = [tvm.runtime.tensor(x) for x in (left, right, np.zeros_like(left))]
        product["main"](*arrays)
        expected = left @ right
        error = np.abs(arrays[2].numpy() - expected).max() / np.abs(expected).max()
    if not error <= _LARGEST_RELATIVE_ERROR:
        raise ArithmeticError(f"a matrix product is wrong by {error:.1e} of its largest value")
    return {
        "cpu": target.cpu,
        "relative_error": float(error),
        "seconds": time.perf_counter() - started,
    }


if __name__ == "__main__":
    print(json.dumps(run_selftest()))

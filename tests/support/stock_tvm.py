"""What somebody without tunekit does with exported records; run by the tests in a new process.

    python stock_tvm.py GRAPH FOLDER TARGET

Loads the folder with stock TVM, applies it to the graph, builds the graph with and without, runs
both, and prints a line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tvm
from tvm import relax, transform
from tvm.s_tir.meta_schedule.database import JSONDatabase


def run(module: tvm.ir.IRModule, target: tvm.target.Target, image: np.ndarray) -> np.ndarray:
    with target:
        ready = transform.Sequential(
            [
                relax.transform.SplitLayoutRewritePreproc(),
                relax.transform.LiftTransformParams(),
                relax.transform.FoldConstant(),
            ]
        )(module)
        executable = tvm.compile(ready, target)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    outputs = machine["main"](tvm.runtime.tensor(image))
    return np.array((outputs if hasattr(outputs, "numpy") else outputs[0]).numpy())


def scheduled(module: tvm.ir.IRModule) -> int:
    return sum(
        bool(function.attrs and function.attrs.get("tirx.is_scheduled", False))
        for _, function in module.functions_items()
        if isinstance(function, tvm.tirx.PrimFunc)
    )


def main(graph: str, folder: str, target_json: str) -> None:
    module = tvm.ir.load_json(Path(graph).read_text())
    target = tvm.target.Target(json.loads(target_json))
    image = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)
    database = JSONDatabase(work_dir=folder)
    with target, database:
        applied = relax.transform.MetaScheduleApplyDatabase()(module)
    plain, tuned = run(module, target, image), run(applied, target, image)
    report = {
        "records": len(database),
        "scheduled": scheduled(applied),
        "scheduled_without": scheduled(module),
        "error": float(np.abs(plain - tuned).max() / np.abs(plain).max()),
        "tunekit": "tunekit" in sys.modules,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])

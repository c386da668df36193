"""What phases are worth: transposed convolutions in the blocked layout and as TVM has them.

    python benchmarks/transposed_convolution.py [--rounds 30]

A layer each of a U-Net (2x2), a GAN (4x4) and a segmentation head (3x3), with default schedules;
both forms run in turns. Prints the ratio of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

from tunekit.graph.lowering.build import compile_model
from tunekit.graph.prepare import prepare
from tunekit.graph.tasks import extract_tasks
from tunekit.library.apply import apply_records
from tunekit.machine.target import ResolvedTarget, resolve_target

# Input and output channels, height and width, kernel, padding, output padding; all of stride 2.
LAYERS = ((128, 64, 56, 2, 0, 0), (128, 64, 32, 4, 1, 0), (64, 32, 56, 3, 1, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    target = resolve_target("native")
    for layer in LAYERS:
        machines = {layout: _machine(layer, layout, target) for layout in ("NCHW", "NCHWc")}
        seconds: dict[str, list[float]] = {layout: [] for layout in machines}
        for _ in range(rounds):
            for layout, run in machines.items():
                started = time.perf_counter()
                run()
                seconds[layout].append(time.perf_counter() - started)
        plain, phased = (statistics.median(seconds[layout]) for layout in ("NCHW", "NCHWc"))
        print(f"{layer}: {plain / phased:.1f} times as fast by phases")


def _machine(layer: tuple[int, ...], layout: Any, target: ResolvedTarget) -> Any:
    """Runs a model of one layer."""
    import tvm
    from tvm import relax

    inputs, outputs, size, kernel, padding, further = layer
    random = np.random.default_rng(0)
    weights = random.standard_normal((inputs, outputs, kernel, kernel), "float32")
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, inputs, size, size), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            layer_call = relax.op.nn.conv2d_transpose(
                x, relax.const(weights), (2, 2), padding, (further, further)
            )
            result = builder.emit_output(relax.op.nn.relu(layer_call))
        builder.emit_func_output(result)
    graph = prepare(builder.get(), target, layout)
    applied = apply_records(graph, extract_tasks(graph, target), [], target)
    machine = relax.VirtualMachine(compile_model(applied.module, target.tvm), tvm.cpu())
    data = tvm.runtime.tensor(random.standard_normal((1, inputs, size, size), "float32"))
    return lambda: machine["main"](data)


if __name__ == "__main__":
    main()

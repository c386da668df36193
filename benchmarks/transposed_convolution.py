"""What phases are worth: transposed convolutions in the blocked layout and as TVM has them.

    python benchmarks/transposed_convolution.py [--rounds 30]

A layer each of a U-Net (2x2), a GAN (4x4) and a segmentation head (3x3), with default schedules;
both forms run in turns. Prints the ratio of the medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from layer_turns import medians, runner

from tunekit.machine.target import ResolvedTarget, resolve_target

# Input and output channels, height and width, kernel, padding, output padding; all of stride 2.
LAYERS = ((128, 64, 56, 2, 0, 0), (128, 64, 32, 4, 1, 0), (64, 32, 56, 3, 1, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    target = resolve_target("native")
    for layer in LAYERS:
        runners = [_runner(layer, layout, target) for layout in ("NCHW", "NCHWc")]
        plain, phased = medians(runners, rounds)
        print(f"{layer}: {plain / phased:.1f} times as fast by phases")


def _runner(layer: tuple[int, ...], layout: Any, target: ResolvedTarget) -> Callable[[], object]:
    """Runs a model of one layer."""
    from tvm import relax

    inputs, outputs, size, kernel, padding, further = layer
    random = np.random.default_rng(0)
    weights = random.standard_normal((inputs, outputs, kernel, kernel), "float32")
    builder = relax.BlockBuilder()
    image = (1, inputs, size, size)
    x = relax.Var("x", relax.TensorType(image, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            layer_call = relax.op.nn.conv2d_transpose(
                x, relax.const(weights), (2, 2), padding, (further, further)
            )
            result = builder.emit_output(relax.op.nn.relu(layer_call))
        builder.emit_func_output(result)
    return runner(builder.get(), image, layout, target)


if __name__ == "__main__":
    main()

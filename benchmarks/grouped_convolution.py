"""What groups side by side are worth: convolutions in narrow groups, blocked and left as they are.

    python benchmarks/grouped_convolution.py [--rounds 30]

Layers like those of RegNet, ResNeXt and others, each between two blocked layers that cost little,
with default schedules; both forms run in turns. Prints the medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from layer_turns import medians, runner

from tunekit.graph.layouts import groups as merging
from tunekit.graph.layouts.blocks import Blocks
from tunekit.machine.target import ResolvedTarget, resolve_target

# More than any layer here.
MOST = 64
# Groups, inputs and outputs of a group, height and width, kernel.
LAYERS = (
    (6, 8, 8, 56, 3),
    (26, 8, 8, 14, 3),
    (32, 4, 4, 56, 3),
    (32, 8, 8, 28, 3),
    (4, 24, 24, 28, 3),
    (16, 2, 2, 56, 3),
    (9, 6, 6, 28, 3),
    (15, 6, 6, 28, 3),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    target = resolve_target("native")
    for layer in LAYERS:
        left, merged = medians([_runner(layer, most, target) for most in (0, MOST)], rounds)
        print(f"{_words(layer, target)}: {1e3 * left:.3f} ms left, {1e3 * merged:.3f} merged")


def _words(layer: tuple[int, ...], target: ResolvedTarget) -> str:
    groups, inputs, outputs, size, kernel = layer
    weights = np.zeros((groups * outputs, inputs, kernel, kernel), "float32")
    blocks = (Blocks.of(groups * width, target.f32_lanes) for width in (inputs, outputs))
    merged = merging.merge_groups(weights, groups, *blocks)
    assert merged is not None
    form = f"{groups // merged[1]} groups as one"
    return f"{groups} groups of {inputs} to {outputs}, {size}x{size}, {form}"


def _runner(
    layer: tuple[int, ...], most_merged: int, target: ResolvedTarget
) -> Callable[[], object]:
    """Runs a model of one layer between two blocked ones."""
    from tvm import relax

    groups, inputs, outputs, size, kernel = layer
    random = np.random.default_rng(0)
    weights = random.standard_normal((groups * outputs, inputs, kernel, kernel), "float32")
    image = (1, groups * inputs, size, size)
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(image, "float32"))
    merging.MOST_MERGED = most_merged
    around = [
        relax.const(random.standard_normal((channels, 1, 1, 1), "float32"))
        for channels in (groups * inputs, groups * outputs)
    ]
    with builder.function("main", [x]):
        with builder.dataflow():
            before = relax.op.nn.conv2d(x, around[0], groups=groups * inputs)
            call = relax.op.nn.conv2d(
                relax.op.nn.relu(before), relax.const(weights), padding=kernel // 2, groups=groups
            )
            after = relax.op.nn.conv2d(relax.op.nn.relu(call), around[1], groups=groups * outputs)
            result = builder.emit_output(relax.op.nn.relu(after))
        builder.emit_func_output(result)
    return runner(builder.get(), image, "NCHWc", target)


if __name__ == "__main__":
    main()

"""Which algorithm a convolution should have before anything was measured: all alternatives of 3x3
convolutions from 16 to 512 channels with default schedules.

    python benchmarks/default_algorithms.py [--rounds 30]

Each layer stands behind one of 1x1, as in a network; the algorithms run in turns. Prints how many
times as fast as the direct algorithm each is, and marks the one that is chosen unmeasured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from layer_turns import medians, runner

from tunekit.graph.algorithms import alternatives, multiplications
from tunekit.graph.implementation import Algorithm, ConvProblem
from tunekit.machine.target import ResolvedTarget, resolve_target

# Input and output channels, height and width.
LAYERS = (
    *((16, 16, 14), (16, 16, 112), (16, 64, 20), (24, 24, 56), (32, 32, 28), (32, 32, 150)),
    *((48, 48, 14), (64, 64, 14), (64, 64, 56), (64, 64, 160), (80, 80, 80), (96, 96, 35)),
    *((128, 32, 28), (128, 128, 28), (160, 160, 20), (256, 64, 20), (256, 256, 14)),
    *((384, 384, 13), (512, 128, 7), (512, 512, 6), (512, 512, 7), (512, 512, 14)),
    *((512, 512, 16), (512, 512, 28)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    target = resolve_target("native")
    for inputs, outputs, size in LAYERS:
        problem = ConvProblem(1, inputs, outputs, size, size)
        algorithms = alternatives(problem)
        runners = [_runner(problem, algorithm, target) for algorithm in algorithms]
        direct, *others = medians(runners, rounds)
        chosen = min(algorithms, key=lambda algorithm: multiplications(problem, algorithm))
        ratios = [
            f"{algorithm}{' (chosen)' if algorithm == chosen else ''} {direct / seconds:.2f}"
            for algorithm, seconds in zip(algorithms[1:], others, strict=True)
        ]
        print(f"{problem}: {', '.join(ratios) or 'direct only'}", flush=True)


def _runner(
    problem: ConvProblem, algorithm: Algorithm, target: ResolvedTarget
) -> Callable[[], object]:
    """Runs a model of a 1x1 and the 3x3 convolution."""
    from tvm import relax

    random = np.random.default_rng(0)

    def weights(outputs: int, kernel: int) -> relax.Constant:
        shape = (outputs, problem.in_channels, kernel, kernel)
        return relax.const(random.standard_normal(shape, "float32"))

    builder = relax.BlockBuilder()
    image = (1, problem.in_channels, problem.height, problem.width)
    x = relax.Var("x", relax.TensorType(image, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            before = relax.op.nn.conv2d(x, weights(problem.in_channels, 1))
            layer = relax.op.nn.conv2d(
                relax.op.nn.relu(before), weights(problem.out_channels, 3), padding=1
            )
            result = builder.emit_output(relax.op.nn.relu(layer))
        builder.emit_func_output(result)
    return runner(builder.get(), image, "NCHWc", target, {problem: algorithm})


if __name__ == "__main__":
    main()

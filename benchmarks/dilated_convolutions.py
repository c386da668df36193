"""How many times as fast dilated 3x3 convolutions are in phases or parts as in one piece, with
default schedules.

    python benchmarks/dilated_convolutions.py [--rounds 20]

Each layer stands behind one of 1x1, as in a network; both ways run in turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from layer_turns import medians, runner

import tunekit.graph.prepare as preparation
from tunekit.graph.algorithms import alternatives, multiplications
from tunekit.graph.implementation import ConvProblem
from tunekit.machine.target import resolve_target

# Input and output channels, height and width, dilation: of DeepLabV3 at 256 pixels, and smaller.
LAYERS = (
    *((256, 256, 32, 2), (512, 512, 32, 2), (512, 512, 32, 4)),
    *((2048, 256, 32, 12), (2048, 256, 32, 24)),
    *((64, 64, 64, 2), (128, 128, 28, 2), (960, 128, 16, 12)),
)
_PASSES = ("dilated_as_phases", "dilated_in_parts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    target = resolve_target("native")
    for inputs, outputs, size, dilation in LAYERS:
        image = (1, inputs, size, size)
        apart = size // dilation
        problem = ConvProblem(dilation**2, inputs, outputs, apart, apart)
        choice = {
            problem: min(
                alternatives(problem), key=lambda algorithm: multiplications(problem, algorithm)
            )
        }
        module = _layer(inputs, outputs, size, dilation)
        divided = runner(module, image, "NCHWc", target, choice)
        with _in_one_piece():
            whole = runner(module, image, "NCHWc", target, {})
        seconds, whole_s = medians([divided, whole], rounds)
        print(
            f"{inputs} to {outputs}, {size}x{size}, dilation {dilation}: {1e3 * seconds:.2f} ms, "
            f"{whole_s / seconds:.2f} times as fast as in one piece",
            flush=True,
        )


@contextmanager
def _in_one_piece() -> Iterator[None]:
    passes = {name: getattr(preparation, name) for name in _PASSES}
    for name in _PASSES:
        setattr(preparation, name, lambda module: module)
    try:
        yield
    finally:
        for name, own in passes.items():
            setattr(preparation, name, own)


def _layer(inputs: int, outputs: int, size: int, dilation: int) -> object:
    from tvm import relax

    random = np.random.default_rng(0)

    def weights(count: int, kernel: int) -> relax.Constant:
        shape = (count, inputs, kernel, kernel)
        return relax.const(random.standard_normal(shape, "float32"))

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, inputs, size, size), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            before = relax.op.nn.relu(relax.op.nn.conv2d(x, weights(inputs, 1)))
            layer = relax.op.nn.conv2d(
                before, weights(outputs, 3), padding=dilation, dilation=dilation
            )
            result = builder.emit_output(relax.op.nn.relu(layer))
        builder.emit_func_output(result)
    return builder.get()


if __name__ == "__main__":
    main()

"""What images are worth: convolutions of signals and volumes as those of images, and plain.

    python benchmarks/signals_and_volumes.py [--rounds 10]

A layer each of a speech encoder, a vocoder and video networks, with default schedules; both forms
run in turns. Prints the ratio of the medians.
"""

from __future__ import annotations

import argparse

import torch
from layer_turns import medians, runner
from torch import nn

from tunekit.machine.target import resolve_target
from tunekit.torch_frontend import export_program, program_to_relax

LAYERS: tuple[tuple[nn.Module, tuple[int, ...]], ...] = (
    (nn.Conv1d(384, 384, 3, stride=2, padding=1), (1, 384, 3000)),
    (nn.Conv1d(256, 256, 31, padding=15, groups=256), (1, 256, 500)),
    (nn.ConvTranspose1d(256, 128, 16, stride=8, padding=4), (1, 256, 200)),
    (nn.Conv3d(64, 64, 3, padding=1), (1, 64, 16, 28, 28)),
    (nn.Conv3d(64, 64, (3, 1, 1), padding=(1, 0, 0)), (1, 64, 16, 28, 28)),
    (nn.Conv3d(96, 96, 3, padding=1, groups=96), (1, 96, 8, 28, 28)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    target = resolve_target("native")
    for layer, shape in LAYERS:
        program = export_program(
            nn.Sequential(layer, nn.ReLU()).eval(), [torch.zeros(shape)], "layer"
        )
        module = program_to_relax(program, ["x"], "layer")
        runners = [runner(module, shape, layout, target) for layout in ("NCHW", "NCHWc")]
        plain, images = medians(runners, rounds)
        print(f"{layer} of {shape}: {plain / images:.1f} times as fast as images")


if __name__ == "__main__":
    main()

"""What arrives fast: kinds of layers with default schedules, in turns with ONNX Runtime.

    python benchmarks/in_turns.py [NAME ...] [--rounds 30] [--threads 2]

Attention, odd channels, shuffles, chains of activations, layer norms and a recurrent layer of many
sequences, each as a model of its own. Prints for each how many times as fast as ONNX Runtime it is:
the ratio of the medians, and of the fastest turns. Nothing is tuned.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Heads(nn.Module):
    """Attention of packed projections (batch, places, 3 * size)."""

    def __init__(self, heads: int, *, masked: bool = False) -> None:
        super().__init__()
        self.heads, self.masked = heads, masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, places, width = x.shape
        packed = x.view(batch, places, 3, self.heads, width // 3 // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mask = torch.ones(places, places).tril().bool() if self.masked else None
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).reshape(batch, places, width // 3)


class Activations(nn.Module):
    """Twelve activations in a row before a softmax."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for _ in range(4):
            y = F.silu(F.gelu(torch.tanh(y) * 1.5 + x))
        return y.softmax(-1)


class Shuffle(nn.Module):
    """A ShuffleNetV2 unit, its halves no multiple of a vector."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter, self.leave = nn.Conv2d(half, half, 1), nn.Conv2d(half, half, 1)
        self.depthwise = nn.Conv2d(half, half, 3, padding=1, groups=half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            kept, changed = x.chunk(2, 1)
            changed = F.relu(self.leave(self.depthwise(F.relu(self.enter(changed)))))
            x = torch.cat([kept, changed], 1)
            batch, channels, height, width = x.shape
            x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
            x = x.reshape(batch, channels, height, width)
        return x


class Recurrent(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer = nn.LSTM(size, size, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layer(x)[0]
        return output


LAYERS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "attention of ViT-B": lambda: (Heads(12), (1, 197, 2304)),
    "attention of BERT-base": lambda: (Heads(12), (1, 128, 2304)),
    "causal attention": lambda: (Heads(12, masked=True), (1, 256, 2304)),
    "attention over 1024": lambda: (Heads(6), (1, 1024, 1152)),
    "windows of Swin-T": lambda: (Heads(3), (64, 49, 288)),
    "21 channels": lambda: (
        nn.Sequential(nn.Conv2d(64, 21, 1), nn.ReLU(), nn.Conv2d(21, 64, 1)),
        (1, 64, 64, 64),
    ),
    "shuffled halves": lambda: (Shuffle(116), (1, 116, 28, 28)),
    "activations in a row": lambda: (Activations(), (256, 512)),
    "layer norm and GELU": lambda: (
        nn.Sequential(nn.LayerNorm(768), nn.GELU()),
        (1, 197, 768),
    ),
    "LSTM of 32 sequences": lambda: (Recurrent(256), (32, 50, 256)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(LAYERS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["TVM_NUM_THREADS"] = str(arguments.threads)
    torch.manual_seed(0)
    for name in arguments.names or LAYERS:
        model, shape = LAYERS[name]()
        inputs = torch.randn(shape)
        ours = compiled(model.eval(), inputs)
        theirs = onnx_runtime(model, inputs, arguments.threads)
        seconds = in_turns((ours, theirs), arguments.rounds)
        medians, fastest = (
            [measure(run) for run in seconds] for measure in (statistics.median, min)
        )
        print(
            f"{name}: {medians[1] / medians[0]:.2f} times as fast as ONNX Runtime "
            f"({fastest[1] / fastest[0]:.2f} in the fastest turns, {fastest[0] * 1e3:.2f} ms)",
            flush=True,
        )


def in_turns(runs: tuple[Callable[[], Any], ...], rounds: int) -> list[list[float]]:
    """Seconds of each run, which change places from round to round."""
    seconds: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 3):
        order = list(enumerate(runs))
        for index, run in order if number % 2 else order[::-1]:
            started = time.perf_counter()
            run()
            if number >= 3:
                seconds[index].append(time.perf_counter() - started)
    return seconds


def compiled(model: nn.Module, inputs: torch.Tensor) -> Callable[[], Any]:
    """Runs a model with default schedules."""
    import tvm
    from tvm import relax

    from tunekit.graph.lowering.build import compile_model
    from tunekit.graph.prepare import prepare
    from tunekit.graph.tasks import extract_tasks
    from tunekit.library.apply import apply_records
    from tunekit.machine.target import resolve_target
    from tunekit.torch_frontend import export_program, program_to_relax

    target = resolve_target("native")
    module = program_to_relax(export_program(model, [inputs], "layer"), ["x"], "layer")
    graph = prepare(module, target, "auto")
    applied = apply_records(graph, extract_tasks(graph, target), [], target)
    machine = relax.VirtualMachine(compile_model(applied.module, target.tvm), tvm.cpu())
    data = tvm.runtime.tensor(inputs.numpy())
    return lambda: machine["main"](data)


def onnx_runtime(model: nn.Module, inputs: torch.Tensor, threads: int) -> Callable[[], Any]:
    """Runs a model in ONNX Runtime."""
    import onnxruntime

    file = io.BytesIO()
    torch.onnx.export(model, (inputs,), file, dynamo=False, opset_version=17, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file.getvalue(), options)
    return lambda: session.run(None, {"x": inputs.numpy()})


if __name__ == "__main__":
    main()

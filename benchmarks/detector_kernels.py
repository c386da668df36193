"""The kernels of detectors and torchvision's functions, in turns, with one thread and with two.

    python benchmarks/detector_kernels.py [--rounds 20] [--cc gcc] [--output FILE.json]

RoIAlign on a pyramid of 800x1088, in blocks and plain; proposals, the box head's detections,
RetinaNet's and YOLO's; pasting masks. Prints JSON: milliseconds of each turn of both, and the ratio
of the medians. What the kernels give is compared with their definitions in torch first.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork

import tunekit.detectors.operators  # noqa: F401  (defines them)
from tunekit.detectors.operators.boxes import by_anchor
from tunekit.extern_kernels import KernelTensor, operator_of
from tunekit.extern_kernels.glue import source_of
from tunekit.extern_kernels.kernel import ExternKernel
from tunekit.extern_kernels.objects import SOURCES
from tunekit.standalone.build import Toolchain

HEIGHT, WIDTH = 800, 1088
STRIDES = (4, 8, 16, 32, 64)
CODER = {"bbox_xform_clip": math.log(1000 / 16), "image_size": [HEIGHT, WIDTH]}
KEPT = {"nms_threshold": 0.5, "detections": 100, **CODER}
RANDOM = np.random.default_rng(0)
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
Array = np.ndarray[Any, Any]


class InTurns:
    """An operator, as C and as its definition.

    Attributes:
        name: what is measured.
        call: what it is compared with: torchvision, or the definition that is made of it.
        kernel: the C.
    """

    def __init__(
        self,
        name: str,
        operator: str,
        tensors: Sequence[Array | Sequence[Array]],
        attributes: dict[str, Any],
        lists: Sequence[str] = (),
        blocks: tuple[int, int] = (1, 1),
        rival: Callable[[], Any] | None = None,
    ) -> None:
        self.name = name
        given = [
            [torch.from_numpy(one) for one in value]
            if isinstance(value, list)
            else torch.from_numpy(value)
            for value in tensors
        ]
        definition = getattr(torch.ops.tunekit, operator)
        self.call: Callable[[], Any] = rival or (lambda: definition(*given, **attributes))
        flat = [one for value in tensors for one in (value if isinstance(value, list) else [value])]
        levels = dict(zip(lists, (len(v) for v in tensors if isinstance(v, list)), strict=True))
        self.inputs = [blocked(one, blocks[0]) for one in flat]
        result = definition(*given, **attributes)
        self.expected = [r.numpy() for r in (result if isinstance(result, tuple) else (result,))]
        read = [KernelTensor(a.shape, str(a.dtype), blocks[0] if a.ndim == 4 else 1) for a in flat]
        written = [KernelTensor(a.shape, str(a.dtype)) for a in self.expected]
        written[0] = KernelTensor(written[0].shape, written[0].dtype, blocks[1])
        found = operator_of(operator)
        assert found is not None
        self.kernel = ExternKernel.of(found, read, written, {**attributes, **levels})
        self.outputs = [np.zeros(tensor.stored, tensor.dtype) for tensor in self.kernel.written]

    def driver(self) -> str:
        """C that runs all phases with some threads."""
        buffers = len(self.inputs) + len(self.outputs)
        pointers = ", ".join(f"buffers[{number}]" for number in range(buffers))
        loops = [
            f"#pragma omp parallel for num_threads(threads) schedule(static)\n"
            f"for (int32_t i = 0; i < {phase.tasks}; i++) "
            f"{self.kernel.symbol}_{number}({pointers}, i, {phase.tasks});"
            for number, phase in enumerate(self.kernel.code.phases)
        ]
        head = f"void run_{self.kernel.symbol}(void **buffers, int threads)"
        return "\n".join([f"{head};", f"{head} {{", *loops, "}"])

    def bind(self, library: ctypes.CDLL) -> Callable[[int], None]:
        """The C, to be called with a number of threads."""
        addresses = [array.ctypes.data for array in (*self.inputs, *self.outputs)]
        buffers = (ctypes.c_void_p * len(addresses))(*addresses)
        run = library[f"run_{self.kernel.symbol}"]
        return lambda threads: run(buffers, ctypes.c_int(threads))

    def check(self) -> None:
        """Refuses to measure what is wrong."""
        for tensor, found, expected in zip(
            self.kernel.outputs, self.outputs, self.expected, strict=False
        ):
            plain = np.moveaxis(found, -1, 2).reshape(tensor.shape) if tensor.block > 1 else found
            np.testing.assert_allclose(plain, expected, rtol=1e-4, atol=1e-4, err_msg=self.name)


def blocked(array: Array, block: int) -> Array:
    """A tensor of four axes in blocks of channels, any other as it is."""
    if block == 1 or array.ndim != 4:
        return np.ascontiguousarray(array)
    batch, channels, height, width = array.shape
    split = array.reshape(batch, channels // block, block, height, width)
    return np.ascontiguousarray(np.moveaxis(split, 2, -1))


def normal(*shape: int, spread: float = 1.0, mean: float = 0.0) -> Array:
    return RANDOM.normal(mean, spread, shape).astype("float32")


def boxes(count: int, smallest: float = 16, largest: float = 400) -> Array:
    sizes = np.exp(RANDOM.uniform(math.log(smallest), math.log(largest), (count, 2)))
    corners = RANDOM.uniform(0, 1, (count, 2)) * (WIDTH, HEIGHT)
    both = np.concatenate([corners - sizes / 2, corners + sizes / 2], 1)
    return np.clip(both, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype("float32")


def number(count: int) -> Array:
    return np.array([count], "int32")


def level_sizes(strides: Sequence[int]) -> list[tuple[int, int]]:
    return [(-(-HEIGHT // stride), -(-WIDTH // stride)) for stride in strides]


def anchors(sizes: Sequence[tuple[int, int]], per_place: int) -> list[Array]:
    return [boxes(height * width * per_place) for height, width in sizes]


def cases() -> list[InTurns]:
    maps = [normal(1, 256, *size) for size in level_sizes(STRIDES[:4])]
    align = {
        "sampling_ratio": 2,
        "scales": [1 / stride for stride in STRIDES[:4]],
        "canonical_scale": 224,
        "canonical_level": 4,
    }
    found = [
        InTurns(
            f"RoIAlign of {rows} boxes, {bins}x{bins}, {label}",
            "roi_align",
            [maps, boxes(rows), number(rows)],
            {"output_size": bins, **align},
            ["maps"],
            blocks,
        )
        for rows, bins in ((1000, 7), (100, 14), (8, 14))
        for label, blocks in (("blocks", (8, 8)), ("blocks to plain", (8, 1)), ("plain", (1, 1)))
    ]
    return [*found, proposals(), box_head(), retinanet(), yolo(), *pasting()]


def proposals() -> InTurns:
    sizes = level_sizes(STRIDES)
    levels = (
        [normal(1, 3, *size, spread=2, mean=-3) for size in sizes],
        [normal(1, 12, *size, spread=0.25) for size in sizes],
        anchors(sizes, 3),
    )
    objectness, deltas, places = ([torch.from_numpy(one) for one in level] for level in levels)
    network = RegionProposalNetwork(
        lambda *_: [torch.cat(places)],
        lambda _: (objectness, deltas),
        *(0.7, 0.3, 256, 0.5),
        pre_nms_top_n={"testing": 1000},
        post_nms_top_n={"testing": 1000},
        nms_thresh=0.7,
    ).eval()
    images = ImageList(torch.empty(0), [(HEIGHT, WIDTH)])
    return InTurns(
        "proposals",
        "rpn_proposals",
        levels,
        {
            "pre_nms_top_n": 1000,
            "post_nms_top_n": 1000,
            "nms_threshold": 0.7,
            "score_threshold": 0.0,
            "min_size": 1e-3,
            "weights": [1.0] * 4,
            **CODER,
        },
        ["objectness", "deltas", "anchors"],
        rival=lambda: network(images, {}),
    )


def box_head() -> InTurns:
    logits, deltas, given = normal(1000, 91, spread=2), normal(1000, 364), boxes(1000)
    heads = RoIHeads(
        *(None, None, None, 0.5, 0.5, 512, 0.25, None),
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=100,
    )
    tensors = [torch.from_numpy(one) for one in (logits, deltas, given)]
    return InTurns(
        "detections of the box head",
        "roi_detections",
        [logits, deltas, given, number(1000)],
        {"score_threshold": 0.05, "weights": [10.0, 10.0, 5.0, 5.0], **KEPT},
        rival=lambda: heads.postprocess_detections(*tensors[:2], [tensors[2]], [(HEIGHT, WIDTH)]),
    )


def retinanet() -> InTurns:
    sizes = level_sizes((8, 16, 32, 64, 128))
    levels = (
        [normal(1, 819, *size, spread=1.2, mean=-7) for size in sizes],
        [normal(1, 36, *size, spread=0.25) for size in sizes],
        anchors(sizes, 9),
    )
    logits, deltas, places = ([torch.from_numpy(one) for one in level] for level in levels)
    settings = SimpleNamespace(
        score_thresh=0.05,
        topk_candidates=1000,
        nms_thresh=0.5,
        detections_per_img=100,
        box_coder=BoxCoder((1.0,) * 4),
    )

    def rival() -> Any:
        heads = {
            "cls_logits": [by_anchor(one, 9)[None] for one in logits],
            "bbox_regression": [by_anchor(one, 9)[None] for one in deltas],
        }
        return RetinaNet.postprocess_detections(settings, heads, [places], [(HEIGHT, WIDTH)])

    return InTurns(
        "detections of RetinaNet",
        "retinanet_detections",
        levels,
        {"score_threshold": 0.05, "topk_candidates": 1000, "weights": [1.0] * 4, **KEPT},
        ["logits", "deltas", "anchors"],
        rival=rival,
    )


def yolo() -> InTurns:
    places = np.concatenate([boxes(8400).T, RANDOM.beta(0.2, 8, (80, 8400)).astype("float32")])
    return InTurns(
        "detections of YOLO",
        "yolo_detections",
        [places[None]],
        {"confidence": 0.25, "iou": 0.7, "max_detections": 300, "agnostic": False},
    )


def pasting() -> list[InTurns]:
    masks = RANDOM.random((100, 1, 28, 28), "float32")
    return [
        InTurns(
            f"{count} masks pasted",
            "paste_masks",
            [masks, boxes(100), number(count)],
            {"height": HEIGHT, "width": WIDTH},
        )
        for count in (10, 100)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    everything = cases()
    with tempfile.TemporaryDirectory() as folder:
        glue, library = Path(folder) / "glue.c", Path(folder) / "kernels.so"
        unique = {case.kernel.symbol: case for case in everything}.values()
        drivers = [case.driver() for case in unique]
        glue.write_text("\n".join([source_of(case.kernel for case in unique), *drivers]))
        sources = sorted({s for case in everything for s in case.kernel.code.sources})
        Toolchain(options.cc).call(
            *(*FLAGS, "-march=native", "-fopenmp", "-fPIC", "-shared", "-I", str(SOURCES)),
            *("-o", str(library), str(glue), *(str(SOURCES / source) for source in sources), "-lm"),
        )
        loaded = ctypes.CDLL(str(library))
    rows = []
    for case in everything:
        run = case.bind(loaded)
        run(1)
        case.check()
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rows.append(
                {
                    "kernel": case.name,
                    "threads": threads,
                    **turns(run, case, threads, options.rounds),
                }
            )
    report = {"machine": platform.processor() or platform.machine(), "rows": rows}
    text = json.dumps(report, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", "utf-8")


def turns(run: Callable[[int], None], case: InTurns, threads: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of both, one after the other."""
    ours, torchs = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        run(threads)
        middle = time.perf_counter()
        case.call()
        ours.append((middle - start) * 1e3)
        torchs.append((time.perf_counter() - middle) * 1e3)
    ratio = statistics.median(torchs) / statistics.median(ours)
    return {"ours_ms": ours, "torchvision_ms": torchs, "times_as_fast": ratio}


if __name__ == "__main__":
    main()

"""The operators of detectors from torch to a library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from targets import unoptimized
from tiny_detector import CANVAS, LIMIT, TinyDetector

from tunekit.extern_kernels.function import kernels_of
from tunekit.graph.prepare import prepare
from tunekit.graph.tasks import extract_tasks
from tunekit.library.apply import apply_records
from tunekit.library.build import export
from tunekit.processes.sandbox import run_library
from tunekit.torch_frontend import export_program, program_to_relax


def test_a_library_detects_what_torch_detects(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module, target = TinyDetector().eval(), unoptimized()
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1 and "body" not in name:
            torch.nn.init.normal_(parameter, std=0.7 if "deltas" not in name else 0.1)
    images = [torch.randn(1, 3, *CANVAS) for _ in range(4)]
    program = export_program(module, images[:1], "test")
    graph = prepare(program_to_relax(program, ("image",), "test"), target, "NCHWc")
    kernels = {kernel.operator: kernel for kernel in kernels_of(graph.module)}
    blocked = {name for name, kernel in kernels.items() if kernel.inputs[0].block > 1}
    assert blocked >= {"roi_align", "roi_align_chunk"}
    scheduled = apply_records(graph, extract_tasks(graph, target), [], target).module
    library = tmp_path / "detector.so"
    export(scheduled, target, library)
    given = [{"image": image.numpy()} for image in images]
    counts = []
    for image, found in zip(
        images, run_library(library, given, input_names=("image",)), strict=True
    ):
        with torch.no_grad():
            expected = module(image)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(other, one.numpy(), rtol=1e-3, atol=1e-3)
        counts += [int(one) for one in expected if one.dtype == torch.int32]
    # All five families find something, and R-CNN, whose count comes first, not always as much.
    assert min(counts) > 0
    assert len(set(counts[::5])) > 1
    assert min(counts[::5]) < LIMIT

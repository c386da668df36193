from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from tunekit.accuracy import Comparison, compare
from tunekit.models.source import SourceModel
from tunekit.recipe import InputSpec, ModelSpec


class SpecOf(Protocol):
    def __call__(
        self, source: str, *inputs: tuple[str, tuple[int, ...]], dtype: str = ..., **rest: Any
    ) -> ModelSpec: ...


@pytest.fixture
def spec() -> SpecOf:
    """A recipe's model; sources of ``torch_models`` by their name alone."""

    def make(
        source: str, *inputs: tuple[str, tuple[int, ...]], dtype: str = "float32", **rest: Any
    ) -> ModelSpec:
        if ":" not in source and "." not in source:
            source = f"python:torch_models:{source}"
        given = tuple(InputSpec(name=name, shape=shape, dtype=dtype) for name, shape in inputs)
        return ModelSpec(source=source, inputs=given, **rest)

    return make


@pytest.fixture
def run_module(tmp_path: Path) -> Callable[[Any, SourceModel], dict[str, Comparison]]:
    """Compile an imported module, run it on a seeded input, compare each output with its own."""

    def run(module: Any, source: SourceModel, seed: int = 3) -> dict[str, Comparison]:
        from targets import unoptimized

        from tunekit.models.baseline import build_baseline
        from tunekit.processes.sandbox import run_library

        library = tmp_path / "check.so"
        build_baseline(module, library, target=unoptimized())
        inputs = source.sample_inputs(seed)
        names = [spec.name for spec in source.inputs]
        [actual] = run_library(library, [inputs], input_names=names, timeout_s=120)
        reference: list[np.ndarray[Any, Any]] = source.reference(inputs)
        return {
            spec.name: compare([expected], [given])
            for spec, expected, given in zip(source.outputs, reference, actual, strict=True)
        }

    return run


@pytest.fixture
def operators() -> Callable[[Any], Counter[str]]:
    """How often each Relax operator is called in main."""

    def count(module: Any) -> Counter[str]:
        from tvm import relax

        from tunekit.frontends.constants import operator_name

        names: Counter[str] = Counter()

        def visit(expr: Any) -> None:
            if name := operator_name(expr):
                names[name] += 1

        relax.analysis.post_order_visit(module["main"].body, visit)
        return names

    return count

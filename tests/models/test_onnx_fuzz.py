"""Random ONNX graphs give what ONNX Runtime gives, or are refused; damaged files are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import random_graphs
import torch
import tvm
from hypothesis import HealthCheck, Phase, given, seed, settings
from targets import unoptimized
from tvm import relax

from tunekit.accuracy import compare
from tunekit.errors import ModelFileError, TunekitError
from tunekit.graph.open_sizes import require_fixed_sizes
from tunekit.models import load_source
from tunekit.models.baseline import build_baseline
from tunekit.models.source import SourceModel
from tunekit.models.sources.onnx_file import OnnxModel
from tunekit.recipe import ModelSpec

_BATCH = 100

FOUND = (
    "(float x) => (float y) <float w = {0.5}> { y = Div (x, w) }",
    "(float[2,2,4,1] x) => (float[2,2,7,2] y) <float[2,2,1,2] w = {1,2,3,4,5,6,7,8}>"
    '{ y = ConvTranspose <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w) }',
    "(float[1] x) => (float[1] y)"
    "<int64[1] s = {-3}, int64[1] e = {-2}, int64[1] a = {0}, int64[1] n = {-2}>"
    "{ y = Slice (x, s, e, a, n) }",
    "(float[3] x) => (float[2] y)"
    "<int64[1] s = {1}, int64[1] e = {9223372036854775807}, int64[1] a = {0}, int64[1] n = {-1}>"
    "{ y = Slice (x, s, e, a, n) }",
    *(
        f"(float[1,2,4,2] x) => ({outputs})"
        f"{{ {results} = {pool} <kernel_shape = [1, 3], strides = [2, 2]{more}> (x) }}"
        for pool, outputs, results, more in (
            ("AveragePool", "float[1,2,2,1] y", "y", ""),
            ("AveragePool", "float[1,2,2,1] y", "y", ", count_include_pad = 1"),
            ("LpPool", "float[1,2,2,1] y", "y", ", p = 2"),
            ("MaxPool", "float[1,2,2,1] y, int64[1,2,2,1] i", "y, i", ""),
        )
    ),
)
"""What such graphs have shown to be wrong once, made as small as it goes."""


def drawn(count: int, start: int) -> list[onnx.ModelProto]:
    """Random models, always the same for one start."""
    models: list[onnx.ModelProto] = []

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(random_graphs.graphs())
    def collect(model: onnx.ModelProto) -> None:
        models.append(model)

    collect()
    return models


def imported(model: onnx.ModelProto) -> tuple[SourceModel, tvm.IRModule] | None:
    """The source and its module; None where it is refused, or ONNX Runtime does not run it."""
    try:
        source = OnnxModel("random", "digest", 0, [], model)
        source.reference(source.sample_inputs(0))
    except ModelFileError:
        return None
    try:
        module = source.to_relax()
        require_fixed_sizes(module, [output.name for output in source.outputs], source.name)
    except TunekitError:
        return None
    return source, module


def together(modules: Sequence[tvm.IRModule]) -> tvm.IRModule:
    """One module with a function `main_<index>` of each: one compilation for all."""
    functions: dict[Any, Any] = {}
    for index, module in enumerate(modules):
        names = {var: _renamed(var, index) for var in module.get_global_vars()}
        for var, function in module.functions_items():
            if isinstance(function, relax.Function):
                function = _Renaming(names).visit_expr(function)
            symbol = names[var].name_hint
            functions[names[var]] = function.with_attr("global_symbol", symbol)
    return tvm.IRModule(functions)


def _renamed(var: tvm.ir.GlobalVar, index: int) -> tvm.ir.GlobalVar:
    renamed = tvm.ir.GlobalVar(f"{var.name_hint}_{index}")
    relax.expr._update_type(renamed, var.ty)
    return renamed


@relax.expr_functor.mutator
class _Renaming(relax.PyExprMutator):  # type: ignore[misc]
    """Puts other functions in the place of those that are called."""

    def __init__(self, names: dict[Any, Any]) -> None:
        super().__init__()
        self.names = names

    def visit_global_var_(self, var: Any) -> Any:
        return self.names[var]


def run(modules: Sequence[tvm.IRModule], inputs: Sequence[Any], folder: Path) -> list[Any]:
    """The outputs of each module, or the refusal."""
    library = folder / "library.so"
    try:
        build_baseline(together(modules), library, target=unoptimized())
    except TunekitError as refusal:
        if len(modules) == 1:
            return [refusal]
        # Which it was shows when each half is compiled by itself.
        half = len(modules) // 2
        return [
            *run(modules[:half], inputs[:half], folder),
            *run(modules[half:], inputs[half:], folder),
        ]
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    results = []
    for index, arrays in enumerate(inputs):
        result = machine[f"main_{index}"](*(tvm.runtime.tensor(array) for array in arrays))
        results.append([output.numpy() for output in flat(result)])
    return results


def flat(result: Any) -> list[Any]:
    return (
        [result] if hasattr(result, "numpy") else [leaf for part in result for leaf in flat(part)]
    )


def wrong_of(models: Sequence[onnx.ModelProto], folder: Path) -> tuple[int, list[str]]:
    """How many gave the right answer, and those that gave another one."""
    accepted = [pair for model in models if (pair := imported(model)) is not None]
    samples = [source.sample_inputs(0) for source, _ in accepted]
    results = run([module for _, module in accepted], [list(s.values()) for s in samples], folder)
    right, wrong = 0, []
    for (source, _), values, result in zip(accepted, samples, results, strict=True):
        if isinstance(result, TunekitError):
            continue
        comparison = compare(source.reference(values), result)
        if comparison.within(1e-3):
            right += 1
        else:
            assert isinstance(source, OnnxModel)
            error = comparison.reason or f"relative error {comparison.relative_error:.1e}"
            wrong.append(f"{error}\n{onnx.printer.to_text(source.model)}")
    return right, wrong


def test_random_graphs_are_right_or_refused(tmp_path: Path) -> None:
    right, wrong = wrong_of(drawn(_BATCH, 0), tmp_path)
    assert not wrong, "\n\n".join(wrong)
    assert right > 0.6 * _BATCH


def test_what_was_wrong_once_is_right(tmp_path: Path) -> None:
    models = [
        onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 22]> found {text}')
        for text in FOUND
    ]
    assert wrong_of(models, tmp_path) == (len(FOUND), [])


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1, 21))
def test_two_thousand_random_graphs_are_right_or_refused(tmp_path: Path, start: int) -> None:
    _, wrong = wrong_of(drawn(_BATCH, start), tmp_path)
    assert not wrong, "\n\n".join(wrong)


def damaged(content: bytes, number: int) -> bytes:
    """The content cut short, or with a few bytes changed, removed or doubled."""
    random = np.random.default_rng(number)
    start = int(random.integers(0, len(content)))
    end = min(start + int(random.integers(1, 40)), len(content))
    part = content[start:end]
    replacement = (
        random.bytes(len(part)),
        bytes(len(part)),
        b"",
        part + part,
        b"\xff" * len(part),
    )[number % 5]
    whole = number % 6 != 5
    return content[:start] + (replacement + content[end:] if whole else b"")


def outcome(path: Path) -> str:
    """`read` where the file is still a model that can be imported, else the refusal."""
    try:
        load_source(ModelSpec(source=str(path))).to_relax()
    except TunekitError as refusal:
        return str(refusal.message)
    return "read"


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small model as each kind of file."""
    from tunekit.models.vanilla_cnn import onnx_model

    folder = tmp_path_factory.mktemp("whole")
    onnx.save(onnx_model(channels=4, classes=3, shape=(1, 3, 16, 16)), str(folder / "net.onnx"))
    program = torch.export.export(torch.nn.Linear(3, 2).eval(), (torch.ones(1, 3),))
    torch.export.save(program, str(folder / "net.pt2"))
    return {suffix: (folder / f"net{suffix}").read_bytes() for suffix in (".onnx", ".pt2")}


def require_refused(content: bytes, suffix: str, numbers: range, folder: Path) -> None:
    path = folder / f"net{suffix}"
    outcomes = []
    for number in numbers:
        path.write_bytes(damaged(content, number))
        outcomes.append(outcome(path))
    assert all("\n" not in text for text in outcomes), outcomes
    # Many a changed byte is a weight's: the file is another model then, and no damaged one.
    assert sum(text != "read" for text in outcomes) > len(outcomes) / 4


@pytest.mark.parametrize(("suffix", "count"), [(".onnx", 40), (".pt2", 20)])
def test_a_damaged_file_is_refused_in_one_message(
    contents: dict[str, bytes], tmp_path: Path, suffix: str, count: int
) -> None:
    require_refused(contents[suffix], suffix, range(count), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_five_hundred_damaged_files_are_refused(
    contents: dict[str, bytes], tmp_path: Path, suffix: str
) -> None:
    require_refused(contents[suffix], suffix, range(100, 350), tmp_path)

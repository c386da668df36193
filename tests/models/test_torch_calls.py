"""How torch modules are called, and what becomes of what they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from tunekit.errors import ModelFileError
from tunekit.models.sources.exported_program import ExportedModel
from tunekit.models.sources.torch_model import TorchModel, Weights
from tunekit.models.spec import TensorSpec


def source(module: nn.Module, *names: str, shape: tuple[int, ...] = (2, 3)) -> TorchModel:
    inputs = [TensorSpec(name, shape, "float32") for name in names or ("x",)]
    return TorchModel("model", "digest", 0, inputs, lambda: module, Weights(random=False))


@dataclass
class Prediction:
    logits: torch.Tensor
    hidden: Any = None
    count: int = 3


class Corners(NamedTuple):
    low: torch.Tensor
    high: torch.Tensor


class EveryContainer(nn.Module):
    """Takes a dictionary, a tuple, a keyword and more keywords."""

    def forward(self, batch: Any, pair: Any, *, scale: Any, **more: Any) -> Any:
        y = batch["image"] * pair[0] + pair[1]
        return {
            "scores": y,
            "nested": [Prediction(y * scale), (Corners(y - 1, y + 1), None, 3, "text")],
            "extra": more["extra"],
        }


def test_inputs_go_into_containers_and_tensors_come_out_of_them_in_order(
    run_module: Callable[..., Any],
) -> None:
    model = source(EveryContainer(), "pair.0", "batch.image", "pair.1", "scale", "extra")
    names = ["scores", "output_1", "output_2", "output_3", "extra"]
    assert [spec.name for spec in model.outputs] == names
    errors = run_module(model.to_relax(), model)
    assert all(result.within(1e-6) for result in errors.values()), errors


class Returning(nn.Module):
    def __init__(self, result: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.result = result

    def forward(self, x: torch.Tensor) -> Any:
        return self.result(x + 1)


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (lambda y: Prediction(y), ["logits"]),
        (lambda y: {"out": y, "none": None}, ["out"]),
        (lambda y: (y, 5, "text"), ["output"]),
        (lambda y: (y, y), ["output_0", "output_1"]),
        (lambda y: torch.complex(y, y), ["output"]),
        (lambda y: y.bfloat16(), ["output"]),
    ],
)
def test_numbers_and_none_are_left_out_and_every_dtype_is_one_of_numpy(
    result: Callable[[torch.Tensor], Any], names: list[str]
) -> None:
    model = source(Returning(result))
    assert [spec.name for spec in model.outputs] == names
    arrays = model.reference(model.sample_inputs(0))
    assert [array.shape for array in arrays] == [spec.shape for spec in model.outputs]
    assert {array.dtype for array in arrays} == {np.dtype("float32")}
    [_] = [model.to_relax()]


class Writes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x[:, 0] = 5
        x.data.masked_fill_(x > 4, 2.0)
        return x * 2


def test_a_model_may_write_into_its_arguments(run_module: Callable[..., Any]) -> None:
    model = source(Writes())
    inputs = model.sample_inputs(0)
    kept = {name: array.copy() for name, array in inputs.items()}
    model.reference(inputs)
    assert all(np.array_equal(inputs[name], kept[name]) for name in kept)
    assert run_module(model.to_relax(), model)["output"].within(1e-6)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        return x + self.steps


def test_a_state_that_changes_results_is_refused_by_name() -> None:
    with pytest.raises(ModelFileError, match=r"keeps a state between calls \(buffer steps\)"):
        source(Counting()).to_relax()


def test_an_input_that_the_model_takes_otherwise_is_told_with_its_words() -> None:
    class TakesAnObject(nn.Module):
        def forward(self, given: Any) -> torch.Tensor:
            return given.image * 2  # type: ignore[no-any-return]

    spec = TensorSpec("given.image", (2, 3), "float32")
    model = TorchModel("object", "digest", 0, [spec], TakesAnObject, Weights(random=False))
    with pytest.raises(ModelFileError, match=r"does not accept .*no attribute 'image'"):
        model.to_relax()


class Scratch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows[:2] = x
        return self.rows * 2


def test_a_buffer_that_is_only_written_anew_is_no_state(run_module: Callable[..., Any]) -> None:
    model = source(Scratch())
    assert run_module(model.to_relax(), model)["output"].within(1e-6)


class Choice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.cond(x.sum() > 0, lambda a: a * 2, lambda a: a - 1, (x,))
        return result


def test_both_branches_of_a_condition_are_computed_and_one_is_taken(
    run_module: Callable[..., Any],
) -> None:
    model = source(Choice())
    module = model.to_relax()
    seeds = {bool(model.sample_inputs(seed)["x"].sum() > 0): seed for seed in range(20)}
    assert set(seeds) == {True, False}
    for seed in seeds.values():
        assert run_module(module, model, seed)["output"].within(1e-6)


@pytest.mark.parametrize("script", [torch.jit.script, "trace"])
def test_scripted_and_traced_modules_are_taken(script: Any, run_module: Callable[..., Any]) -> None:
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Flatten()).eval()
    scripted = torch.jit.trace(plain, torch.ones(2, 3)) if script == "trace" else script(plain)
    model = source(scripted)
    assert run_module(model.to_relax(), model)["output"].within(1e-5)


def test_quantized_modules_are_told_in_a_sentence() -> None:
    quantized = nn.Sequential(torch.ao.nn.quantized.dynamic.Linear(3, 4))
    with pytest.raises(ModelFileError, match="quantized modules, first 0 "):
        source(quantized).to_relax()


class WithKeywords(nn.Module):
    def forward(self, x: Any, mask: Any = None, n: int = 2, d: Any = None) -> Any:
        y = x * n
        if mask is not None:
            y = y + mask
        return y, d["k"] * 2


@pytest.mark.parametrize("is_open", [False, True])
def test_a_saved_program_with_keywords_and_containers_is_called_as_it_was_traced(
    is_open: bool, tmp_path: Path, run_module: Callable[..., Any]
) -> None:
    x = torch.ones(2, 3)
    rows = {0: torch.export.Dim("rows", min=2, max=9)} if is_open else None
    program = torch.export.export(
        WithKeywords(),
        (x,),
        {"mask": x, "d": {"k": x}},
        dynamic_shapes={"x": rows, "mask": rows, "d": {"k": rows}},
    )
    inputs = [
        TensorSpec(name, (4 if is_open else 2, 3), "float32") for name in ("x", "mask", "d_k")
    ]
    model = ExportedModel("saved", "digest", 0, inputs if is_open else [], program, "saved.pt2")
    assert [spec.name for spec in model.inputs] == ["x", "mask", "d_k"]
    errors = run_module(model.to_relax(), model)
    assert all(result.within(1e-6) for result in errors.values()), errors


class PaddedToWholeSteps(nn.Module):
    """Keeps sizes in buffers and branches on what it computes of them, as audio codecs do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("width", torch.tensor(7), persistent=False)
        self.register_buffer("stride", torch.tensor([4]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = torch.ceil((x.shape[-1] - self.width) / self.stride).to(torch.int64)
        missing = steps * self.stride + self.width - x.shape[-1]
        if missing > 0:
            x = nn.functional.pad(x, (0, missing), value=1.0)
        return x * self.stride


def test_ways_that_depend_on_sizes_in_buffers_are_taken(run_module: Callable[..., Any]) -> None:
    model = source(PaddedToWholeSteps(), shape=(2, 20))
    errors = run_module(model.to_relax(), model)
    assert [spec.shape for spec in model.outputs] == [(2, 23)]
    assert not model.detour
    assert all(result.within(1e-6) for result in errors.values()), errors
    assert set(dict(model.module.model.named_buffers())) == {"width", "stride"}


def test_an_argument_may_be_called_input() -> None:
    from tunekit.torch_frontend import export_program, program_to_relax

    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    program = export_program(module, [torch.zeros(2, 3)], "model")
    assert [p.name for p in program_to_relax(program, ["x"], "model")["main"].params] == ["x"]

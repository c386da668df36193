"""`torch.compile(model, backend="tunekit")`, on models of a few kernels."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from tunekit.cache import ContentCache
from tunekit.errors import UsageError
from tunekit.torch_backend import library as libraries
from tunekit.torch_backend.backend import tunekit_backend

MODEL = """
import torch


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(16, 24)
        self.norm = torch.nn.BatchNorm1d(24)
        self.second = torch.nn.Linear(24, 4)

    def forward(self, x):
        return self.second(torch.relu(self.norm(self.first(x))))
"""


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test's own working directory; torch forgets what other tests compiled."""
    monkeypatch.chdir(tmp_path)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of every test: without LLVM's optimizations, and with a catalogue."""
    import json

    from targets import unoptimized

    catalogue = tmp_path_factory.mktemp("catalogue") / "catalogue.db"
    return {"catalogue": str(catalogue), "target": json.loads(unoptimized().spec)}


def _mlp() -> Any:
    space: dict[str, Any] = {}
    exec(MODEL, space)
    return space["Mlp"]().eval()


def _made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collects the libraries that are made, found or compiled."""
    made: list[Any] = []
    original = libraries.library_of

    def noted(*arguments: Any) -> Any:
        made.append(original(*arguments))
        return made[-1]

    monkeypatch.setattr("tunekit.torch_backend.backend.library_of", noted)
    return made


def test_the_name_is_an_entry_point_that_exists() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    [(name, place)] = project["project"]["entry-points"]["torch_dynamo_backends"].items()
    module, _, function = place.partition(":")
    assert name == "tunekit"
    assert getattr(import_module(module), function) is tunekit_backend


def test_a_model_gives_what_it_gave_and_is_not_compiled_twice(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made(monkeypatch)
    model, x = _mlp(), torch.randn(2, 16)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            torch._dynamo.reset()
            compiled = torch.compile(model, backend=tunekit_backend, options=options)
            for _ in range(2):
                torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    first, second = made
    assert first.manifest.standalone is not None
    assert second.manifest.created_at == first.manifest.created_at


def test_another_process_with_the_same_model_starts_without_tvm(
    options: dict[str, Any], tmp_path: Path
) -> None:
    script = f"""
{MODEL}

import sys
from tunekit.torch_backend.backend import tunekit_backend

model = torch.compile(Mlp().eval(), backend=tunekit_backend, options={options!r})
with torch.inference_mode():
    print(model(torch.ones(2, 16)).tolist())
print("tvm" in sys.modules)
"""
    with torch.inference_mode():
        here = torch.compile(_mlp(), backend=tunekit_backend, options=options)(torch.ones(2, 16))
    there = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert there.stdout.splitlines() == [str(here.tolist()), "False"]


def test_what_is_between_parts_of_a_model_runs_in_python(options: dict[str, Any]) -> None:
    class Broken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = _mlp()
            self.seen = 0.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.mlp(x)
            self.seen = float(hidden.sum())
            return torch.tanh(hidden) * 2

    model, x = Broken().eval(), torch.randn(2, 16)
    with torch.inference_mode():
        compiled = torch.compile(model, backend=tunekit_backend, options=options)
        with pytest.warns(UserWarning, match="compiled in parts, with Python in between"):
            result = compiled(x)
        assert model.seen == pytest.approx(float(model.mlp(x).sum()), rel=1e-4)
        torch.testing.assert_close(result, model(x), rtol=1e-4, atol=1e-5)


def test_tuples_come_back_as_they_were(options: dict[str, Any]) -> None:
    class Pair(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            return (x + y, {"product": [x * y]})

    x, y = torch.randn(3, 4), torch.randn(3, 4).t().contiguous().t()
    with torch.inference_mode():
        compiled = torch.compile(Pair(), backend=tunekit_backend, options=options)
        total, rest = compiled(x, y)
    torch.testing.assert_close(total, x + y)
    torch.testing.assert_close(rest["product"][0], x * y)


class _Airy(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.airy_ai(x)


class _Counted(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count.add_(1)
        return x + self.count


class _Overwrites(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.clone().add_(1)) + x.mul_(2)


@pytest.mark.parametrize(
    ("model", "reason"),
    [(_Airy(), "airy_ai"), (_Counted(), "changes a tensor"), (_Overwrites(), "changes a")],
    ids=["unknown operator", "a buffer is written to", "an input is written to"],
)
def test_what_cannot_be_compiled_stays_with_pytorch_and_says_why(
    options: dict[str, Any], model: torch.nn.Module, reason: str
) -> None:
    original, mine = copy.deepcopy(model), torch.randn(2, 3)
    theirs = mine.clone()
    with torch.inference_mode():
        compiled = torch.compile(model, backend=tunekit_backend, options=options)
        with pytest.warns(UserWarning, match=f"stays with PyTorch: .*{reason}") as caught:
            results = [compiled(mine) for _ in range(2)]
        expected = [original(theirs) for _ in range(2)]
    assert len(caught) == 1
    torch.testing.assert_close([*results, mine], [*expected, theirs])


def test_gradients_are_pytorchs(options: dict[str, Any]) -> None:
    model, x = _mlp(), torch.randn(2, 16)
    original = copy.deepcopy(model)
    compiled = torch.compile(model, backend=tunekit_backend, options=options)
    with pytest.warns(UserWarning, match=r"gradients are asked for .*inference_mode"):
        compiled(x).sum().backward()
    original(x).sum().backward()
    for mine, theirs in zip(model.parameters(), original.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_sizes_that_vary_are_pytorchs_unless_each_has_a_library(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, more = _mlp(), torch.randn(2, 16), torch.randn(5, 16)
    compiled = torch.compile(model, backend=tunekit_backend, options=options)
    with torch.inference_mode():
        compiled(x)
        with pytest.warns(UserWarning, match=r"sizes vary .*dynamic=False"):
            torch.testing.assert_close(compiled(more), model(more))
        made = _made(monkeypatch)
        torch.compiler.reset()
        fixed = torch.compile(model, backend=tunekit_backend, options=options, dynamic=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for given in (x, more):
                torch.testing.assert_close(fixed(given), model(given), rtol=1e-4, atol=1e-5)
    assert len({library.path for library in made}) == 2


def test_changed_weights_are_noticed(options: dict[str, Any]) -> None:
    model, x = _mlp(), torch.randn(2, 16)
    compiled = torch.compile(model, backend=tunekit_backend, options=options)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
        model.second.bias.add_(1)
        with pytest.warns(UserWarning, match="weights have changed"):
            torch.testing.assert_close(compiled(x), model(x))


def test_more_models_of_a_graph_than_have_libraries_are_pytorchs(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunekit.torch_backend.backend._MOST_MODELS", 1)
    made = _made(monkeypatch)
    one, x = _mlp(), torch.randn(2, 16)
    other = copy.deepcopy(one)
    with torch.no_grad():
        other.second.bias.add_(1)
        compiled = [
            torch.compile(model, backend=tunekit_backend, options=options) for model in (one, other)
        ]
        compiled[0](x)
        with pytest.warns(UserWarning, match="1 models share a graph") as caught:
            results = [compiled[1](x) for _ in range(2)]
    assert len(caught) == 1
    torch.testing.assert_close(results, [other(x)] * 2)
    assert len(made) == 1


def test_what_autocast_chooses_types_for_stays_with_pytorch(options: dict[str, Any]) -> None:
    model, x = _mlp(), torch.randn(2, 16)
    compiled = torch.compile(model, backend=tunekit_backend, options=options)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        with pytest.warns(UserWarning, match="stays with PyTorch: autocast"):
            result = compiled(x)
        assert result.dtype == torch.bfloat16
        torch.testing.assert_close(result, model(x))


def test_models_that_share_a_graph_have_a_library_each(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made(monkeypatch)
    one, x = _mlp(), torch.randn(2, 16)
    other = copy.deepcopy(one)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        other.second.bias.add_(1)
        # Without a reset in between: dynamo has one graph for both.
        for _ in range(2):
            for model in (one, other):
                compiled = torch.compile(model, backend=tunekit_backend, options=options)
                torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    assert len({library.path for library in made}) == len(made) == 2


def test_threads_that_call_a_model_at_once_have_one_library(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made(monkeypatch)
    model, x = _mlp(), torch.randn(2, 16)
    graphs: list[Any] = []
    calls: list[tuple[Any, ...]] = []

    def noted(graph: Any, examples: Any, **more: Any) -> Any:
        """dynamo traces in each thread that is early; this is about a graph that is there."""
        graphs.append(tunekit_backend(graph, examples, **more))

        def eager(*arguments: Any) -> Any:
            calls.append(arguments)
            return graph(*arguments)

        return eager

    with torch.no_grad():
        expected = torch.compile(model, backend=noted, options=options)(x)
    [graph], [arguments] = graphs, calls

    def call(_: int) -> torch.Tensor:
        with torch.no_grad():
            [result] = graph(*arguments)
        assert isinstance(result, torch.Tensor)
        return result

    with ThreadPoolExecutor(6) as pool:
        for result in pool.map(call, range(6)):
            torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    assert len(made) == 1


def test_a_model_that_is_gone_makes_place_for_another(options: dict[str, Any]) -> None:
    x = torch.randn(2, 16)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(10):
            model = _mlp()
            model.second.bias.add_(number % 2)
            compiled = torch.compile(model, backend=tunekit_backend, options=options)
            torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
            del model, compiled
            gc.collect()


def test_other_memory_under_a_weight_is_noticed(options: dict[str, Any]) -> None:
    model, x = _mlp(), torch.randn(2, 16)
    compiled = torch.compile(model, backend=tunekit_backend, options=options)
    with torch.no_grad():
        compiled(x)
        model.second.bias.data = torch.ones(4)
        with pytest.warns(UserWarning, match="weights have changed"):
            torch.testing.assert_close(compiled(x), model(x))
        torch.compiler.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = torch.compile(model, backend=tunekit_backend, options=options)
            torch.testing.assert_close(again(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_cache_that_cannot_be_written_leaves_the_model_with_pytorch(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEKIT_CACHE", "/proc/cache")
    model, x = _mlp(), torch.randn(2, 16)
    compiled = torch.compile(model, backend=tunekit_backend, options=options)
    with torch.no_grad(), pytest.warns(UserWarning, match=r"cannot write .*TUNEKIT_CACHE"):
        torch.testing.assert_close(compiled(x), model(x))


def test_two_processes_that_begin_at_once_compile_a_model_once(
    options: dict[str, Any], tmp_path: Path
) -> None:
    script = f"""
{MODEL}

from tunekit.torch_backend import backend, library

make = library._made
def noted(*arguments):
    print("compiled")
    return make(*arguments)
library._made = noted

model = torch.compile(Mlp().eval(), backend=backend.tunekit_backend, options={options!r})
with torch.inference_mode():
    print(model(torch.ones(2, 16)).tolist())
"""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TUNEKIT_CACHE": str(tmp_path / "cache"),
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning", "-c", script],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(len(lines) for lines in said) == [1, 2]
    assert said[0][-1] == said[1][-1]


def test_what_is_compiled_counts_for_the_limit_of_the_cache(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TUNEKIT_CACHE", str(tmp_path / "cache"))
    made = _made(monkeypatch)
    with torch.inference_mode():
        torch.compile(_mlp(), backend=tunekit_backend, options=options)(torch.randn(2, 16))
    [library] = made
    sizes = [file.stat().st_size for file in library.folder.iterdir() if file.is_file()]
    assert ContentCache().used_bytes() >= sum(sizes) > 0


def test_a_budget_tunes(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = _made(monkeypatch)
    quick = {"trials": 1, "tuning.measure.repeat": 1, "tuning.measure.min_repeat_ms": 1}
    model, x = torch.nn.Linear(16, 8), torch.randn(2, 16)
    with torch.inference_mode():
        compiled = torch.compile(model, backend=tunekit_backend, options={**options, **quick})
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    [library] = made
    assert library.manifest.selection.skipped != "no records apply: it has default schedules only"


def test_an_option_that_does_not_exist_is_refused() -> None:
    compiled = torch.compile(_mlp(), backend=tunekit_backend, options={"trails": 3})
    with pytest.raises(Exception, match="trails") as caught, torch.inference_mode():
        compiled(torch.randn(2, 16))
    assert isinstance(caught.value.__cause__ or caught.value.inner_exception, UsageError)

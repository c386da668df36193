"""TVM on a GPU, as far as a machine without one can tell: what is compiled, planned and refused."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from bench_reports import failed, report_of, timed
from onnx import TensorProto, helper, numpy_helper
from targets import unoptimized

from tunekit.benchmark.cuda_libraries import TvmCuda, TvmCudaTuned, on_gpu
from tunekit.benchmark.registry import find_runtime
from tunekit.cache import ContentCache
from tunekit.machine.host import detect_host
from tunekit.machine.target import resolve_target
from tunekit.machine.tvm_loading import cuda_home
from tunekit.models import load_source
from tunekit.recipe import GPU_RUNTIMES, load_recipe
from tunekit.runtimes.process import RunnerProcess
from tunekit.runtimes.runtime import NotApplicable, Preparation

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
HOPPER = {"kind": "cuda", "arch": "sm_90"}


class OnThisCpu(TvmCuda):
    """The same runner where there is no GPU."""

    name = "tvm-on-this-cpu"
    device = "cpu"


@pytest.fixture(scope="module")
def preparation(tmp_path_factory: pytest.TempPathFactory) -> Preparation:
    """Of a convolution with an activation."""
    folder = tmp_path_factory.mktemp("gpu")
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, folder / "model.onnx")
    (folder / "recipe.yaml").write_text("name: for_a_gpu\nmodel: {source: model.onnx}\n")
    recipe = load_recipe(folder / "recipe.yaml")
    cache = ContentCache(folder / "cache")
    source = load_source(recipe.model, cache=cache)
    return Preparation(recipe, source, source.sample_inputs(0), cache, 1, lambda _: None)


@pytest.fixture(scope="module")
def kernels(preparation: Preparation) -> str:
    """The CUDA in a library for a GPU that is not here."""
    plan = TvmCuda.plan(preparation, resolve_target(HOPPER, measured_elsewhere=True))
    assert plan["input_names"] == ["x"]
    texts = re.findall(rb"[\t\n\x20-\x7e]{500,}", Path(plan["file"]).read_bytes())
    return str(max(texts, key=len).decode())


def test_kernels_are_scheduled_for_the_threads_of_a_gpu(kernels: str) -> None:
    assert 'extern "C" __global__ void __launch_bounds__(' in kernels
    assert "threadIdx.x" in kernels


@pytest.mark.skipif(cuda_home() is None, reason="there are no headers of CUDA")
def test_kernels_compile_to_ptx_without_a_gpu(
    kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvm.support.nvcc import compile_cuda

    pytest.importorskip("cuda.bindings.nvrtc")
    monkeypatch.setenv("CUDA_PATH", str(cuda_home()))
    ptx = bytes(compile_cuda(kernels, target_format="ptx", arch=HOPPER["arch"])).decode()
    assert ".target sm_90" in ptx
    assert ".visible .entry" in ptx


def test_what_was_compiled_is_found_again(preparation: Preparation) -> None:
    target = resolve_target(HOPPER, measured_elsewhere=True)
    first = Path(TvmCuda.plan(preparation, target)["file"])
    before = first.stat().st_mtime_ns
    assert Path(TvmCuda.plan(preparation, target)["file"]) == first
    assert first.stat().st_mtime_ns == before


def test_it_runs_with_transfers_and_tells_what_it_takes_without(
    preparation: Preparation, tmp_path: Path
) -> None:
    plan = OnThisCpu.plan(preparation, unoptimized())
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, *preparation.inputs.values())
    path = f"{__name__}:OnThisCpu"
    with RunnerProcess(path, threads=1, log=tmp_path / "log") as process:
        reply = process.ask(
            "load",
            timeout_s=120,
            plan=plan,
            inputs=str(inputs),
            names=list(preparation.inputs),
            threads=1,
        )
        process.ask("outputs", timeout_s=60, to=str(tmp_path / "outputs.npz"))
        at_last = process.ask("idle", timeout_s=60, seconds=0.0)["settings"]
    # It takes runs to find out, which are no part of loading.
    assert "without_transfers_ms" not in reply["settings"]
    assert at_last["without_transfers_ms"] > 0
    if not detect_host().gpus:
        assert (at_last["gpu_mib"], at_last["gpu_percent"]) == (None, None)
        assert at_last["gpu_problem"]
    with np.load(tmp_path / "outputs.npz") as archive:
        outputs = [archive[name] for name in archive.files]
    reference = preparation.source.reference(preparation.inputs)
    assert preparation.source.compare(reference, outputs).within(1e-4)


@pytest.mark.skipif(bool(detect_host().gpus), reason="there is a GPU")
@pytest.mark.parametrize("name", ["tvm-cuda", "tvm-cuda-tuned"])
def test_without_a_gpu_it_is_refused_before_anything_is_compiled(
    preparation: Preparation, name: str
) -> None:
    runtime = find_runtime(name)
    assert runtime.lacks() == "NVIDIA GPU"
    # Nor where there is one that TVM does not see, which concerns no other contestant.
    with pytest.raises(NotApplicable, match="'cuda' needs an NVIDIA GPU"):
        runtime.prepare(preparation)


def test_the_library_for_the_gpu_lies_beside_the_one_for_the_cpu(preparation: Preparation) -> None:
    recipe = on_gpu(preparation.recipe)
    assert recipe.target == "cuda"
    assert Path(recipe.output) == Path(preparation.recipe.output) / "cuda"
    assert issubclass(TvmCudaTuned, TvmCuda)


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_what_reads_onnx_is_planned_without_a_gpu(preparation: Preparation, name: str) -> None:
    runtime = find_runtime(name)
    assert Path(runtime.prepare(preparation)["file"]).is_file()


@pytest.mark.parametrize("name", ["pytorch-cuda", "torchscript-cuda", "inductor-cuda"])
def test_what_runs_modules_does_not_take_a_model_in_onnx(
    preparation: Preparation, name: str
) -> None:
    with pytest.raises(NotApplicable, match="ONNX"):
        find_runtime(name).prepare(preparation)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/gpu.py, which imports from the script beside it."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("gpu")


def test_the_script_for_a_gpu_searches_where_the_race_looks_and_says_that_there_is_none() -> None:
    command = [sys.executable, str(SCRIPT), "vanilla_cnn_onnx"]
    planned = subprocess.run(
        [*command, "--plan", "--again", "tvm-cuda-tuned"],
        capture_output=True,
        text=True,
        check=True,
    )
    commands = [shlex.split(line)[3:] for line in planned.stdout.splitlines()]
    [searching] = [number for number, words in enumerate(commands) if words[0] == "tune"]
    tune, bench = commands[searching : searching + 2]
    assert tune[:2] == ["tune", bench[1]]
    assert tune[-1] == f"output={on_gpu(load_recipe(Path(bench[1]))).output}"
    assert bench[2:4] == ["--runtimes", "tvm-cuda-tuned"]
    if not detect_host().gpus:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "there is no NVIDIA GPU here\n")


def test_the_script_for_a_gpu_goes_on_where_it_was(script: ModuleType, tmp_path: Path) -> None:
    assert script.due(tmp_path) == [*GPU_RUNTIMES, "onnxruntime"]
    rows = [
        timed("pytorch-cuda", [10.0]),
        failed("inductor-cuda", "timeout: no answer within 180 s"),
        failed("tensorrt", "not installed: pip install tensorrt", status="not installed"),
    ]
    for row in rows:
        (tmp_path / f"{row.name}.json").write_text(report_of(row).to_json(), "utf-8")
    due = script.due(tmp_path)
    assert "pytorch-cuda" not in due
    # It would hang again; what was not installed may be by now.
    assert "inductor-cuda" not in due
    assert "tensorrt" in due
    assert "pytorch-cuda" in script.due(tmp_path, again=["pytorch-cuda"])
    shown = script.table([report.runtimes[0] for report in script.known(tmp_path).values()])
    assert [line.split(" ")[1] for line in shown.splitlines()[2:]] == [
        "pytorch-cuda",
        "inductor-cuda",
        "tensorrt",
    ]


def test_without_time_the_script_for_a_gpu_keeps_what_it_has(
    script: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "pytorch-cuda.json"
    file.write_text("measured before")
    said = script.measure("vanilla_cnn_onnx", "pytorch-cuda", 30, file, time.monotonic())
    assert said == "no time, call this again"
    assert file.read_text() == "measured before"

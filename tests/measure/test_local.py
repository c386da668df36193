"""Candidates get seconds or a reason, whatever they do; the measurer lives on, leaving nothing."""

from __future__ import annotations

import dataclasses
import math
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import tvm
import wild_kernels as wild

from tunekit.catalogue import FailureKind
from tunekit.errors import SandboxError
from tunekit.machine.target import ResolvedTarget
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult, TensorArgument

_REPEAT = 2

# What each candidate of one batch does -> what is said of it. In front of, between and behind them
# stand good ones; there are more than are parked at once.
FATES: dict[str, tuple[FailureKind, str]] = {
    "writes far outside of its tensors": (FailureKind.CRASH, "SIGSEGV while running"),
    "reads a null pointer": (FailureKind.CRASH, "SIGSEGV while running"),
    "calls abort": (FailureKind.CRASH, "SIGABRT while running"),
    "has an illegal instruction": (FailureKind.CRASH, "SIGILL while running: the target has"),
    "divides by zero": (FailureKind.CRASH, "SIGFPE while running"),
    "exits with success": (FailureKind.CRASH, "exit status 0 while running"),
    "exits with a status": (FailureKind.CRASH, "exit status 3 while running"),
    "hangs": (FailureKind.RUN_TIMEOUT, "not measured within 4 s"),
    "is taken by the kernel's memory killer": (FailureKind.OUT_OF_MEMORY, "SIGKILL"),
    "takes a tensor larger than the memory": (FailureKind.OUT_OF_MEMORY, "MemoryError"),
    "needs more scratch than it may have": (FailureKind.OUT_OF_MEMORY, ""),
    "calls what does not exist": (FailureKind.CRASH, "while running"),
    "takes another number of tensors": (FailureKind.RUN_ERROR, "Expected 2 arguments"),
    "is bound to GPU threads": (FailureKind.BUILD_ERROR, ""),
    "is not JSON": (FailureKind.BUILD_ERROR, "line 1 column 2"),
    "is JSON of nothing": (FailureKind.BUILD_ERROR, "root_index"),
}


def _modules() -> dict[str, object]:
    return {
        "writes far outside of its tensors": wild.writing_far_away(),
        "reads a null pointer": wild.calling("strlen", 0),
        "calls abort": wild.calling("abort"),
        "has an illegal instruction": wild.calling("raise", signal.SIGILL),
        "divides by zero": wild.calling("raise", signal.SIGFPE),
        "exits with success": wild.calling("exit", 0),
        "exits with a status": wild.calling("_exit", 3),
        "hangs": wild.calling("pause"),
        "is taken by the kernel's memory killer": wild.calling("raise", signal.SIGKILL),
        "takes a tensor larger than the memory": wild.good(),
        "needs more scratch than it may have": wild.needing(1 << 30),
        "calls what does not exist": wild.calling("a_function_that_nobody_wrote"),
        "takes another number of tensors": wild.good(),
        "is bound to GPU threads": wild.for_a_gpu(),
        "is not JSON": "{nothing",
        "is JSON of nothing": "{}",
    }


_ARGUMENTS = {
    "takes a tensor larger than the memory": (TensorArgument((1 << 40,), "float32"),) * 2,
    "takes another number of tensors": wild.VECTORS[:1],
}


@pytest.fixture(scope="module")
def options(native: ResolvedTarget) -> MeasureOptions:
    return MeasureOptions(
        target=native.spec,
        device="cpu",
        repeat=_REPEAT,
        min_repeat_ms=1,
        build_timeout_s=60,
        run_timeout_s=4,
        jobs=2,
        threads=2,
        cpu_cache="warm",
        memory_bytes=2 << 30,
    )


@pytest.fixture(scope="module")
def one_by_one(options: MeasureOptions) -> MeasureOptions:
    """Candidates built one at a time are measured in their order; what hangs may do so for long.
    Without the noise guard, which lets others go first while the host is slow."""
    return dataclasses.replace(options, jobs=1, run_timeout_s=60, noise_guard=False)


@pytest.fixture(scope="module")
def measurer(options: MeasureOptions) -> Iterator[LocalMeasurer]:
    with LocalMeasurer(options) as measurer:
        yield measurer


@pytest.fixture(scope="module")
def results(measurer: LocalMeasurer) -> list[tuple[str, MeasureResult]]:
    """Outcomes of the wild batch, each with the candidate's fate, "" for a good one."""
    names: list[str] = [""]
    candidates = [wild.candidate(0, wild.good(10))]
    for name, module in _modules().items():
        names.append(name)
        candidates.append(
            wild.candidate(len(candidates), module, _ARGUMENTS.get(name, wild.VECTORS))
        )
        if len(candidates) % 5 == 0 or len(names) > len(FATES):
            names.append("")
            candidates.append(wild.candidate(len(candidates), wild.good(len(candidates))))
    return [(names[result.key], result) for result in measurer.measure(candidates)]


@contextmanager
def _options(measurer: LocalMeasurer, options: MeasureOptions) -> Iterator[None]:
    before, measurer.options = measurer.options, options
    try:
        yield
    finally:
        measurer.options = before


def _measure(measurer: LocalMeasurer, *modules: object) -> dict[int, MeasureResult]:
    candidates = [wild.candidate(key, module) for key, module in enumerate(modules)]
    return {result.key: result for result in measurer.measure(candidates)}


def _servers(process: psutil.Process | None = None) -> list[psutil.Process]:
    """Measuring servers below a process: those that are not yet collected count as well."""
    return [
        child
        for child in (process or psutil.Process()).children()
        if child.status() == psutil.STATUS_ZOMBIE
        or "tunekit.measure.local.server" in child.cmdline()
    ]


@pytest.mark.parametrize("fate", FATES)
def test_a_candidate_that_fails_has_a_kind_and_a_reason(
    fate: str, results: list[tuple[str, MeasureResult]]
) -> None:
    (result,) = [result for name, result in results if name == fate]
    kind, text = FATES[fate]
    assert (result.failure, result.samples_s) == (kind, None)
    assert text in result.text
    assert "Traceback" not in result.text
    assert "/site-packages/" not in result.text


def test_every_candidate_has_exactly_one_result(results: list[tuple[str, MeasureResult]]) -> None:
    assert sorted(result.key for _, result in results) == list(range(len(results)))
    assert {name for name, _ in results} == {"", *FATES}


def test_good_candidates_among_bad_ones_are_measured(
    results: list[tuple[str, MeasureResult]],
) -> None:
    good = [result for name, result in results if name == ""]
    assert len(good) >= 4
    for result in good:
        assert result.failure is None
        assert result.text == ""
        assert result.samples_s is not None
        # More where the host was slow meanwhile.
        assert len(result.samples_s) % _REPEAT == 0
        assert all(seconds > 0 for seconds in result.samples_s)
        assert result.build_s > 0
        assert result.measure_s > 0


def test_a_batch_after_a_wild_one_is_as_good_as_any(
    measurer: LocalMeasurer, results: list[tuple[str, MeasureResult]]
) -> None:
    again = _measure(measurer, wild.good(1), wild.good(2))
    assert [again[key].failure for key in (0, 1)] == [None, None]


def test_the_server_that_candidates_are_forked_from_does_without_torch(
    measurer: LocalMeasurer,
) -> None:
    """It would make them, and the start of each session, slower."""
    assert _measure(measurer, wild.good())[0].failure is None
    (server,) = _servers()
    files = [Path(mapped.path).name for mapped in server.memory_maps()]
    assert any(name.startswith("libtvm_compiler") for name in files)
    assert not [name for name in files if "torch" in name]


def test_an_empty_batch_has_no_results(measurer: LocalMeasurer) -> None:
    assert _measure(measurer) == {}


def test_a_candidate_much_slower_than_the_best_is_run_a_few_times_only(
    measurer: LocalMeasurer,
) -> None:
    (result,) = measurer.measure([wild.candidate(7, wild.good(), slow_s=1e-12)])
    assert result.samples_s is not None
    assert (result.key, len(result.samples_s)) == (7, 5)


def test_what_llvm_takes_too_long_over_is_a_build_that_timed_out(
    measurer: LocalMeasurer, options: MeasureOptions
) -> None:
    with _options(measurer, dataclasses.replace(options, build_timeout_s=3)):
        results = _measure(measurer, wild.good(), wild.long_to_build(16000))
    assert results[0].failure is None
    assert results[1].failure is FailureKind.BUILD_TIMEOUT
    assert results[1].text == "not built within 3 s"
    # Nothing is measured while something is being built.
    assert list(results) == [1, 0]


def test_candidates_are_measured_beside_builds_where_they_may_overlap(
    measurer: LocalMeasurer, options: MeasureOptions
) -> None:
    with _options(measurer, dataclasses.replace(options, build_timeout_s=3, overlap=True)):
        results = _measure(measurer, wild.good(), wild.long_to_build(16000))
    assert list(results) == [0, 1]
    assert results[0].failure is None
    assert results[1].failure is FailureKind.BUILD_TIMEOUT


def test_a_batch_that_is_given_up_leaves_nothing_to_the_next(measurer: LocalMeasurer) -> None:
    batch = measurer.measure([wild.candidate(key, wild.good(key)) for key in (10, 11, 12)])
    next(batch)
    batch.close()
    assert sorted(_measure(measurer, wild.good(1), wild.good(2))) == [0, 1]


def test_a_server_that_is_killed_loses_its_batch_and_nothing_else(
    measurer: LocalMeasurer, one_by_one: MeasureOptions
) -> None:
    measurer.start()
    (server,) = _servers()
    with _options(measurer, one_by_one):
        batch = measurer.measure(
            [
                wild.candidate(0, wild.good(10)),
                wild.candidate(1, wild.calling("pause")),
                wild.candidate(2, wild.good(12)),
            ]
        )
        first = next(batch)
        children = server.children()
        server.kill()
        lost = {result.key: result for result in batch}
        assert (first.key, first.failure) == (0, None)
        assert sorted(lost) == [1, 2]
        for result in lost.values():
            assert result.failure is FailureKind.LOST_DEVICE
            assert "the measuring server ended" in result.text
        assert children
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive
        assert _measure(measurer, wild.good())[0].failure is None


def test_closing_ends_the_server_and_the_candidate_that_hangs(one_by_one: MeasureOptions) -> None:
    before = _servers()
    with LocalMeasurer(one_by_one) as measurer:
        batch = measurer.measure(
            [wild.candidate(0, wild.good(10)), wild.candidate(1, wild.calling("pause"))]
        )
        next(batch)
        (server,) = [process for process in _servers() if process not in before]
        family = [server, *server.children(recursive=True)]
        assert len(family) == 2
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert _servers() == before


def test_nothing_is_left_when_the_tuner_is_killed(
    one_by_one: MeasureOptions, tmp_path: Path
) -> None:
    batch = tmp_path / "batch"
    batch.write_bytes(
        pickle.dumps(
            (
                one_by_one,
                [wild.candidate(0, wild.good(10)), wild.candidate(1, wild.calling("pause"))],
            )
        )
    )
    code = (
        "import pickle, sys\n"
        "from tunekit.measure.local.measurer import LocalMeasurer\n"
        "options, candidates = pickle.load(open(sys.argv[1], 'rb'))\n"
        "for result in LocalMeasurer(options).measure(candidates):\n"
        "    print(result.key, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(batch)], stdout=subprocess.PIPE, text=True
    ) as tuner:
        assert tuner.stdout is not None
        assert tuner.stdout.readline() == "0\n"
        family = psutil.Process(tuner.pid).children(recursive=True)
        tuner.kill()
    assert len(family) == 2
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive


def test_a_server_that_cannot_start_is_an_error_with_its_last_words(
    options: MeasureOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tvm.py").write_text("raise ImportError('this TVM is broken')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with LocalMeasurer(options) as measurer, pytest.raises(SandboxError) as caught:
        list(measurer.measure([wild.candidate(0, wild.good(10))]))
    assert "this TVM is broken" in caught.value.message
    assert "tunekit doctor" in (caught.value.hint or "")


def test_a_file_of_the_working_directory_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: ResolvedTarget
) -> None:
    for name in ("numpy", "statistics", "queue"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not the one')\n")
    monkeypatch.chdir(tmp_path)
    options = MeasureOptions(native.spec, "cpu", 2, 1, 60, 30, 2, 1, "warm", 2 << 30)
    with LocalMeasurer(options) as measurer:
        (result,) = measurer.measure(
            [Candidate(0, tvm.ir.save_json(wild.good()), wild.VECTORS, math.inf)]
        )
    assert result.failure is None

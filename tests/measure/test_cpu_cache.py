"""What candidates find in the caches: what a recipe asks for, or what the model will find there."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import tvm
import tvm_ffi
from tuning_runs import matmul, options, task

from tunekit.catalogue.conditions import CpuCache
from tunekit.graph.cpu_cache import cpu_cache_of
from tunekit.graph.implementation import ConvProblem, Implementation
from tunekit.graph.task import Task
from tunekit.machine.host import last_level_cache_bytes
from tunekit.machine.target import ResolvedTarget
from tunekit.measure.cpu_cache import eviction
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import Candidate
from tunekit.measure.timing import MeasureOrder, take_readings
from tunekit.recipe import Tuning
from tunekit.recipe.schema import Measure, Rpc
from tunekit.search.candidates import candidate_of


def _tasks(megabytes: int) -> list[Task]:
    """A matrix product with a megabyte of weights, and as many calls of it."""
    return [task("product", matmul(512).with_attr("layout_free_buffers", [1]), megabytes, 1)]


def test_weights_come_from_memory_where_they_are_more_than_half_of_the_last_cache(
    native: ResolvedTarget,
) -> None:
    cache = (last_level_cache_bytes() or 32 << 20) >> 20
    assert cpu_cache_of(Tuning(), _tasks(cache // 2 - 1), native) == "warm"
    assert cpu_cache_of(Tuning(), _tasks(cache // 2 + 1), native) == "weights"
    # Of several algorithms of a convolution only one will run.
    [large] = _tasks(cache)
    rival = replace(large, implementation=Implementation(ConvProblem(1, 8, 8, 8, 8), "winograd2"))
    assert cpu_cache_of(Tuning(), [rival], native) == "warm"


@pytest.mark.parametrize("wanted", ["warm", "weights", "flush"])
def test_a_recipe_that_says_what_is_in_the_caches_gets_that(
    native: ResolvedTarget, wanted: CpuCache
) -> None:
    tuning = Tuning(measure=Measure(cache=wanted))
    for megabytes in (1, 1024):
        assert cpu_cache_of(tuning, _tasks(megabytes), native) == wanted


def test_other_machines_find_everything_in_their_caches(native: ResolvedTarget) -> None:
    tuning = Tuning(rpc=Rpc(tracker="tracker:9190", key="phone"))
    assert cpu_cache_of(tuning, _tasks(1024), native) == "warm"


def _candidate(size: int, constants: list[int]) -> Candidate:
    module = tvm.IRModule({"main": matmul(size).with_attr("layout_free_buffers", constants)})
    return candidate_of(0, module, module, 1.0, workload_json=tvm.ir.save_json(module))


@pytest.mark.parametrize(
    ("cache", "size", "constants", "evicts"),
    [
        ("warm", 64, [1], False),
        ("weights", 64, [1], True),
        ("weights", 64, [], False),
        # Too small to matter.
        ("weights", 32, [1], False),
        ("flush", 32, [], True),
    ],
)
def test_what_has_to_come_from_memory_is_evicted_and_not_changed(
    cache: CpuCache, size: int, constants: list[int], evicts: bool
) -> None:
    candidate = _candidate(size, constants)
    assert candidate.constants == tuple(constants)
    name = eviction(cache, candidate)
    assert bool(name) == evicts
    if evicts:
        arrays = [np.full((size, size), value, "float32") for value in (1, 2, 3)]
        tensors = [tvm.runtime.tensor(array) for array in arrays]
        tvm_ffi.get_global_func(name)(*tensors)
        for array, tensor in zip(arrays, tensors, strict=True):
            np.testing.assert_array_equal(tensor.numpy(), array)


@pytest.fixture(scope="module")
def measurer(native: ResolvedTarget) -> Iterator[LocalMeasurer]:
    with LocalMeasurer(options(native, repeat=3, noise_guard=False, min_repeat_ms=1)) as measurer:
        yield measurer


@pytest.mark.parametrize("cache", ["warm", "weights", "flush"])
def test_samples_are_as_many_and_outputs_compared_whatever_the_caches_hold(
    measurer: LocalMeasurer, cache: CpuCache
) -> None:
    measurer.options = replace(measurer.options, cpu_cache=cache)
    [result] = measurer.measure([_candidate(64, [1])])
    assert (result.failure, result.text) == (None, "")
    assert result.samples_s is not None
    assert len(result.samples_s) == 3


@pytest.mark.parametrize(
    ("evicting_s", "calls", "samples"), [(0.0, 20_040, 60), (2e-3, 250, 60), (20e-3, 25, 25)]
)
def test_what_is_evicted_for_long_before_each_call_is_called_less_often(
    native: ResolvedTarget, evicting_s: float, calls: int, samples: int
) -> None:
    """As the table of words is, of which a few rows are read."""
    asked: list[tuple[int, int]] = []

    def sample(number: int, repeat: int) -> list[float]:
        asked.append((number, repeat))
        if number * repeat == 1:
            time.sleep(evicting_s)
        return [3e-6] * repeat

    order = MeasureOrder(slow_s=math.inf, best_s=math.inf, usual_s=None, once=True)
    wanted = options(native, repeat=60, min_repeat_ms=1)
    [reading] = take_readings(sample, None, wanted, order, evicts=evicting_s > 0)
    number, repeat = asked[-1]
    assert number * repeat <= calls
    assert len(reading.samples) == repeat <= samples
    assert (number * repeat == calls) == (evicting_s == 0)

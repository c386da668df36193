"""Every measurer keeps the contract: this machine's, remote devices', and the one of the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import wild_kernels as wild
from measurer_contract import MeasurerContract
from measurers import Arithmetic
from rpc_farm import Machines

from tunekit.machine.target import ResolvedTarget
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import Candidate, MeasureOptions
from tunekit.measure.remote.measurer import RpcMeasurer
from tunekit.measure.remote.protocol import Linking, Remote


@pytest.fixture(scope="module")
def options(native: ResolvedTarget) -> MeasureOptions:
    return MeasureOptions(
        target=native.spec,
        device="cpu",
        repeat=2,
        min_repeat_ms=1,
        build_timeout_s=60,
        run_timeout_s=20,
        jobs=2,
        threads=1,
        cpu_cache="warm",
        memory_bytes=4 << 30,
    )


@pytest.fixture(scope="module")
def local(options: MeasureOptions) -> Iterator[LocalMeasurer]:
    with LocalMeasurer(options) as measurer:
        yield measurer


@pytest.fixture(scope="module")
def remote(options: MeasureOptions, machines: Machines) -> Iterator[RpcMeasurer]:
    key, _ = machines.servers(1)
    where = Remote(str(machines.address), key, 60.0, Linking("g++"))
    with RpcMeasurer(options, where) as measurer:
        yield measurer


class TestLocalMeasurer(MeasurerContract):
    @pytest.fixture
    def measurer(self, local: LocalMeasurer) -> LocalMeasurer:
        return local


class TestRpcMeasurer(MeasurerContract):
    @pytest.fixture
    def measurer(self, remote: RpcMeasurer) -> RpcMeasurer:
        return remote


class TestArithmetic(MeasurerContract):
    @pytest.fixture
    def measurer(self, options: MeasureOptions) -> Arithmetic:
        return Arithmetic(options)

    def good(self, key: int) -> Candidate:
        return self._of_kind(key, fails=False)

    def bad(self, key: int) -> Candidate:
        return self._of_kind(key, fails=True)

    def _of_kind(self, key: int, *, fails: bool) -> Candidate:
        """The first candidate of this key that does, or does not, fail by its digest."""
        texts = (json.dumps([key, number]) for number in range(1000))
        text = next(text for text in texts if Arithmetic.fails(text) is fails)
        return wild.candidate(key, text)

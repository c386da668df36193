"""Memory and utilisation of a GPU: whose memory it is, and why something is not known."""

from __future__ import annotations

import importlib.util

import pytest

from tunekit.machine.host import detect_host
from tunekit.runtimes.nvml import BY_GROWTH, BY_PROCESS, PACKAGE, Nvml, memory_of

MIB = 2**20


@pytest.mark.parametrize(
    ("processes", "before", "after", "known"),
    [
        # Others use the GPU, too: what NVML has for the process is its own.
        ([(7, 900 * MIB), (42, 500 * MIB)], 1000 * MIB, 3000 * MIB, (500 * MIB, BY_PROCESS)),
        ([(42, 500 * MIB)], None, None, (500 * MIB, BY_PROCESS)),
        # In a container: the numbers are the host's, there are none, or they have no memory.
        ([(7, 900 * MIB)], 1000 * MIB, 1450 * MIB, (450 * MIB, BY_GROWTH)),
        ([], 0, 450 * MIB, (450 * MIB, BY_GROWTH)),
        ([(42, None)], 1000 * MIB, 1450 * MIB, (450 * MIB, BY_GROWTH)),
        ([(42, 0)], 1000 * MIB, 1450 * MIB, (450 * MIB, BY_GROWTH)),
        # Somebody let go of more than was taken, or it is another GPU.
        ([(7, 900 * MIB)], 1000 * MIB, 800 * MIB, None),
        ([(7, 900 * MIB)], 1000 * MIB, 1000 * MIB, None),
        ([(7, 900 * MIB)], 1000 * MIB, None, None),
        ([(7, 900 * MIB)], None, 1000 * MIB, None),
    ],
)
def test_memory_is_the_processs_own_or_else_what_the_gpus_grew_by(
    processes: list[tuple[int, int | None]],
    before: int | None,
    after: int | None,
    known: tuple[int, str] | None,
) -> None:
    assert memory_of(42, processes, before=before, after=after) == known


@pytest.mark.skipif(bool(detect_host().gpus), reason="there is a GPU")
def test_where_nothing_is_known_there_is_a_reason() -> None:
    nvml = Nvml()
    assert (nvml.utilisation(), nvml.used_bytes(), nvml.processes()) == (None, None, [])
    assert nvml.problem
    if importlib.util.find_spec("pynvml") is None:
        assert nvml.problem.endswith(f"pip install '{PACKAGE}'")

"""Candidates find in the caches, when they are timed, what `graph.cpu_cache` decided for their
model: the rest is evicted before each run."""

from __future__ import annotations

from typing import Any

from tunekit.catalogue.conditions import CpuCache
from tunekit.measure.measurer import Candidate

# Smaller ones come from memory in a microsecond or two, too little to tell candidates apart.
_LEAST_EVICTED_BYTES = 16 << 10
_EVICT_WEIGHTS = "tunekit.evict_weights"
#: TVM's function that evicts all of its arguments but the first.
EVICT_ALL = "cache_flush_cpu_non_first_arg"


def eviction(cpu_cache: CpuCache, candidate: Candidate) -> str:
    """The name of the function that evicts, before a timed run, what the candidate is not to find
    in the caches; "" where it is to find everything. Called in the process that measures it.

    It does nothing else, so that the threads of the measured code have not gone to sleep when it
    is done.
    """
    if cpu_cache == "flush":
        return EVICT_ALL
    weights = [
        position
        for position in candidate.constants
        if candidate.arguments[position].bytes >= _LEAST_EVICTED_BYTES
    ]
    if cpu_cache == "warm" or not weights:
        return ""
    import tvm_ffi

    evict_others: Any = tvm_ffi.get_global_func(EVICT_ALL)

    def evict(*arguments: Any) -> None:
        evict_others(arguments[0], *(arguments[position] for position in weights))

    tvm_ffi.register_global_func(_EVICT_WEIGHTS, evict, override=True)
    return _EVICT_WEIGHTS

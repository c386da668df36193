"""What candidates find in the caches when they are timed, decided once for a model.

In a model that is larger than the last cache each kernel's weights come from memory, every time.
Timed with warm caches, a kernel looks faster than it will ever be, and one with larger weights
(Winograd's are) better than one that computes more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.graph.tasks import constant_bytes
from tunekit.machine.host import last_level_cache_bytes
from tunekit.measure.measurer import Candidate, CpuCache

if TYPE_CHECKING:
    from tunekit.graph.task import Task
    from tunekit.machine.target import ResolvedTarget
    from tunekit.recipe import Tuning

# Where the system does not say; what is common.
_UNKNOWN_CACHE_BYTES = 32 << 20
# Of the last cache: activations take their share of it, and other processes.
_FITTING_SHARE = 0.5
# Smaller ones come from memory in a microsecond or two, too little to tell candidates apart.
_LEAST_EVICTED_BYTES = 16 << 10
_EVICT_WEIGHTS = "tunekit.evict_weights"
#: TVM's function that evicts all of its arguments but the first.
EVICT_ALL = "cache_flush_cpu_non_first_arg"


def cpu_cache_of(tuning: Tuning, tasks: Sequence[Task], target: ResolvedTarget) -> CpuCache:
    """What the recipe's `tuning.measure.cache` means for a model with these tasks; the caches of
    GPUs are left alone."""
    asked_for = tuning.measure.cache
    if target.device != "cpu":
        return "warm"
    if asked_for != "auto":
        return asked_for
    # Other machines evict everything or nothing.
    return "warm" if tuning.rpc is not None else automatic_cpu_cache(tasks, target)


def automatic_cpu_cache(tasks: Sequence[Task], target: ResolvedTarget) -> CpuCache:
    """What `auto` means for a model with these tasks on this machine."""
    if target.device != "cpu":
        return "warm"
    room = _FITTING_SHARE * (last_level_cache_bytes() or _UNKNOWN_CACHE_BYTES)
    return "weights" if constant_bytes(tasks) > room else "warm"


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

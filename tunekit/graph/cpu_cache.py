"""What a model's kernels find in the caches when they are timed, decided once for the model.

In a model that is larger than the last cache each kernel's weights come from memory, every time.
Timed with warm caches, a kernel looks faster than it will ever be, and one with larger weights
(Winograd's are) better than one that computes more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.graph.tasks import constant_bytes
from tunekit.machine.host import last_level_cache_bytes

if TYPE_CHECKING:
    from tunekit.catalogue.conditions import CpuCache
    from tunekit.graph.task import Task
    from tunekit.machine.target import ResolvedTarget
    from tunekit.recipe import Tuning

# Where the system does not say; what is common.
_UNKNOWN_CACHE_BYTES = 32 << 20
# Of the last cache: activations take their share of it, and other processes.
_FITTING_SHARE = 0.5


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

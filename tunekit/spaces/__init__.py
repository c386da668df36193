"""Search spaces: which schedules of a workload are worth trying.

A space is chosen by what a workload computes, never by its name. What no family fits goes to
MetaSchedule's generic space, so nothing becomes untunable.
"""

from tunekit.spaces.registry import space_for, space_name

__all__ = ["space_for", "space_name"]

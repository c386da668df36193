"""Targets that tests compile for."""

from __future__ import annotations

import json

from tunekit.machine.target import ResolvedTarget, resolve_target


def unoptimized() -> ResolvedTarget:
    """This machine's CPU, without LLVM's optimizations: the same numbers, compiled in a fifth of
    the time."""
    return resolve_target({**json.loads(resolve_target("native").spec), "opt-level": 0})

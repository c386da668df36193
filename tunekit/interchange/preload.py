"""What the process has imported that the children which replay are forked from."""

from __future__ import annotations

from tunekit.machine.tvm_loading import without_torch

with without_torch():
    import tvm.s_tir.meta_schedule  # noqa: F401

import tunekit.spaces.metaschedule  # noqa: F401

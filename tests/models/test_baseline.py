"""The library that an import is checked with, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tvm import relax

from tunekit.errors import ImportFailed
from tunekit.models.baseline import build_baseline


def test_an_operator_that_has_no_kernel_is_named(tmp_path: Path) -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([4], "int32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            doubled = builder.emit(relax.op.add(x, x))
            powers = builder.emit_output(relax.op.power(doubled, x))
        builder.emit_func_output(powers)
    with pytest.raises(ImportFailed, match=r"; operator power$") as refused:
        build_baseline(builder.finalize(), tmp_path / "library.so")
    assert "doctor" not in str(refused.value.hint)

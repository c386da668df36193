"""Processes that only build or run have no torch."""

from __future__ import annotations

import sys

import pytest

from tunekit.machine.tvm_loading import without_torch


def test_torch_is_as_if_not_installed_while_tvm_is_loaded_without_it_and_there_again_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with without_torch(), pytest.raises(ImportError):
        import torch  # noqa: F401
    assert "torch" not in sys.modules


def test_torch_that_is_loaded_by_then_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = type(sys)("torch")
    monkeypatch.setitem(sys.modules, "torch", loaded)
    with without_torch():
        assert sys.modules["torch"] is loaded
    assert sys.modules["torch"] is loaded

"""Weights that are read from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunekit.models.weights import load_weights


class OfVersions(nn.Linear):
    """Reads of which version its weights are, as MNASNet of torchvision does."""

    _version = 2

    def _load_from_state_dict(
        self, state: Any, prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        if local_metadata.get("version") != 2:
            raise ValueError(f"of version {local_metadata.get('version')}")
        super()._load_from_state_dict(state, prefix, local_metadata, *rest)


def test_a_module_finds_the_version_of_its_weights(tmp_path: Path) -> None:
    saved, module = OfVersions(2, 3), OfVersions(2, 3)
    torch.save({"state_dict": saved.state_dict()}, tmp_path / "weights.pth")
    load_weights(module, tmp_path / "weights.pth")
    assert torch.equal(module.weight, saved.weight)

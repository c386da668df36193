"""Networks of packages that take more than their configuration: detectors without the choice of
boxes, optical flow."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def detr() -> nn.Module:
    """DETR on transformers' own ResNet-50."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(out_features=["stage4"])
    config = DetrConfig(backbone_config=backbone, use_timm_backbone=False, backbone=None)
    return DetrForObjectDetection(config)


class Body(nn.Module):
    """Images (n, 3, h, w) float32 to what a detector's heads give, before boxes are chosen."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: torch.Tensor) -> Any:
        return self.head(list(self.backbone(images).values()))


def detector_body(name: str) -> nn.Module:
    from torchvision.models import get_model

    model: Any = get_model(name, weights=None, weights_backbone=None)
    return Body(model.backbone, model.rpn.head if hasattr(model, "rpn") else model.head)


class Flow(nn.Module):
    """Two images (n, 3, h, w) float32 to the last of RAFT's estimates of the flow."""

    def __init__(self, raft: nn.Module, updates: int) -> None:
        super().__init__()
        self.raft, self.updates = raft, updates

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        flow: torch.Tensor = self.raft(first, second, num_flow_updates=self.updates)[-1]
        return flow


def raft(name: str, updates: int) -> nn.Module:
    from torchvision.models import get_model

    return Flow(get_model(name, weights=None), updates)

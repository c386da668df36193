"""The parts of detection models that can be imported."""

from __future__ import annotations

import torch
from torch import nn


class MaskRCNNBackbone(nn.Module):
    """Images (n, 3, h, w) float32 to the five feature maps of the pyramid, finest first.

    The whole model cannot be traced: its boxes depend on the values of its input.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.backbone(images).values())


def maskrcnn_backbone(trainable_layers: int = 5) -> nn.Module:
    """ResNet-50 with the feature pyramid of torchvision's Mask R-CNN, with initial weights."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    model = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, trainable_backbone_layers=trainable_layers
    )
    return MaskRCNNBackbone(model.backbone)

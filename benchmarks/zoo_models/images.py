"""Networks that give images: super-resolution, denoising, style, generators."""

from __future__ import annotations

import torch
from torch import nn


def espcn(scale: int = 3) -> nn.Module:
    """Luminance (n, 1, h, w) to `scale` times its size (Shi et al., 2016)."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 5, padding=2),
        nn.Tanh(),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(32, scale**2, 3, padding=1),
        nn.PixelShuffle(scale),
    )


def fsrcnn(scale: int = 3) -> nn.Module:
    """Luminance (n, 1, h, w) to `scale` times its size (Dong et al., 2016)."""
    middle = [layer for _ in range(4) for layer in (nn.Conv2d(12, 12, 3, padding=1), nn.PReLU(12))]
    return nn.Sequential(
        *(nn.Conv2d(1, 56, 5, padding=2), nn.PReLU(56), nn.Conv2d(56, 12, 1), nn.PReLU(12)),
        *(*middle, nn.Conv2d(12, 56, 1), nn.PReLU(56)),
        nn.ConvTranspose2d(56, 1, 9, scale, 4, output_padding=scale - 1),
    )


def dncnn() -> nn.Module:
    """An image's noise (Zhang et al., 2017): 17 layers."""
    middle: list[nn.Module] = []
    for _ in range(15):
        middle += [nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), *middle, nn.Conv2d(64, 1, 3, padding=1)
    )


class _Residual(nn.Module):
    def __init__(self, *layers: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.layers, self.scale = nn.Sequential(*layers), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = x + self.layers(x) * self.scale
        return result


def _up(width: int, activation: nn.Module | None = None) -> list[nn.Module]:
    layers = [nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2)]
    return layers if activation is None else [*layers, activation]


def edsr(width: int = 64, blocks: int = 16) -> nn.Module:
    """An image to four times its size (Lim et al., 2017): the small one."""
    body = [
        _Residual(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        for _ in range(blocks)
    ]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        _Residual(*body, nn.Conv2d(width, width, 3, padding=1)),
        *(*_up(width), *_up(width), nn.Conv2d(width, 3, 3, padding=1)),
    )


def srresnet(width: int = 64, blocks: int = 16) -> nn.Module:
    """The generator of SRGAN (Ledig et al., 2017): an image to four times its size."""
    body = [
        _Residual(
            *(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)),
            nn.PReLU(),
            *(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)),
        )
        for _ in range(blocks)
    ]
    tail = (nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
    return nn.Sequential(
        *(nn.Conv2d(3, width, 9, padding=4), nn.PReLU(), _Residual(*body, *tail)),
        *(*_up(width, nn.PReLU()), *_up(width, nn.PReLU()), nn.Conv2d(width, 3, 9, padding=4)),
    )


class _Dense(nn.Module):
    """Five convolutions, each of all before it, and a residual."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        outputs = [growth] * 4 + [width]
        self.layers = nn.ModuleList(
            nn.Conv2d(width + index * growth, size, 3, padding=1)
            for index, size in enumerate(outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [x]
        for layer in self.layers[:-1]:
            parts.append(nn.functional.leaky_relu(layer(torch.cat(parts, 1)), 0.2))
        result: torch.Tensor = x + 0.2 * self.layers[-1](torch.cat(parts, 1))
        return result


class Esrgan(nn.Module):
    """The generator of ESRGAN (Wang et al., 2018): an image to four times its size."""

    def __init__(self, width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        body = [_Residual(*(_Dense(width, 32) for _ in range(3)), scale=0.2) for _ in range(blocks)]
        self.body = _Residual(*body, nn.Conv2d(width, width, 3, padding=1))
        self.ups = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.last = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.body(self.first(images))
        for up in self.ups:
            x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
            x = nn.functional.leaky_relu(up(x), 0.2)
        result: torch.Tensor = self.last(x)
        return result


def style_transfer() -> nn.Module:
    """An image in another style (Johnson et al., 2016): instance norms and reflected borders."""

    def convolution(before: int, after: int, size: int, stride: int = 1) -> list[nn.Module]:
        return [nn.ReflectionPad2d(size // 2), nn.Conv2d(before, after, size, stride)]

    def normed(width: int) -> list[nn.Module]:
        return [nn.InstanceNorm2d(width, affine=True), nn.ReLU()]

    def up(before: int, after: int) -> list[nn.Module]:
        return [nn.Upsample(scale_factor=2), *convolution(before, after, 3), *normed(after)]

    body = [
        _Residual(
            *(*convolution(128, 128, 3), *normed(128), *convolution(128, 128, 3)),
            nn.InstanceNorm2d(128, affine=True),
        )
        for _ in range(5)
    ]
    return nn.Sequential(
        *(*convolution(3, 32, 9), *normed(32), *convolution(32, 64, 3, 2), *normed(64)),
        *(*convolution(64, 128, 3, 2), *normed(128), *body),
        *(*up(128, 64), *up(64, 32), *convolution(32, 3, 9)),
    )


def dcgan() -> nn.Module:
    """Noise (n, 100, 1, 1) to images of 64 x 64 (Radford et al., 2016)."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(100, 512, 4, bias=False)]
    for before, after in ((512, 256), (256, 128), (128, 64)):
        layers += [nn.BatchNorm2d(before), nn.ReLU()]
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
    layers += [nn.BatchNorm2d(64), nn.ReLU(), nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Images (n, 3, h, w) to classes of pixels, with learned upsampling (Ronneberger, 2015)."""

    def __init__(self, width: int = 32, classes: int = 2) -> None:
        super().__init__()
        sizes = [width << level for level in range(5)]
        self.down = nn.ModuleList(
            self._block(before, after) for before, after in zip([3, *sizes], sizes, strict=False)
        )
        pairs = list(zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(high, low, 2, 2) for high, low in pairs)
        self.merge = nn.ModuleList(self._block(high, low) for high, low in pairs)
        self.classes = nn.Conv2d(width, classes, 1)

    @staticmethod
    def _block(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(
            *(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()),
            *(nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x, kept = images, []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for up, merge, beside in zip(self.up, self.merge, kept[-2::-1], strict=True):
            x = merge(torch.cat([beside, up(x)], 1))
        result: torch.Tensor = self.classes(x)
        return result

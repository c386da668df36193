"""What makes a detector find something before it is trained.

Initial weights find nothing, or as much as they may, and two runs of nothing always agree. So the
layers get outputs of order one, the last ones such that scores and boxes spread as those of trained
detectors do, and the bias of the classes is moved until as many objects are found as are expected.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from tunekit.errors import ModelFileError

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
# In each of the pictures, at least.
FEWEST = 3
_STEPS = 24
_FARTHEST = 30.0
# What is found last shall not lie at the very threshold, where rounding decides.
_BEYOND = 0.1


@contextlib.contextmanager
def of_order_one(module: nn.Module) -> Iterator[None]:
    """While it is open, a layer is scaled when it first runs: its output gets a variance of one.

    (Mishkin and Matas, "All you need is a good init", 2015.) Layers that start with weights of
    0.01, four in a row, otherwise leave nothing of the picture but rounding.
    """
    seen: set[nn.Module] = set()

    def scale(layer: Any, _: Any, output: torch.Tensor) -> torch.Tensor | None:
        if layer in seen:
            return None
        seen.add(layer)
        std = float(output.std())
        if not std > 0:
            return None
        layer.weight.div_(std)
        if layer.bias is not None:
            layer.bias.div_(std)
        return output / std

    hooks = [
        layer.register_forward_hook(scale)
        for layer in module.modules()
        if isinstance(layer, _LAYERS)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def outputs_of(*layers: nn.Module) -> Iterator[list[list[torch.Tensor]]]:
    """Takes down what each of some layers gives while this is open."""
    seen: list[list[torch.Tensor]] = [[] for _ in layers]

    def note(number: int) -> Callable[..., None]:
        return lambda layer, arguments, output: seen[number].append(output)

    hooks = [layer.register_forward_hook(note(number)) for number, layer in enumerate(layers)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def last_layers(head: Any, *names: str) -> list[Any]:
    """The layers of a head that give its outputs, by their names in torchvision's.

    Raises:
        ModelFileError: it has other ones.
    """
    layers = [getattr(head, name, None) for name in names]
    if not all(isinstance(layer, _LAYERS) for layer in layers):
        raise ModelFileError(
            f"random weights with which something is found cannot be made for {type(head).__name__}"
            f", which has no layers {' and '.join(names)}",
            hint="give it weights: model.weights",
        )
    return layers


def spread(
    layer: Any,
    outputs: Sequence[torch.Tensor],
    *,
    mean: float,
    std: float,
    together: bool = False,
) -> None:
    """Give a layer weights with which its outputs have this mean and standard deviation: each
    channel (axis 1) of them, or all `together`."""
    channels = torch.cat([output.transpose(0, 1).flatten(1) for output in outputs], dim=1)
    middle = channels.mean(dim=1)
    scale = std / channels.std(dim=1).clamp(min=1e-6)
    if together:
        scale = torch.full_like(scale, std / max(float(channels.std()), 1e-6))
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    shape = [1] * layer.weight.ndim
    shape[axis] = -1
    layer.weight.mul_(scale.reshape(shape))
    if layer.bias is not None:
        layer.bias.copy_((layer.bias - middle) * scale + mean)


def bias_for(found: Callable[[float], Sequence[int]], wanted: int, limit: int) -> float:
    """How much scores have to be raised for as many objects to be found as are wanted, on average,
    and some in each picture.

    Args:
        found: how many are found in each picture with so much added.
        wanted: that many, or half of the limit where it is less.
        limit: the most that can be found.

    Raises:
        ModelFileError: nothing makes it find some in each.
    """
    wanted = min(wanted, max(limit // 2, 1))
    fewest = min(FEWEST, wanted)
    low, high = -_FARTHEST, _FARTHEST
    counts = found(high)
    if min(counts) < fewest:
        raise ModelFileError(
            f"with random weights the detector finds {min(counts)} objects in a sample scene, "
            "whatever the bias of its classes",
            hint="give it weights (model.weights), and pictures (model.detector.samples)",
        )
    for _ in range(_STEPS):
        middle = (low + high) / 2
        counts = found(middle)
        if sum(counts) >= wanted * len(counts) and min(counts) >= fewest:
            high = middle
        else:
            low = middle
    return high + _BEYOND

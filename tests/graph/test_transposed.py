"""Transposed convolutions by phases: torch's numbers, and nothing leaves the blocked layout."""

from __future__ import annotations

import torch
from torch import nn

from tunekit.graph.kernels.transposed import phases


class Each(nn.Module):
    """Several layers, each on the same input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(layer(x) for layer in self.layers)


def test_every_form_gives_what_torch_gives(convert) -> None:
    torch.manual_seed(0)
    layers = [
        nn.ConvTranspose2d(16, 8, 2, stride=2),
        nn.ConvTranspose2d(16, 24, 4, stride=2, padding=1, bias=False),
        nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(16, 8, (3, 5), stride=(1, 3), padding=(0, 2)),
        nn.ConvTranspose2d(16, 4, 3, stride=3, output_padding=2),
        nn.ConvTranspose2d(16, 16, 4, stride=2),
        nn.ConvTranspose2d(16, 16, (6, 4), stride=(3, 2), padding=(2, 1), output_padding=(1, 0)),
        # Of few channels, whose phases share vectors.
        nn.ConvTranspose2d(16, 1, 9, stride=3, padding=4, output_padding=1),
        nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1),
        nn.ConvTranspose2d(16, 5, 5, stride=2, padding=2),
        # Those that stay as they are: in groups, dilated, to channels of no vector, and rows that
        # no pixel reaches.
        nn.ConvTranspose2d(16, 8, 3, stride=2, groups=2),
        nn.ConvTranspose2d(16, 8, 3, dilation=2),
        nn.ConvTranspose2d(16, 3, 2, stride=2),
        nn.ConvTranspose2d(16, 8, 2, stride=3, padding=2),
    ]
    for lanes in (8, 16):
        assert max(convert(Each(*layers), (2, 16, 5, 4), lanes=lanes).errors) < 1e-5


def test_a_decoder_stays_blocked(convert) -> None:
    model = nn.Sequential(
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ConvTranspose2d(32, 16, 2, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1),
    )
    converted = convert(model, (1, 16, 6, 6))
    assert converted.transforms == 2
    assert max(converted.errors) < 1e-5


def test_the_window_is_as_small_as_can_be() -> None:
    for kernel, padding, window in ((2, 0, 1), (4, 1, 2), (4, 0, 2), (3, 1, 2), (3, 0, 2)):
        axis = phases(7, 14, kernel, 2, padding)
        assert axis is not None
        assert {len(taps) for taps in axis.taps} == {window}
        used = sorted(tap for taps in axis.taps for tap in taps if tap is not None)
        assert used == list(range(kernel))

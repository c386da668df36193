"""Operators of torch in many forms, all in one module: as torch computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tunekit.models.sources.torch_model import TorchModel, Weights
from tunekit.models.spec import TensorSpec

Form = Callable[[torch.Tensor], Any]

MASK = torch.tensor([True, False, True, True])
PLACES = torch.tensor([0, 0, 3, -1])
IMAGE = (1, 2, 4, 3)

FORMS: dict[str, Form] = {
    "acosh": lambda x: torch.acosh(x.abs() + 1),
    "asinh": torch.asinh,
    "atanh": lambda x: torch.atanh(x.tanh() / 2),
    "sinh": torch.sinh,
    "expm1": torch.expm1,
    "log1p": lambda x: torch.log1p(x.abs() / 1000),
    "erfinv": lambda x: torch.erfinv(x.tanh()),
    "round_half": lambda x: torch.round((x * 4).round() / 2),
    "floor_divide": lambda x: torch.floor_divide(x, 2),
    "remainder_negative": lambda x: torch.remainder(x, -0.7),
    "fmod": lambda x: torch.fmod(x, 0.7),
    "trunc_divide": lambda x: torch.div((x * 9).long(), 4, rounding_mode="trunc"),
    "integer_power": lambda x: (x * 3).long() ** 3,
    "shifts": lambda x: ((x * 9).long() >> 1) + ((x * 9).long().abs() << 2),
    "rrelu": lambda x: F.rrelu(x, 0.1, 0.4),
    "nonzero_static": lambda x: torch.nonzero_static(x > 0, size=9, fill_value=-3),
    "nonzero_static_room": lambda x: torch.nonzero_static(x > 0, size=30),
    "batch_norm_of_the_batch": lambda x: F.batch_norm(x, None, None, training=True),
    "boolean_xor": lambda x: (x > 0) ^ (x > 1),
    "copysign": lambda x: torch.copysign(x, x.flip(1)),
    "var_correction": lambda x: torch.var(x, dim=0, correction=0),
    "var_mean": lambda x: torch.var_mean(x, dim=1, keepdim=True),
    "std": torch.std,
    "cummax": lambda x: torch.cummax(x, 1),
    "logcumsumexp": lambda x: torch.logcumsumexp(x, 0),
    "kthvalue": lambda x: torch.kthvalue(x, 2, dim=1),
    "masked_write": lambda x: x.index_put((x > 0,), torch.tensor(2.0)),
    "masked_rows": lambda x: x.index_put((MASK,), torch.tensor(1.0)),
    "masked_scatter": lambda x: x.masked_scatter(x > 0, x.flip(0)),
    "index_put_add": lambda x: x.index_put((PLACES,), x * 2, accumulate=True),
    "index_put_last": lambda x: x.index_put((PLACES[:2], PLACES[2:]), x[0, :2]),
    "index_add": lambda x: torch.zeros(4, 6).index_add(0, PLACES % 4, x),
    "scatter_add": lambda x: torch.zeros(4, 6).scatter_add(1, x.argsort(1), x),
    "scatter_mean": lambda x: x.scatter_reduce(
        0, torch.zeros(2, 6).long(), x[:2], "mean", include_self=False
    ),
    "bucketize": lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0])),
    "bucketize_many": lambda x: torch.bucketize(x, torch.linspace(-3, 3, 99), right=True),
    "searchsorted": lambda x: torch.searchsorted(x.sort(-1)[0], x),
    "one_hot": lambda x: F.one_hot(x.argmax(-1), 6),
    "cdist": lambda x: torch.cdist(x, x.flip(0)),
    "unfold": lambda x: x.unfold(1, 3, 2),
    "as_strided": lambda x: torch.as_strided(x.contiguous(), (3, 2), (2, 7), 1),
    "im2col": lambda x: F.unfold(x.reshape(IMAGE), 2, padding=1),
    "fold": lambda x: F.fold(x.reshape(1, 8, 3), (2, 4), 2),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x.reshape(IMAGE), (3, 2)),
    "max_unpool": lambda x: F.max_unpool2d(
        *F.max_pool2d(x.reshape(1, 1, 4, 6), 2, return_indices=True), 2
    ),
    "average_divisor": lambda x: F.avg_pool2d(
        x.reshape(1, 1, 4, 6), 3, 2, 1, ceil_mode=True, divisor_override=5
    ),
    "linear_scale": lambda x: F.interpolate(
        x.reshape(IMAGE), scale_factor=1.7, mode="bilinear", recompute_scale_factor=False
    ),
    "nearest_exact": lambda x: F.interpolate(x.reshape(IMAGE), size=(7, 5), mode="nearest-exact"),
    "antialias": lambda x: F.interpolate(
        x.reshape(1, 1, 4, 6), size=(3, 2), mode="bicubic", antialias=True
    ),
    "grid_reflect": lambda x: F.grid_sample(
        x.reshape(1, 1, 4, 6), x.reshape(1, 3, 4, 2), padding_mode="reflection", align_corners=False
    ),
    "grid_3d": lambda x: F.grid_sample(
        x.reshape(1, 1, 2, 4, 3), x.reshape(1, 2, 2, 2, 3), align_corners=True
    ),
    "group_norm": lambda x: F.group_norm(x.reshape(1, 4, 6), 2),
    "transposed_dilated": lambda x: F.conv_transpose1d(
        x.reshape(1, 4, 6), torch.ones(4, 2, 3), stride=2, dilation=2
    ),
    "grouped_attention": lambda x: F.scaled_dot_product_attention(
        x.reshape(1, 4, 3, 2), x[:2].reshape(1, 2, 3, 2), x[:2].reshape(1, 2, 3, 2), enable_gqa=True
    ),
    "masked_out_attention": lambda x: F.scaled_dot_product_attention(
        x, x, x, attn_mask=(x[:, :1] > 0).expand(4, 4)
    ),
    "spectrum": lambda x: torch.fft.rfft2(x),
    "signal": lambda x: torch.fft.irfft(torch.fft.rfft(x)),
    "rotary": lambda x: torch.view_as_real(
        torch.view_as_complex(x.reshape(4, 3, 2)) * torch.polar(torch.ones(3), torch.arange(3.0))
    ),
    **{
        f"bags_{mode}": lambda x, mode=mode: F.embedding_bag(
            (x[:2].abs() * 3).long().clamp(0, 3), x, mode=mode, padding_idx=1
        )
        for mode in ("sum", "mean", "max")
    },
    "bags_open": lambda x: F.embedding_bag(
        (x[0].abs() * 3).long().clamp(0, 3),
        x,
        torch.tensor([0, 2, 2]),
        mode="sum",
        per_sample_weights=x[1],
    ),
    "half": lambda x: F.linear(x.half(), torch.ones(2, 6).half(), torch.ones(2).half()).float(),
    "double": lambda x: x.double() / 3,
}


class Forms(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        return {name: form(x) for name, form in FORMS.items()}


def test_operators_compute_what_torch_does(run_module: Callable[..., Any]) -> None:
    inputs = [TensorSpec("x", (4, 6), "float32")]
    model = TorchModel("forms", "digest", 0, inputs, Forms, Weights(random=False))
    errors = run_module(model.to_relax(), model)
    assert len(errors) >= len(FORMS)
    wrong = {name: str(result) for name, result in errors.items() if not result.within(1e-3)}
    assert wrong == {}


class Recurrent(nn.Module):
    """Every kind of layer: directions, several layers, states given, no biases, a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
        self.projected = nn.LSTM(6, 5, proj_size=3, bias=False)
        self.gru = nn.GRU(6, 5, 2, bidirectional=True)
        self.plain = nn.RNN(6, 5, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        steps = x.view(4, 1, 6)
        start = x[:, :5].reshape(4, 1, 5)
        return {
            "lstm": self.lstm(x.view(1, 4, 6), (start, start.flip(0))),
            "projected": self.projected(steps),
            "gru": self.gru(x),
            "plain": self.plain(steps),
        }


def test_recurrent_layers_of_every_form_compute_what_torch_does(
    run_module: Callable[..., Any],
) -> None:
    inputs = [TensorSpec("x", (4, 6), "float32")]
    model = TorchModel("layers", "digest", 0, inputs, Recurrent, Weights(random=False))
    errors = run_module(model.to_relax(), model)
    assert len(errors) == 10
    assert all(result.within(1e-5) for result in errors.values()), errors

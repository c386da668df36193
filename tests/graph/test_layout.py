"""Blocked and channels-last activations: the same numbers, and few transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest
import torch
import torch.nn.functional as F
from torch import nn

TOLERANCE = 1e-5
IMAGE = (1, 3, 9, 7)


class Model(nn.Module):
    """A function of its layers and inputs, as a module that torch can export."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self, *inputs)


class Convert(Protocol):
    def __call__(self, model: nn.Module, *shapes: tuple[int, ...], **options: Any) -> Any: ...


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def conv(inputs: int, outputs: int, kernel: int = 3, **options: Any) -> nn.Conv2d:
    options.setdefault("padding", kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, **options)


def constant(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def chain() -> nn.Module:
    """A ResNet in small: stem, pooling, a residual block, one that halves, the head."""

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(m.stem(x)), 3, 2, 1)
        x = F.relu(m.second(F.relu(m.first(x))) + x)
        x = F.relu(m.third(x) + m.down(x))
        return m.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    return Model(
        forward,
        stem=conv(3, 16, 7, stride=2),
        first=conv(16, 16),
        second=conv(16, 16),
        third=conv(16, 32, stride=2),
        down=conv(16, 32, 1, stride=2, padding=0),
        head=nn.Linear(32, 10),
    )


def mobile() -> nn.Module:
    """EfficientNet in small: depthwise, squeeze-and-excite, the channels multiplied, swish."""

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = F.silu(m.stem(x))
        inner = F.silu(m.depthwise(F.silu(m.expand(x))))
        scale = F.adaptive_avg_pool2d(inner, 1)
        scale = torch.sigmoid(m.excite(F.silu(m.squeeze(scale))))
        x = m.project(inner * scale) + x
        return F.relu6(x).mean((2, 3))

    return Model(
        forward,
        stem=conv(3, 8, stride=2),
        expand=conv(8, 24, 1),
        depthwise=conv(24, 24, 5, groups=24),
        squeeze=conv(24, 6, 1),
        excite=conv(6, 24, 1),
        project=conv(24, 8, 1),
    )


def activations() -> nn.Module:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = m.a(x)
        for function in (
            *(F.relu, F.relu6, F.silu, torch.sigmoid, torch.tanh, F.gelu, F.hardswish),
            *(F.hardsigmoid, lambda t: F.leaky_relu(t, 0.1), lambda t: t.clamp(-0.5, 0.25)),
            *(torch.exp, torch.abs, lambda t: 1.5 - 2.0 * t),
        ):
            x = m.b(function(x))
        return x.mean((2, 3))

    return Model(forward, a=conv(3, 16), b=conv(16, 16, 1))


def pooling() -> nn.Module:
    def forward(m: Any, x: torch.Tensor) -> Any:
        x = m.a(x)
        return tuple(
            pooled.mean((2, 3))
            for pooled in (
                F.max_pool2d(x, 3, 2, 1),
                F.max_pool2d(x, 3, 2, ceil_mode=True),
                F.max_pool2d(x, 2, 1, dilation=2),
                F.max_pool2d(x, (2, 3), (1, 2), (0, 1)),
                F.avg_pool2d(x, 3, 2, 1),
                F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
                F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
                F.adaptive_avg_pool2d(x, (3, 2)),
            )
        )

    return Model(forward, a=conv(3, 16))


def constants() -> nn.Module:
    """Constants of every shape that broadcasts into (1, 16, 9, 7)."""
    shapes = [(), (16, 1, 1), (1, 16, 1, 1), (7,), (9, 1), (9, 7), (1, 16, 9, 1), (16, 9, 7)]

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = m.a(x)
        for index in range(len(shapes)):
            value = getattr(m, f"k{index}")
            x = (x + value) * value if index % 2 else torch.maximum(value - x, x / (value + 9))
        return x.mean((2, 3))

    values = {f"k{index}": constant(*shape) for index, shape in enumerate(shapes)}
    return Model(forward, a=conv(3, 16), **values)


def keeping(function: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """A function between two convolutions, and the mean: no transform if it stays blocked."""
    return Model(lambda m, x: m.b(function(m.a(x))).mean((2, 3)), a=conv(3, 16), b=conv(16, 16))


def linear_excitation() -> nn.Module:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = m.a(x)
        scale = torch.sigmoid(m.excite(F.relu(m.squeeze(x.mean((2, 3))))))
        return m.b(x * scale[:, :, None, None]).mean((2, 3))

    return Model(
        forward,
        a=conv(3, 24),
        b=conv(24, 8),
        squeeze=nn.Linear(24, 6),
        excite=nn.Linear(6, 24),
    )


BLOCKED_THROUGHOUT: dict[str, Callable[[], nn.Module]] = {
    "a resnet": chain,
    "depthwise with squeeze-and-excite": mobile,
    "activations": activations,
    "pooling": pooling,
    "constants": constants,
    "mean with kept dimensions": lambda: keeping(lambda x: x * x.mean((2, 3), keepdim=True)),
    "mean over negative axes": lambda: keeping(lambda x: x + x.mean((-1, -2), keepdim=True)),
    "nearest resize": lambda: keeping(lambda x: F.interpolate(x, scale_factor=2)),
    "bilinear resize": lambda: keeping(
        lambda x: F.interpolate(x, size=(5, 11), mode="bilinear", align_corners=True)
    ),
    "concatenation": lambda: Model(
        lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1)).mean((2, 3)),
        a=conv(3, 16),
        b=conv(3, 8),
        c=conv(24, 8, 1),
    ),
    "concatenation with five channels": lambda: Model(
        lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1)).mean((2, 3)),
        a=conv(3, 16),
        b=conv(3, 5),
        c=conv(21, 8, 1),
    ),
    "channels in halves": lambda: keeping(
        lambda x: torch.cat([part * 2 for part in x.chunk(2, 1)], 1)
    ),
    "shuffled channels": lambda: keeping(
        lambda x: x.reshape(1, 4, 4, 9, 7).transpose(1, 2).reshape(1, 16, 9, 7)
    ),
    "concatenation of other blocks": lambda: Model(
        lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1)).mean((2, 3)),
        a=conv(3, 12),
        b=conv(3, 12),
        c=conv(24, 8, 1),
    ),
    "squeeze-and-excite of linear layers": linear_excitation,
}
# With the number of transforms that each cannot do without.
NEEDING_TRANSFORMS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "a blocked output": (1, lambda: Model(lambda m, x: m.a(x), a=conv(3, 16))),
    "two forms of one output": (
        2,
        lambda: Model(lambda m, x: (y := m.a(x), F.relu(y), y.mean((2, 3)), y)[1:], a=conv(3, 16)),
    ),
    "softmax over channels": (2, lambda: keeping(lambda x: torch.softmax(x, 1))),
    "mean over channels": (1, lambda: keeping(lambda x: x * x.mean(1, keepdim=True))),
    "flatten of an image": (1, lambda: Model(lambda m, x: m.a(x).flatten(1), a=conv(3, 16))),
}


def _calls(module: Any, *kernels: str) -> int:
    """How often `main` calls a kernel whose name starts with one of `kernels`."""
    from tvm import ir, relax

    names: list[str] = []

    def visit(expr: Any) -> None:
        if isinstance(expr, relax.Call):
            names.extend(str(a.name_hint) for a in expr.args if isinstance(a, ir.GlobalVar))

    relax.analysis.post_order_visit(module["main"].body, visit)
    return sum(name.startswith(kernels) for name in names)


@pytest.mark.parametrize("name", BLOCKED_THROUGHOUT)
def test_no_transform_where_everything_can_stay_blocked(name: str, convert: Convert) -> None:
    converted = convert(BLOCKED_THROUGHOUT[name](), IMAGE)
    assert max(converted.errors) < TOLERANCE
    assert converted.transforms == 0


@pytest.mark.parametrize("name", NEEDING_TRANSFORMS)
def test_each_transform_that_remains_is_counted(name: str, convert: Convert) -> None:
    transforms, model = NEEDING_TRANSFORMS[name]
    converted = convert(model(), IMAGE)
    assert max(converted.errors) < TOLERANCE
    assert converted.transforms == transforms
    assert _calls(converted.module, "to_blocked", "from_blocked", "reshape") == transforms


@pytest.mark.parametrize("lanes", [4, 16])
def test_any_vector_width_gives_the_same_numbers(lanes: int, convert: Convert) -> None:
    converted = convert(mobile(), IMAGE, lanes=lanes)
    assert max(converted.errors) < TOLERANCE
    assert converted.transforms == 0


def test_inputs_used_in_both_forms_and_batches_that_broadcast(convert: Convert) -> None:
    def forward(m: Any, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Any:
        both = m.a(x) + m.b(x) + x
        return both, x, both + y, m.a(y), torch.relu(y), both * z, y.mean((2, 3))

    model = Model(forward, a=conv(8, 8), b=conv(8, 8))
    converted = convert(model, (2, 8, 9, 7), (1, 8, 9, 7), (8, 1, 1))
    assert max(converted.errors) < TOLERANCE


def test_groups_and_channel_multipliers_in_one_model(convert: Convert) -> None:
    def forward(m: Any, x: torch.Tensor) -> Any:
        y = m.stem(x)
        return [layer(y).mean((2, 3)) for layer in (m.b, m.c, m.d, m.e, m.f, m.g)] + [m.h(x)]

    converted = convert(
        Model(
            forward,
            stem=conv(3, 48),
            b=conv(48, 48, groups=2),
            c=conv(48, 48, groups=6),
            d=conv(48, 96, groups=48),
            e=conv(48, 48, groups=48),
            f=conv(48, 24, groups=12),
            g=conv(48, 16, groups=4),
            h=conv(3, 24, groups=3),
        ),
        IMAGE,
    )
    assert max(converted.errors) < TOLERANCE


def gated(outputs: int = 8, kernel: int = 1, twice: bool = False) -> nn.Module:
    """Squeeze-and-excite in front of a convolution, which may not be the only one to read it."""

    def forward(m: Any, x: torch.Tensor) -> Any:
        x = F.silu(m.stem(x))
        product = x * torch.sigmoid(m.excite(F.adaptive_avg_pool2d(x, 1)))
        read = m.project(product)
        return (read, F.relu(product)) if twice else read

    return Model(
        forward,
        stem=conv(3, 24),
        excite=conv(24, 24, 1),
        project=conv(24, outputs, kernel),
    )


@pytest.mark.parametrize(
    ("model", "shape", "scaled"),
    [
        (gated(), IMAGE, 1),
        (mobile(), IMAGE, 1),
        # More weights than places.
        (gated(outputs=72), IMAGE, 0),
        (gated(kernel=3), IMAGE, 0),
        # A gate for each image, and one set of weights.
        (gated(), (2, *IMAGE[1:]), 0),
        # The product is wanted elsewhere; that the weights are scaled loses nothing.
        (gated(twice=True), IMAGE, 1),
    ],
    ids=["one", "mobile", "large weights", "3x3", "batch", "twice"],
)
def test_a_gate_scales_the_weights_that_are_smaller_than_what_it_gates(
    model: nn.Module, shape: tuple[int, ...], scaled: int, convert: Convert
) -> None:
    converted = convert(model, shape)
    assert max(converted.errors) < TOLERANCE
    assert _calls(converted.module, "scaled_weights") == scaled


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCHWc"])
def test_main_keeps_its_names_and_its_signature(layout: str, convert: Convert) -> None:
    converted = convert(
        Model(lambda m, x, y: (m.a(x), m.a(x) + y, m.a(x).mean((2, 3))), a=conv(3, 8)),
        IMAGE,
        (1, 8, 9, 7),
        layout=layout,
    )
    assert max(converted.errors) < TOLERANCE
    before, after = converted.before["main"], converted.module["main"]
    assert [p.name for p in after.params] == ["x0", "x1"]
    assert [str(p.ty) for p in after.params] == [str(p.ty) for p in before.params]
    assert str(after.ret_ty) == str(before.ret_ty)
    assert after.attrs["global_symbol"] == "main"


@pytest.mark.parametrize("model", [chain, mobile, linear_excitation])
def test_channels_last_gives_the_same_numbers(
    model: Callable[[], nn.Module], convert: Convert
) -> None:
    converted = convert(model(), IMAGE, layout="NHWC")
    assert max(converted.errors) < TOLERANCE
    # One at the input, and one where the channels come first again.
    assert 1 <= converted.transforms <= 3
    assert 'data_layout="NHWC"' in str(converted.module["main"])


def test_channels_last_survives_squeezes(convert: Convert) -> None:
    def forward(m: Any, x: torch.Tensor) -> Any:
        pooled = F.adaptive_avg_pool2d(m.a(x), 1)
        return pooled.squeeze(), pooled.squeeze(-1), pooled.squeeze(-1).squeeze(-1)

    assert max(convert(Model(forward, a=conv(3, 16)), IMAGE, layout="NHWC").errors) < TOLERANCE


@pytest.mark.parametrize("layout", ["NHWC", "NCHWc"])
def test_a_model_without_convolutions_is_left_alone(layout: str, convert: Convert) -> None:
    model = Model(
        lambda m, x: m.b(F.relu(m.a(x.flatten(1)))), a=nn.Linear(189, 16), b=nn.Linear(16, 4)
    )
    converted = convert(model, IMAGE, layout=layout)
    assert max(converted.errors) < TOLERANCE
    assert converted.transforms == 0


def test_auto_blocks_convolutions_on_a_cpu_and_nothing_else(imported: Callable[..., Any]) -> None:
    from tunekit.graph.layouts.convert import choose_layout

    convolution = imported(Model(lambda m, x: m.a(x), a=conv(3, 8)), [torch.zeros(IMAGE)])
    linear = imported(Model(lambda m, x: m.a(x), a=nn.Linear(7, 8)), [torch.zeros(IMAGE)])
    assert choose_layout(convolution, "llvm") == "NCHWc"
    assert choose_layout(convolution, "cuda") == "NCHW"
    assert choose_layout(linear, "llvm") == "NCHW"

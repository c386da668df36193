"""Layouts: how activations lie in memory, and what it costs to change that.

NHWC is TVM's own conversion. NCHWc is tunekit's: a single walk over the graph in which every
value may exist plain (N, C, H, W), blocked (N, C/b, H, W, b), or both, and each is made when
somebody asks for it. Convolutions of every kind, elementwise operators, pooling, resizing,
concatenation and spatial means stay blocked, so a transform remains only where a value is used in
the other form. TVM's ConvertLayout keeps every depthwise convolution plain, which costs
EfficientNet 79 transforms of activations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tunekit.graph import winograd
from tunekit.graph.algorithms import Choice, Place, Site, alternatives
from tunekit.graph.channels_last import to_channels_last
from tunekit.graph.convolution import ConvolutionShape, from_blocked, to_blocked
from tunekit.graph.gating import gates, scaled_weights, scales_weights_instead
from tunekit.graph.kernels import blocked_kernel
from tunekit.graph.rewrite import rebuild, substitute
from tunekit.models.reading import bindings_of, constant_value, operator_name, static_shape

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Call, Expr, Var

Layout = Literal["NCHW", "NHWC", "NCHWc"]


@dataclass(frozen=True)
class LaidOut:
    """A module in its layout.

    Attributes:
        module: the converted module; its `main` takes and returns what it did before.
        layout: the layout it is in.
        transforms: layout transforms of activations that remain in it.
        sites: the convolutions that have another algorithm than the direct one.
    """

    module: IRModule
    layout: Layout
    transforms: int
    sites: frozenset[Site] = frozenset()


def choose_layout(module: IRModule, kind: str) -> Layout:
    """The layout for `auto`: blocked for convolutions on a CPU, else as the model has it."""
    pairs = bindings_of(module["main"])
    convolutions = sum(operator_name(value) == "nn.conv2d" for _, value in pairs or ())
    return "NCHWc" if convolutions and kind == "llvm" else "NCHW"


def convert_layout(
    module: IRModule, layout: Layout, vector_lanes: int, choice: Choice | None = None
) -> LaidOut:
    """Brings the activations of a model in NCHW into `layout`.

    Args:
        module: Relax module with batch norm folded and weights bound as constants.
        layout: the layout wanted.
        vector_lanes: fp32 lanes of the target's vector registers: the largest channel block.
        choice: algorithms of convolutions; direct where it says nothing. Blocked layout only.
    """
    if layout == "NHWC":
        converted, transforms = to_channels_last(module)
        return LaidOut(converted, layout, transforms)
    if layout == "NCHWc":
        return _Blocking(vector_lanes, choice or {}).convert(module)
    return LaidOut(module, layout, transforms=0)


@dataclass
class _Value:
    """One value of the graph in the forms that exist so far; or a product with a gate, of which
    there may never be more than its factors."""

    shape: tuple[int, ...] | None
    plain: Expr | None = None
    blocked: Expr | None = None
    fields: list[_Value] = field(default_factory=list)
    gated: _Gated | None = None


@dataclass(frozen=True)
class _Gated:
    """An activation times one number for each of its channels, as it was called for."""

    activation: _Value
    gate: _Value
    call: Call


# Elementwise operators of one tensor that work on any shape as they are.
_UNARY = frozenset(
    {
        *("nn.relu", "nn.gelu", "nn.silu", "nn.leakyrelu", "clip", "sigmoid", "tanh", "exp"),
        *("abs", "negative", "sqrt", "rsqrt", "erf", "floor", "ceil", "round", "square", "log"),
        *("nn.gelu_tanh", "nn.relu6", "nn.softplus", "nn.selu", "hardswish", "hardsigmoid"),
    }
)
_BINARY = frozenset(
    {"add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "less", "greater"}
)
_POOLS = {
    "nn.max_pool2d": "max_pool2d",
    "nn.avg_pool2d": "avg_pool2d",
    "nn.adaptive_avg_pool2d": "adaptive_avg_pool2d",
}


class _Blocking:
    """One conversion of a module to NCHWc."""

    def __init__(self, vector_lanes: int, choice: Choice) -> None:
        self._lanes = vector_lanes
        self._choice = choice
        self._sites: set[Site] = set()
        self._values: dict[Any, _Value] = {}
        self._transforms = 0
        self._builder: BlockBuilder
        self._handlers: dict[str, Callable[[Call, _Value], bool]] = {
            "nn.conv2d": self._convolution,
            "concat": self._concatenation,
            "mean": self._mean,
            "image.resize2d": self._resize,
            "reshape": self._flatten,
            **dict.fromkeys(_UNARY, self._unary),
            **dict.fromkeys(_BINARY, self._binary),
            **dict.fromkeys(_POOLS, self._pool),
        }

    def convert(self, module: IRModule) -> LaidOut:
        for parameter in module["main"].params:
            self._values[parameter] = _Value(static_shape(parameter), plain=parameter)
        converted = rebuild(module, self._emit, self._finish)
        return LaidOut(converted, "NCHWc", self._transforms, frozenset(self._sites))

    def _emit(self, builder: BlockBuilder, var: Var, value: Expr) -> None:
        from tvm import relax

        self._builder = builder
        result = _Value(static_shape(var))
        self._values[var] = result
        if isinstance(value, relax.Tuple):
            result.fields = [self._value(item) for item in value.fields]
            return
        if isinstance(value, relax.TupleGetItem) and isinstance(value.tuple_value, relax.Var):
            fields = self._values[value.tuple_value].fields
            if fields:
                self._values[var] = fields[value.index]
                return
        if isinstance(value, relax.Var):
            self._values[var] = self._values[value]
            return
        handler = self._handlers.get(operator_name(value))
        if handler is None or result.shape is None or not handler(value, result):
            result.plain = builder.emit(substitute(value, self._plain_of), var.name)

    def _finish(self, builder: BlockBuilder, result: Expr) -> Expr:
        self._builder = builder
        return substitute(result, self._plain_of)

    # -- values in one form or the other ------------------------------------------------------

    def _value(self, expr: Expr) -> _Value:
        from tvm import relax

        if isinstance(expr, relax.Var):
            return self._multiplied(self._values[expr])
        return _Value(static_shape(expr), plain=expr)

    def _multiplied(self, value: _Value) -> _Value:
        """The value, its product with a gate made if it is one that has not been made."""
        if value.gated is not None and value.blocked is None and value.plain is None:
            made = self._elementwise(value.gated.call, value)
            assert made
        return value

    def _plain_of(self, var: Var) -> Expr:
        return self._plain(self._values[var])

    def _plain(self, value: _Value) -> Expr:
        from tvm import relax

        value = self._multiplied(value)
        if value.plain is None and value.fields:
            value.plain = self._builder.emit(
                relax.Tuple([self._plain(item) for item in value.fields])
            )
        if value.plain is None:
            assert value.blocked is not None
            assert value.shape is not None
            _, _, height, width, block = static_shape(value.blocked) or ()
            if block == 1 or height * width == 1:
                # One channel a block, or one place: the bytes already lie as they should.
                value.plain = self._reshape(value.blocked, value.shape)
            else:
                self._transforms += 1
                value.plain = self._builder.emit(self._builder.call_te(from_blocked, value.blocked))
        return value.plain

    def _blocked(self, value: _Value) -> Expr | None:
        """The blocked form, made if it has to be; None where the channels cannot be blocked."""
        if value.blocked is not None:
            return value.blocked
        if value.shape is None or len(value.shape) != 4:
            return None
        block = self._block(value.shape[1])
        if block is None:
            return None
        plain = self._plain(value)
        batch, channels, height, width = value.shape
        if height * width == 1:
            value.blocked = self._reshape(plain, (batch, channels // block, 1, 1, block))
        else:
            self._transforms += 1
            value.blocked = self._builder.emit(self._builder.call_te(to_blocked, plain, block))
        return value.blocked

    def _block(self, channels: int) -> int | None:
        """Channels per block: the most lanes that divide them, so that no lane is padding."""
        block = self._lanes
        while block >= 4:
            if channels % block == 0:
                return block
            block //= 2
        return None

    def _reshape(self, expr: Expr, shape: tuple[int, ...]) -> Expr:
        from tvm import relax

        return self._builder.emit(relax.op.reshape(expr, relax.ShapeExpr(list(shape))))

    # -- operators: True when `result` has been given its blocked (or plain) form ------------

    def _convolution(self, call: Call, result: _Value) -> bool:
        from tvm import relax

        attrs = call.attrs
        weights = constant_value(self._plain(self._value(call.args[1])))
        if weights is None or str(attrs.data_layout) != "NCHW" or result.shape is None:
            return False
        shape = ConvolutionShape(
            strides=_pair(attrs.strides),
            padding=_quad(attrs.padding),
            dilation=_pair(attrs.dilation),
            groups=int(attrs.groups),
        )
        out_channels, in_per_group = weights.shape[:2]
        out_block = self._block(out_channels)
        if out_block is None:
            return False
        source, gate = self._ungated(call.args[0], weights.shape, shape)
        assert source.shape is not None
        depthwise = shape.groups == source.shape[1] == out_channels and in_per_group == 1
        in_block = self._block(source.shape[1])
        if shape.groups > 1 and not depthwise:
            # A block may not cross from one group into the next.
            per_group = out_channels // shape.groups
            if self._block(in_per_group) != in_block or per_group % out_block:
                return False
        if in_block is None:
            # An image of three channels: one channel a block is only another shape.
            in_block = 1
            data: Expr | None = self._reshape(self._plain(source), (*source.shape, 1))
        else:
            data = self._blocked(source)
        if data is None:
            return False
        place = None
        if shape.plain and weights.shape[2:] == (winograd.KERNEL, winograd.KERNEL):
            place = self._place(Site(result.shape[0], in_per_group, *result.shape[1:]))
        kernel = blocked_kernel(
            weights,
            shape,
            in_block,
            out_block,
            str(call.ty.dtype),
            depthwise=depthwise,
            place=place,
        )
        packed: Expr = relax.const(kernel.weights, str(kernel.weights.dtype))
        if gate is not None:
            form = self._operand(gate, in_block)
            packed = self._builder.emit(self._builder.call_te(scaled_weights, packed, form))
        result.blocked = self._builder.emit(
            self._builder.call_te(
                kernel.compute,
                data,
                packed,
                primfunc_name_hint=kernel.name,
                primfunc_attrs=kernel.attributes,
            )
        )
        return True

    def _ungated(
        self, argument: Expr, weights: tuple[int, ...], shape: ConvolutionShape
    ) -> tuple[_Value, _Value | None]:
        """What a convolution reads, and the gate that its weights are to be scaled by."""
        value = self._values.get(argument)
        if value is None or value.gated is None or value.shape is None:
            return self._value(argument), None
        made = value.blocked is not None or value.plain is not None
        if made or not scales_weights_instead(value.shape, weights, shape):
            return self._value(argument), None
        return value.gated.activation, value.gated.gate

    def _place(self, site: Site) -> Place | None:
        """The site's place by the choice, None where there is nothing to choose."""
        if len(alternatives(site)) == 1:
            return None
        self._sites.add(site)
        return Place(site, self._choice.get(site, "direct"))

    def _unary(self, call: Call, result: _Value) -> bool:
        from tvm import relax

        source = self._value(call.args[0])
        if source.blocked is None:
            return False
        arguments = [source.blocked, *call.args[1:]]
        result.blocked = self._builder.emit(relax.Call(call.op, arguments, call.attrs))
        return True

    def _binary(self, call: Call, result: _Value) -> bool:
        if operator_name(call) == "multiply" and result.shape is not None:
            for activation, gate in itertools.permutations(map(self._value, call.args)):
                known = constant_value(gate.plain) if gate.plain is not None else None
                if known is None and activation.shape == result.shape:
                    blocked = activation.blocked is not None and self._block(result.shape[1])
                    if blocked and gates(gate.shape, result.shape):
                        result.gated = _Gated(activation, gate, call)
                        return True
        return self._elementwise(call, result)

    def _elementwise(self, call: Call, result: _Value) -> bool:
        from tvm import relax

        operands = [self._value(argument) for argument in call.args]
        if all(operand.blocked is None for operand in operands) or result.shape is None:
            return False
        if len(result.shape) != 4:
            return False
        block = self._block(result.shape[1])
        if block is None or any(not _broadcasts(o.shape, result.shape) for o in operands):
            return False
        arguments: list[Expr] = []
        for operand in operands:
            form = self._operand(operand, block)
            if form is None:
                return False
            arguments.append(form)
        result.blocked = self._builder.emit(relax.Call(call.op, arguments, call.attrs))
        return True

    def _operand(self, operand: _Value, block: int) -> Expr | None:
        """An operand of an elementwise operator, in the form that broadcasts with blocks."""
        from tvm import relax

        assert operand.shape is not None
        shape = (1,) * (4 - len(operand.shape)) + operand.shape
        if operand.blocked is not None:
            return operand.blocked
        array = constant_value(operand.plain) if operand.plain is not None else None
        if array is not None and not operand.shape:
            return operand.plain
        batch, channels, height, width = shape
        if channels == 1:
            five = (batch, 1, height, width, 1)
            if array is not None:
                return relax.const(array.reshape(five), str(array.dtype))
            return self._reshape(self._plain(operand), five)
        if array is not None:
            split = array.reshape(batch, channels // block, block, height, width)
            packed = split.transpose(0, 1, 3, 4, 2)
            return relax.const(packed.copy(order="C"), str(array.dtype))
        return self._blocked(operand) if len(operand.shape) == 4 else None

    def _pool(self, call: Call, result: _Value) -> bool:
        from tvm import relax

        source = self._value(call.args[0])
        if source.blocked is None or str(call.attrs.layout) != "NCHW":
            return False
        layout = f"NCHW{(static_shape(source.blocked) or ())[-1]}c"
        name = operator_name(call)
        attrs = call.attrs
        if name == "nn.adaptive_avg_pool2d":
            size = None if attrs.output_size is None else _pair(attrs.output_size)
            pooled = relax.op.nn.adaptive_avg_pool2d(source.blocked, size, layout=layout)
        else:
            operator = getattr(relax.op.nn, _POOLS[name])
            pooled = operator(
                source.blocked,
                pool_size=_pair(attrs.pool_size),
                strides=_pair(attrs.strides),
                padding=_quad(attrs.padding),
                dilation=_pair(attrs.dilation),
                ceil_mode=bool(attrs.ceil_mode),
                count_include_pad=bool(attrs.count_include_pad),
                layout=layout,
            )
        result.blocked = self._builder.emit(pooled)
        return True

    def _resize(self, call: Call, result: _Value) -> bool:
        from tvm import relax

        source = self._value(call.args[0])
        attrs = call.attrs
        if source.blocked is None or str(attrs.layout) != "NCHW":
            return False
        layout = f"NCHW{(static_shape(source.blocked) or ())[-1]}c"
        result.blocked = self._builder.emit(
            relax.op.image.resize2d(
                source.blocked,
                call.args[1],
                roi=[float(value) for value in attrs.roi],
                layout=layout,
                method=str(attrs.method),
                coordinate_transformation_mode=str(attrs.coordinate_transformation_mode),
                rounding_method=str(attrs.rounding_method),
                cubic_alpha=float(attrs.cubic_alpha),
                cubic_exclude=int(attrs.cubic_exclude),
                extrapolation_value=float(attrs.extrapolation_value),
            )
        )
        return True

    def _mean(self, call: Call, result: _Value) -> bool:
        from tvm import relax

        source = self._value(call.args[0])
        if source.blocked is None or call.attrs.axis is None or source.shape is None:
            return False
        if sorted(int(axis) % 4 for axis in call.attrs.axis) != [2, 3]:
            return False
        mean = self._builder.emit(relax.op.mean(source.blocked, [2, 3], keepdims=True))
        if bool(call.attrs.keepdims):
            result.blocked = mean
        else:
            assert result.shape is not None
            result.plain = self._reshape(mean, result.shape)
        return True

    def _flatten(self, call: Call, result: _Value) -> bool:
        """Reshapes of one place a channel keep the order of bytes in both forms."""
        source = self._value(call.args[0])
        if source.blocked is None or source.shape is None or source.shape[2:] != (1, 1):
            return False
        assert result.shape is not None
        result.plain = self._reshape(source.blocked, result.shape)
        return True

    def _concatenation(self, call: Call, result: _Value) -> bool:
        from tvm import relax

        axis = call.attrs.axis
        tuple_ = self._value(call.args[0])
        parts = tuple_.fields
        if isinstance(call.args[0], relax.Tuple):
            parts = [self._value(item) for item in call.args[0].fields]
        if not parts or axis is None or int(axis) % 4 != 1 or result.shape is None:
            return False
        if len(result.shape) != 4 or all(part.blocked is None for part in parts):
            return False
        block = self._block(result.shape[1])
        blocks = {self._block(part.shape[1]) if part.shape else None for part in parts}
        if blocks != {block}:
            return False
        forms = [self._blocked(part) for part in parts]
        if any(form is None for form in forms):
            return False
        result.blocked = self._builder.emit(relax.op.concat(forms, axis=1))
        return True


def _broadcasts(shape: tuple[int, ...] | None, into: tuple[int, ...]) -> bool:
    if shape is None or len(shape) > 4:
        return False
    padded = (1,) * (4 - len(shape)) + shape
    return all(extent in (1, whole) for extent, whole in zip(padded, into, strict=True))


def _pair(values: Any) -> tuple[int, int]:
    numbers = [int(value) for value in values]
    return (numbers[0], numbers[-1])


def _quad(values: Any) -> tuple[int, int, int, int]:
    numbers = [int(value) for value in values]
    if len(numbers) == 1:
        return (numbers[0],) * 4
    if len(numbers) == 2:
        return (numbers[0], numbers[1], numbers[0], numbers[1])
    return (numbers[0], numbers[1], numbers[2], numbers[3])

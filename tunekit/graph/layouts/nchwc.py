"""The blocked layout, NCHWc: activations in blocks of channels as wide as a vector register.

A single walk over the graph in which every value may exist plain, blocked, or both (see `forms`).
Convolutions of every kind, elementwise operators, pooling, resizing, concatenation and spatial
means stay blocked, so a transform remains only where a value is used in the other form. TVM's
ConvertLayout keeps every depthwise convolution plain, which costs EfficientNet 79 transforms of
activations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunekit.graph.algorithms import Choice, ConvProblem, Implementation, alternatives
from tunekit.graph.kernels import winograd
from tunekit.graph.kernels.blocked import blocked_kernel
from tunekit.graph.kernels.convolution import ConvolutionShape
from tunekit.graph.layouts.gates import gates, scaled_weights, scales_weights_instead
from tunekit.graph.layouts.values import GatedProduct, LayoutValues, Value
from tunekit.ir.relax import constant_value, operator_name, static_shape
from tunekit.ir.rewrite import rebuild, substitute

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Call, Expr, Var

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


class Blocking:
    """One conversion of a module to NCHWc."""

    def __init__(self, vector_lanes: int, choice: Choice) -> None:
        """See `convert_layout`."""
        self._choice = choice
        self._sites: set[ConvProblem] = set()
        self._forms = LayoutValues(vector_lanes, multiply=self._elementwise)
        self._handlers: dict[str, Callable[[Call, Value], bool]] = {
            "nn.conv2d": self._convolution,
            "concat": self._concatenation,
            "mean": self._mean,
            "image.resize2d": self._resize,
            "reshape": self._flatten,
            **dict.fromkeys(_UNARY, self._unary),
            **dict.fromkeys(_BINARY, self._binary),
            **dict.fromkeys(_POOLS, self._pool),
        }

    @property
    def transforms(self) -> int:
        """Layout transforms of activations that remain."""
        return self._forms.transforms

    @property
    def problems(self) -> frozenset[ConvProblem]:
        """The convolutions that have another algorithm than the direct one."""
        return frozenset(self._sites)

    def convert(self, module: IRModule) -> IRModule:
        """The module with its activations in blocks; `main` takes and returns what it did."""
        for parameter in module["main"].params:
            self._forms[parameter] = Value(static_shape(parameter), plain=parameter)
        return rebuild(module, self._emit, self._finish)

    def _emit(self, builder: BlockBuilder, var: Var, value: Expr) -> None:
        from tvm import relax

        self._forms.builder = builder
        result = Value(static_shape(var))
        self._forms[var] = result
        if isinstance(value, relax.Tuple):
            result.fields = [self._forms.value(item) for item in value.fields]
            return
        if isinstance(value, relax.TupleGetItem) and isinstance(value.tuple_value, relax.Var):
            fields = self._forms[value.tuple_value].fields
            if fields:
                self._forms[var] = fields[value.index]
                return
        if isinstance(value, relax.Var):
            self._forms[var] = self._forms[value]
            return
        handler = self._handlers.get(operator_name(value))
        if handler is None or result.shape is None or not handler(value, result):
            result.plain = builder.emit(substitute(value, self._forms.plain_of), var.name)

    def _finish(self, builder: BlockBuilder, result: Expr) -> Expr:
        self._forms.builder = builder
        return substitute(result, self._forms.plain_of)

    # -- operators: True when `result` has been given its blocked (or plain) form ------------

    def _convolution(self, call: Call, result: Value) -> bool:
        from tvm import relax

        attrs = call.attrs
        weights = constant_value(self._forms.plain(self._forms.value(call.args[1])))
        if weights is None or str(attrs.data_layout) != "NCHW" or result.shape is None:
            return False
        shape = ConvolutionShape(
            strides=_pair(attrs.strides),
            padding=_quad(attrs.padding),
            dilation=_pair(attrs.dilation),
            groups=int(attrs.groups),
        )
        out_channels, in_per_group = weights.shape[:2]
        out_block = self._forms.block(out_channels)
        if out_block is None:
            return False
        source, gate = self._ungated(call.args[0], weights.shape, shape)
        assert source.shape is not None
        depthwise = shape.groups == source.shape[1] == out_channels and in_per_group == 1
        in_block = self._forms.block(source.shape[1])
        if shape.groups > 1 and not depthwise:
            # A block may not cross from one group into the next.
            per_group = out_channels // shape.groups
            if self._forms.block(in_per_group) != in_block or per_group % out_block:
                return False
        if in_block is None:
            # An image of three channels: one channel a block is only another shape.
            in_block = 1
            data: Expr | None = self._forms.reshape(self._forms.plain(source), (*source.shape, 1))
        else:
            data = self._forms.blocked(source)
        if data is None:
            return False
        implementation = None
        if shape.plain and weights.shape[2:] == (winograd.KERNEL, winograd.KERNEL):
            implementation = self._place(
                ConvProblem(result.shape[0], in_per_group, *result.shape[1:])
            )
        kernel = blocked_kernel(
            weights,
            shape,
            in_block,
            out_block,
            str(call.ty.dtype),
            depthwise=depthwise,
            implementation=implementation,
        )
        packed: Expr = relax.const(kernel.weights, str(kernel.weights.dtype))
        if gate is not None:
            form = self._forms.operand(gate, in_block)
            packed = self._forms.builder.emit(
                self._forms.builder.call_te(scaled_weights, packed, form)
            )
        result.blocked = self._forms.builder.emit(
            self._forms.builder.call_te(
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
    ) -> tuple[Value, Value | None]:
        """What a convolution reads, and the gate that its weights are to be scaled by."""
        value = self._forms.get(argument)
        if value is None or value.gated is None or value.shape is None:
            return self._forms.value(argument), None
        made = value.blocked is not None or value.plain is not None
        if made or not scales_weights_instead(value.shape, weights, shape):
            return self._forms.value(argument), None
        return value.gated.activation, value.gated.gate

    def _place(self, problem: ConvProblem) -> Implementation | None:
        """The problem's implementation by the choice, None where there is nothing to choose."""
        if len(alternatives(problem)) == 1:
            return None
        self._sites.add(problem)
        return Implementation(problem, self._choice.get(problem, "direct"))

    def _unary(self, call: Call, result: Value) -> bool:
        from tvm import relax

        source = self._forms.value(call.args[0])
        if source.blocked is None:
            return False
        arguments = [source.blocked, *call.args[1:]]
        result.blocked = self._forms.builder.emit(relax.Call(call.op, arguments, call.attrs))
        return True

    def _binary(self, call: Call, result: Value) -> bool:
        if operator_name(call) == "multiply" and result.shape is not None:
            for activation, gate in itertools.permutations(map(self._forms.value, call.args)):
                known = constant_value(gate.plain) if gate.plain is not None else None
                if known is None and activation.shape == result.shape:
                    blocked = activation.blocked is not None and self._forms.block(result.shape[1])
                    if blocked and gates(gate.shape, result.shape):
                        result.gated = GatedProduct(activation, gate, call)
                        return True
        return self._elementwise(call, result)

    def _elementwise(self, call: Call, result: Value) -> bool:
        from tvm import relax

        operands = [self._forms.value(argument) for argument in call.args]
        if all(operand.blocked is None for operand in operands) or result.shape is None:
            return False
        if len(result.shape) != 4:
            return False
        block = self._forms.block(result.shape[1])
        if block is None or any(not _broadcasts(o.shape, result.shape) for o in operands):
            return False
        arguments: list[Expr] = []
        for operand in operands:
            form = self._forms.operand(operand, block)
            if form is None:
                return False
            arguments.append(form)
        result.blocked = self._forms.builder.emit(relax.Call(call.op, arguments, call.attrs))
        return True

    def _pool(self, call: Call, result: Value) -> bool:
        from tvm import relax

        data, layout = self._blocked_image(call)
        if data is None:
            return False
        name = operator_name(call)
        attrs = call.attrs
        if name == "nn.adaptive_avg_pool2d":
            size = None if attrs.output_size is None else _pair(attrs.output_size)
            pooled = relax.op.nn.adaptive_avg_pool2d(data, size, layout=layout)
        else:
            operator = getattr(relax.op.nn, _POOLS[name])
            pooled = operator(
                data,
                pool_size=_pair(attrs.pool_size),
                strides=_pair(attrs.strides),
                padding=_quad(attrs.padding),
                dilation=_pair(attrs.dilation),
                ceil_mode=bool(attrs.ceil_mode),
                count_include_pad=bool(attrs.count_include_pad),
                layout=layout,
            )
        result.blocked = self._forms.builder.emit(pooled)
        return True

    def _resize(self, call: Call, result: Value) -> bool:
        from tvm import relax

        data, layout = self._blocked_image(call)
        if data is None:
            return False
        attrs = call.attrs
        result.blocked = self._forms.builder.emit(
            relax.op.image.resize2d(
                data,
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

    def _blocked_image(self, call: Call) -> tuple[Expr | None, str]:
        """What an operator on NCHW images reads, and its layout in blocks; None where the
        operator stays plain."""
        data = self._forms.value(call.args[0]).blocked
        if data is None or str(call.attrs.layout) != "NCHW":
            return None, "NCHW"
        return data, f"NCHW{(static_shape(data) or ())[-1]}c"

    def _mean(self, call: Call, result: Value) -> bool:
        from tvm import relax

        source = self._forms.value(call.args[0])
        if source.blocked is None or call.attrs.axis is None or source.shape is None:
            return False
        if sorted(int(axis) % 4 for axis in call.attrs.axis) != [2, 3]:
            return False
        mean = self._forms.builder.emit(relax.op.mean(source.blocked, [2, 3], keepdims=True))
        if bool(call.attrs.keepdims):
            result.blocked = mean
        else:
            assert result.shape is not None
            result.plain = self._forms.reshape(mean, result.shape)
        return True

    def _flatten(self, call: Call, result: Value) -> bool:
        """Reshapes of one place a channel keep the order of bytes in both forms."""
        source = self._forms.value(call.args[0])
        if source.blocked is None or source.shape is None or source.shape[2:] != (1, 1):
            return False
        assert result.shape is not None
        result.plain = self._forms.reshape(source.blocked, result.shape)
        return True

    def _concatenation(self, call: Call, result: Value) -> bool:
        from tvm import relax

        axis = call.attrs.axis
        tuple_ = self._forms.value(call.args[0])
        parts = tuple_.fields
        if isinstance(call.args[0], relax.Tuple):
            parts = [self._forms.value(item) for item in call.args[0].fields]
        if not parts or axis is None or int(axis) % 4 != 1 or result.shape is None:
            return False
        if len(result.shape) != 4 or all(part.blocked is None for part in parts):
            return False
        block = self._forms.block(result.shape[1])
        blocks = {self._forms.block(part.shape[1]) if part.shape else None for part in parts}
        if blocks != {block}:
            return False
        forms = [self._forms.blocked(part) for part in parts]
        if any(form is None for form in forms):
            return False
        result.blocked = self._forms.builder.emit(relax.op.concat(forms, axis=1))
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

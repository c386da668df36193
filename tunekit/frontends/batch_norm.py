"""One walk over an imported `main` that leaves only what a library should compute.

Batch normalization in inference is a scale and a shift of each channel. Where they follow a
convolution or a matrix product with constant weights they go into those weights and a bias;
elsewhere (before a convolution, as in DenseNet) they stay as a multiply and an add. The same
holds for explicit scales and shifts, such as torchvision's frozen batch normalization.
Operators on constants are evaluated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tunekit.frontends.constants import Array, evaluate
from tunekit.ir.relax import bindings_of, constant_value, operator_name, static_shape

_CONVOLUTIONS = ("nn.conv1d", "nn.conv2d", "nn.conv3d")
_TRANSPOSED = ("nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose")
_LAYOUTS = ("NCW", "NCHW", "NCDHW")
_FOLDED_DTYPES = ("float16", "float32", "float64")


def fold_batch_norm(
    module: tvm.IRModule, names: Sequence[str], order: Sequence[str] | None = None
) -> tvm.IRModule:
    """A module with batch normalization and constants folded and main's parameters renamed.

    A function with control flow is only renamed.

    Args:
        module: `main`, and kernels that it calls.
        names: new names of main's parameters in their present order.
        order: the same names in the order that they shall have; as they are where left out.
    """
    module = relax.transform.CanonicalizeBindings()(module)
    function = module["main"]
    renamed: dict[Any, Any] = {
        parameter: relax.Var(name, parameter.ty)
        for name, parameter in zip(names, function.params, strict=True)
    }
    by_name = dict(zip(names, renamed.values(), strict=True))
    parameters = [by_name[name] for name in order or names]
    bindings = bindings_of(function)
    if bindings is None:
        return _renamed(module, renamed, parameters)
    # Kernels that an importer wrote itself stay beside main.
    kernels = {var: f for var, f in module.functions_items() if var.name_hint != "main"}
    walk = _Walk(tvm.IRModule(kernels), renamed, _uses(bindings, function.body.body))
    builder = walk.builder
    with builder.function("main", parameters):
        with builder.dataflow():
            for var, value in bindings:
                walk.visit(var, value)
            result = builder.emit_output(_output(walk.substituted(function.body.body), builder))
        builder.emit_func_output(result)
    return relax.transform.DeadCodeElimination(["main"])(builder.get())


class _Walk:
    """What is known at one point of the walk; expressions are of the new function."""

    def __init__(self, kernels: tvm.IRModule, known: dict[Any, Any], uses: Counter[Any]) -> None:
        self.builder = relax.BlockBuilder(kernels)
        self.known = known  # variable of the old function -> expression
        self.old_uses = uses
        self.uses: Counter[Any] = Counter()  # variable -> how often its value will be used
        self.values: dict[Any, Any] = {}  # variable -> the expression bound to it
        self.normalizations: dict[Any, list[Any]] = {}  # old variable -> its three results

    def visit(self, var: Any, value: Any) -> None:
        expr = self.substituted(value)
        result = self._simplified(var, value, expr)
        if isinstance(result, relax.Var | relax.Tuple) or constant_value(result) is not None:
            if isinstance(result, relax.Var):
                self.uses[result] += self.old_uses[var]
            self.known[var] = result
            return
        self.known[var] = self._emit(result, self.old_uses[var])

    def substituted(self, expr: Any) -> Any:
        if isinstance(expr, relax.Var):
            return self.known.get(expr, expr)
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self.substituted(field) for field in expr.fields])
        if isinstance(expr, relax.TupleGetItem):
            source = self.substituted(expr.tuple_value)
            if isinstance(source, relax.Tuple):
                return source.fields[expr.index]
            return relax.TupleGetItem(source, expr.index)
        if isinstance(expr, relax.Call):
            arguments = [self.substituted(argument) for argument in expr.args]
            return relax.Call(expr.op, arguments, expr.attrs, expr.ty_args)
        return expr

    def _simplified(self, var: Any, value: Any, expr: Any) -> Any:
        name = operator_name(expr)
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in self.normalizations:
            return self.normalizations[value.tuple_value][value.index]
        shape = static_shape(var)
        if shape is None and name != "nn.batch_norm":
            return expr
        if name == "nn.batch_norm":
            return self._normalization(var, expr)
        assert shape is not None
        folded = evaluate(expr, shape, str(var.ty.dtype)) if name else None
        if folded is not None:
            return relax.const(folded, str(folded.dtype))
        if name in ("multiply", "divide", "add", "subtract"):
            return self._scale_or_shift(name, expr, shape)
        return expr

    def _normalization(self, var: Any, call: Any) -> Any:
        """Put each result of a batch_norm on constants in its place; the call where it cannot."""
        data, *parts = call.args
        arrays = [constant_value(part) for part in parts]
        data_shape = static_shape(data)
        if any(array is None for array in arrays) or data_shape is None:
            return call
        gamma, beta, mean, variance = (
            np.asarray(array, dtype=np.float64) for array in arrays if array is not None
        )
        attributes = call.attrs
        scale = 1 / np.sqrt(variance + float(attributes.epsilon))
        if attributes.scale:
            scale = scale * gamma
        shift = -mean * scale + (beta if attributes.center else 0)
        axis = int(attributes.axis) % len(data_shape)
        result = self._scaled(data, scale, shift, axis, data_shape)
        if not isinstance(result, relax.Var):
            result = self._emit(result, self.old_uses[var])
        self.normalizations[var] = [result, parts[2], parts[3]]
        return relax.Tuple([result, parts[2], parts[3]])

    def _scale_or_shift(self, name: str, call: Any, shape: tuple[int, ...]) -> Any:
        left, right = call.args
        if constant_value(left) is not None and name in ("add", "multiply"):
            left, right = right, left
        constant, data_shape = constant_value(right), static_shape(left)
        if constant is None or data_shape != shape or str(constant.dtype) not in _FOLDED_DTYPES:
            return call
        weighted = self._weighted(left)
        if weighted is None or not self._is_foldable(weighted[0]):
            return call
        axis = self._channel_axis(weighted[0], len(shape))
        vector = _channel_vector(constant.astype(np.float64), axis, shape)
        if vector is None:
            return call
        if name in ("multiply", "divide"):
            if name == "divide":
                vector = 1 / vector
            return self._scaled(left, vector, np.zeros_like(vector), axis, shape)
        if weighted[1] is None and name == "add":
            return call
        return self._scaled(
            left, np.ones_like(vector), vector if name == "add" else -vector, axis, shape
        )

    def _scaled(
        self, data: Any, scale: Array, shift: Array, axis: int, shape: tuple[int, ...]
    ) -> Any:
        """`data * scale + shift` along an axis, in the weights that made data where possible."""
        dtype = str(data.ty.dtype)
        aligned = [1] * len(shape)
        aligned[axis] = -1
        weighted = self._weighted(data)
        if weighted is None or self._channel_axis(weighted[0], len(shape)) != axis:
            scaled = self._emit(
                relax.op.multiply(data, relax.const(scale.reshape(aligned), dtype)), 1
            )
            return relax.op.add(scaled, relax.const(shift.reshape(aligned), dtype))
        call, bias = weighted
        if bias is not None:
            shift = shift + scale * bias
        if np.any(scale != 1):
            weights = constant_value(call.args[1])
            assert weights is not None
            scaled_weights = _scaled_weights(call, weights.astype(np.float64), scale)
            arguments = [call.args[0], relax.const(scaled_weights, str(weights.dtype))]
            call = relax.Call(call.op, arguments, call.attrs, call.ty_args)
        product = self._emit(call, 1)
        if not np.any(shift):
            return product
        return relax.op.add(product, relax.const(shift.reshape(aligned), dtype))

    def _weighted(self, data: Any) -> tuple[Any, Array | None] | None:
        """The convolution or product with constant weights, and its bias, that makes `data`.

        None unless `data` is used for nothing else, so that it may be scaled.
        """
        value = self._single(data)
        bias: Array | None = None
        if operator_name(value) == "add":
            left, right = value.args
            if constant_value(left) is not None:
                left, right = right, left
            constant, shape = constant_value(right), static_shape(left)
            inner = self._single(left)
            if constant is None or shape is None or not self._is_foldable(inner):
                return None
            axis = self._channel_axis(inner, len(shape))
            bias = _channel_vector(constant.astype(np.float64), axis, shape)
            if bias is None:
                return None
            value = inner
        return (value, bias) if self._is_foldable(value) else None

    def _single(self, expr: Any) -> Any:
        if isinstance(expr, relax.Var) and self.uses[expr] == 1:
            return self.values.get(expr)
        return None

    @staticmethod
    def _is_foldable(call: Any) -> bool:
        name = operator_name(call)
        if name not in (*_CONVOLUTIONS, *_TRANSPOSED, "matmul"):
            return False
        weights = constant_value(call.args[1])
        if weights is None or str(weights.dtype) not in _FOLDED_DTYPES:
            return False
        if name == "matmul":
            return weights.ndim == 2
        attributes = call.attrs
        return str(attributes.data_layout) in _LAYOUTS and str(attributes.out_layout) in _LAYOUTS

    @staticmethod
    def _channel_axis(call: Any, rank: int) -> int:
        return rank - 1 if operator_name(call) == "matmul" else 1

    def _emit(self, expr: Any, uses: int) -> Any:
        var = self.builder.emit(expr)
        self.uses[var] = uses
        self.values[var] = expr
        return var


def _scaled_weights(call: Any, weights: Array, scale: Array) -> Array:
    """Weights (float64) whose output channels are scaled by `scale` (one for each)."""
    name = operator_name(call)
    if name == "matmul":
        return weights * scale
    if name in _CONVOLUTIONS:
        return weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
    # Transposed: (in channels, out channels of one group, ...).
    groups = int(call.attrs.groups)
    grouped = weights.reshape(groups, weights.shape[0] // groups, *weights.shape[1:])
    factors = scale.reshape(groups, 1, -1, *[1] * (weights.ndim - 2))
    return (grouped * factors).reshape(weights.shape)


def _channel_vector(constant: Array, axis: int, shape: tuple[int, ...]) -> Array | None:
    """One value for each channel, where the constant broadcasts along `axis` alone."""
    if constant.ndim > len(shape):
        return None
    sizes = [1] * (len(shape) - constant.ndim) + list(constant.shape)
    if constant.size != sizes[axis]:
        return None
    vector: Array = np.broadcast_to(constant.reshape(-1), (shape[axis],)).copy()
    return vector


def _uses(bindings: list[tuple[Any, Any]], result: Any) -> Counter[Any]:
    uses: Counter[Any] = Counter()

    def count(expr: Any) -> None:
        if isinstance(expr, relax.Var):
            uses[expr] += 1
        elif isinstance(expr, relax.Call):
            for argument in expr.args:
                count(argument)
        elif isinstance(expr, relax.Tuple):
            for field in expr.fields:
                count(field)
        elif isinstance(expr, relax.TupleGetItem):
            count(expr.tuple_value)

    for _, value in bindings:
        count(value)
    count(result)
    return uses


def _output(result: Any, builder: Any) -> Any:
    """A result that may be returned: neither a parameter nor a constant by itself."""
    if isinstance(result, relax.Tuple) and len(result.fields) == 1:
        return result.fields[0]
    return result


def _renamed(module: tvm.IRModule, renamed: dict[Any, Any], parameters: list[Any]) -> tvm.IRModule:
    @relax.expr_functor.mutator
    class Renamer(relax.PyExprMutator):  # type: ignore[misc]
        def visit_var_(self, op: Any) -> Any:
            return renamed.get(op, op)

    function = module["main"]
    body = Renamer(module).visit_expr(function.body)
    module = tvm.IRModule(dict(module.functions_items()))
    module["main"] = relax.Function(parameters, body, function.ret_ty, function.is_pure)
    return module

"""Finding attention by what it computes: two products with a softmax between them."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tunekit.graph.attention.sources import RESHAPES, Source, aligned_source, traced
from tunekit.graph.kernels.attention import AttentionShape
from tunekit.ir.relax import constant_value, operator_name, static_shape

if TYPE_CHECKING:
    from tvm.relax import Expr, Var

# Fewer rows are no matrix.
_FEWEST_QUERIES = 8
NUMBERS = "numbers"
"""The step that makes weights that are NaN zero, as exporters to ONNX write it behind a mask."""
_NARROWEST = 4


@dataclass(frozen=True)
class Step:
    """What is done to the scores: an operator with its other operands, or another shape.

    Attributes:
        name: of the operator.
        operands: in order, None for the scores.
        shape: of the result.
    """

    name: str
    operands: tuple[Expr | None, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Match:
    """An attention.

    Attributes:
        shape: its extents.
        query: reads them at (batch, query, place).
        key: at (batch, place, key).
        value: at (batch, key, place).
        steps: from the products to the weights, with the softmax among them.
        joined: whether the heads lie beside each other in the result, (batch, queries, heads *
            value size).
        result: shape of the result.
    """

    shape: AttentionShape
    query: Source
    key: Source
    value: Source
    steps: tuple[Step, ...]
    joined: bool
    result: tuple[int, ...]


@dataclass
class Bindings:
    """The bindings of a function, with who uses what."""

    pairs: list[tuple[Var, Expr]]
    result: Expr
    values: dict[Any, Expr] = field(default_factory=dict)
    uses: Counter[Any] = field(default_factory=Counter)
    users: dict[Any, Var] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from tvm import relax

        def count(expr: Expr, user: Var | None) -> None:
            if isinstance(expr, relax.Var):
                self.uses[expr] += 1
                if user is not None:
                    self.users[expr] = user
            elif isinstance(expr, relax.Call):
                for argument in expr.args:
                    count(argument, user)
            elif isinstance(expr, relax.Tuple):
                for item in expr.fields:
                    count(item, user)
            elif isinstance(expr, relax.TupleGetItem):
                count(expr.tuple_value, user)

        for var, value in self.pairs:
            self.values[var] = value
            count(value, var)
        count(self.result, None)

    def matches(self) -> dict[Any, Match]:
        """By the variable of the last binding of each."""
        found = {}
        for var, value in self.pairs:
            if operator_name(value) == "matmul":
                match = self._match(var, value)
                if match is not None:
                    found[match[0]] = match[1]
        return found

    def _match(self, var: Var, product: Expr) -> tuple[Var, Match] | None:
        weights, values = product.args
        steps: list[Step] = []
        scores = self._scores(weights, steps)
        if scores is None or not any(step.name == "nn.softmax" for step in steps):
            return None
        shape = _extents(scores, product)
        if shape is None:
            return None
        if any(step.shape[-1] != shape.keys for step in steps):
            return None
        first, second = self.values[scores].args
        of_query, of_key = static_shape(first), static_shape(second)
        if of_query is None or of_key is None or min(len(of_query), len(of_key)) < 2:
            return None
        last, joined = self._joined(var, shape)
        result = static_shape(last)
        assert result is not None
        shape = replace(shape, size=of_query[-1])
        batch = len(shape.batch) + 2
        extents = (*shape.batch, shape.keys, shape.value_size)
        return last, Match(
            shape,
            traced(self.values, aligned_source(first, batch)),
            traced(self.values, aligned_source(second, batch)),
            traced(self.values, aligned_source(values, batch), contiguous=extents),
            tuple(steps),
            joined,
            result,
        )

    def _scores(self, weights: Expr, steps: list[Step]) -> Expr | None:
        """The products that weights are made of, each step used by the next alone; fills `steps`,
        the first one first."""
        softmax = False
        expr, uses = weights, 1
        while True:
            call, shape = self.values.get(expr), static_shape(expr)
            if call is None or shape is None or self.uses[expr] != uses:
                return None
            name = operator_name(call)
            if str(expr.ty.dtype) != "float32":
                return None
            if name == "matmul":
                return expr if softmax else None
            step, before = self._step(name, call, shape, softmax=softmax)
            if step is None:
                return None
            softmax = softmax or name == "nn.softmax"
            steps.insert(0, step)
            # Weights that are looked at for NaN are read there too, and nowhere else.
            expr, uses = before, self.uses[before] if step.name == NUMBERS else 1

    def _step(
        self, name: str, call: Any, shape: tuple[int, ...], *, softmax: bool
    ) -> tuple[Step | None, Any]:
        """A step, and the scores before it. Behind the softmax weights may be dropped."""
        if name in RESHAPES:
            return Step("reshape", (), shape), call.args[0]
        if name == "nn.softmax" and not softmax:
            is_last = int(call.attrs.axis) % len(shape) == len(shape) - 1
            return (Step(name, (), shape) if is_last else None), call.args[0]
        if name == "where" and not softmax:
            condition, chosen, other = call.args
            if number_of(chosen) == 0 and self._asks_for_nan(condition, other):
                return Step(NUMBERS, (), shape), other
            if number_of(other) != 0:
                return None, None
            return Step("allowed", (condition, None, other), shape), chosen
        if not softmax or name not in STEPS:
            return None, None
        inner = [
            index
            for index, argument in enumerate(call.args)
            if static_shape(argument) == shape and self._leads_to_product(argument)
        ]
        if len(inner) != 1:
            return None, None
        operands = [None if i == inner[0] else argument for i, argument in enumerate(call.args)]
        return Step(name, tuple(operands), shape), call.args[inner[0]]

    def _asks_for_nan(self, condition: Any, weights: Any) -> bool:
        """Whether a condition that nobody else uses is where these weights are NaN, which nobody
        else but the choice reads."""
        call = self.values.get(condition)
        if call is None or self.uses[condition] != 1:
            return False
        if operator_name(call) not in ("isnan", "not_equal"):
            return False
        is_itself = all(argument.same_as(weights) for argument in call.args)
        return is_itself and self.uses[weights] == 1 + len(call.args)

    def _leads_to_product(self, expr: Expr) -> bool:
        """Whether a value that nobody else uses is made of one product."""
        call = self.values.get(expr)
        if call is None or self.uses[expr] != 1:
            return False
        name = operator_name(call)
        if name == "matmul":
            return True
        if name not in (*STEPS, *RESHAPES):
            return False
        return any(self._leads_to_product(argument) for argument in call.args)

    def _joined(self, var: Var, shape: AttentionShape) -> tuple[Var, bool]:
        """The last variable that the kernel makes, and whether heads are joined in it."""
        if len(shape.batch) != 2:
            return var, False
        batch, heads = shape.batch
        turned = self._only_user(var, "permute_dims")
        if turned is None or [int(a) for a in self.values[turned].attrs.axes or ()] != [0, 2, 1, 3]:
            return var, False
        flat = self._only_user(turned, "reshape")
        whole = (batch, shape.queries, heads * shape.value_size)
        return (flat, True) if flat is not None and static_shape(flat) == whole else (var, False)

    def _only_user(self, var: Var, name: str) -> Var | None:
        user = self.users.get(var) if self.uses[var] == 1 else None
        return user if user is not None and operator_name(self.values[user]) == name else None


def _extents(scores: Expr, product: Any) -> AttentionShape | None:
    """Of an attention that is worth a kernel, None of others."""
    of_scores, result = static_shape(scores), static_shape(product)
    weights, values = static_shape(product.args[0]), static_shape(product.args[1])
    if of_scores is None or result is None or values is None or weights != of_scores:
        return None
    if len(of_scores) < 2 or len(values) < 2 or result[:-1] != of_scores[:-1]:
        return None
    *batch, queries, keys = of_scores
    if queries < _FEWEST_QUERIES or 0 in (*of_scores, *result) or result[-1] % _NARROWEST:
        return None
    if str(product.ty.dtype) != "float32" or str(product.args[1].ty.dtype) != "float32":
        return None
    return AttentionShape(tuple(batch), queries, keys, size=0, value_size=result[-1])


def number_of(expr: Expr) -> float | bool | None:
    """The only element of a constant, None of anything else."""
    array = constant_value(expr)
    return array.reshape(()).item() if array is not None and array.size == 1 else None


def _chosen(condition: Any, score: Any, other: Any) -> Any:
    from tvm import tirx

    return tirx.Select(condition, score, other)


def _larger(first: Any, second: Any) -> Any:
    from tvm import tirx

    return tirx.max(first, second)


def _smaller(first: Any, second: Any) -> Any:
    from tvm import tirx

    return tirx.min(first, second)


# What may be done to scores, by the name of the Relax operator.
STEPS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "maximum": _larger,
    "minimum": _smaller,
    "where": _chosen,
}

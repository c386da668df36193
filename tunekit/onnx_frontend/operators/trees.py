"""Ensembles of decision trees, as ai.onnx.ml has them: a walk from the roots down for all at once.

Each node of each tree is a row of a few tables. A step reads, for every sample and tree, the row
where the walk stands and moves to one of two others; leaves lead to themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import numpy_helper

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.classic import LABELS_HINT, transformed
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Array, Value, dtype_of

_DOMAIN = "ai.onnx.ml"
_MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER")
"""In the order of TreeEnsemble's numbers."""
_COMPARISONS = {"LEQ": "LessOrEqual", "LT": "Less", "GTE": "GreaterOrEqual", "GT": "Greater"}
# In the order of TreeEnsemble's numbers, too.
_AGGREGATES = {"AVERAGE": "ReduceMean", "SUM": "ReduceSum", "MIN": "ReduceMin", "MAX": "ReduceMax"}
# What a tree says of a result of which its leaf does not speak, where 0 would be heard.
_NOTHING = {"MIN": np.inf, "MAX": -np.inf}
_LEAF = "LEAF"


@dataclass(frozen=True)
class Forest:
    """Trees as tables with a row for each node.

    Attributes:
        feature: which feature a node looks at.
        split: what it compares the feature with.
        mode: how, one of `_MODES` or a leaf.
        yes, no: the rows that come next.
        missing: whether NaN goes the way of yes.
        roots: the first row of each tree.
        weights: what each row adds to each result; [rows, results].
        scored: whether a row has a say in each result; [rows, results].
        members: of each row the values that it looks for, and NaN; [rows, any].
    """

    feature: Array
    split: Array
    mode: Sequence[str]
    yes: Array
    no: Array
    missing: Array
    roots: Array
    weights: Array
    scored: Array
    members: Array | None = None

    @property
    def depth(self) -> int:
        """Steps that reach every leaf."""
        rows, steps = set(self.roots.tolist()), 0
        while any(self.mode[row] != _LEAF for row in rows):
            inner = [row for row in rows if self.mode[row] != _LEAF]
            rows = {int(table[row]) for row in inner for table in (self.yes, self.no)}
            steps += 1
            if steps > len(self.mode):
                raise Unsupported("its trees have a cycle")
        return steps


def _scores(node: OnnxNode, forest: Forest, aggregate: str) -> Value:
    """The results of all trees together; [samples, results]."""
    data = node.value(0)
    if not dtype_of(data).startswith("float"):
        data = node.call("Cast", data, to=1)
    dtype = dtype_of(data)
    samples = node.shape()[0]
    place: Value = np.tile(forest.roots.astype(np.int64), (samples, 1))
    for _ in range(forest.depth):
        value = node.call("GatherElements", data, _read(node, forest.feature, place), axis=1)
        split = _read(node, forest.split.astype(dtype), place)
        goes = _compared(node, forest, value, split, place)
        if forest.missing.any():
            lost = node.call("And", node.call("IsNaN", value), _read(node, forest.missing, place))
            goes = node.call("Or", goes, lost)
        ways = (_read(node, table, place) for table in (forest.yes, forest.no))
        place = node.call("Where", goes, *ways)
    weights, nothing = forest.weights, _NOTHING.get(aggregate, 0.0)
    if nothing:
        weights = np.where(forest.scored, weights, nothing)
    read = _read(node, weights.astype(dtype), place)
    scores = node.call(_AGGREGATES[aggregate], read, np.array([1]), keepdims=0)
    if nothing and not forest.scored.all():
        none = node.call("Equal", scores, np.array(nothing, dtype))
        scores = node.call("Where", none, np.array(0, dtype), scores)
    return scores


def _read(node: OnnxNode, table: Array, place: Value) -> Value:
    return node.call("Gather", table, place)


def _compared(node: OnnxNode, forest: Forest, value: Value, split: Value, place: Value) -> Value:
    """Whether each walk goes the way of yes."""
    found: Value = None
    modes = [mode for mode in _MODES if mode in forest.mode]
    for mode in modes:
        result = (
            _is_member(node, forest, value, place)
            if mode == "MEMBER"
            else _by_mode(node, mode, value, split)
        )
        own = np.array([item == mode for item in forest.mode])
        found = (
            result if found is None else node.call("Where", _read(node, own, place), result, found)
        )
    return found


def _is_member(node: OnnxNode, forest: Forest, value: Value, place: Value) -> Value:
    assert forest.members is not None
    members = _read(node, forest.members.astype(dtype_of(value)), place)
    equal = node.call("Equal", node.call("Unsqueeze", value, np.array([-1])), members)
    found = node.call("ReduceMax", node.call("Cast", equal, to=6), np.array([-1]), keepdims=0)
    return node.call("Cast", found, to=9)


def _by_mode(node: OnnxNode, mode: str, value: Value, split: Value) -> Value:
    if mode in _COMPARISONS:
        return node.call(_COMPARISONS[mode], value, split)
    equal = node.call("Equal", value, split)
    return node.call("Not", equal) if mode == "NEQ" else equal


def _listed(node: OnnxNode, name: str) -> Array:
    """An attribute with a number of each node, also where it is a tensor."""
    tensor = node.attributes.get(f"{name}_as_tensor")
    if tensor is not None:
        return numpy_helper.to_array(tensor)
    value = node.attributes.get(name)
    if value is None:
        return np.zeros(0, np.int64)
    return numpy_helper.to_array(value) if hasattr(value, "dims") else np.asarray(value)


def _of_older(node: OnnxNode, kind: str, results: int) -> Forest:
    """Of TreeEnsembleRegressor (its kind is `target`) or TreeEnsembleClassifier (`class`)."""
    trees, ids = _listed(node, "nodes_treeids"), _listed(node, "nodes_nodeids")
    row_of = {key: row for row, key in enumerate(zip(trees.tolist(), ids.tolist(), strict=True))}
    mode = [item.decode().removeprefix("BRANCH_") for item in node.attributes["nodes_modes"]]
    itself = np.arange(len(mode))

    def rows(name: str) -> Array:
        given = _listed(node, name)
        return np.array(
            [
                row if mode[row] == _LEAF else row_of[int(trees[row]), int(given[row])]
                for row in itself
            ]
        )

    weights = np.zeros((len(mode), results), np.float64)
    scored = np.zeros(weights.shape, bool)
    names = (f"{kind}_treeids", f"{kind}_nodeids", f"{kind}_ids", f"{kind}_weights")
    for tree, leaf, result, weight in zip(*(_listed(node, name) for name in names), strict=True):
        place = row_of[int(tree), int(leaf)], int(result)
        weights[place] += weight
        scored[place] = True
    firsts = {int(tree): row for row, tree in reversed(list(enumerate(trees)))}
    return Forest(
        _listed(node, "nodes_featureids"),
        _listed(node, "nodes_values"),
        mode,
        rows("nodes_truenodeids"),
        rows("nodes_falsenodeids"),
        _flags(node, len(mode)),
        np.array(sorted(firsts.values())),
        weights,
        scored,
    )


def _flags(node: OnnxNode, count: int) -> Array:
    given = _listed(node, "nodes_missing_value_tracks_true")
    return given.astype(bool) if given.size else np.zeros(count, bool)


@converts("TreeEnsembleRegressor", domain=_DOMAIN)
def _regressor(node: OnnxNode) -> Value:
    results = int(node.attribute("n_targets", 1))
    forest = _of_older(node, "target", results)
    scores = _scores(node, forest, node.attribute("aggregate_function", "SUM"))
    return transformed(node, _with_base(node, scores))


@converts("TreeEnsembleClassifier", domain=_DOMAIN)
def _classifier(node: OnnxNode) -> Value:
    labels = node.attribute("classlabels_int64s")
    if not labels:
        raise Unsupported("its labels are text", hint=LABELS_HINT)
    used = set(_listed(node, "class_ids").tolist())
    if len(labels) == 2 and len(used) == 1:
        raise Unsupported("it gives one score for two classes")
    forest = _of_older(node, "class", len(labels))
    scores = _with_base(node, _scores(node, forest, "SUM"))
    best = node.call("ArgMax", scores, axis=1, keepdims=0)
    return _read(node, np.array(labels, np.int64), best), transformed(node, scores)


def _with_base(node: OnnxNode, scores: Value) -> Value:
    base = _listed(node, "base_values")
    return node.call("Add", scores, base.astype(dtype_of(scores))) if base.size else scores


@converts("TreeEnsemble", domain=_DOMAIN)
def _ensemble(node: OnnxNode) -> Value:
    """Nodes first, then leaves, in one numbering."""
    inner = len(_listed(node, "nodes_featureids"))
    targets, leaf_weights = _listed(node, "leaf_targetids"), _listed(node, "leaf_weights")
    leaves = np.arange(inner, inner + len(targets))
    numbers = _listed(node, "nodes_modes").tolist()

    def rows(side: str) -> Array:
        given = _listed(node, f"nodes_{side}nodeids")
        is_leaf = _listed(node, f"nodes_{side}leafs").astype(bool)
        return np.concatenate([np.where(is_leaf, given + inner, given), leaves])

    def padded(values: Array) -> Array:
        return np.concatenate([values, np.zeros(len(leaves), values.dtype)])

    weights = np.zeros((inner + len(leaves), int(node.attribute("n_targets", 1))), np.float64)
    weights[leaves, targets] = leaf_weights
    scored = np.zeros(weights.shape, bool)
    scored[leaves, targets] = True
    forest = Forest(
        padded(_listed(node, "nodes_featureids")),
        padded(_listed(node, "nodes_splits")),
        [*(_MODES[number] for number in numbers), *[_LEAF] * len(leaves)],
        rows("true"),
        rows("false"),
        padded(_flags(node, inner)),
        _listed(node, "tree_roots"),
        weights,
        scored,
        _members(node, numbers, len(leaves)),
    )
    aggregate = list(_AGGREGATES)[int(node.attribute("aggregate_function", 1))]
    return transformed(node, _scores(node, forest, aggregate))


def _members(node: OnnxNode, modes: Sequence[int], leaves: int) -> Array | None:
    """The sets of the nodes that look for members, which stand one behind another with NaN after
    each."""
    values = _listed(node, "membership_values")
    if not values.size:
        return None
    sets = iter(np.split(values, np.flatnonzero(np.isnan(values))))
    table = np.full((len(modes) + leaves, values.size), np.nan)
    for row, mode in enumerate(modes):
        if _MODES[mode] == "MEMBER":
            own = next(sets)
            table[row, : own.size] = own
    return table

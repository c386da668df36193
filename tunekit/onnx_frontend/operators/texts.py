"""Texts, as far as they are numbers."""

from __future__ import annotations

import numpy as np

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Array, Value, shape_of

_INT32, _FLOAT = 6, 1


@converts("TfIdfVectorizer")
def _tf_idf(node: OnnxNode) -> Value:
    """How often each sequence of numbers of a pool stands in each row, weighted."""
    if node.attribute("pool_strings"):
        raise Unsupported(
            "it counts the words of a text",
            "count them before the model, and give the model the counts",
        )
    columns = np.array(node.attribute("ngram_indexes"))
    weights = np.array(node.attribute("weights") or np.ones(columns.size), "float32")
    shortest = int(node.attribute("min_gram_length"))
    longest = int(node.attribute("max_gram_length"))
    counts: list[Value] = []
    kept: list[int] = []
    for length, (first, grams) in enumerate(_pool(node), start=1):
        if len(grams) and shortest <= length <= longest:
            counts.append(_counted(node, grams))
            kept += range(first, first + len(grams))
    rows = list(node.shape()[:-1])
    width = int(columns.max()) + 1
    if not counts:
        return np.zeros([*rows, width], "float32")
    found = node.call("Cast", node.call("Concat", *counts, axis=-1), to=_FLOAT)
    mode = node.attribute("mode")
    if mode == "IDF":
        found = node.call("Min", found, np.array(1, "float32"))
    if mode != "TF":
        found = node.call("Mul", found, weights[kept])
    # What is in no column of the result is behind the last.
    source = np.full(width, len(kept))
    source[columns[kept]] = np.arange(len(kept))
    found = node.call("Concat", found, np.zeros([*rows, 1], "float32"), axis=-1)
    return node.call("Gather", found, source, axis=len(rows))


def _pool(node: OnnxNode) -> list[tuple[int, Array]]:
    """Of each length the number of its first sequence, and its sequences as rows."""
    numbers = np.array(node.attribute("pool_int64s"), np.int64)
    starts = [int(start) for start in node.attribute("ngram_counts")]
    groups, first = [], 0
    for length, start in enumerate(starts, start=1):
        end = starts[length] if length < len(starts) else numbers.size
        grams = numbers[start:end].reshape(-1, length)
        groups.append((first, grams))
        first += len(grams)
    return groups


def _counted(node: OnnxNode, grams: Array) -> Value:
    """How often each sequence stands in each row, with up to so many numbers between its own."""
    length, size = grams.shape[1], node.shape()[-1]
    skips = 1 if length == 1 else int(node.attribute("max_skip_count", 0)) + 1
    total: Value = np.zeros([*node.shape()[:-1], len(grams)], "int32")
    for step in range(1, skips + 1):
        places = size - (length - 1) * step
        if places <= 0:
            break
        windows = np.arange(places)[:, None] + np.arange(length) * step
        taken = node.call("Gather", node.value(0), windows, axis=len(node.shape()) - 1)
        taken = node.call("Unsqueeze", taken, np.array([len(shape_of(taken)) - 1]))
        equal = node.call("Equal", taken, grams.astype(node.dtype()))
        numbers = node.call("Cast", equal, to=_INT32)
        whole = node.call("ReduceMin", numbers, np.array([-1]), keepdims=0)
        found = node.call("ReduceSum", whole, np.array([-2]), keepdims=0)
        total = node.call("Add", total, found)
    return total

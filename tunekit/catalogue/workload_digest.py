"""The identity of a workload's module: a digest of what it computes, not of how it was written.

`tvm.ir.save_json` writes a graph of nodes whose order, sharing and names depend on how the module
came to be, so the same kernel out of two models is two texts. The digest here is taken over the
graph instead, from its root: nodes by what they hold, variables by the order in which they are
first met. Names of variables and buffers and source positions do not count; names of blocks do,
because traces find blocks by their names.

It is made from the text alone and never loads TVM. How a field is to be read follows from TVM's
reflection: integers whose static type is known are written in place, everything else as the index
of another node (`ToJSONGraph` in tvm_ffi/src/ffi/extra/serialization.cc).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

#: Integer fields that are values; all other integers in an object's fields are indices of nodes.
VALUE_FIELDS = frozenset(
    {
        ("ir.TupleGetItem", "index"),
        ("relax.ShapeType", "ndim"),
        ("relax.TensorType", "ndim"),
        ("tirx.BufferType", "data_alignment"),
        ("tirx.BufferType", "offset_factor"),
        ("tirx.ComposeLayout", "atom_len"),
        ("tirx.ComposeLayout", "inner_mask"),
        ("tirx.ComposeLayout", "outer_mask"),
        ("tirx.ComposeLayout", "per_element"),
        ("tirx.ComposeLayout", "swizzle_len"),
        ("tirx.ExecScope", "kind"),
        ("tirx.For", "kind"),
        ("tirx.IterVar", "iter_type"),
        ("tirx.ScopeIdDef", "scope"),
    }
)
#: Object types whose fields are understood here: what a TIR module can be made of.
NAMESPACES = ("ir", "prim", "tirx")
TYPES = frozenset(
    {
        "relax.AnyType",
        "relax.FuncType",
        "relax.ShapeType",
        "relax.TensorType",
        "relax.expr.ShapeExpr",
        "s_tir.MatchBufferRegion",
        "s_tir.SBlock",
        "s_tir.SBlockRealize",
    }
)
_SEQUENCES = frozenset({"ffi.Array", "ffi.List"})
_MAPS = frozenset({"ffi.Map", "ffi.Dict"})
_VARIABLE = "ir.Var"
# A global's type repeats its function's, and is not there in every module.
_IGNORED_FIELDS = frozenset(
    {(_VARIABLE, "name"), ("ir.GlobalVar", "ty"), ("ir.IRModule", "source_map")}
)


def content_digest(module_json: str) -> str:
    """The sha256 that equal modules share, as 64 hexadecimal digits.

    A text that is not such a graph, or one with objects of a kind not known here, is taken as it
    stands: never equal to another by mistake, at worst not recognised as equal.
    """
    try:
        return _Graph(json.loads(module_json)).digest()
    except (_NotUnderstoodError, ValueError):
        return hashlib.sha256(module_json.encode("utf-8")).hexdigest()


class _NotUnderstoodError(Exception):
    """The text is not a graph that this module can read."""


class _Graph:
    """One saved module. Walks without recursion: expressions nest deeper than Python's stack."""

    def __init__(self, saved: object) -> None:
        if not isinstance(saved, dict) or not isinstance(saved.get("nodes"), list):
            raise _NotUnderstoodError
        self._nodes: list[Any] = saved["nodes"]
        self._root: object = saved.get("root_index")
        self._digests: dict[int, str] = {}
        self._variables: dict[int, int] = {}

    def digest(self) -> str:
        """The root's digest; every node that it reaches is visited twice, on the way down (where
        variables get their numbers) and back up (where the digest is made of the children's)."""
        root = self._index(self._root)
        entered: set[int] = set()
        stack: list[tuple[int, bool]] = [(root, False)]
        while stack:
            index, children_done = stack.pop()
            if children_done:
                self._digests[index] = self._combine(index)
            elif index not in entered:
                entered.add(index)
                if self._type(index) == _VARIABLE:
                    self._variables[index] = len(self._variables)
                stack.append((index, True))
                stack += [(child, False) for child in reversed(list(self._children(index)))]
        return self._digests[root]

    def _index(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _NotUnderstoodError
        if not 0 <= value < len(self._nodes):
            raise _NotUnderstoodError
        return value

    def _type(self, index: int) -> str:
        node = self._nodes[index]
        if not isinstance(node, dict) or not isinstance(node.get("type"), str):
            raise _NotUnderstoodError
        return cast("str", node["type"])

    def _children(self, index: int) -> Iterator[int]:
        for _, value, is_child in self._parts(index):
            if is_child:
                yield self._index(value)

    def _combine(self, index: int) -> str:
        parts: list[object] = [self._type(index)]
        if index in self._variables:
            parts.append(self._variables[index])
        for name, value, is_child in self._parts(index):
            if is_child:
                # Missing only where a node refers back to itself: no tree, so no module.
                value = self._digests.get(self._index(value))
                if value is None:
                    raise _NotUnderstoodError
            parts.append([name, value])
        text = json.dumps(parts, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def _parts(self, index: int) -> Iterator[tuple[str, Any, bool]]:
        """What a node is made of, in an order of its own: name, value, whether that is a child."""
        kind, data = self._type(index), self._nodes[index].get("data")
        if kind in _SEQUENCES:
            for item in _list(data):
                yield "", item, True
        elif kind in _MAPS:
            for key, value in self._pairs(_list(data)):
                yield "key", key, True
                yield "value", value, True
        elif not isinstance(data, dict):  # a number, a string, an operator's name
            yield "", data, False
        elif kind.split(".")[0] in NAMESPACES or kind in TYPES:
            for name in sorted(data):
                if name != "span" and (kind, name) not in _IGNORED_FIELDS:
                    value = data[name]
                    number = isinstance(value, int) and not isinstance(value, bool)
                    yield name, value, number and (kind, name) not in VALUE_FIELDS
        else:
            raise _NotUnderstoodError

    def _pairs(self, data: Sequence[Any]) -> list[tuple[Any, Any]]:
        """A map's pairs, by name where all keys have one; a map has no order of its own."""
        pairs = list(zip(data[::2], data[1::2], strict=True))
        names = [self._name(self._index(key)) for key, _ in pairs]
        if None in names:
            return pairs
        return [pairs[n] for n in sorted(range(len(pairs)), key=lambda n: str(names[n]))]

    def _name(self, index: int) -> str | None:
        kind, data = self._type(index), self._nodes[index].get("data")
        if kind == "ir.GlobalVar" and isinstance(data, dict):
            return self._name(self._index(data.get("name_hint")))
        return data if kind == "ffi.String" and isinstance(data, str) else None


def _list(data: object) -> list[Any]:
    if not isinstance(data, list):
        raise _NotUnderstoodError
    return data

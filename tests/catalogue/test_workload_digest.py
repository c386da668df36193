"""Which modules count as one workload."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te, topi

from tunekit.catalogue.workload_digest import NAMESPACES, TYPES, VALUE_FIELDS, content_digest

Graph = dict[str, Any]


@cache
def module(first: str = "A", second: str = "B", size: int = 8, block: str = "T_relu") -> str:
    """The text of exp(relu(first @ second)) for square matrices."""
    a = te.placeholder((size, size), name=first)
    b = te.placeholder((size, size), name=second)
    product = topi.nn.matmul(a, b)
    relu = te.compute(
        (size, size), lambda i, j: te.max(product[i, j], te.const(0, "float32")), name=block
    )
    function = te.create_prim_func([a, b, topi.exp(relu)]).with_attr("global_symbol", "main")
    return str(tvm.ir.save_json(tvm.IRModule({"main": function})))


def graph() -> Graph:
    parsed: Graph = json.loads(module())
    return parsed


def children(node: Graph) -> list[tuple[Any, Any]]:
    """Where a node's data names other nodes: (container, key)."""
    data = node.get("data")
    if node["type"] in ("ffi.Array", "ffi.Map"):
        return [(data, place) for place in range(len(data))]
    if not isinstance(data, dict):
        return []
    return [
        (data, name)
        for name, value in data.items()
        if isinstance(value, int)
        and not isinstance(value, bool)
        and (node["type"], name) not in VALUE_FIELDS
    ]


def reordered(saved: Graph, order: list[int]) -> Graph:
    """The same graph with node n at place order[n]."""
    nodes: list[Any] = [None] * len(order)
    for old, node in enumerate(copy.deepcopy(saved["nodes"])):
        for container, key in children(node):
            container[key] = order[container[key]]
        nodes[order[old]] = node
    return {"root_index": order[saved["root_index"]], "nodes": nodes, "metadata": {}}


def unshared(saved: Graph, node: int) -> Graph:
    """The same graph, where every second user of a node gets a copy of it."""
    saved = copy.deepcopy(saved)
    uses = [
        (container, key)
        for other in saved["nodes"]
        for container, key in children(other)
        if container[key] == node
    ]
    for container, key in uses[1::2]:
        saved["nodes"].append(copy.deepcopy(saved["nodes"][node]))
        container[key] = len(saved["nodes"]) - 1
    return saved


def renamed(saved: Graph, suffix: str) -> Graph:
    """The same graph with other names of variables; blocks keep theirs."""
    saved = copy.deepcopy(saved)
    nodes = saved["nodes"]
    for node in list(nodes):
        if node["type"] == "ir.Var":
            name = nodes[node["data"]["name"]]["data"]
            nodes.append({"type": "ffi.String", "data": name + suffix})
            node["data"]["name"] = len(nodes) - 1
    return saved


SHARABLE = [n for n, node in enumerate(graph()["nodes"]) if node["type"] != "ir.Var"]
NUMBERS = [n for n, node in enumerate(graph()["nodes"]) if node["type"] in ("int", "ir.FloatImm")]


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_order_sharing_and_names_of_a_graph_do_not_count(data: st.DataObject) -> None:
    expected = content_digest(module())
    changed = graph()
    for node in data.draw(st.lists(st.sampled_from(SHARABLE), max_size=5)):
        changed = unshared(changed, node)
    changed = renamed(changed, data.draw(st.text(max_size=5)))
    order = data.draw(st.permutations(range(len(changed["nodes"]))))
    text = json.dumps(reordered(changed, list(order)), indent=data.draw(st.sampled_from([None, 2])))
    assert text != module()
    assert content_digest(text) == expected


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_every_number_and_every_block_name_counts(data: st.DataObject) -> None:
    changed = graph()
    nodes = changed["nodes"]
    node = nodes[data.draw(st.sampled_from(NUMBERS))]
    other = data.draw(st.integers(0, 2**31))
    if node["type"] == "int":
        if node["data"] == other:
            return
        node["data"] = other
    elif node["data"]["value"] == other:
        return
    else:
        node["data"]["value"] = float(other)
    assert content_digest(json.dumps(changed)) != content_digest(module())

    changed = graph()
    nodes = changed["nodes"]
    block = data.draw(st.sampled_from([n for n in nodes if n["type"] == "s_tir.SBlock"]))
    nodes.append({"type": "ffi.String", "data": data.draw(st.text(max_size=9)) + " "})
    block["data"]["name_hint"] = len(nodes) - 1
    assert content_digest(json.dumps(changed)) != content_digest(module())


def test_which_variable_is_used_counts() -> None:
    changed = graph()
    nodes = changed["nodes"]
    names = {
        nodes[node["data"]["name"]]["data"]: index
        for index, node in enumerate(nodes)
        if node["type"] == "ir.Var"
    }
    (load,) = (
        node
        for node in nodes
        if node["type"] == "ir.TensorLoad" and node["data"]["source"] == names["A"]
    )
    load["data"]["source"] = names["B"]  # B @ B
    assert content_digest(json.dumps(changed)) != content_digest(module())


def test_names_of_tensors_do_not_count_and_sizes_and_blocks_do() -> None:
    assert module("A", "B") != module("P", "Q")
    assert content_digest(module("A", "B")) == content_digest(module("P", "Q"))
    assert content_digest(module()) != content_digest(module(size=9))
    assert content_digest(module()) != content_digest(module(block="other"))


def test_saved_and_loaded_again_a_module_is_the_same() -> None:
    text = module()
    again = tvm.ir.save_json(tvm.ir.load_json(text))
    assert content_digest(again) == content_digest(text)


def test_a_text_that_is_no_module_is_only_equal_to_itself() -> None:
    texts = ["", "module", "{}", '{"nodes": []}', '{"nodes": [7], "root_index": 0}', "[1"]
    assert len({content_digest(text) for text in texts}) == len(texts)


def test_the_fields_that_hold_numbers_are_those_that_tvm_says() -> None:
    from tvm_ffi.core import _lookup_or_register_type_info_from_type_key as type_info
    from tvm_ffi.registry import get_registered_type_keys

    found = set()
    for key in map(str, get_registered_type_keys()):
        if key.split(".")[0] not in NAMESPACES and key not in TYPES:
            continue
        if ".transform." in key or key.endswith(("Span", "Attr")) or key == "ir.Op":
            continue  # options of passes, positions in sources; operators are saved as their names
        info = type_info(key)
        while info is not None:
            found |= {(key, f.name) for f in info.fields or () if f.field_static_type_index == 1}
            info = info.parent_type_info
    assert found == VALUE_FIELDS

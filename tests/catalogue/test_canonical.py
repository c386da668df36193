"""Which modules count as one workload."""

from __future__ import annotations

import tvm
from tvm import te, topi

from tunekit.catalogue.canonical import NAMESPACES, TYPES, VALUE_FIELDS, content_digest


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

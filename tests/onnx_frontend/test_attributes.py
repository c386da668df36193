"""Every attribute that the standard gives an operator is heeded, of no effect, or refused."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator

import onnx

from tunekit.onnx_frontend import definitions, registry
from tunekit.onnx_frontend.registry import converter_of

# Of these nothing depends on them in a compiled library.
WITHOUT_EFFECT = {
    *("kernel_shape", "hidden_size"),  # sizes that the weights have
    *("stash_type", "softmax_precision"),  # how exact sums are: never less than asked for
    *("sorted",),  # any order is right
    *("consumed_inputs", "broadcast"),  # of opsets in which they only said what inputs say
    *("is_test", "seed"),  # of training
}
# Handed on to Conv with all their attributes.
HANDED_ON = {"QLinearConv", "ConvInteger"}
# Known when the model is compiled, and computed by ONNX Runtime.
FOLDED = {"Constant", "MelWeightMatrix", "Optional"}
# Their converters refuse the operator itself, whatever its attributes say.
REFUSED = {
    *("Bernoulli", "ImageDecoder", "Multinomial", "NonMaxSuppression"),
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
}
# A float8 that is no constant is refused; constants are converted by ONNX Runtime.
SATURATION = {"Cast", "CastLike", "QuantizeLinear"}


def standard_converters() -> Iterator[tuple[str, str]]:
    """Operators of the standard with a converter, and the text of its module and of those of other
    operators that it uses."""
    for schema in onnx.defs.get_all_schemas():
        if schema.domain == "" and (converter := converter_of("", schema.name)) is not None:
            module = sys.modules[converter.__module__]
            used = {
                value.__module__
                for value in vars(module).values()
                if getattr(value, "__module__", "").startswith(registry.__package__ or "")
            }
            texts = [inspect.getsource(importlib.import_module(name)) for name in sorted(used)]
            yield schema.name, "\n".join([inspect.getsource(module), *texts])


def attributes_of(operator: str) -> set[str]:
    """Of all versions."""
    return {
        name
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.name == operator
        for name in schema.attributes
    }


def test_no_attribute_is_overlooked() -> None:
    overlooked = {}
    converters = dict(standard_converters())
    assert {"Conv", "Resize", "LSTM"} <= converters.keys()
    for operator, source in converters.items():
        known = WITHOUT_EFFECT | set(definitions._UNHEEDED.get(operator, ()))
        if operator in SATURATION:
            known.add("saturate")
        missing = {name for name in attributes_of(operator) - known if f'"{name}"' not in source}
        if missing and operator not in REFUSED | HANDED_ON | FOLDED:
            overlooked[operator] = missing
    assert overlooked == {}

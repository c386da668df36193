"""Which function converts which operator."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tunekit.onnx_frontend.node import OnnxNode
    from tunekit.onnx_frontend.values import Value

MICROSOFT = "com.microsoft"

Converter = Callable[["OnnxNode"], "Value"]
_Function = TypeVar("_Function", bound=Converter)

_CONVERTERS: dict[str, Converter] = {}


def converts(*operators: str, domain: str = "") -> Callable[[_Function], _Function]:
    """Marks the function that converts these operators.

    It takes the node and gives its output, a tuple where the operator may have several.
    """

    def register(function: _Function) -> _Function:
        for operator in operators:
            name = full_name(domain, operator)
            assert name not in _CONVERTERS, name
            _CONVERTERS[name] = function
        return function

    return register


def converter_of(domain: str, operator: str) -> Converter | None:
    """The function that converts an operator, None where there is none."""
    _load()
    return _CONVERTERS.get(full_name(domain, operator))


def full_name(domain: str, operator: str) -> str:
    """`Conv`, `com.microsoft.FusedMatMul`."""
    return f"{domain}.{operator}" if domain else operator


@cache
def _load() -> None:
    """Imports every module of `operators`, which registers what it converts."""
    operators = importlib.import_module(f"{__package__}.operators")
    for module in pkgutil.iter_modules(operators.__path__):
        importlib.import_module(f"{operators.__name__}.{module.name}")

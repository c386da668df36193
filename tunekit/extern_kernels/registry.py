"""The operators in C by name."""

from __future__ import annotations

from importlib import import_module

from tunekit.extern_kernels.contract import ExternOperator

# They register themselves when they are read, which is when one is asked for first: they define
# operators of torch, and only models that have such operators need them.
_FAMILIES = ("tunekit.detectors.operators",)
_OPERATORS: dict[str, ExternOperator] = {}


def register(operator: ExternOperator) -> None:
    """Makes an operator known.

    Raises:
        ValueError: another one has its name.
    """
    if _OPERATORS.setdefault(operator.name, operator) is not operator:
        raise ValueError(f"there are two operators '{operator.name}'")


def operator_of(name: str) -> ExternOperator | None:
    """The operator of a name, None where there is none."""
    if name not in _OPERATORS:
        for family in _FAMILIES:
            import_module(family)
    return _OPERATORS.get(name)

"""Pydantic's errors in the words of a recipe: the key, what is wrong, what would be right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tunekit.recipe.schema import Recipe
from tunekit.wording import did_you_mean, one_of, shown

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a recipe; `path` leads from its top to the value (or unknown key)."""

    path: KeyPath
    message: str

    @property
    def key(self) -> str:
        """The path as people write it: `model.inputs[0].shape[1]`."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}"
        return text.lstrip(".")


def problems(error: ValidationError) -> Iterator[Problem]:
    """Each problem in a ValidationError of Recipe, in the order of the fields."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and detail["input"]:
            continue  # not empty: its elements were refused, each with its own problem
        below: KeyPath = detail["ctx"].get("below", ()) if detail["type"] == "recipe" else ()
        yield Problem((*detail["loc"], *below), _say(detail))


def _fields_at(path: KeyPath) -> dict[str, str]:
    """Names and descriptions of what may stand where `path` leads to."""
    model: type[BaseModel] = Recipe
    parts = iter(path)
    for part in parts:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = None if field is None else model_in(field.annotation)
        if field is None or inner is None:
            return {}
        model = inner
        if str(field.annotation).startswith("dict"):
            next(parts, None)  # a name of the person's own
    return {name: field.description or "" for name, field in model.model_fields.items()}


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field's annotation is, or holds as its element."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _unknown_key(detail: ErrorDetails) -> str:
    known = _fields_at(detail["loc"][:-1])
    near = did_you_mean(str(detail["loc"][-1]), known)
    return "unknown key" + (near or f"; the keys here are {', '.join(known)}")


def _missing(detail: ErrorDetails) -> str:
    text = " ".join(_fields_at(detail["loc"][:-1]).get(str(detail["loc"][-1]), "").split())
    return f"is missing: {text}" if text else "is missing"


def _choice(detail: ErrorDetails) -> str:
    choices = [
        part.strip("' ") for part in str(detail["ctx"]["expected"]).replace(" or ", ", ").split(",")
    ]
    value = detail["input"]
    near = did_you_mean(value, choices) if isinstance(value, str) else ""
    return f"must be {one_of(choices)}, not {shown(value)}{near}"


def _whole_number(detail: ErrorDetails) -> str:
    value = detail["input"]
    quoted = isinstance(value, str) and value.strip().lstrip("+-").isdigit()
    return f"must be a whole number, not {shown(value)}" + ("; remove the quotes" if quoted else "")


def _true_or_false(detail: ErrorDetails) -> str:
    return f"must be true or false, not {shown(detail['input'])}"


def _bound(words: str, key: str) -> Callable[[ErrorDetails], str]:
    return lambda detail: f"must be {words} {detail['ctx'][key]}, not {shown(detail['input'])}"


def _kind(words: str) -> Callable[[ErrorDetails], str]:
    return lambda detail: f"must be {words}, not {shown(detail['input'])}"


_SAY: dict[str, Callable[[ErrorDetails], str]] = {
    "recipe": lambda detail: detail["msg"],
    "extra_forbidden": _unknown_key,
    "invalid_key": lambda detail: "is not a key: keys are texts",
    "missing": _missing,
    "literal_error": _choice,
    "int_type": _whole_number,
    "float_type": _kind("a number"),
    "finite_number": _kind("a finite number"),
    "bool_type": _true_or_false,
    "bool_parsing": _true_or_false,
    "string_type": _kind("a text"),
    "path_type": _kind("a path"),
    "tuple_type": _kind("a list"),
    "dict_type": _kind("a mapping of keys to values"),
    "model_type": _kind("a mapping of keys to values"),
    "too_short": lambda detail: "must not be empty",
    "string_too_short": lambda detail: "must not be empty",
    "string_too_long": _bound("no longer than", "max_length"),
    "string_pattern_mismatch": lambda detail: (
        f"may hold letters, digits, dots, dashes and underscores, and starts with a letter or a "
        f"digit; not {shown(detail['input'])}"
    ),
    "greater_than_equal": _bound("at least", "ge"),
    "greater_than": _bound("more than", "gt"),
    "less_than_equal": _bound("at most", "le"),
    "less_than": _bound("less than", "lt"),
}


def _say(detail: ErrorDetails) -> str:
    say = _SAY.get(detail["type"])
    return say(detail) if say else detail["msg"]

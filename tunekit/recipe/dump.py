"""A recipe as YAML: whole, so that loading the text gives an equal one."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from tunekit.recipe.schema import Recipe


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults written out; loading it gives an equal one.

    A relative path to a model or weights file would then start from where the text is saved:
    recipes from `load_recipe` hold absolute ones.
    """
    return as_yaml(recipe.model_dump(mode="json"))


def as_yaml(values: Any) -> str:
    """Plain values as YAML, short lists on one line."""
    text = _yaml(_readable(values), allow_unicode=True)
    if text.replace("\n", "").isprintable():
        return text
    # Line separators such as U+0085 would be read back as blanks: those are written as escapes.
    return _yaml(_readable(values), allow_unicode=False)


def _yaml(values: Any, *, allow_unicode: bool) -> str:
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 100
    yaml.allow_unicode = allow_unicode
    yaml.representer.add_representer(type(None), _null)
    stream = io.StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()


def _null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _readable(value: Any) -> Any:
    """Short lists of plain values on one line, as people write shapes."""
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        items = CommentedSeq(_readable(item) for item in value)
        if not any(isinstance(item, dict | list) for item in value):
            items.fa.set_flow_style()
        return items
    return value

"""Where a node of a traced graph, or a failure, comes from in a person's own code."""

from __future__ import annotations

from typing import Any

import torch


def place_of(node: Any) -> str:
    """A node's name, the submodule and the line of code."""
    parts = [f"node '{node.name}'"]
    modules = node.meta.get("nn_module_stack")
    if modules:
        path, kind = list(modules.values())[-1]
        kind_name = kind if isinstance(kind, str) else kind.__name__
        # torch writes the path as code: L['self'].layer1, or plainly: layer1.
        parts.append(f"in {path or 'the model'} ({kind_name.rpartition('.')[2]})")
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    files = [line for line in lines if line.startswith("File ")]
    if files:
        parts.append(files[-1].removeprefix("File ").replace('"', "").replace(", line ", ":"))
    return ", ".join(parts)


def user_line(error: BaseException) -> str:
    """`; at file:line` of the last line outside of torch that led to the error."""
    home, own = str(torch.__path__[0]), __file__.rpartition("/")[0]
    place = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith((home, own, "<")):
            place = f"; at {code.co_filename}:{trace.tb_lineno}, in {code.co_name}"
        trace = trace.tb_next
    return place

"""Why an operator cannot be converted, before it is said where it stands."""

from __future__ import annotations


class Unsupported(Exception):  # noqa: N818 - the state of a node, not of the program
    """An operator, or the way it is used, has no conversion.

    Args:
        reason: continues "... cannot be imported: ".
        hint: what the person can do; the usual advice where there is none.
        inputs: of the model, whose values would have to be known.
    """

    def __init__(self, reason: str, hint: str | None = None, inputs: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.inputs = inputs

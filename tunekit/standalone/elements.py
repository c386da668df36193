"""Types of a tensor's elements, as DLPack and NumPy name them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tunekit.errors import CompileError

# https://dmlc.github.io/dlpack/latest/c_api.html
_CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4}
_BOOL = 6
_CPU_BITS = (8, 16, 32, 64)


@dataclass(frozen=True)
class Element:
    """One type.

    Attributes:
        name: "float32", "int64", "bool", ...
        code: DLPack's: 0 int, 1 uint, 2 float, 4 bfloat, 6 bool.
        bits: of one element.
    """

    name: str
    code: int
    bits: int

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return self.bits // 8


def element_of(name: str) -> Element:
    """The type of this name.

    Raises:
        CompileError: its elements are no whole bytes, or it is no number.
    """
    if name == "bool":
        return Element(name, _BOOL, 8)
    match = re.fullmatch(r"(int|uint|float|bfloat)(\d+)", name)
    if match is None or int(match[2]) not in _CPU_BITS:
        raise CompileError(
            f"a standalone library cannot hold tensors of {name}",
            hint="`tunekit export --vm` writes a bundle with TVM's runtime, which can",
        )
    return Element(name, _CODES[match[1]], int(match[2]))

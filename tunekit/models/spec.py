"""What goes into a model and what comes out of it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from tunekit.cache import content_key, file_digest


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor of fixed shape; ``dtype`` in numpy's names (``float32``)."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name}: {'x'.join(map(str, self.shape)) or 'scalar'} {self.dtype}"


@functools.cache
def code_digest() -> str:
    """Identifies the code of this package: what other code made is not read back."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return content_key({path.name: file_digest(path) for path in files})

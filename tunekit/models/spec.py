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
    """Identifies the code that imports models: what other code made is not read back."""
    package = Path(__file__).parent.parent
    folders = (package / "models", package / "ir")
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    return content_key({str(path.relative_to(package)): file_digest(path) for path in files})

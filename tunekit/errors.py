"""Every error that tunekit raises on purpose.

    TunekitError                    1   failed
    ├── UsageError                  2   wrong flags, unwritable folder, ...
    │   ├── RecipeError             2   the recipe: file, line and key
    │   ├── TargetError             2   target not understood, or this host cannot run it
    │   └── CatalogueError          2   not a catalogue, written by a newer version, ...
    │       └── CatalogueFailed     1   a good one that can take no more: disk full, held by another
    ├── ToolchainError              1   versions that do not fit, a package that is missing
    ├── ModelError                  1
    │   ├── ModelFileError          2   model or weights file missing, damaged, of another shape
    │   ├── ImportFailed            1   an operator that cannot be imported
    │   │   └── ValueNeeded         1   sizes that depend on the values of inputs
    │   └── ImportMismatch          1   the import computes something else than the model
    ├── CompileError                1
    │   └── VerificationFailed      1   the library computes something else than the model
    ├── SandboxError                1   an isolated process died: signal, timeout or exception
    ├── DeviceError                 1   no RPC tracker answers, or it has no device that works
    └── Interrupted               130   stopped by the person, with everything saved

The number is the exit code of the command line, which is the one place that catches these:
it prints `error: <message>` and `  hint: <what to do now>`. Anything else that escapes is
a bug and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class TunekitError(Exception):
    """Something a person can understand and act upon.

    `message` says what was wrong and where; `hint` what to do now.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(TunekitError):
    """A flag, path or address that cannot be used as it was given."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that cannot be used; `file`, `line` (from 1) and `key` say where.

    They point at the first problem when the message lists several.
    """

    def __init__(
        self,
        message: str,
        *,
        file: Path | None = None,
        line: int | None = None,
        key: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.key = key


class TargetError(UsageError):
    """A target that is not understood, or that this host cannot run."""


class CatalogueError(UsageError):
    """A catalogue that cannot be opened: not one, newer than this version, unreachable."""


class CatalogueFailed(CatalogueError):  # noqa: N818 - reads as what happened
    """A catalogue that served until now: the disk is full, or another process does not let go."""

    exit_code = 1


class ToolchainError(TunekitError):
    """Installed packages that are missing or do not fit each other; the hint mends it."""


class ModelError(TunekitError):
    """The model cannot be used."""


class ModelFileError(ModelError):
    """A model or weights file that is missing, damaged or does not fit the recipe."""

    exit_code = 2


class ImportFailed(ModelError):  # noqa: N818 - reads as what happened
    """An operator that cannot be imported: its name, where it stands, what to try."""


class ValueNeeded(ImportFailed):
    """Sizes inside of the model depend on the values of inputs, which the recipe may bind.

    Attributes:
        names: of those inputs.
    """

    def __init__(self, message: str, *, hint: str | None = None, names: tuple[str, ...]) -> None:
        super().__init__(message, hint=hint)
        self.names = names


class ImportMismatch(ModelError):  # noqa: N818 - reads as what happened
    """The imported model computes something else than its reference."""


class CompileError(TunekitError):
    """The model cannot be compiled for the target."""


class VerificationFailed(CompileError):  # noqa: N818 - reads as what happened
    """The compiled library computes something else than the model's reference."""


class SandboxError(TunekitError):
    """An isolated process died: the message names the signal, the timeout or the exception."""


class DeviceError(TunekitError):
    """No RPC tracker answers, or it has no device that can measure."""


class Interrupted(TunekitError):  # noqa: N818 - not an error, a request
    """Stopped by the person with everything saved; the hint says how to go on."""

    exit_code = 130

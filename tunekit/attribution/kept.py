"""The newest explanation of a library, in the library's folder: another library ends it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.attribution.results import Explanation
from tunekit.errors import UsageError
from tunekit.files import alone_with, read_text, write_atomically
from tunekit.library.manifest import load_manifest
from tunekit.library.output import EXPLANATION_FILE

if TYPE_CHECKING:
    from tunekit.library import Library
    from tunekit.wording import Say


def keep(explanation: Explanation, library: Library, say: Say) -> None:
    """Keeps what was found out, where the folder can be written and still has the library.

    Args:
        explanation: of the library.
        library: the library.
        say: told if it cannot be kept, which is no reason to lose it.
    """
    try:
        with alone_with(library.folder):
            # It takes minutes, in which another process may have tuned.
            there, explained = load_manifest(library.folder), library.manifest
            if (there.sha256, there.created_at) == (explained.sha256, explained.created_at):
                write_atomically(library.folder / EXPLANATION_FILE, explanation.to_json())
    except UsageError as error:
        say(f"warning: the explanation is not kept with the library: {error.message}")
    except OSError as error:
        say(f"warning: the explanation is not kept with the library: {error.strerror or error}")


def kept(folder: Path) -> Explanation | None:
    """The newest explanation of the library in a folder; None where there was none yet.

    Raises:
        UsageError: there is one that this tunekit does not read.
    """
    file = folder / EXPLANATION_FILE
    if not file.exists():
        return None
    return Explanation.from_json(read_text(file), file=file)

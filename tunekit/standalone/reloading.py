"""Loading a library whose file was replaced since another one was loaded from the same place."""

from __future__ import annotations

import threading
from pathlib import Path

_seen: dict[Path, list[tuple[int, int]]] = {}
_lock = threading.Lock()


def path_to_load(path: Path) -> str:
    """A path of a library by which the system's loader takes the file that is there now.

    The loader looks for a library among those that it has by the text of its path, and never lets
    one go that asks to stay: of a file that was replaced it would give the old code again. So each
    further file at a place is named by a path of its own, the same but for steps that lead nowhere.

    A file that is loaded keeps its number in the file system, also when it has lost its name.
    """
    path = path.absolute()
    try:
        found = path.stat()
    except OSError:
        return str(path)
    with _lock:
        files = _seen.setdefault(path, [])
        file = (found.st_dev, found.st_ino)
        if file not in files:
            files.append(file)
        steps = files.index(file)
    # As text: a Path leaves such steps out.
    return f"{path.parent}/{'./' * steps}{path.name}"

"""tunekit: from a trained model to the fastest verified shared library for a machine.

    import tunekit

    library = tunekit.tune(
        "torchvision:resnet18", inputs={"input": (1, 3, 224, 224)}, trials=64
    )
    outputs = library.run(array)

Importing this package costs next to nothing: what it offers loads when it is first used, and TVM,
torch and the like where they are needed. `tunekit.api` says what the functions take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunekit.version import __version__ as __version__

if TYPE_CHECKING:
    from tunekit.api import (
        Bundle,
        Catalogue,
        Explanation,
        Knowledge,
        Library,
        LoadedModel,
        Manifest,
        Recipe,
        Report,
        TunekitError,
        bench,
        compile,  # noqa: A004 - the verb's name
        explain,
        export,
        load,
        load_recipe,
        lookup,
        resume,
        tune,
    )

__all__ = [
    "Bundle",
    "Catalogue",
    "Explanation",
    "Knowledge",
    "Library",
    "LoadedModel",
    "Manifest",
    "Recipe",
    "Report",
    "TunekitError",
    "bench",
    "compile",
    "explain",
    "export",
    "load",
    "load_recipe",
    "lookup",
    "resume",
    "tune",
]


def __getattr__(name: str) -> Any:
    """What `__all__` offers, from `tunekit.api` (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("load", "LoadedModel"):
        # Whoever only runs a model waits for nothing else.
        from tunekit.standalone import loaded as api
    else:
        from tunekit import api  # type: ignore[no-redef]

    value = globals()[name] = getattr(api, name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

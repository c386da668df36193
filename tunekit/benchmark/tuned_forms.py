"""The tuned library in the other ways in which it can be run: what each of them costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.cache import content_key, file_digest
from tunekit.runtimes.c_program import SOURCE, CProgram
from tunekit.runtimes.python_call import PythonCall
from tunekit.runtimes.relax_vm import RelaxLibrary
from tunekit.runtimes.runtime import NotApplicable, Preparation, Runtime

if TYPE_CHECKING:
    from tunekit.cache import ContentCache
    from tunekit.library import Library
    from tunekit.recipe import Recipe


class TunedVm(RelaxLibrary, Runtime):
    """`model.so` in TVM's virtual machine."""

    name = "tuned-vm"
    yardstick = False
    needs: ClassVar[Mapping[str, str]] = {"tvm": "apache-tvm"}

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.library import tuned_library

        library = tuned_library(preparation.recipe, say=preparation.say)
        return {
            "file": str(library.path.resolve()),
            "device": library.manifest.device,
            "input_names": [tensor.name for tensor in library.manifest.inputs],
        }


class TunedC(CProgram, Runtime):
    """A program in C that is linked with the library."""

    name = "tuned-c"
    yardstick = False

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        library, plan = _standalone(preparation)
        program = _linked(library, plan, preparation.recipe, preparation.cache)
        outputs = [(tensor.shape, tensor.dtype) for tensor in library.manifest.outputs]
        assert library.manifest.standalone is not None
        size, axes = preparation.recipe.model.size, library.manifest.standalone.axes
        return {
            "program": str(program),
            "input_names": plan["input_names"],
            "outputs": outputs,
            "sizes": [size[axis.name] for axis in axes],
        }


class TunedCtypes(PythonCall, Runtime):
    """`tunekit.load(folder).run(...)` from Python."""

    name = "tuned-ctypes"
    yardstick = False

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        return _standalone(preparation)[1]


def _standalone(preparation: Preparation) -> tuple[Library, dict[str, Any]]:
    """The library, and what a runner of its own C functions loads."""
    from tunekit.library import tuned_library

    library = tuned_library(preparation.recipe, say=preparation.say)
    manifest = library.manifest
    if manifest.standalone is None:
        reason = manifest.not_standalone or "it is from an older tunekit"
        raise NotApplicable(f"there is no standalone library: {reason}")
    return library, {
        "file": str((library.folder / manifest.standalone.library).resolve()),
        "standalone": manifest.standalone.name,
        "input_names": [tensor.name for tensor in manifest.inputs],
    }


def _linked(library: Library, plan: Mapping[str, Any], recipe: Recipe, cache: ContentCache) -> Path:
    """The program, linked with the library where that is; from the cache if it was made before."""
    from tunekit.library.program import toolchain_of
    from tunekit.machine.target import resolve_target
    from tunekit.standalone.build import SOURCES

    shared, name = Path(plan["file"]), str(plan["standalone"])
    toolchain = toolchain_of(recipe, resolve_target(recipe.target))
    key = content_key(str(shared), file_digest(shared), file_digest(SOURCE), toolchain.compiler)
    folder = cache.get("c-program", key)
    if folder is None:
        with cache.put("c-program", key) as made:
            toolchain.call(
                *("-x", "c", "-std=c99", "-O2", f"-DTIMED_API={name}_api", "-I", str(SOURCES)),
                *(str(SOURCE), "-o", str(made / name), "-L", str(shared.parent)),
                *(f"-l:{shared.name}", f"-Wl,-rpath,{shared.parent},--as-needed"),
            )
        folder = cache.get("c-program", key)
        assert folder is not None, "an entry just put is there"
    return folder / name

"""A library on disk: its files, and running it where Python is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.errors import UsageError
from tunekit.library.manifest import Manifest, load_manifest
from tunekit.standalone.arguments import by_name, in_order
from tunekit.standalone.loaded import LoadedModel
from tunekit.standalone.reloading import path_to_load

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Library:
    """A compiled model on disk.

    Attributes:
        path: of its .so.
        manifest: the content of the manifest beside it.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path | str) -> Library:
        """The library in a folder that `tune` or `compile` wrote.

        Raises:
            UsageError: there is none.
        """
        manifest = load_manifest(Path(folder))
        path = Path(folder) / manifest.library
        if not path.is_file():
            raise UsageError(
                f"{folder} has a manifest but no {manifest.library}",
                hint="compile again: `tunekit compile RECIPE`",
            )
        return cls(path, manifest)

    @property
    def folder(self) -> Path:
        """The folder that holds the library, its manifest and its recipe."""
        return self.path.parents[self.manifest.library.count("/")]

    def run(self, /, *arrays: Array, **named: Array) -> Array | dict[str, Array]:
        """Runs the model once, in this process; the first call loads the library.

            library.run(image)               # the inputs in the manifest's order
            library.run(ids=ids, mask=mask)  # or by their names

        A library of several sizes runs the smallest that fits.

        Where there is a standalone library, it runs, and TVM is not loaded; else TVM's virtual
        machine does, on the device that the library is for, with as many threads as TVM chooses
        (TVM_NUM_THREADS, set before the first call, chooses otherwise). Nothing protects this
        process from a library that crashes: those that `tune` and `compile` write were run before
        in a process of their own.

        Args:
            arrays: the inputs in the manifest's order, all of them.
            named: the inputs by name, where no `arrays` are given.

        Returns:
            The output where the model has one, else the outputs by name.

        Raises:
            UsageError: inputs are missing, unknown, or of another shape or dtype.
            TargetError: this machine cannot run the library's code.
        """
        if self.manifest.sizes:
            return self._at_a_size.run(*arrays, **named)
        inputs = in_order(self.manifest.inputs, arrays, named)
        return by_name(self.manifest.outputs, self.call(inputs))

    def call(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs in order, of contiguous inputs in order that fit."""
        outputs: list[Array] = self._loaded(inputs)
        return outputs

    def open_now(self) -> None:
        """Loads the library, which the first call would do.

        Raises:
            UsageError: it is damaged.
            TargetError: this machine cannot run its code.
        """
        assert self._loaded is not None

    @cached_property
    def _at_a_size(self) -> LoadedModel:
        standalone = self.manifest.standalone
        if standalone is None:
            raise UsageError(
                f"{self.folder} has several sizes and no standalone library: "
                f"{self.manifest.not_standalone}",
                hint="open one of them: "
                + ", ".join(str(self.folder / size.folder) for size in self.manifest.sizes),
            )
        return LoadedModel(self.folder / standalone.library, standalone.name)

    @cached_property
    def _loaded(self) -> Any:
        standalone = self.manifest.standalone
        if self.manifest.sizes:
            return self._at_a_size.call
        if standalone is not None:
            return LoadedModel(self.folder / standalone.library, standalone.name).call
        return _virtual_machine(self.path, self.manifest)


def _virtual_machine(path: Path, manifest: Manifest) -> Any:
    """A function from inputs in order to outputs in order, nested tuples flattened."""
    from tunekit.machine.target import resolve_target
    from tunekit.machine.toolchain import require_tvm
    from tunekit.machine.tvm_loading import arrays_of

    require_tvm()
    resolve_target(manifest.target)
    # TVM with its compiler, which a runtime would not need: this process may tune yet.
    import tvm
    from tvm.runtime.vm import VirtualMachine

    device = tvm.device(manifest.device, 0)
    main = VirtualMachine(tvm.runtime.load_module(path_to_load(path)), device)["main"]

    def run(inputs: Sequence[Array]) -> list[Array]:
        return arrays_of(main(*(tvm.runtime.tensor(array, device=device) for array in inputs)))

    return run

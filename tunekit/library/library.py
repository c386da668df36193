"""A library on disk: its files, and running it where Python is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.errors import UsageError
from tunekit.library.manifest import Manifest, TensorEntry, load_manifest

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
        return self.path.parent

    def run(self, /, *arrays: Array, **named: Array) -> Array | dict[str, Array]:
        """Runs the model once, in this process; the first call loads the library.

            library.run(image)               # the inputs in the manifest's order
            library.run(ids=ids, mask=mask)  # or by their names

        On the device that the library is for, with as many threads as TVM chooses (set
        TVM_NUM_THREADS before the first call to choose yourself). Nothing protects this process
        from a library that crashes: those that `tune` and `compile` write were run before in a
        process of their own.

        Args:
            arrays: the inputs in the manifest's order, all of them.
            named: the inputs by name, where no `arrays` are given.

        Returns:
            The output where the model has one, else the outputs by name.

        Raises:
            UsageError: inputs are missing, unknown, or of another shape or dtype.
            TargetError: this machine cannot run the library's code.
        """
        inputs = _checked(self.manifest.inputs, arrays, named)
        outputs: list[Array] = self._loaded(inputs)
        names = [entry.name for entry in self.manifest.outputs]
        if len(names) == 1:
            return outputs[0]
        return dict(zip(names, outputs, strict=True))

    @cached_property
    def _loaded(self) -> Any:
        return _load(self.path, self.manifest)


def _load(path: Path, manifest: Manifest) -> Any:
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
    main = VirtualMachine(tvm.runtime.load_module(str(path)), device)["main"]

    def run(inputs: list[Array]) -> list[Array]:
        return arrays_of(main(*(tvm.runtime.tensor(array, device=device) for array in inputs)))

    return run


def _checked(
    entries: tuple[TensorEntry, ...], arrays: tuple[Array, ...], named: Mapping[str, Array]
) -> list[Array]:
    """The inputs in order, as arrays; UsageError that names everything wrong with them."""
    import numpy as np

    wants = ", ".join(f"{entry.name}: {entry.dtype}{list(entry.shape)}" for entry in entries)
    if arrays and (named or len(arrays) != len(entries)):
        given = f"{len(arrays)} in order{' and others by name' if named else ''}"
        raise UsageError(f"the model has {len(entries)} inputs ({wants}); given: {given}")
    values = dict(zip((entry.name for entry in entries), arrays, strict=True)) if arrays else named
    problems = [f"{name}: no such input" for name in values if name not in _names(entries)]
    inputs = []
    for entry in entries:
        if entry.name not in values:
            problems.append(f"{entry.name}: missing")
            continue
        array = np.ascontiguousarray(values[entry.name]).reshape(np.shape(values[entry.name]))
        inputs.append(array)
        if array.shape != entry.shape:
            problems.append(f"{entry.name}: shape {list(array.shape)}, not {list(entry.shape)}")
        if str(array.dtype) != entry.dtype:
            problems.append(f"{entry.name}: {array.dtype}, not {entry.dtype}")
    if problems:
        raise UsageError(
            f"the inputs do not fit: {'; '.join(problems)}", hint=f"the model takes {wants}"
        )
    return inputs


def _names(entries: tuple[TensorEntry, ...]) -> set[str]:
    return {entry.name for entry in entries}

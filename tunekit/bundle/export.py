"""From a compiled library to a bundle: checked, written whole, or refused with the reason."""

from __future__ import annotations

import json
import mmap
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.bundle.manifest import BundleManifest, seal
from tunekit.bundle.place import require_place, whole_folder
from tunekit.bundle.samples import (
    FRAMEWORKS,
    ITSELF,
    Sample,
    as_given,
    require_right,
    samples_of,
    write_samples,
)
from tunekit.bundle.standalone_bundle import write_standalone_bundle
from tunekit.bundle.vm_bundle import require_vm_bundle, runtime_libraries, write_vm_bundle
from tunekit.cache import ContentCache, file_digest
from tunekit.errors import CompileError, UsageError
from tunekit.library import Library, Manifest
from tunekit.library.archive import static_library
from tunekit.machine.target import ResolvedTarget, resolve_target, why_not_here
from tunekit.models import load_source
from tunekit.processes.sandbox import run_library
from tunekit.recipe import Recipe, override, parse_recipe
from tunekit.version import __version__
from tunekit.wording import Say

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

_TIMEOUT_S = 1800.0
_LIBRARIES = "lib"
# A name in the table of versions, behind the end of another.
_GLIBC_VERSION = rb"\0GLIBC_(\d+)\.(\d+)(?=[.\0])"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        folder: that holds it.
        manifest: the content of its manifest.json.
    """

    folder: Path
    manifest: BundleManifest


def export_library(
    library: Library,
    *,
    folder: Path | None = None,
    static: bool = False,
    vm: bool = False,
    force: bool = False,
    catalogue: str | None = None,
    say: Say = lambda _: None,
) -> Bundle:
    """Writes a library's bundle, all or nothing.

    Args:
        library: the library.
        folder: of the bundle; beside the library if left out.
        static: with a static library, too.
        vm: with TVM's runtime in place of the standalone library.
        force: replace a bundle whose files were changed.
        catalogue: has the trials of the library, for a static one; its recipe's if left out.
        say: told what is done, a line at a time.

    Raises:
        UsageError: the library is not what its manifest says, or the folder cannot be used.
        CompileError: the model is not standalone, or the static library cannot be built.
        VerificationFailed: the library's outputs are not those of the model's framework.
        ModelError: the model, which the samples are made with, cannot be loaded.
    """
    folder = folder or library.folder / ("vm-bundle" if vm else "bundle")
    if static and vm:
        raise UsageError("--static and --vm: TVM's runtime is not linked statically")
    require_place(folder, force=force)
    manifest = library.manifest
    _require_all_sizes(library, vm=vm)
    target = resolve_target(manifest.target, measured_elsewhere=True)
    path = _virtual_machine(library, target) if vm else _standalone(library)
    if static:
        _require_whole(library.path, manifest.sha256)
    recipe = _recipe(manifest, catalogue)
    samples, framework = _samples(recipe, say)
    finds_objects = any(sample.matched for sample in samples)
    if why_not_here(target) is None:
        outputs = _run(path, samples, manifest, target, vm=vm)
        require_right(samples, outputs)
        if finds_objects:
            samples, framework = as_given(samples, outputs), ITSELF
    with whole_folder(folder, force=force) as temporary:
        (temporary / _LIBRARIES).mkdir()
        place = f"{_LIBRARIES}/{path.name}"
        shutil.copy(path, temporary / place)
        archive = static_library(library, recipe, temporary / _LIBRARIES, say) if static else None
        bundle = BundleManifest(
            kind="vm" if vm else "standalone",
            name=manifest.name,
            created_at=datetime.now(UTC),
            tunekit=__version__,
            library=place,
            library_sha256=manifest.sha256,
            standalone=None
            if vm or manifest.standalone is None
            else manifest.standalone.model_copy(update={"library": place}),
            static=None if archive is None else f"{_LIBRARIES}/{archive.name}",
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            target=manifest.target,
            threads=target.cores,
            glibc=_glibc([path, *(runtime_libraries() if vm else ())]),
            framework=framework,
            model_digest=manifest.model_digest,
            samples=write_samples(samples, temporary),
        )
        if bundle.standalone is None:
            write_vm_bundle(bundle, manifest, target.architecture, temporary)
        else:
            write_standalone_bundle(
                bundle,
                bundle.standalone,
                manifest,
                target.architecture,
                temporary,
                finds_objects=finds_objects,
            )
        bundle = seal(bundle, temporary)
    return Bundle(folder, bundle)


def _require_all_sizes(library: Library, *, vm: bool) -> None:
    """Refuses one size of a library of several where all are meant, and the other way round."""
    manifest = library.manifest
    if vm and manifest.sizes:
        raise UsageError(
            f"{manifest.name} has several sizes, and TVM's virtual machine runs one of them",
            hint=f"export one: {library.folder / manifest.sizes[0].folder}",
        )
    if not vm and not manifest.sizes and manifest.standalone and manifest.standalone.axes:
        raise UsageError(
            f"{library.folder} is one size of a library of several",
            hint=f"export {library.folder.parent}, which has all of them",
        )


def _standalone(library: Library) -> Path:
    """The standalone library, whole."""
    manifest, entry = library.manifest, library.manifest.standalone
    if entry is None:
        reason = manifest.not_standalone
        raise CompileError(
            f"{manifest.name} is not standalone: {reason or 'an older tunekit compiled it'}",
            hint="--vm writes a bundle with TVM's runtime, which runs every model"
            if reason
            else "compile again: `tunekit compile RECIPE`",
        )
    path = library.folder / entry.library
    _require_whole(path, entry.sha256)
    return path


def _virtual_machine(library: Library, target: ResolvedTarget) -> Path:
    """The library for TVM's virtual machine, whole."""
    require_vm_bundle(target)
    _require_whole(library.path, library.manifest.sha256)
    return library.path


def _require_whole(path: Path, sha256: str) -> None:
    try:
        actual = file_digest(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}",
            hint="compile again: `tunekit compile RECIPE`",
        ) from error
    if actual != sha256:
        raise UsageError(
            f"{path} is not the file that the manifest beside it describes: its sha256 is "
            f"{actual[:12]}..., not {sha256[:12]}...",
            hint="compile again: `tunekit compile RECIPE`",
        )


def _recipe(manifest: Manifest, catalogue: str | None) -> Recipe:
    recipe = parse_recipe(json.dumps(manifest.recipe), f"recipe of {manifest.name}")
    return recipe if catalogue is None else override(recipe, {"catalogue": catalogue})


def _samples(recipe: Recipe, say: Say) -> tuple[list[Sample], str]:
    """Samples of the model, and the name of its framework."""
    samples: list[Sample] = []
    for one in recipe.at_each_size:
        source = load_source(one.model, ContentCache())
        if not samples:
            say(f"asking {FRAMEWORKS[source.framework]} for the outputs of the samples")
        samples += samples_of(source, one)
    return samples, source.framework


def _run(
    path: Path, samples: Sequence[Sample], manifest: Manifest, target: ResolvedTarget, *, vm: bool
) -> list[list[Array]]:
    return run_library(
        path,
        [sample.inputs for sample in samples],
        input_names=[tensor.name for tensor in manifest.inputs],
        threads=target.cores,
        timeout_s=_TIMEOUT_S,
        standalone=None if vm or manifest.standalone is None else manifest.standalone.name,
    )


def _glibc(paths: Sequence[Path]) -> str | None:
    """The newest version of glibc that libraries ask for; None where they ask for none."""
    found = set()
    for path in paths:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            versions = re.finditer(_GLIBC_VERSION, data)
            found |= {(int(match[1]), int(match[2])) for match in versions}
    return "{}.{}".format(*max(found)) if found else None

"""What a bundle says of itself: manifest.json, and the checksums beside it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tunekit.cache import file_digest
from tunekit.library.manifest import MANIFEST_FILE, StandaloneEntry, TensorEntry

SUMS_FILE = "SHA256SUMS"
#: What whoever unpacks a bundle builds in it.
BUILD_FOLDER = "build"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """A file of a bundle.

    Attributes:
        sha256: of its bytes.
        size_bytes: of it.
    """

    sha256: str
    size_bytes: int


class SampleEntry(_Frozen):
    """Inputs, and the outputs that are right for them.

    Attributes:
        inputs: a file for each input, in order: its elements, little-endian.
        outputs: a file for each output, in order.
        relative_error: max abs error / max abs reference that the library's outputs may have.
        size: of each axis of which the library has several sizes.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    relative_error: float
    size: tuple[int, ...] = ()


class BundleManifest(_Frozen):
    """Everything that has to be known about a bundle.

    Attributes:
        bundle_version: of this form; another one when a field changes its meaning.
        kind: "standalone" for a library that needs only the C library, "vm" for one with TVM's
            runtime.
        name: the recipe's.
        created_at: when it was written, UTC.
        tunekit: the version that wrote it.
        library: the library, in the bundle.
        library_sha256: of the model.so that it was made from.
        standalone: what kind "standalone" has.
        static: the archive with the same, where it was wanted.
        inputs: of the model, in order; of several sizes, at the smallest.
        outputs: of the model, in order; of several sizes, at the smallest.
        target: TVM's target.
        threads: that its kernels were compiled for.
        glibc: the oldest version that it runs with; None where it needs another C library.
        framework: whose outputs are in the samples: "pytorch", "onnx", or, of a detector, which
            was matched with its framework when this was written, "library".
        model_digest: of the model's source.
        samples: what `make check` compares.
        files: every file but this one and the list of checksums.
    """

    bundle_version: Literal[1] = 1
    kind: Literal["standalone", "vm"]
    name: str
    created_at: datetime
    tunekit: str
    library: str
    library_sha256: str
    standalone: StandaloneEntry | None = None
    static: str | None = None
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    target: dict[str, Any]
    threads: int
    glibc: str | None
    framework: str
    model_digest: str
    samples: tuple[SampleEntry, ...]
    files: dict[str, FileEntry] = {}


def seal(manifest: BundleManifest, folder: Path) -> BundleManifest:
    """Writes the manifest of the bundle in `folder`, and the checksums of all its files."""
    files = {name: FileEntry(**_entry(folder / name)) for name in _names(folder)}
    sealed = manifest.model_copy(update={"files": files})
    path = folder / MANIFEST_FILE
    path.write_text(sealed.model_dump_json(indent=2) + "\n", "utf-8")
    sums = {MANIFEST_FILE: file_digest(path)} | {
        name: entry.sha256 for name, entry in files.items()
    }
    lines = [f"{digest}  {name}\n" for name, digest in sums.items()]
    (folder / SUMS_FILE).write_text("".join(lines), "utf-8")
    return sealed


def bundle_in(folder: Path) -> BundleManifest | None:
    """The manifest of the bundle in a folder, None where there is none."""
    try:
        content = json.loads((folder / MANIFEST_FILE).read_text("utf-8"))
        return BundleManifest.model_validate(content)
    except (OSError, ValueError, ValidationError):
        return None


def changes_in(folder: Path, manifest: BundleManifest) -> list[str]:
    """The files of a bundle that are not as they were written, those that were built left out."""
    own = {MANIFEST_FILE, SUMS_FILE}
    return [
        name
        for name in _names(folder)
        if name not in own
        and Path(name).parts[0] != BUILD_FOLDER
        and (
            name not in manifest.files or file_digest(folder / name) != manifest.files[name].sha256
        )
    ]


def _names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": file_digest(path), "size_bytes": path.stat().st_size}

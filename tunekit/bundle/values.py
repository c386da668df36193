"""What the templates of every kind of bundle are filled with."""

from __future__ import annotations

from pathlib import Path

from tunekit.bundle.manifest import BundleManifest
from tunekit.bundle.samples import FRAMEWORKS
from tunekit.library import Manifest
from tunekit.library.manifest import TensorEntry
from tunekit.standalone.elements import element_of


def common_values(bundle: BundleManifest, library: Manifest) -> dict[str, str]:
    """What the templates of every kind of bundle are filled with."""
    source = str(library.recipe["model"]["source"])
    return {
        "TITLE": bundle.name,
        "FRAMEWORK": FRAMEWORKS[bundle.framework],
        "SYSTEM": "the C library that it was linked with"
        if bundle.glibc is None
        else f"glibc {bundle.glibc} or newer",
        "THREADS": str(bundle.threads),
        "TENSORS": _tensor_table(bundle),
        "SAMPLE": " ".join(bundle.samples[0].inputs),
        "TOLERANCES": ", ".join(repr(sample.relative_error) for sample in bundle.samples),
        "TUNEKIT": bundle.tunekit,
        "DATE": f"{bundle.created_at:%Y-%m-%d}",
        # A path says more of the machine that made the bundle than of the model.
        "SOURCE": Path(source).name if "/" in source else source,
    }


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _tensor_table(bundle: BundleManifest) -> str:
    kinds = [("input", bundle.inputs), ("output", bundle.outputs)]
    rows = [
        f"| {kind} {index} | `{tensor.name.replace('|', ' ')}` | {tensor.dtype} "
        f"| {' x '.join(map(str, tensor.shape)) or 'a number'} | {tensor_bytes(tensor)} |"
        for kind, tensors in kinds
        for index, tensor in enumerate(tensors)
    ]
    return "\n".join(["| | name | type | sizes | bytes |", "|---|---|---|---|---|", *rows])


def tensor_bytes(tensor: TensorEntry) -> int:
    """The size of an input or output."""
    size = element_of(tensor.dtype).size
    for extent in tensor.shape:
        size *= extent
    return size

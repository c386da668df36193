"""What is in the bundle of a library that needs only the C library."""

from __future__ import annotations

import shutil
from pathlib import Path

from tunekit.bundle.manifest import BundleManifest
from tunekit.bundle.samples import ITSELF
from tunekit.bundle.templates import LICENSE, write_templates
from tunekit.bundle.values import common_values, megabytes, tensor_bytes
from tunekit.detectors import matching
from tunekit.library import Manifest
from tunekit.library.manifest import StandaloneEntry
from tunekit.standalone.build import SOURCES
from tunekit.standalone.interface import header

_PUBLIC_HEADER = "tunekit.h"


def write_standalone_bundle(
    bundle: BundleManifest,
    entry: StandaloneEntry,
    library: Manifest,
    architecture: str,
    folder: Path,
    *,
    finds_objects: bool,
) -> None:
    """Writes headers, examples, build files and the text for people.

    Args:
        bundle: what the bundle is; its libraries and samples are in the folder.
        entry: of its standalone library.
        library: what it was made from.
        architecture: of the machines that it is for.
        folder: of the bundle.
        finds_objects: whether the model is a detector, whose samples are matched.
    """
    include = folder / "include"
    include.mkdir()
    (include / f"{entry.name}.h").write_text(header(entry.name), "utf-8")
    shutil.copy(SOURCES / _PUBLIC_HEADER, include)
    # Whether the samples have what another program found.
    matched = finds_objects and bundle.framework != ITSELF
    values = {
        **_values(bundle, entry, library, folder),
        "CPU": _cpu(entry, library, architecture),
        "MATCHED": str(int(matched)),
        "DETECTOR_SECTION": _detector_section(matched=matched) if finds_objects else "",
    }
    write_templates("standalone", folder, values)
    if finds_objects:
        write_templates("detector", folder, values | _limits())
    shutil.copy(LICENSE, folder)


def _values(
    bundle: BundleManifest, entry: StandaloneEntry, library: Manifest, folder: Path
) -> dict[str, str]:
    return {
        **common_values(bundle, library),
        "NAME": entry.name,
        "VERSION": f"{bundle.created_at:%Y.%m.%d}",
        "SIZE": megabytes(entry.size_bytes),
        "WEIGHTS": megabytes(entry.weights_bytes),
        "STATIC_LINE": _static_line(bundle, folder),
        "INPUT_BYTES": str(tensor_bytes(bundle.inputs[0])),
        "OUTPUT_BYTES": str(tensor_bytes(bundle.outputs[0])),
        "AXES": str(len(entry.axes)),
        "SAMPLE_SIZES": _sample_sizes(bundle),
        "SIZES_SECTION": _sizes_section(bundle, entry),
    }


def _limits() -> dict[str, str]:
    """What a detection and its partner may differ by, as the library itself was verified."""
    limits = {
        "LEAST_IOU": matching.LEAST_IOU,
        "SMALL_BOX_PX": matching.SMALL_BOX_PX,
        "MOST_SCORE": matching.MOST_SCORE,
        "LEAST_MASK_IOU": matching.LEAST_MASK_IOU,
        "MASK_PX": matching.MASK_PX,
        "KEYPOINT_PX": matching.KEYPOINT_PX,
        "KEYPOINT_SCORE": matching.KEYPOINT_SCORE,
        "KEYPOINT_SHARE": matching.KEYPOINT_SHARE,
        "EXCUSED_SHARE": matching.EXCUSED_SHARE,
    }
    return {name: str(limit) for name, limit in limits.items()}


_DETECTOR = """
## Detections

Outputs have a row for each detection that there may be, best first, with zeros behind the last one;
`count` says how many there are. Two detectors that are right may order equal scores differently, or
differ at a threshold: {compared}

```sh
build/detect --least 0.5 pictures/*.ppm > found.json
```

brings pictures of any size onto the canvas of input 0, and writes what is found as COCO has it.
"""


_OWN_SAMPLES = """the outputs of the samples are therefore those of this library, which were
matched with the framework's when it was packed."""
_OTHER_SAMPLES = """`make check` therefore looks for a partner of each detection of the samples."""


def _detector_section(*, matched: bool) -> str:
    return _DETECTOR.format(compared=_OTHER_SAMPLES if matched else _OWN_SAMPLES)


def _sample_sizes(bundle: BundleManifest) -> str:
    """Of each sample, the size of each axis; C has no empty tables."""
    return ", ".join(str(size) for sample in bundle.samples for size in sample.size) or "0"


def _sizes_section(bundle: BundleManifest, entry: StandaloneEntry) -> str:
    if not entry.axes:
        return ""
    rows = "\n".join(
        f"| {number} | {axis.name} | {', '.join(map(str, axis.sizes))} "
        f"| {'run in the next larger one' if axis.is_padded else 'are refused'} |"
        for number, axis in enumerate(entry.axes)
    )
    smallest = "{" + ", ".join(str(axis.sizes[0]) for axis in entry.axes) + "}"
    by_bytes = (
        "\nTo bind an input of another size sets that size, too: its bytes say which it is.\n"
        if len(entry.axes) == 1
        else ""
    )
    return f"""
## Sizes

The model was compiled for several sizes of its inputs, which share the weights. The tensors above
are those of the smallest.

| axis | name | sizes | sizes between them |
|---|---|---|---|
{rows}

```c
const int64_t sizes[] = {smallest};
{entry.name}_set_sizes(model, sizes, {len(entry.axes)});
```
{by_bytes}
`{entry.name}_describe_input` and `_describe_output` show the tensors of the size that is set, and
what was bound at another one has to be bound again. A size that the library does not have gives
`TUNEKIT_NO_SIZE`, and `{entry.name}_error` lists those that it has.
"""


def _static_line(bundle: BundleManifest, folder: Path) -> str:
    if bundle.static is None:
        return ""
    size = megabytes((folder / bundle.static).stat().st_size)
    return f"\n| static library | `{bundle.static}`, {size}: the same code and weights |"


def _cpu(entry: StandaloneEntry, library: Manifest, architecture: str) -> str:
    """What a CPU must have, for each of the programs that are in the library."""
    programs = [(entry.features, library.target.get("mcpu"), "tuned for")]
    programs += [(one.features, one.target.get("mcpu"), "for") for one in entry.other_targets]
    return "; or ".join(
        architecture
        + (f" with {', '.join(features)}" if features else "")
        + (f" ({how} {cpu})" if cpu else "")
        for features, cpu, how in programs
    )

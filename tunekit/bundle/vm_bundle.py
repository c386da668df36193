"""What is in the bundle of a library that TVM's virtual machine runs: TVM's runtime, too."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from tunekit.bundle.manifest import BundleManifest
from tunekit.bundle.templates import LICENSE, write_templates
from tunekit.bundle.values import common_values, megabytes
from tunekit.errors import TargetError
from tunekit.library import Manifest
from tunekit.library.manifest import TensorEntry
from tunekit.machine.host import detect_host
from tunekit.machine.target import ResolvedTarget
from tunekit.standalone.elements import element_of

# What a library may call lies in the third: sorting and the like.
_RUNTIME = ("libtvm_ffi.so", "libtvm_runtime.so", "libtvm_runtime_extra.so")
# What the example includes.
_HEADERS = ("tvm/ffi/container/tensor.h", "tvm/ffi/extra/module.h", "tvm/ffi/function.h")
_INCLUDE = re.compile(r"^\s*#\s*include\s*<([^>]+)>", re.M)
_LICENSES = (
    ("apache-tvm", "LICENSE"),
    ("apache-tvm-ffi", "LICENSE"),
    ("apache-tvm-ffi", "NOTICE"),
)


def require_vm_bundle(target: ResolvedTarget) -> None:
    """Refuses a target for which there is no runtime to put into a bundle.

    Raises:
        TargetError: it is no CPU, or one of another architecture than this machine's.
    """
    here = detect_host().architecture
    if target.kind != "llvm":
        raise TargetError(f"bundles are for CPUs, and this library is for {target.kind}")
    if target.architecture != here:
        raise TargetError(
            f"the library is for {target.architecture}, and the TVM that is installed here for "
            f"{here}: its runtime would not run there",
            hint=f"export on a machine that is {target.architecture}, or without --vm",
        )


def write_vm_bundle(
    bundle: BundleManifest, library: Manifest, architecture: str, folder: Path
) -> None:
    """Writes TVM's runtime, its headers, the example, build file and the text for people.

    Args:
        bundle: what the bundle is; its library and samples are in the folder.
        library: what it was made from.
        architecture: of the machines that it is for.
        folder: of the bundle.
    """
    for path in runtime_libraries():
        shutil.copy(path, folder / "lib")
    include = _include_folder()
    for header in sorted(_needed(include)):
        path = folder / "include" / header
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(include / header, path)
    own = folder / "licenses" / "tunekit"
    own.mkdir(parents=True)
    shutil.copy(LICENSE, own)
    for package, name in _LICENSES:
        path = folder / "licenses" / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = metadata.distribution(package).read_text(f"licenses/{name}")
        assert text is not None
        path.write_text(text, "utf-8")
    sizes = {
        name: megabytes((folder / "lib" / name).stat().st_size)
        for name in (library.library, *_RUNTIME)
    }
    sample = bundle.samples[0]
    write_templates(
        "vm",
        folder,
        {
            **common_values(bundle, library),
            "NAME": bundle.name,
            "CPU": " ".join(filter(None, (str(library.target.get("mcpu", "")), architecture))),
            "INPUTS": ", ".join(map(_input, bundle.inputs)),
            "EXPECTED": " ".join(sample.outputs),
            "TOLERANCE": repr(sample.relative_error),
            "LIBRARY": library.library,
            "LIBRARIES": "\n".join(f"| `lib/{name}` | {size} |" for name, size in sizes.items()),
            "TVM": metadata.version("apache-tvm"),
        },
    )


def _input(tensor: TensorEntry) -> str:
    """An input as the example declares it."""
    element = element_of(tensor.dtype)
    shape = ", ".join(map(str, tensor.shape))
    return f"{{{{{element.code}, {element.bits}, 1}}, {{{shape}}}}}"


def runtime_libraries() -> Iterator[Path]:
    """TVM's runtime as it is installed here."""
    from tvm import libinfo
    from tvm_ffi.libinfo import find_libtvm_ffi

    folders = [Path(find_libtvm_ffi()).parent, *map(Path, libinfo.package_lib_paths())]
    for name in _RUNTIME:
        yield next(folder / name for folder in folders if (folder / name).is_file())


def _include_folder() -> Path:
    from tvm_ffi.libinfo import find_include_path

    return Path(find_include_path())


def _needed(include: Path) -> set[str]:
    """The headers that the example includes, and those that they include."""
    needed: set[str] = set()
    waiting = list(_HEADERS)
    while waiting:
        header = waiting.pop()
        if header not in needed:
            needed.add(header)
            text = (include / header).read_text("utf-8")
            found = _INCLUDE.findall(text)
            waiting += [name for name in found if (include / name).is_file()]
    return needed

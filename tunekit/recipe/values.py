"""What a single value of a recipe may be, and the words in which it is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from tunekit.errors import UsageError
from tunekit.wording import did_you_mean, one_of, shown

REFERENCE_RUNTIMES: tuple[str, ...] = ("pytorch", "torchscript", "onnxruntime", "openvino")
"""The runtimes a library is compared with, in the order they are shown."""

PEER_RUNTIMES: Mapping[str, str] = {
    "torchscript-traced": "tunekit.runtimes.torchscript:TorchScriptTraced",
    "inductor": "tunekit.runtimes.inductor:Inductor",
    "opencv": "tunekit.runtimes.opencv:OpenCV",
    "mnn": "tunekit.runtimes.mnn:MNN",
    "ncnn": "tunekit.runtimes.ncnn:NCNN",
    "executorch": "tunekit.runtimes.executorch:ExecuTorch",
    "iree": "tunekit.runtimes.iree:IREE",
    "litert": "tunekit.runtimes.litert:LiteRT",
    "zentorch": "tunekit.runtimes.zentorch:ZenTorch",
}
"""Runtimes of others that take part where they are named, each with its class."""

GPU_RUNTIMES: Mapping[str, str] = {
    "pytorch-cuda": "tunekit.runtimes.torch_cuda:PyTorchCuda",
    "torchscript-cuda": "tunekit.runtimes.torch_cuda:TorchScriptCuda",
    "inductor-cuda": "tunekit.runtimes.torch_cuda:InductorCuda",
    "torch-tensorrt": "tunekit.runtimes.torch_cuda:TorchTensorRT",
    "onnxruntime-cuda": "tunekit.runtimes.onnxruntime_cuda:OnnxRuntimeCuda",
    "onnxruntime-tensorrt": "tunekit.runtimes.onnxruntime_cuda:OnnxRuntimeTensorRT",
    "tensorrt": "tunekit.runtimes.tensorrt:TensorRT",
    "tensorrt-fp16": "tunekit.runtimes.tensorrt:TensorRTHalf",
    "tvm-cuda": "tunekit.benchmark.cuda_libraries:TvmCuda",
    "tvm-cuda-tuned": "tunekit.benchmark.cuda_libraries:TvmCudaTuned",
}
"""The same on NVIDIA GPUs."""

RUNTIME_GROUPS: Mapping[str, tuple[str, ...]] = {
    "peers": (*REFERENCE_RUNTIMES, *PEER_RUNTIMES),
    "gpu": tuple(GPU_RUNTIMES),
}
"""What stands for several runtimes in a list."""

OWN_RUNTIMES: tuple[str, ...] = ("tuned", "default", "unscheduled")
"""What tunekit itself brings to a comparison: the library, and the same without schedules."""

TUNED_FORMS: tuple[str, ...] = (
    "tuned-vm",
    "tuned-c",
    "tuned-ctypes",
    "tuned-again",
)
"""The tuned library run in other ways, which take part where they are named."""

SOURCE_PREFIXES: tuple[str, ...] = ("torchvision", "python")
SOURCE_SUFFIXES: tuple[str, ...] = (".pt2", ".onnx")
SOURCE_FORMS = (
    "torchvision:<model>, python:<package.module>:<callable>, or a file ending in .pt2 or .onnx"
)

_DEEPEST = 20
_PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`package.module:Class`"""

FOLDER = "folder"
"""Key of the validation context: the folder that a recipe's relative paths start from.

Given, paths are made absolute and must exist; without it they are taken as they are.
"""


def bad(message: str, below: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """An error in the recipe's own words; `below` leads on from the field to the value."""
    # The message may hold braces (a target in JSON), so it is passed as a value.
    return PydanticCustomError("recipe", "{message}", {"message": message, "below": below})


def _check_plain(value: Any, below: tuple[str | int, ...] = ()) -> None:
    """Refuse what JSON has no word for: dates, NaN, keys that are no texts, loops."""
    if len(below) > _DEEPEST:
        raise bad("is nested too deeply, or holds itself", below[:1])
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise bad(f"the key {key} must be a text; put it in quotes", below)
            _check_plain(item, (*below, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_plain(item, (*below, index))
    elif isinstance(value, float) and not math.isfinite(value):
        raise bad(f"must be a finite number, not {value}", below)
    elif value is not None and not isinstance(value, str | int | float):
        raise bad(
            f"must be a text, number, true, false, list or mapping, not {value} "
            f"(a {type(value).__name__}); put it in quotes if it is a text",
            below,
        )


def plain(value: Any) -> Any:
    _check_plain(value)
    return value


def text_or_mapping(value: Any) -> Any:
    """One message for both members of a union, in place of pydantic's one for each."""
    if not isinstance(value, str | dict):
        raise bad(
            "must be a text such as native, or a mapping such as {kind: llvm, mcpu: znver3}, "
            f"not {shown(value)}"
        )
    if not value or (isinstance(value, str) and not value.strip()):
        raise bad("must not be empty; native is the machine it runs on")
    return plain(value)


OneTarget = Annotated[str | dict[str, Any], BeforeValidator(text_or_mapping)]


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, each listed once."""
    for name in names:
        if names.count(name) > 1:
            raise bad(f"{name} is listed twice")
    return names


def with_keys_of_today(data: Any) -> Any:
    """A recipe's mapping with its keys where they are now: the compiler, which links all
    libraries, was once a key of `tuning.rpc`."""
    tuning = data.get("tuning") if isinstance(data, dict) else None
    if not isinstance(tuning, dict):
        return data
    rpc = tuning.get("rpc")
    if not isinstance(rpc, dict) or "cc" not in rpc:
        return data
    rest = {key: value for key, value in rpc.items() if key != "cc"}
    return {"cc": rpc["cc"], **data, "tuning": {**tuning, "rpc": rest}}


def existing_file(path: Path, info: ValidationInfo) -> Path:
    """The path, absolute and checked when the recipe's folder is known."""
    folder = (info.context or {}).get(FOLDER)
    if folder is None:
        return path
    resolved = Path(folder, path.expanduser()).resolve()
    if resolved.is_file():
        return resolved
    if resolved.is_dir():
        raise bad(f"{resolved} is a directory, not a file")
    near = [item.name for item in resolved.parent.glob(f"*{path.suffix}")]
    raise bad(f"{resolved} does not exist{did_you_mean(resolved.name, near)}")


def source_folder(path: Path, info: ValidationInfo) -> Path:
    """The folder of a source's modules, absolute when the recipe's is known."""
    folder = (info.context or {}).get(FOLDER)
    if folder is None:
        return path
    resolved = Path(folder, path.expanduser()).resolve()
    if not resolved.is_dir():
        raise bad(f"{resolved} is not a folder")
    return resolved


def known_source(source: str, info: ValidationInfo) -> str:
    """A source of a known kind, a file's as an absolute path."""
    if source.endswith(SOURCE_SUFFIXES) and source.partition(":")[0] not in SOURCE_PREFIXES:
        return str(existing_file(Path(source), info))
    prefix, colon, rest = source.partition(":")
    if not colon:
        raise bad(f"must be {SOURCE_FORMS}; got {source!r}")
    if prefix not in SOURCE_PREFIXES:
        raise bad(
            f"unknown kind of source {prefix!r}{did_you_mean(prefix, SOURCE_PREFIXES)}; "
            f"must be {SOURCE_FORMS}"
        )
    parts = rest.split(":")
    if len(parts) != (2 if prefix == "python" else 1):
        raise bad(f"must be {SOURCE_FORMS}; got {source!r}")
    for part in parts:
        if not all(name.isidentifier() for name in part.split(".")):
            raise bad(f"{part!r} in {source!r} is not a Python name; must be {SOURCE_FORMS}")
    return source


_OTHERS = (*REFERENCE_RUNTIMES, *PEER_RUNTIMES, *GPU_RUNTIMES)


def _reference_runtime(name: str) -> str:
    return _runtime(name, _OTHERS)


def _runtime(name: str, known: tuple[str, ...]) -> str:
    """A known runtime, or the place of one that someone else wrote."""
    if name in known or _PLACE.fullmatch(name):
        return name
    raise bad(
        f"unknown runtime {name!r}; must be {one_of(known)}, or package.module:Class"
        f"{did_you_mean(name, known)}"
    )


ReferenceRuntime = Annotated[
    str,
    AfterValidator(_reference_runtime),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(_OTHERS)},
                {"type": "string", "pattern": ":"},
            ]
        }
    ),
]


def parse_runtimes(text: str, option: str = "--runtimes") -> tuple[str, ...]:
    """The runtimes in a comma-separated list such as `tuned,onnxruntime`.

    Any that tunekit has, a name in RUNTIME_GROUPS, or the `package.module:Class` of another, each
    once, in the given order. Raises UsageError that names the option and the unknown one.
    """
    known = (*OWN_RUNTIMES, *TUNED_FORMS, *_OTHERS)
    parts = (part.strip() for part in text.split(",") if part.strip())
    groups = (RUNTIME_GROUPS.get(part, (part,)) for part in parts)
    names = tuple(dict.fromkeys(chain.from_iterable(groups)))
    if not names:
        raise UsageError(f"{option}: none given", hint=f"choose from {', '.join(known)}")
    try:
        return tuple(_runtime(name, known) for name in names)
    except PydanticCustomError as error:
        raise UsageError(f"{option}: {error}") from None

"""Runs a library of its own from Python, by ctypes: NumPy arrays in and out, without TVM."""

from __future__ import annotations

import ctypes
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tunekit.errors import SandboxError, TargetError, UsageError
from tunekit.standalone.arguments import by_name, in_order

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

ABI_VERSION = 1
_OK, _WRONG_CPU = 0, 2
_ALIGNMENT = 64


class _Options(ctypes.Structure):
    """C's tunekit_options."""

    _fields_ = [
        ("struct_bytes", ctypes.c_uint32),
        ("threads", ctypes.c_int32),
        ("spin_us", ctypes.c_int32),
        ("pin", ctypes.c_int32),
        ("weights", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("callbacks", ctypes.c_void_p * 5),
    ]


class _Tensor(ctypes.Structure):
    """C's tunekit_tensor."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("reserved", ctypes.c_uint16),
        ("bytes", ctypes.c_size_t),
    ]


_MODEL, _INT, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p


class _Api(ctypes.Structure):
    """C's tunekit_api."""

    _fields_ = [
        ("abi_version", ctypes.c_uint32),
        ("struct_bytes", ctypes.c_uint32),
        ("name", _TEXT),
        (
            "open",
            ctypes.CFUNCTYPE(_INT, ctypes.POINTER(_MODEL), ctypes.POINTER(_Options)),
        ),
        ("close", ctypes.CFUNCTYPE(None, _MODEL)),
        ("inputs", ctypes.CFUNCTYPE(ctypes.c_int32, _MODEL)),
        ("outputs", ctypes.CFUNCTYPE(ctypes.c_int32, _MODEL)),
        (
            "describe_input",
            ctypes.CFUNCTYPE(ctypes.POINTER(_Tensor), _MODEL, ctypes.c_int32),
        ),
        (
            "describe_output",
            ctypes.CFUNCTYPE(ctypes.POINTER(_Tensor), _MODEL, ctypes.c_int32),
        ),
        (
            "bind_input",
            ctypes.CFUNCTYPE(_INT, _MODEL, ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t),
        ),
        (
            "bind_output",
            ctypes.CFUNCTYPE(_INT, _MODEL, ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t),
        ),
        ("run", ctypes.CFUNCTYPE(_INT, _MODEL)),
        ("output", ctypes.CFUNCTYPE(ctypes.c_void_p, _MODEL, ctypes.c_int32)),
        ("threads", ctypes.CFUNCTYPE(ctypes.c_int32, _MODEL)),
        ("error", ctypes.CFUNCTYPE(_TEXT, _MODEL)),
        ("self_test", ctypes.CFUNCTYPE(_INT, _MODEL)),
        ("cpu_ok", ctypes.CFUNCTYPE(_INT)),
        ("manifest", ctypes.CFUNCTYPE(_TEXT)),
    ]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output.

    Attributes:
        name: that `run` takes or gives it by.
        shape: sizes in the model's own order.
        dtype: NumPy's name of the element type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


def load(folder: Path | str, *, threads: int | None = None) -> LoadedModel:
    """Opens the model in a folder that `tune`, `compile` or `export` wrote, to run it here.

    Neither TVM nor a framework is loaded.

    Args:
        folder: holds the library and its manifest.
        threads: that run the model; as many as it was compiled for, and this process may use, if
            left out.

    Raises:
        UsageError: there is no library of its own in the folder.
        TargetError: this CPU lacks instructions that it uses.
    """
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder} holds no library: {path.name} cannot be read",
            hint="`tunekit compile RECIPE` and `tunekit tune RECIPE` write such folders",
        ) from error
    entry = manifest.get("standalone")
    if entry is None:
        reason = manifest.get("not_standalone") or "it is from an older tunekit"
        raise UsageError(
            f"{folder} holds no library of its own: {reason}",
            hint="tunekit.Library.open(folder).run runs it by TVM's virtual machine",
        )
    library = Path(folder) / entry["library"]
    # The loader would map what is missing, and a bus error would end this process.
    if library.is_file() and library.stat().st_size != entry["size_bytes"]:
        raise UsageError(
            f"{library} has {library.stat().st_size} bytes, and had {entry['size_bytes']} when it "
            "was made",
            hint="copy it again, or compile again: `tunekit compile RECIPE`",
        )
    return LoadedModel(library, entry["name"], threads=threads)


class LoadedModel:
    """A model in a library of its own, ready to run in this process.

        with tunekit.load("artifacts/resnet50") as model:
            scores = model.run(image)

    Attributes:
        inputs: of the model, in order.
        outputs: of the model, in order.
        threads: that run it, the caller's included.
    """

    def __init__(self, path: Path, name: str, *, threads: int | None = None) -> None:
        """Loads a library and opens its model.

        Args:
            path: of the library.
            name: with which the names of its functions begin.
            threads: that run the model; as many as it was compiled for, and this process may use,
                if left out.

        Raises:
            UsageError: it is no such library.
            TargetError: this CPU lacks instructions that it uses.
        """
        self._api = _api_of(path, name)
        self._model = ctypes.c_void_p()
        # One thread at a time may run a model.
        self._lock = threading.Lock()
        options = _Options(struct_bytes=ctypes.sizeof(_Options), threads=threads or 0)
        code = self._api.open(ctypes.byref(self._model), ctypes.byref(options))
        if code != _OK:
            text = self._api.error(None).decode()
            raise TargetError(text) if code == _WRONG_CPU else UsageError(text)
        self.inputs = self._tensors(self._api.inputs, self._api.describe_input)
        self.outputs = self._tensors(self._api.outputs, self._api.describe_output)
        self.threads = int(self._api.threads(self._model))

    def run(self, /, *arrays: Array, **named: Array) -> Array | dict[str, Array]:
        """Runs the model once.

        Inputs are read where they are if they begin at a multiple of 64 bytes, and else copied.
        Other threads may call this at the same time; they wait.

        Args:
            arrays: the inputs in order, all of them.
            named: the inputs by name, where no `arrays` are given.

        Returns:
            The output where the model has one, else the outputs by name.

        Raises:
            UsageError: inputs are missing, unknown, or of another shape or dtype.
        """
        return by_name(self.outputs, self.call(in_order(self.inputs, arrays, named)))

    def call(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs in order, of contiguous inputs in order that fit."""
        outputs = [_aligned_empty(info) for info in self.outputs]
        with self._lock:
            self._bind(inputs, outputs)
            self._must(self._api.run)
        return outputs

    def bound(self, inputs: Sequence[Array]) -> tuple[Callable[[], None], list[Array]]:
        """A function that runs the model on these arrays again and again, and its outputs, which
        each run overwrites.

        Args:
            inputs: contiguous arrays in order that fit. They are copied now.
        """
        placed = [_aligned_empty(info) for info in self.inputs]
        for place, array in zip(placed, inputs, strict=True):
            place[...] = array
        outputs = [_aligned_empty(info) for info in self.outputs]
        self._bind(placed, outputs)
        self._kept = placed

        def again() -> None:
            self._must(self._api.run)

        return again, outputs

    def self_test(self) -> None:
        """Runs the model on inputs of its own.

        Raises:
            SandboxError: it computes something else than where it was made.
        """
        with self._lock:
            self._must(self._api.self_test)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the library says of itself."""
        content: dict[str, Any] = json.loads(self._api.manifest())
        return content

    def close(self) -> None:
        """Gives back its memory and threads. May be called again."""
        model, self._model = self._model, ctypes.c_void_p()
        self._api.close(model)

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_model"):
            self.close()

    def _bind(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        for index, array in enumerate(inputs):
            self._must(self._api.bind_input, index, array.ctypes.data, array.nbytes)
        for index, array in enumerate(outputs):
            self._must(self._api.bind_output, index, array.ctypes.data, array.nbytes)

    def _must(self, function: Any, *arguments: Any) -> None:
        if not self._model:
            raise UsageError("the model is closed")
        if function(self._model, *arguments) != _OK:
            raise SandboxError(self._api.error(self._model).decode())

    def _tensors(self, count: Any, describe: Any) -> tuple[TensorInfo, ...]:
        tensors = [describe(self._model, index).contents for index in range(count(self._model))]
        return tuple(
            TensorInfo(
                tensor.name.decode(),
                tuple(int(tensor.shape[axis]) for axis in range(tensor.ndim)),
                tensor.dtype.decode(),
            )
            for tensor in tensors
        )


def _api_of(path: Path, name: str) -> _Api:
    try:
        function = getattr(ctypes.CDLL(str(path.absolute())), f"{name}_api")
    except (OSError, AttributeError) as error:
        raise UsageError(
            f"{path} cannot be loaded as the library {name}: {error}",
            hint="compile again: `tunekit compile RECIPE`",
        ) from error
    function.restype = ctypes.POINTER(_Api)
    api: _Api = function().contents
    if api.abi_version != ABI_VERSION:
        raise UsageError(
            f"{path} is of ABI version {api.abi_version}, and this tunekit knows {ABI_VERSION}",
            hint="compile again: `tunekit compile RECIPE`",
        )
    return api


def _aligned_empty(info: TensorInfo) -> Array:
    """An array that begins where kernels may write it."""
    import numpy as np

    dtype = np.dtype(info.dtype)
    size = dtype.itemsize * math.prod(info.shape)
    memory = np.empty(size + _ALIGNMENT, "uint8")
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(info.shape)

"""Runs a standalone library from Python, by ctypes: NumPy arrays in and out, without TVM."""

from __future__ import annotations

import ctypes
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from tunekit.errors import SandboxError, TargetError, UsageError
from tunekit.standalone.abi import ABI_VERSION, CApi, CEvent, COptions
from tunekit.standalone.arguments import by_name, in_order
from tunekit.standalone.events import TraceEvent, in_their_order
from tunekit.standalone.reloading import path_to_load

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

_OK, _WRONG_CPU = 0, 2
Weights = Literal["shared", "huge_pages"]
# C's numbers of them.
_WEIGHTS: dict[Weights, int] = {"shared": 1, "huge_pages": 2}
_ALIGNMENT = 64
# Room for a trace at first.
_EVENTS = 1024


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


@dataclass(frozen=True)
class AxisInfo:
    """An axis of the inputs that has several sizes.

    Attributes:
        name: the recipe's.
        sizes: that the library was compiled for, smallest first.
        is_padded: whether those between them run too.
    """

    name: str
    sizes: tuple[int, ...]
    is_padded: bool


def load(
    folder: Path | str, *, threads: int | None = None, weights: Weights = "shared"
) -> LoadedModel:
    """Opens the model in a folder that `tune`, `compile` or `export` wrote, to run it here.

    Neither TVM nor a framework is loaded.

    Args:
        folder: holds the library and its manifest.
        threads: that run the model; as many as it was compiled for, and this process may use, if
            left out.
        weights: where they are while the model is open: "shared", in the file, one copy for all
            processes, or "huge_pages", copied once.

    Raises:
        UsageError: there is no standalone library in the folder.
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
            f"{folder} holds no standalone library: {reason}",
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
    return LoadedModel(library, entry["name"], threads=threads, weights=weights)


class LoadedModel:
    """A model in a standalone library, ready to run in this process.

        with tunekit.load("artifacts/resnet50") as model:
            scores = model.run(image)

    Attributes:
        axes: of the inputs, that have several sizes.
        inputs: of the model, in order; with axes, at the smallest size.
        outputs: of the model, in order; with axes, at the smallest size.
        threads: that run it, the caller's included.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        threads: int | None = None,
        weights: Weights = "shared",
    ) -> None:
        """Loads a library and opens its model.

        Args:
            path: of the library.
            name: with which the names of its functions begin.
            threads: that run the model; as many as it was compiled for, and this process may use,
                if left out.
            weights: where they are while it is open, as in `load`.

        Raises:
            UsageError: it is no such library.
            TargetError: this CPU lacks instructions that it uses.
        """
        if weights not in _WEIGHTS:
            places = " or ".join(_WEIGHTS)
            raise UsageError(f"{weights!r} is no place for weights: {places}")
        self._api = _api_of(path, name)
        self._model = ctypes.c_void_p()
        # One thread at a time may run a model; the arrays that it reads and writes live as long.
        self._lock = threading.Lock()
        self._places: object = None
        options = COptions(
            struct_bytes=ctypes.sizeof(COptions),
            threads=threads or 0,
            weights=_WEIGHTS[weights],
        )
        code = self._api.open(ctypes.byref(self._model), ctypes.byref(options))
        if code != _OK:
            text = self._api.error(None).decode()
            raise TargetError(text) if code == _WRONG_CPU else UsageError(text)
        self.inputs = self._tensors(self._api.inputs, self._api.describe_input)
        self.outputs = self._tensors(self._api.outputs, self._api.describe_output)
        self.axes = self._described_axes() if self._api.has_axes else ()
        self._input_axes = [self._axes_of(number) for number in range(len(self.inputs))]
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
            UsageError: inputs are missing, unknown, or of another shape or dtype; or the library
                has no size that fits, and which it has.
        """
        tensors = self._inputs_for(arrays, named) if self.axes else self.inputs
        return by_name(self.outputs, self.call(in_order(tensors, arrays, named)))

    def call(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs in order, of contiguous inputs in order that fit."""
        with self._lock:
            outputs = [_aligned_empty(info) for info in self._outputs_for(inputs)]
            self._bind(inputs, outputs)
            self._must(self._api.run)
        return outputs

    def bound(self, inputs: Sequence[Array]) -> tuple[Callable[[], None], list[Array]]:
        """A function that runs the model on these arrays again and again, and its outputs, which
        each run overwrites.

        Args:
            inputs: contiguous arrays in order that fit. They are copied now.
        """
        with self._lock:
            outputs = [_aligned_empty(info) for info in self._outputs_for(inputs)]
        placed = [
            _aligned_empty(TensorInfo(info.name, array.shape, info.dtype))
            for info, array in zip(self.inputs, inputs, strict=True)
        ]
        for place, array in zip(placed, inputs, strict=True):
            place[...] = array
        places = placed, outputs

        def again() -> None:
            with self._lock:
                if self._places is not places:
                    self._outputs_for(placed)  # which sets their size
                    self._bind(placed, outputs)
                    self._places = places
                self._must(self._api.run)

        return again, outputs

    def trace(self, /, *arrays: Array, **named: Array) -> list[TraceEvent]:
        """Runs the model once, as `run` does.

        Returns:
            What each thread did, in order.

        Raises:
            UsageError: as for `run`, or the library is from before there were traces.
        """
        if not self._api.has_trace:
            raise UsageError(
                "this library does not tell what its threads do",
                hint="compile again: `tunekit compile RECIPE`",
            )
        tensors = self._inputs_for(arrays, named) if self.axes else self.inputs
        inputs = in_order(tensors, arrays, named)
        with self._lock:
            # They live until the inference has ended.
            outputs = [_aligned_empty(info) for info in self._outputs_for(inputs)]
            self._bind(inputs, outputs)
            room, count = _EVENTS, ctypes.c_int32()
            while True:
                events = (CEvent * room)()
                self._must(self._api.trace, events, room, ctypes.byref(count))
                if count.value <= room:
                    break
                room = count.value
        return in_their_order(events[: count.value])

    def self_test(self) -> None:
        """Runs the model on inputs of its own.

        Raises:
            SandboxError: it computes something else than it should.
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
        with self._lock:
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

    def _described_axes(self) -> tuple[AxisInfo, ...]:
        axes = [
            self._api.describe_axis(self._model, number).contents
            for number in range(self._api.axes(self._model))
        ]
        return tuple(
            AxisInfo(axis.name.decode(), tuple(axis.sizes[: axis.count]), bool(axis.padded))
            for axis in axes
        )

    def _axes_of(self, number: int) -> list[int]:
        """The number of the axis that each dimension of an input is, -1 where it is none."""
        dimensions = range(len(self.inputs[number].shape))
        if not self.axes:
            return [-1 for _ in dimensions]
        return [self._api.input_axis(self._model, number, dimension) for dimension in dimensions]

    def _sizes_in(self, inputs: Sequence[Array | None]) -> list[int]:
        """The sizes that inputs in order have; the smallest where nobody can say."""
        sizes = [axis.sizes[0] for axis in self.axes]
        for array, axes in zip(reversed(inputs), reversed(self._input_axes), strict=False):
            for axis, extent in zip(axes, array.shape if array is not None else (), strict=False):
                if axis >= 0:
                    sizes[axis] = extent
        return sizes

    def _inputs_for(
        self, arrays: Sequence[Array], named: Mapping[str, Array]
    ) -> tuple[TensorInfo, ...]:
        """The inputs as they are at the size of what is given."""
        import numpy as np

        given: Sequence[Array | None] = arrays or [named.get(info.name) for info in self.inputs]
        sizes = self._sizes_in([None if item is None else np.asarray(item) for item in given])
        return tuple(
            TensorInfo(
                info.name,
                tuple(
                    extent if axis < 0 else sizes[axis]
                    for axis, extent in zip(axes, info.shape, strict=True)
                ),
                info.dtype,
            )
            for info, axes in zip(self.inputs, self._input_axes, strict=True)
        )

    def _outputs_for(self, inputs: Sequence[Array]) -> tuple[TensorInfo, ...]:
        """Sets the size of the inputs, and gives the outputs that come of it.

        Raises:
            UsageError: the library has none that fits.
        """
        if not self.axes:
            return self.outputs
        if not self._model:
            raise UsageError("the model is closed")
        sizes = self._sizes_in(inputs)
        wanted = (ctypes.c_int64 * len(sizes))(*sizes)
        if self._api.set_sizes(self._model, wanted, len(sizes)) != _OK:
            raise UsageError(self._api.error(self._model).decode())
        return self._tensors(self._api.outputs, self._api.describe_output)

    def _bind(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        self._places = None
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


def _api_of(path: Path, name: str) -> CApi:
    try:
        function = getattr(ctypes.CDLL(path_to_load(path)), f"{name}_api")
    except (OSError, AttributeError) as error:
        raise UsageError(
            f"{path} cannot be loaded as the library {name}: {error}",
            hint="compile again: `tunekit compile RECIPE`",
        ) from error
    function.restype = ctypes.POINTER(CApi)
    api: CApi = function().contents
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

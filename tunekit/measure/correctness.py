"""Is what a candidate computes right? Its outputs against those of the unscheduled function.

The expected outputs of a workload are computed once, by loops that are only reordered and shared
among threads, in a process of its own that leaves them in memory shared with the processes of all
its candidates. A schedule that leaves out a tile, or has a race, is off by far more than the order
of additions can explain.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.ir.tir import Kernel
from tunekit.measure.measurer import Candidate, TensorArgument

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from tvm.ir import IRModule

    Array = npt.NDArray[Any]

POOL_FLOATS = 1 << 22
#: The unscheduled function, reordered or not, is many times slower than any candidate.
REFERENCE_LIMIT_S = 60.0
# Rounding errors of a sum of n terms grow like the root of n for terms in random order.
_ROUNDINGS = 32
_LEAST_TOLERANCE = 1e-5
_LARGEST_TOLERANCE = 0.1
_ALIGNMENT = 64
# Outputs kept by the server, all workloads together.
_KEPT_BYTES = 256 << 20


@dataclass(frozen=True)
class Expected:
    """What is known of the right results of a workload, beside the outputs in shared memory.

    Attributes:
        outputs: positions of the arguments that the function writes.
        signed: whether the inputs were of both signs.
        reduction: the most terms that one output element is the sum of.
    """

    outputs: tuple[int, ...]
    signed: bool
    reduction: int


def random_pool() -> Array:
    """Random floats in [0.1, 1.1), shared with every child: no denormals, no overflow."""
    import numpy as np

    pool: npt.NDArray[np.float32] = np.random.default_rng(0).random(POOL_FLOATS, dtype=np.float32)
    pool += np.float32(0.1)
    return pool


def filled(
    argument: TensorArgument, pool: Array, *, position: int = 0, signed: bool = False
) -> Array:
    """An array for an argument: floats from the pool, another part of it for each position.

    With `signed` they lie in [-1, 1). What is not floating-point is zero: index tensors have to be
    valid positions in whatever they look up.
    """
    import numpy as np

    if not argument.dtype.startswith("float"):
        return np.zeros(argument.shape, argument.dtype)
    size = math.prod(argument.shape)
    start = position * 1_000_003 % POOL_FLOATS
    values = pool[start : start + size]
    if values.size < size:
        values = np.resize(np.concatenate([pool[start:], pool[:start]]), size)
    if signed:
        values = (values - np.float32(0.6)) * np.float32(2)
    return values.reshape(argument.shape).astype(argument.dtype)


class References:
    """The references of the workloads that the server has lately met.

    A reference is `Expected`, or text: why there is none.
    """

    def __init__(self) -> None:
        self._memory: dict[str, mmap.mmap] = {}
        self._kept: dict[str, Expected | str] = {}
        self._bytes: dict[str, int] = {}

    def make_room(
        self,
        workload: str,
        arguments: Sequence[TensorArgument],
        *,
        needed: Collection[str] = (),
    ) -> bool:
        """Whether the reference of this workload has to be computed now, into `memory`.

        What was met longest ago gives way where the outputs kept are too many, but for `needed`,
        the workloads of the batch. Not to be called while processes work on references.
        """
        if workload in self._kept:
            if workload in self._bytes:
                self._bytes[workload] = self._bytes.pop(workload)
            return False
        for oldest in [known for known in self._bytes if known not in needed]:
            if sum(self._bytes.values()) <= _KEPT_BYTES:
                break
            del self._bytes[oldest], self._kept[oldest], self._memory[oldest]
        try:
            self._memory[workload] = mmap.mmap(-1, max(1, _offsets(arguments)[-1]))
        except (OSError, OverflowError, ValueError) as error:
            self._kept[workload] = f"no memory for them: {error}"
            return False
        return True

    def memory(self, workload: str | None) -> mmap.mmap | None:
        """Room for all arguments of the workload, shared with processes that are forked from now
        on. Pages that nobody writes take no memory."""
        return None if workload is None else self._memory.get(workload)

    def note(
        self, workload: str, reference: Expected | str, arguments: Sequence[TensorArgument]
    ) -> None:
        """Keeps what became of the computation."""
        self._kept[workload] = reference
        if isinstance(reference, Expected):
            self._bytes[workload] = sum(arguments[position].bytes for position in reference.outputs)

    def get(self, workload: str) -> Expected | str:
        """The reference, or why there is none."""
        return self._kept.get(workload, "the unscheduled function was not run")


def compute_expected(candidate: Candidate, target: Any, pool: Array, memory: mmap.mmap) -> Expected:
    """Runs a candidate's unscheduled function, its loops reordered, and leaves its outputs in
    `memory`.

    Inputs are of both signs unless some output is then not
    finite (the root or the logarithm of a negative number): then they are positive.
    """
    import numpy as np
    import tvm

    # Not above: it needs TVM to be imported at all.
    from tunekit.ir.simple_schedule import schedule_kernel

    assert candidate.workload_json is not None
    module = tvm.ir.load_json(candidate.workload_json)
    arguments = candidate.unscheduled_arguments
    function = tvm.tirx.build(schedule_kernel(module), target)["main"]
    for signed in (True, False):
        before = _filled_all(arguments, pool, signed)
        tensors = [tvm.runtime.tensor(array) for array in before]
        function(*tensors)
        after = [tensor.numpy() for tensor in tensors]
        outputs = tuple(
            position
            for position, (old, new) in enumerate(zip(before, after, strict=True))
            if _differ(old, new)
        )
        if not signed or all(np.isfinite(after[position]).all() for position in outputs):
            break
    for position in outputs:
        view = _view(memory, arguments, position)
        view[...] = after[position]
    return Expected(outputs, signed, longest_reduction(module))


def what_is_wrong(
    function: Any,
    expected: Expected,
    memory: mmap.mmap,
    arguments: Sequence[TensorArgument],
    pool: Array,
    device: Any,
) -> str:
    """Runs a candidate and says in a sentence what is wrong with its results, "" if nothing is."""
    import numpy as np
    import tvm

    arrays = _filled_all(arguments, pool, expected.signed)
    for position in expected.outputs:
        if arrays[position].dtype.kind == "f":
            arrays[position][...] = (
                np.nan
            )  # What the candidate forgets to write must not look right.
    tensors = [tvm.runtime.tensor(array, device) for array in arrays]
    function(*tensors)
    for position, argument in enumerate(arguments):
        result = tensors[position].numpy()
        if position not in expected.outputs:
            if _differ(arrays[position], result):
                return f"it writes into argument {position}, which is an input"
            continue
        right = _view(memory, arguments, position)
        error = relative_error(result, right)
        limit = tolerance(argument.dtype, expected.reduction)
        if not error <= limit:
            return (
                f"argument {position} differs from the unscheduled function's: relative error "
                f"{error:.2g}, at most {limit:.2g} is rounding"
            )
    return ""


def relative_error(result: Array, expected: Array) -> float:
    """max |result - expected| / max |expected|; 0 where both are alike, NaN and infinities too."""
    import numpy as np

    if result.dtype.kind != "f":
        return 0.0 if np.array_equal(result, expected) else math.inf
    same = (result == expected) | (np.isnan(result) & np.isnan(expected))
    if same.all():
        return 0.0
    finite = np.isfinite(expected)
    if not np.isfinite(result[~same]).all() or not finite[~same].all():
        return math.inf
    largest = float(np.abs(expected[finite]).max(initial=0.0)) or 1.0
    difference = np.abs(result[~same].astype("float64") - expected[~same].astype("float64"))
    return float(difference.max()) / largest


def tolerance(dtype: str, reduction: int) -> float:
    """The relative error that rounding can explain in sums of so many terms, generously."""
    import numpy as np

    if not dtype.startswith("float"):
        return 0.0
    epsilon = float(np.finfo(dtype).eps)
    bound = _ROUNDINGS * epsilon * math.sqrt(max(reduction, 1))
    return min(max(bound, _LEAST_TOLERANCE), _LARGEST_TOLERANCE)


def longest_reduction(module: IRModule) -> int:
    """The most terms that any block of the module adds up for one element."""
    return max((math.prod(block.reduced) for block in Kernel.of(module).blocks), default=1)


def _filled_all(arguments: Sequence[TensorArgument], pool: Array, signed: bool) -> list[Array]:
    return [
        filled(argument, pool, position=position, signed=signed)
        for position, argument in enumerate(arguments)
    ]


def _differ(old: Array, new: Array) -> bool:
    import numpy as np

    return not np.array_equal(old, new, equal_nan=old.dtype.kind == "f")


def _view(memory: mmap.mmap, arguments: Sequence[TensorArgument], position: int) -> Array:
    import numpy as np

    argument = arguments[position]
    return np.frombuffer(
        memory, argument.dtype, math.prod(argument.shape), _offsets(arguments)[position]
    ).reshape(argument.shape)


def _offsets(arguments: Sequence[TensorArgument]) -> list[int]:
    """Where each argument starts, and where the last one ends; bytes."""
    offsets = [0]
    for argument in arguments:
        offsets.append(offsets[-1] + -(-argument.bytes // _ALIGNMENT) * _ALIGNMENT)
    return offsets

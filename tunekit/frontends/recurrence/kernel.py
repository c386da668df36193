"""The loop over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tunekit.frontends.recurrence.cells import Cell
from tunekit.frontends.recurrence.vectors import Vector

# Independent sums that hide the latency of a multiply-add, in numbers: eight vectors of eight.
_ACCUMULATORS = 64
_LARGEST_BLOCK = 32
_SMALLEST_BLOCK = 8
_MOST_ROWS = 3
# Sequences of one task, which share the weights of a block while these are in the first cache, as
# long as there are tasks for a few cores.
_TASK_ROWS = 8
_FEWEST_TASKS = 4


@dataclass(frozen=True)
class Sizes:
    """The extents of a layer.

    Attributes:
        steps: of time.
        backward: for each direction whether it runs from the last step to the first.
        batch: sequences.
        hidden: units.
    """

    steps: int
    backward: tuple[bool, ...]
    batch: int
    hidden: int

    @property
    def directions(self) -> int:
        """One or two."""
        return len(self.backward)


@dataclass(frozen=True)
class UnitBlocks:
    """How the units and sequences are taken together.

    Attributes:
        units: of a block, whose gates are computed at once, in vectors.
        blocks: of units; the last one may stick out.
        rows: sequences that share each weight that is read.
        groups: of so many sequences, which one task takes through a step one after another.
    """

    units: int
    blocks: int
    rows: int
    groups: int

    @classmethod
    def of(cls, cell: Cell, sizes: Sizes) -> UnitBlocks:
        """As many sums at a time as registers hold."""
        rows = max(row for row in range(1, _MOST_ROWS + 1) if sizes.batch % row == 0)
        units = _LARGEST_BLOCK
        sums = max(map(len, cell.phases)) * rows
        while units > _SMALLEST_BLOCK and (
            units * sums > _ACCUMULATORS * (1.5 if rows > 1 else 1) or units >= 2 * sizes.hidden
        ):
            units //= 2
        of_batch = sizes.batch // rows
        most = min(_TASK_ROWS // rows, of_batch * sizes.directions // _FEWEST_TASKS)
        groups = max(g for g in range(1, max(1, most) + 1) if of_batch % g == 0)
        return cls(units, -(-sizes.hidden // units), rows, groups)

    @property
    def task_rows(self) -> int:
        """Sequences of one task."""
        return self.rows * self.groups

    @property
    def padded(self) -> int:
        """Units, those that stick out included."""
        return self.units * self.blocks


Inputs = Mapping[str, te.Tensor]


def recurrence(cell: Cell, sizes: Sizes, names: Sequence[str], *tensors: te.Tensor) -> Any:
    """The states of all steps, and what is left after the last one.

    Args:
        cell: what a step computes.
        sizes: of the layer.
        names: of the tensors: "projected" `[steps, batch, directions, blocks, gates, units]`, for
            each phase of the cell "weights0" ... `[directions, blocks, hidden, gates, units]`,
            "hidden" and "cell" `[directions, batch, hidden]`, "peepholes" and "inner" (what is
            added to the candidate's product with the state before the reset gate)
            `[directions, gates, padded]`, "lengths" `[batch]`. Only the first two kinds must be.

    Returns:
        `[steps, directions, batch, hidden]`, and `[directions, batch, hidden]` for the state and,
        of an LSTM, for the cell.
    """
    dtype = tensors[0].dtype
    last = (sizes.directions, sizes.batch, sizes.hidden)
    shapes = [(sizes.steps, *last), last, *([last] if cell.kind == "LSTM" else [])]

    def generated(ins: Sequence[Any], outs: Sequence[Any]) -> Any:
        with IRBuilder() as builder:
            _Loop(cell, sizes, dict(zip(names, ins, strict=True)), outs, str(dtype)).write()
        return builder.get()

    return te.extern(
        shapes, list(tensors), generated, dtype=[dtype] * len(shapes), name="recurrence"
    )


class _Loop:
    """Writes the kernel; each direction and some groups of rows are a task of their own."""

    def __init__(
        self, cell: Cell, sizes: Sizes, ins: Mapping[str, Any], outs: Sequence[Any], dtype: str
    ) -> None:
        self.cell, self.sizes, self.ins, self.outs, self.dtype = cell, sizes, ins, outs, dtype
        self.block = UnitBlocks.of(cell, sizes)

    def write(self) -> None:
        tasks = self.sizes.batch // self.block.task_rows
        with T.parallel(0, self.sizes.directions * tasks) as task:
            self.direction = task // tasks if self.sizes.directions > 1 else 0
            self.first_row = task % tasks * self.block.task_rows
            self.state, self.new_state = self._buffer(), self._buffer()
            self.memory = self._buffer() if self.cell.kind == "LSTM" else None
            self.reset = self._buffer() if len(self.cell.phases) > 1 else None
            self.update = self._buffer() if len(self.cell.phases) > 1 else None
            self.rounded = self._buffer() if self.cell.rounds_state else None
            self._begin(self.state, "hidden")
            if self.memory is not None:
                self._begin(self.memory, "cell")
            with T.serial(0, self.sizes.steps) as step:
                self._step(self._time(step))
            self._end(self.state, self.outs[1])
            if self.memory is not None:
                self._end(self.memory, self.outs[2])

    def _buffer(self) -> Any:
        return T.alloc_buffer((self.block.task_rows * self.block.padded,), self.dtype)

    def _time(self, step: Any) -> Any:
        mirrored = self.sizes.steps - 1 - step
        first, *second = self.sizes.backward
        if not second or first == second[0]:
            return mirrored if first else step
        return tirx.Select(self.direction == int(not first), mirrored, step)

    def _begin(self, buffer: Any, name: str) -> None:
        padded, given = self.block.padded, self.ins.get(name)
        with T.serial(0, self.block.task_rows * padded) as place:
            T.buffer_store(buffer, self._zero(), [place])
        if given is None:
            return
        with T.serial(0, self.block.task_rows) as row, T.serial(0, self.sizes.hidden) as unit:
            value = given[self.direction, self.first_row + row, unit]
            T.buffer_store(buffer, value, [row * padded + unit])

    def _end(self, buffer: Any, out: Any) -> None:
        with T.serial(0, self.block.task_rows) as row, T.serial(0, self.sizes.hidden) as unit:
            value = buffer[row * self.block.padded + unit]
            T.buffer_store(out, value, [self.direction, self.first_row + row, unit])

    def _step(self, time: Any) -> None:
        if self.rounded is not None:
            with T.serial(0, self.block.task_rows) as row:
                self._round(self.rounded, row * self.block.padded)
        for phase, gates in enumerate(self.cell.phases):
            with T.grid(self.block.blocks, self.block.groups) as (block, group):
                first = group * self.block.rows
                sums = self._products(phase, gates, block, first)
                for row in range(self.block.rows):
                    product = {
                        gate: self._loaded(sums, row, index, 0) for index, gate in enumerate(gates)
                    }
                    self._apply(phase, product, time, block, first + row)
        with T.serial(0, self.block.task_rows) as row:
            self._store(time, row)

    def _round(self, rounded: Any, first: Any) -> None:
        """A row of the state in 8 bits: in steps of a 255th of its range."""
        low, high, step = (
            T.alloc_buffer((1,), self.dtype, scope="local") for _ in ("low", "high", "step")
        )
        zero, one, levels = (tirx.const(number, self.dtype) for number in (0, 1, 255))
        T.buffer_store(low, zero, [0])
        T.buffer_store(high, zero, [0])
        with T.serial(0, self.sizes.hidden) as unit:
            T.buffer_store(low, tirx.min(low[0], self.state[first + unit]), [0])
            T.buffer_store(high, tirx.max(high[0], self.state[first + unit]), [0])
        span = high[0] - low[0]
        T.buffer_store(step, tirx.Select(span == zero, one, span / levels), [0])
        T.buffer_store(low, tirx.nearbyint(low[0] / step[0]), [0])
        with T.serial(0, self.sizes.hidden) as unit:
            level = tirx.nearbyint(self.state[first + unit] / step[0])
            inside = tirx.max(tirx.min(level, low[0] + levels), low[0])
            T.buffer_store(rounded, inside * step[0], [first + unit])

    def _products(self, phase: int, gates: str, block: Any, first: Any) -> Any:
        """The products of a block's gates with the state, of each row of a group, `[row, gate,
        unit]`."""
        units, rows, weights = self.block.units, self.block.rows, self.ins[f"weights{phase}"]
        present = self.state if self.rounded is None else self.rounded
        state: Any = self.reset if phase else present
        sums = T.alloc_buffer((rows, len(gates), units), self.dtype, scope="local")
        places = [(row, gate) for gate in range(len(gates)) for row in range(rows)]
        for place in places:
            self._vector(lambda unit: self._zero()).store(sums, place, 0)
        with T.serial(0, self.sizes.hidden) as source:
            for row, gate in places:
                weight = self._loaded(weights, self.direction, block, source, gate, 0)
                factor = state[(first + row) * self.block.padded + source]
                product = weight.map(lambda value, factor=factor: value * factor)
                (self._loaded(sums, row, gate, 0) + product).store(sums, (row, gate), 0)
        return sums

    def _apply(
        self, phase: int, product: Mapping[str, Vector], time: Any, block: Any, row: Any
    ) -> None:
        """The activations of a block, and what follows from them."""
        cell, place = self.cell, self._place(block, row)
        projected = {
            gate: self._loaded(
                self.ins["projected"],
                time,
                self.first_row + row,
                self.direction,
                block,
                cell.gates.index(gate),
                0,
            )
            for gate in product
        }
        active, state = self._active(time, row), self._loaded(self.state, place)
        if cell.kind == "GRU":
            new_state = self._gru(phase, projected, product, block, place)
        elif self.memory is None:
            new_state = cell.rnn({name: projected[name] + product[name] for name in product})
        else:
            old = self._loaded(self.memory, place)
            gate = {name: projected[name] + product[name] for name in product}
            new_state, memory = cell.lstm(gate, old, self._peepholes(block))
            memory.where(active, old).store(self.memory, (), place)
        if new_state is not None:
            new_state.where(active, state).store(self.new_state, (), place)

    def _gru(
        self,
        phase: int,
        projected: Mapping[str, Vector],
        product: Mapping[str, Vector],
        block: Any,
        place: Any,
    ) -> Vector | None:
        """The new state; None where it needs another phase."""
        cell, state = self.cell, self._loaded(self.state, place)
        gate = {name: projected[name] + product[name] for name in product}
        if cell.reset_after:
            inner = product["h"]
            if "inner" in self.ins:
                inner = inner + self._column("inner", 0, block)
            return cell.gru(cell.update(gate), projected["h"] + cell.reset(gate) * inner, state)
        if phase == 0:
            (cell.reset(gate) * state).store(self.reset, (), place)
            cell.update(gate).store(self.update, (), place)
            return None
        return cell.gru(self._loaded(self.update, place), gate["h"], state)

    def _peepholes(self, block: Any) -> dict[str, Vector]:
        if "peepholes" not in self.ins:
            return {}
        return {gate: self._column("peepholes", i, block) for i, gate in enumerate("iof")}

    def _column(self, name: str, index: int, block: Any) -> Vector:
        return self._loaded(self.ins[name], self.direction, index, block * self.block.units)

    def _active(self, time: Any, row: Any) -> Any:
        """Whether a sequence has not ended; None where they are all of full length."""
        if "lengths" not in self.ins:
            return None
        return time < self.ins["lengths"][self.first_row + row]

    def _store(self, time: Any, row: Any) -> None:
        """Makes the new state the present one, which is what the layer gives."""
        active = self._active(time, row)
        with T.serial(0, self.block.blocks) as block:
            place = self._place(block, row)
            self._loaded(self.new_state, place).store(self.state, (), place)
        with T.serial(0, self.sizes.hidden) as unit:
            value = self.state[row * self.block.padded + unit]
            if active is not None:
                value = tirx.Select(active, value, self._zero())
            place = [time, self.direction, self.first_row + row, unit]
            T.buffer_store(self.outs[0], value, place)

    def _place(self, block: Any, row: Any) -> Any:
        """Of a block in the buffers of states."""
        return row * self.block.padded + block * self.block.units

    def _vector(self, at: Callable[[Any], Any]) -> Vector:
        return Vector(at, self.block.units, self.dtype)

    def _loaded(self, buffer: Any, *first: Any) -> Vector:
        """A block of units from a place on."""
        *outer, last = first
        return self._vector(lambda unit: buffer[(*outer, last + unit)])

    def _zero(self) -> Any:
        return tirx.const(0, self.dtype)

"""What a recurrent layer computes in a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tunekit.frontends.recurrence.activations import Activation
from tunekit.frontends.recurrence.vectors import Vector

Kind = Literal["LSTM", "GRU", "RNN"]


@dataclass(frozen=True)
class Cell:
    """A kind of cell and its gates.

    Attributes:
        kind: which it is.
        gates: in the order in which the weights have them: of an LSTM the permutation of "iofc"
            (`c` is the candidate), of a GRU that of "zrh" (`h` is the candidate; the new state is
            `(1 - z) * h + z * old`), of an RNN "h".
        activations: of an LSTM those of the gates, of the candidate and of the cell on its way
            out; of a GRU those of the gates and of the candidate; of an RNN the only one.
        reset_after: of a GRU, whether the candidate's product with the state is taken before the
            reset gate is applied to it (torch's way, ONNX's `linear_before_reset`).
        coupled: of an LSTM, whether its forget gate is one minus the input gate.
        clip: bound of what goes into an activation.
        rounds_state: whether the state of each sequence is rounded to 8 bits, in the range that it
            has in a step (nought included), before its products.
    """

    kind: Kind
    gates: str
    activations: tuple[Activation, ...]
    reset_after: bool = False
    coupled: bool = False
    clip: float | None = None
    rounds_state: bool = False

    @property
    def phases(self) -> tuple[str, ...]:
        """The gates whose products with the state are taken together, one group after another."""
        if self.kind == "GRU" and not self.reset_after:
            return "".join(gate for gate in self.gates if gate != "h"), "h"
        return (self.gates,)

    def lstm(
        self, gate: Mapping[str, Vector], cell: Vector, peephole: Mapping[str, Vector]
    ) -> tuple[Vector, Vector]:
        """The new state and the new cell.

        Args:
            gate: what goes into the activations, by name.
            cell: the old cell.
            peephole: weights of the cell on its way into the gates, by name; may be empty.
        """
        inner, candidate, outer = self.activations

        def opened(name: str, seen: Vector) -> Vector:
            value = gate[name]
            return inner(self._bounded(value + peephole[name] * seen if peephole else value))

        enter = opened("i", cell)
        forget = 1 - enter if self.coupled else opened("f", cell)
        new = (forget * cell + enter * candidate(self._bounded(gate["c"]))).kept()
        return opened("o", new) * outer(new), new

    def reset(self, gate: Mapping[str, Vector]) -> Vector:
        """Of a GRU."""
        return self.activations[0](self._bounded(gate["r"]))

    def update(self, gate: Mapping[str, Vector]) -> Vector:
        """Of a GRU."""
        return self.activations[0](self._bounded(gate["z"]))

    def gru(self, update: Vector, candidate: Vector, state: Vector) -> Vector:
        """The new state.

        Args:
            update: the gate.
            candidate: what goes into its activation.
            state: the old one.
        """
        return (1 - update) * self.activations[1](self._bounded(candidate)) + update * state

    def rnn(self, gate: Mapping[str, Vector]) -> Vector:
        """The new state."""
        return self.activations[0](self._bounded(gate["h"]))

    def _bounded(self, x: Vector) -> Vector:
        return x if self.clip is None else x.clipped(-self.clip, self.clip)

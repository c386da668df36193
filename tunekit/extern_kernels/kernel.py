"""One use of an operator in C, as it is kept with the function that calls it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunekit.extern_kernels.contract import ExternCode, ExternOperator, KernelTensor, Phase

_DIGEST_DIGITS = 16


@dataclass(frozen=True)
class ExternKernel:
    """An operator with its tensors, and its C.

    Attributes:
        operator: its name.
        inputs: what it reads.
        outputs: what it gives.
        attributes: its other arguments.
        code: the C.
    """

    operator: str
    inputs: tuple[KernelTensor, ...]
    outputs: tuple[KernelTensor, ...]
    attributes: Mapping[str, Any]
    code: ExternCode

    @classmethod
    def of(
        cls,
        operator: ExternOperator,
        inputs: Sequence[KernelTensor],
        outputs: Sequence[KernelTensor],
        attributes: Mapping[str, Any],
    ) -> ExternKernel:
        """An operator asked for its C."""
        # As they are when they are read again: with lists for tuples.
        kept = json.loads(json.dumps(dict(attributes)))
        code = operator.code(inputs, outputs, kept)
        return cls(operator.name, tuple(inputs), tuple(outputs), kept, code)

    @property
    def written(self) -> tuple[KernelTensor, ...]:
        """What its function writes: the outputs, and the workspace if there is one."""
        if not self.code.workspace_bytes:
            return self.outputs
        return (*self.outputs, KernelTensor((self.code.workspace_bytes,), "uint8"))

    @property
    def symbol(self) -> str:
        """With which the names of its C functions begin: equal for equal functions."""
        digest = hashlib.sha256(self.to_json().encode()).hexdigest()
        return f"tunekit_{self.operator}_{digest[:_DIGEST_DIGITS]}"

    def to_json(self) -> str:
        """As text; equal for equal kernels."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ExternKernel:
        """From that text."""
        kept = json.loads(text)
        code = kept["code"]
        return cls(
            operator=kept["operator"],
            inputs=tuple(map(_tensor, kept["inputs"])),
            outputs=tuple(map(_tensor, kept["outputs"])),
            attributes=kept["attributes"],
            code=ExternCode(
                **{
                    **code,
                    "phases": tuple(Phase(**phase) for phase in code["phases"]),
                    "headers": tuple(code["headers"]),
                    "sources": tuple(code["sources"]),
                }
            ),
        )


def _tensor(kept: Mapping[str, Any]) -> KernelTensor:
    return KernelTensor(tuple(kept["shape"]), kept["dtype"], kept["block"])

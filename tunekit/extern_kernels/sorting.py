"""Sorting of rows in C: TVM's own calls functions that only its runtime has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunekit.extern_kernels.contract import ExternCode, KernelTensor, Phase
from tunekit.extern_kernels.resources import Scratch, tasks_for

_WIDE = ("float64", "int64", "uint64")


@dataclass(frozen=True)
class RowsSorted:
    """Rows (R, N) in order: their first K places (R, K), and the numbers there (R, K) if there is
    an output for them, before the places. Attributes: `descending`."""

    name: str = "sort"
    blocked_inputs: frozenset[int] = frozenset()
    blocked_outputs: frozenset[int] = frozenset()

    def code(
        self,
        inputs: Sequence[KernelTensor],
        outputs: Sequence[KernelTensor],
        attributes: Mapping[str, object],
    ) -> ExternCode:
        """The kernel for tensors of these sizes."""
        [data] = inputs
        rows, count = data.shape
        most = outputs[0].shape[1]
        tasks = tasks_for(rows)
        scratch = Scratch()

        def of_task() -> str:
            return f"{scratch.array('uint32_t', tasks * count)} + (int64_t)task * {count}"

        keys, indices, spare = of_task(), of_task(), of_task()
        low_keys = of_task() if data.dtype in _WIDE else "0"
        places = len(outputs) - 1
        writes = [f"out{places}[row * {most} + i] = rank.indices[i];"]
        if places:
            writes.append(f"out0[row * {most} + i] = numbers[rank.indices[i]];")
        body = f"""
    const tkx_row rank = {{{count}, {keys}, {low_keys}, {indices}, {spare}}};
    for (int64_t row = task; row < {rows}; row += tasks) {{
      const __typeof__(*in0) *numbers = in0 + row * {count};
      tkx_rank_{data.dtype}(numbers, {int(bool(attributes["descending"]))}, {most}, &rank);
      for (int32_t i = 0; i < {most}; i++) {{
        {" ".join(writes)}
      }}
    }}"""
        return ExternCode(
            phases=(Phase(body, tasks),),
            headers=("sorting.h",),
            sources=("selection.c", "sorting.c"),
            workspace_bytes=scratch.bytes,
        )

"""How much memory kernels take while they run, as their code says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tunekit.standalone.memory import aligned
from tunekit.standalone.plan import refusal

_FUNCTION = re.compile(r"^define .*?@\"?([\w.$]+)\"?\(")
# The call through the variable __TVMBackendAllocWorkspace: device, its number, bytes, code, bits.
_TAKES = re.compile(r"call ptr %[\w.]+\(i32 1, i32 [%\w]+, i64 (%?[\w.]+), i32 \d+, i32 \d+\)")
_TASK = "__tvm_parallel_lambda"


@dataclass(frozen=True)
class Workspace:
    """Bytes that kernels take while they run, at most.

    Attributes:
        kernel: outside of parallel loops.
        task: in a task of a parallel loop.
    """

    kernel: int = 0
    task: int = 0


def workspace_of(llvm_ir: str) -> Workspace:
    """What the functions of a module in LLVM's text form take: all that is in one, as if nothing
    were given back before its end.

    Raises:
        NotStandalone: some of it is known only when it runs.
    """
    sizes: dict[str, int] = {}
    function = ""
    for line in llvm_ir.splitlines():
        if match := _FUNCTION.match(line):
            function = match[1]
        elif match := _TAKES.search(line):
            if not match[1].isdigit():
                raise refusal("a kernel takes as much memory as its data says")
            sizes[function] = sizes.get(function, 0) + aligned(int(match[1]))
    tasks = [size for name, size in sizes.items() if name.startswith(_TASK)]
    kernels = [size for name, size in sizes.items() if not name.startswith(_TASK)]
    return Workspace(max(kernels, default=0), max(tasks, default=0))

"""Which stage of a detector each call of a kernel is in.

The operators of detectors cut the graph: what a kernel's result flows to before it comes to one of
them, and what it was made from, says where it stands. Names of kernels say nothing here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.detectors import stages
from tunekit.extern_kernels.function import kernel_of
from tunekit.extern_kernels.kernel import ExternKernel
from tunekit.graph.operation import operation_of
from tunekit.ir.relax import bindings_of, operator_name

if TYPE_CHECKING:
    from tvm.ir import IRModule

# The list of what scores boxes, which operators that choose among all boxes begin with.
_SCORES = "logits"


@dataclass(frozen=True)
class _Call:
    """A call of a kernel.

    Attributes:
        function: the kernel's name.
        kernel: that it is, if it is one in C.
        reads: of each of its arguments, the numbers of the calls that this is made by.
    """

    function: str
    kernel: ExternKernel | None
    reads: tuple[frozenset[int], ...]

    @property
    def operator(self) -> str:
        """The operator in C, "" of any other kernel."""
        return self.kernel.operator if self.kernel is not None else ""

    def scores(self, argument: int) -> bool:
        """Whether an argument of one in C scores boxes, and does not place them."""
        assert self.kernel is not None
        return argument < int(self.kernel.attributes.get(_SCORES, 0))


def stages_of(module: IRModule) -> list[tuple[str, str]]:
    """Of each call of a kernel, in the order of a run, the kernel's name and the stage.

    Args:
        module: a prepared graph; one without a detector has no stages.
    """
    calls = _calls(module)
    operators = {call.operator for call in calls} - {""}
    if not operators or not operators <= {*stages.OF_OPERATORS, *stages.READ_BY}:
        return []
    readers = _readers(calls)
    computed = _computed(module, calls)
    found: list[str] = []
    for number, call in enumerate(calls):
        if not computed[number]:
            found.append(stages.PREPROCESSING)
        elif call.operator in stages.OF_OPERATORS:
            found.append(stages.OF_OPERATORS[call.operator])
        else:
            found.append(_stage(call, readers[number], found))
    return [(call.function, stage) for call, stage in zip(calls, found, strict=True)]


def _calls(module: IRModule) -> list[_Call]:
    """The calls of kernels that depend on an input."""
    from tvm import relax

    calls: list[_Call] = []
    # By its variable, the calls that a value is made by; nothing but of inputs is in here.
    makers: dict[Any, frozenset[int]] = {
        parameter: frozenset() for parameter in module["main"].params
    }

    def made_by(value: Any) -> frozenset[int]:
        variables = relax.analysis.free_vars(value)
        return frozenset().union(*(makers.get(variable, ()) for variable in variables))

    for variable, value in bindings_of(module["main"]) or ():
        if not any(used in makers for used in relax.analysis.free_vars(value)):
            continue
        if operator_name(value) != "call_tir":
            makers[variable] = made_by(value)
            continue
        function, arguments = value.args[0], value.args[1]
        makers[variable] = frozenset([len(calls)])
        reads = tuple(map(made_by, arguments.fields))
        calls.append(_Call(function.name_hint, kernel_of(module[function]), reads))
    return calls


def _readers(calls: list[_Call]) -> list[set[tuple[str, bool]]]:
    """Of each call, the operators in C that its results come to before any other, and whether as
    scores."""
    readers: dict[int, set[tuple[str, bool]]] = defaultdict(set)
    for number in reversed(range(len(calls))):
        call = calls[number]
        for argument, makers in enumerate(call.reads):
            read = {(call.operator, call.scores(argument))} if call.kernel else readers[number]
            for maker in makers:
                readers[maker] |= read
    return [readers[number] for number in range(len(calls))]


def _computed(module: IRModule, calls: list[_Call]) -> list[bool]:
    """Of each call, whether it, or what it reads, is a convolution, a product or in C: what comes
    before all of them prepares the picture."""
    found: list[bool] = []
    for call in calls:
        before = any(found[maker] for makers in call.reads for maker in makers)
        found.append(before or call.kernel is not None or _multiplies(module, call.function))
    return found


def _multiplies(module: IRModule, function: str) -> bool:
    from tvm import IRModule

    return operation_of(IRModule({"main": module[function]})) is not None


def _stage(call: _Call, readers: set[tuple[str, bool]], before: list[str]) -> str:
    """The stage of a call by who reads it; where nobody does, it is what it reads that decides."""
    operators = {operator for operator, _ in readers}
    for operator, stage in stages.READ_BY.items():
        if operator not in operators:
            continue
        # Heads are apart for scores and for boxes: what both are made from is before them.
        shared = {scores for name, scores in readers if name == operator} == {True, False}
        return stages.BACKBONE if stage == stages.HEAD and shared else stage
    makers = [maker for makers in call.reads for maker in makers]
    return before[max(makers)] if makers else stages.BACKBONE

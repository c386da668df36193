"""An explanation, as it is written to JSON. Times are seconds of one run of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tunekit.attribution.matching import By
from tunekit.attribution.nodes import Kind
from tunekit.benchmark.results import read_document
from tunekit.standalone.events import TraceEvent

SCHEMA: Literal["tunekit.explain/1"] = "tunekit.explain/1"

Bound = Literal["compute", "memory", "cache", "unknown"]
Sort = Literal["gain", "difference", "time"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CounterpartEntry(_Frozen):
    """The same work in another runtime.

    Attributes:
        seconds: of its nodes there; of several kernels with the same sizes, each has its share.
        by: the same sizes ("work"), kind and size of the output ("size"), or only its "kind".
        nodes: names of all nodes that the kernels with these sizes are matched with.
        kernels: how many kernels that is.
    """

    seconds: float
    by: By
    nodes: tuple[str, ...]
    kernels: int


class Operator(_Frozen):
    """One kernel of the library, all its calls in a run together.

    Attributes:
        name: of its function.
        work: what it computes, for people.
        kind: of work.
        calls: in one run.
        seconds: sum over its calls of the median of each.
        best_s: sum over its calls of the least of each.
        share: of all operators' time, 0 to 1.
        flops: floating-point operations of all calls, None where the manifest does not know.
        bytes: of the arguments of all calls: each read or written once.
        flops_per_s: what it reaches.
        bytes_per_s: what it reaches; None where the data decide how much of them it moves.
        of_peak: the larger of its shares of the machine's two peaks. More than 1 is possible for
            what stays in caches, which are faster than the memory that was measured.
        bound: which of the two that is; "cache" when it is faster than memory.
        gain_s: how much faster a run would be if it reached the peak.
        trials: measured of this workload, in all sessions of the catalogue.
        space: that its schedule comes from; "default" where no trial was, "none" for no schedule.
        others: the same work in other runtimes, by their names.
        difference_s: its time less the fastest other runtime's; None where there is none.
    """

    name: str
    work: str
    kind: Kind
    calls: int
    seconds: float
    best_s: float
    share: float
    flops: float | None
    bytes: int
    flops_per_s: float | None
    bytes_per_s: float | None
    of_peak: float | None
    bound: Bound
    gain_s: float | None
    trials: int
    space: str
    others: dict[str, CounterpartEntry]
    difference_s: float | None


class Unmatched(_Frozen):
    """A node of another runtime that no kernel of the library is the counterpart of."""

    runtime: str
    name: str
    op: str
    kind: Kind
    work: str
    seconds: float


class Overhead(_Frozen):
    """A part of a runtime's time that is no operator's."""

    name: str
    seconds: float


class RuntimeEntry(_Frozen):
    """A runtime as a whole.

    Attributes:
        status: "ok", or why there are no times.
        end_to_end_s: median of runs without a profiler.
        operators_s: sum of its operators' times.
        overheads: parts that with the operators add up to end to end; the last is what remains.
        runs: without a profiler.
    """

    name: str
    status: str
    end_to_end_s: float | None = None
    operators_s: float | None = None
    overheads: tuple[Overhead, ...] = ()
    runs: int = 0


class StageEntry(_Frozen):
    """A stage of a detector.

    Attributes:
        name: as in MMDetection's benchmarks, such as "backbone".
        part_of: the stage that people count it in, None where it stands alone.
        seconds: in one run, by runtime; those of all stages add up to the time from end to end.
    """

    name: str
    part_of: str | None
    seconds: dict[str, float]


class PeaksEntry(_Frozen):
    """This machine's peaks, medians of what was measured around each turn of the library.

    Attributes:
        flops_per_s: two for a multiply-add.
        bytes_per_s: going round `streamed_mib`, about what one run touches.
        memory_bytes_per_s: where no cache helps.
        launch_s: of a parallel loop with nothing to do.
        measured: how often.
    """

    flops_per_s: float
    bytes_per_s: float
    streamed_mib: int
    memory_bytes_per_s: float
    launch_s: float
    measured: int


class Explanation(_Frozen):
    """Where a library's time goes.

    `operators` are sorted by what would gain most; `runtimes` has the library itself first; `trace`
    is the fastest of some inferences by the standalone library, empty where there is none; `stages`
    is empty of what is no detector; `recipe` is its text, which older explanations do not have.
    """

    schema_: Literal["tunekit.explain/1"] = SCHEMA
    name: str
    recipe: str = ""
    source: str
    library: str
    cpu: str
    target: dict[str, object]
    threads: int
    rounds: int
    sorted_by: Sort
    peaks: PeaksEntry | None
    runtimes: tuple[RuntimeEntry, ...]
    operators: tuple[Operator, ...]
    unmatched: tuple[Unmatched, ...]
    remarks: tuple[str, ...]
    trace: tuple[TraceEvent, ...] = ()
    stages: tuple[StageEntry, ...] = ()

    def to_json(self) -> str:
        """The explanation as JSON text that ends with a newline."""
        import json

        plain = self.model_dump(mode="json")
        return json.dumps({"schema": plain.pop("schema_"), **plain}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, file: Path | None = None) -> Explanation:
        """The explanation that `to_json` wrote.

        Raises:
            UsageError: the text is not one.
        """
        return read_document(cls, SCHEMA, "an explanation", text, file)

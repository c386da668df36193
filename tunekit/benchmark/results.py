"""The report of a benchmark, as it is written to JSON and read again.

Times are in seconds where they are raw samples and in milliseconds where they were derived for
people; the name says which. A number that is not finite (the error of outputs that hold NaN) is
the text "Infinity" or "NaN". `schema` names this form; a reader should refuse others.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunekit.accuracy import MatchedDetections
from tunekit.errors import UsageError
from tunekit.timing.host_load import Noise
from tunekit.timing.statistics import median

SCHEMA: Literal["tunekit.bench/1"] = "tunekit.bench/1"

# An array of numbers or single words, an item a line, as `json.dumps` indents it. A JSON text never
# holds a line break, so nothing inside one matches.
_PLAIN_ARRAY = re.compile(r"""\[\n((?:\s*(?:[-+.\w]+|"[-+.\w]*"),?\n)+\s*)\]""")

Document = TypeVar("Document", bound=BaseModel)
_Positive = Annotated[float, Field(gt=0)]
Status = Literal["ok", "wrong", "failed", "not installed", "not applicable"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Tensor(_Frozen):
    """Name, shape and dtype of an input or output of the model."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Model(_Frozen):
    """What was run: `digest` is of structure and weights, `source` as the recipe has it."""

    name: str
    source: str
    framework: str
    digest: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Latency(_Frozen):
    """Quantiles over all samples of all rounds, in milliseconds; `samples` says how many."""

    best_ms: _Positive
    median_ms: _Positive
    p10_ms: _Positive
    p90_ms: _Positive
    samples: int


class Ratio(_Frozen):
    """How many times as fast as `against`, by `statistics.paired_ratio`.

    `low` to `high` covers the true value with probability `confidence`.
    """

    against: str
    value: float
    low: float
    high: float
    confidence: float
    rounds: int


class Accuracy(_Frozen):
    """The outputs against the reference, the worst of before and after the rounds.

    `relative_error` is max abs error / max abs reference; `within` is at most the recipe's.
    `detections` says how those of a detector were matched, whose errors are of boxes and scores.
    """

    detections: MatchedDetections | None = None
    mse: float
    max_abs_error: float
    relative_error: float
    within: bool


class Round(_Frozen):
    """One turn: seconds of every timed run, and how the machine was used meanwhile.

    `cpu_s` / `wall_s` is how many cores the runtime kept busy; `waiting_cpu_s` is what the
    runtimes whose turn it was not used; `at_rest` is whether its threads stopped spinning before
    the next turn; `instructions` are those of one run outside of the kernel, where the CPU counts
    them.
    """

    round: int
    position: int
    seconds: Annotated[list[_Positive], Field(min_length=1)]
    wall_s: float
    cpu_s: float
    waiting_cpu_s: float
    at_rest: bool
    instructions: float | None = None


class AtOnce(_Frozen):
    """Several processes of one runtime at once, one runtime after the other.

    `threads` are of each process; they share all cores, or have a part of them each. `runs_per_s`
    is of all processes together, in each round; `median_ms` of each process. `reason` says why
    there is nothing.
    """

    instances: int
    shared: bool
    threads: int
    runs_per_s: list[float]
    median_ms: list[float]
    reason: str | None = None

    @property
    def fps(self) -> float | None:
        """Runs a second of all together, the median of the rounds; None where there are none."""
        return median(self.runs_per_s) if self.runs_per_s else None


class RuntimeResult(_Frozen):
    """One row. What is None was not reached; `reason` says why, `detail` holds the evidence.

    "wrong" ran to its end with outputs beyond the tolerance. "failed" keeps the rounds it had.
    `import_s` is from the start of the runtime's process until its packages were imported, `load_s`
    from then until it was ready to run. `cpu_ms` is the CPU time of all threads for a run,
    `busy_cores` how many of them worked at a time, and `idle_cpu_s` what they used in the idle
    second after the last run. `fps` is how many a second: of a model of several sizes as many in
    each run as the `size` of the row says, which its name has behind the runtime's.
    """

    name: str
    status: Status
    reason: str | None = None
    detail: str | None = None
    latency: Latency | None = None
    fps: float | None = None
    ratio: Ratio | None = None
    accuracy: Accuracy | None = None
    peak_rss_bytes: int | None = None
    rss_bytes: int | None = None
    import_s: float | None = None
    load_s: float | None = None
    first_run_s: float | None = None
    cpu_ms: float | None = None
    busy_cores: float | None = None
    instructions: float | None = None
    idle_cpu_s: float | None = None
    at_once: AtOnce | None = None
    settings: dict[str, Any] = {}
    size: dict[str, int] = {}
    rounds: list[Round] = []

    @property
    def runtime(self) -> str:
        """The runtime's name, without the size."""
        return self.name.partition(" (")[0] if self.size else self.name

    @property
    def round_medians_s(self) -> dict[int, float]:
        """The median of a run in each round, by the round's number; seconds."""
        return {turn.round: median(turn.seconds) for turn in self.rounds}

    @property
    def fps_at_once(self) -> float | None:
        """How many a second several processes make together, counted as `fps` is."""
        fps = None if self.at_once is None else self.at_once.fps
        return None if fps is None else fps * math.prod(self.size.values())

    @property
    def to_first_result_s(self) -> float | None:
        """From nothing to the first result; None where not all of it is known."""
        parts = (self.import_s, self.load_s, self.first_run_s)
        return sum(part for part in parts if part is not None) if None not in parts else None


class Environment(_Frozen):
    """Where and when: the host as `tunekit doctor` sees it, versions, date (UTC, ISO 8601)."""

    date: str
    host: dict[str, Any]
    system: str
    versions: dict[str, str]
    noise: Noise


class Protocol(_Frozen):
    """How it was run; `relative_error` is the recipe's tolerance."""

    rounds: int
    threads: int
    seed: int
    turn_s: float
    warm_up_s: float
    relative_error: float


class Report(_Frozen):
    """A benchmark: the rows in the order asked for, and what they say."""

    schema_: Literal["tunekit.bench/1"] = SCHEMA
    recipe: str
    recipe_digest: str
    model: Model
    protocol: Protocol
    environment: Environment
    order: list[list[str]]
    """Names in the order of their turns, round by round."""

    runtimes: list[RuntimeResult]
    verdict: str
    warnings: list[str]

    @property
    def succeeded(self) -> bool:
        """Whether the tuned library ran and was right; of any runtime, where it took no part."""
        tuned = [row for row in self.runtimes if row.runtime == "tuned"]
        if tuned:
            return all(row.status == "ok" for row in tuned)
        return any(row.status == "ok" for row in self.runtimes)

    def to_json(self) -> str:
        """The report as JSON text, raw samples on one line each turn."""
        document = json.loads(self.model_dump_json())
        document = {"schema": document.pop("schema_"), **document}
        text = json.dumps(document, indent=1, ensure_ascii=False)
        # One sample a line would make a file of thousands of lines that nobody can review.
        return _PLAIN_ARRAY.sub(lambda array: f"[{' '.join(array[1].split())}]", text) + "\n"

    @classmethod
    def from_json(cls, text: str, *, file: Path | None = None) -> Report:
        """The report that `to_json` wrote. UsageError when the text is not one."""
        return read_document(cls, SCHEMA, "a benchmark report", text, file)


def read_document(
    kind: type[Document], schema: str, what: str, text: str, file: Path | None
) -> Document:
    """A document of this schema from its JSON.

    Raises:
        UsageError: the text is not one; `what` says what it should have been.
    """
    where = f"{file}: " if file else ""
    try:
        content = json.loads(text)
        found = content.pop("schema", None) if isinstance(content, dict) else None
        if found != schema:
            raise UsageError(f"{where}not {what}: schema is {found!r}, not {schema}")
        # A later tunekit may know more of a row, which is no reason to refuse what both know.
        return kind.model_validate({"schema_": found, **content}, extra="ignore")
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}line {error.lineno}: not JSON: {error.msg}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}{key}: {first['msg']}") from error

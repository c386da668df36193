"""What goes into the catalogue and what comes out: plain frozen dataclasses, checked when made.

Nothing here knows SQL. Times are seconds as float, moments are aware UTC datetimes, digests and
structural hashes are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from tunekit.catalogue import workload_digest
from tunekit.catalogue.canonical_json import canonical_json, digest

SessionState = Literal["running", "interrupted", "finished", "failed"]

#: MetaSchedule writes 1e10 seconds where a candidate failed. That is no measurement, and neither
#: is anything from a third of a century on.
_LONGEST_RUN_S = 1e9

_LONGEST_FAILURE_TEXT = 20_000
_LARGEST_SLOWDOWN = 1e6
_LONGEST_DEVICE = 128


class FailureKind(StrEnum):
    """Why a candidate has no seconds. A crash has the signal's name at the start of its text."""

    BUILD_ERROR = "build_error"
    BUILD_TIMEOUT = "build_timeout"
    RUN_ERROR = "run_error"
    RUN_TIMEOUT = "run_timeout"
    CRASH = "crash"
    OUT_OF_MEMORY = "out_of_memory"
    WRONG_OUTPUT = "wrong_output"
    LOST_DEVICE = "lost_device"

    @property
    def deterministic(self) -> bool:
        """Whether the candidate itself is to blame: built again it would fail again. Time limits
        and devices depend on what else went on."""
        return self not in (
            FailureKind.BUILD_TIMEOUT,
            FailureKind.RUN_TIMEOUT,
            FailureKind.LOST_DEVICE,
        )


@dataclass(frozen=True)
class Failure:
    """A candidate's failure. The text becomes storable: valid Unicode, no NUL, and where it is
    longer than 20,000 characters its middle gives way (the cause stands at the start, the
    innermost frame at the end)."""

    kind: FailureKind
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FailureKind(self.kind))
        clean = (
            self.text.encode("utf-8", "replace")
            .decode("utf-8")
            .replace("\0", "\N{REPLACEMENT CHARACTER}")
        )
        if len(clean) > _LONGEST_FAILURE_TEXT:
            half = _LONGEST_FAILURE_TEXT // 2 - 50
            clean = f"{clean[:half]}\n[... {len(clean) - 2 * half} characters ...]\n{clean[-half:]}"
        object.__setattr__(self, "text", clean)

    @property
    def signal(self) -> str | None:
        """The signal that a crash died of, such as "SIGSEGV"; None for other failures."""
        if self.kind is not FailureKind.CRASH:
            return None
        match = re.match(r"SIG[A-Z0-9+]+", self.text)
        return match.group() if match else None


@dataclass(frozen=True)
class NewSession:
    """`target_json` is the canonical JSON of the target, `host` what `Host.as_dict` gives
    (cpu_name, features, cores, memory_bytes and whatever else there is), `toolchain` versions by
    distribution name. `origin` says where the trials come from: "tune", "import", or
    "metaschedule" for those that MetaSchedule committed by itself."""

    name: str
    recipe_yaml: str
    recipe_digest: str
    model_digest: str | None
    model_name: str
    target_json: str
    host: Mapping[str, Any]
    host_fingerprint: str
    toolchain: Mapping[str, str]
    budget_trials: int
    seed: int
    origin: Literal["tune", "import", "metaschedule"] = "tune"

    def __post_init__(self) -> None:
        if self.budget_trials < 0:
            raise ValueError(f"budget_trials is {self.budget_trials}, not 0 or more")


@dataclass(frozen=True)
class SessionInfo:
    """A session as it stands. `state` is "interrupted" also where the process that ran it died
    without saying so. `trials_done` counts every trial, `failures` those of them without seconds,
    `reused` results taken from other sessions (they cost no budget). `seconds` is the wall clock
    by phase, over all runs of the session. `toolchain_key` says with what it was last measured."""

    id: str
    name: str
    state: SessionState
    origin: str
    recipe_yaml: str
    recipe_digest: str
    model_name: str | None
    target_json: str
    host_fingerprint: str
    budget_trials: int
    trials_done: int
    failures: int
    reused: int
    seed: int
    pid: int
    created_at: datetime
    updated_at: datetime
    heartbeat_at: datetime
    seconds: dict[str, float] = field(default_factory=dict)
    toolchain_key: str = ""

    @property
    def trials_left(self) -> int:
        return max(0, self.budget_trials - self.trials_done)


@dataclass(frozen=True)
class NewWorkload:
    """One fused operator: `module_json` is the saved TIR module, `preparation` says how the graph
    it was extracted from had been prepared, `name` what it computes in words, or TVM's name (both
    for people; equality is hash and content)."""

    structural_hash: str
    module_json: str
    preparation: str
    name: str

    @property
    def content_digest(self) -> str:
        """Equal for modules that compute the same with blocks of the same names."""
        return workload_digest.content_digest(self.module_json)


@dataclass(frozen=True)
class NewTask:
    """`weight` is how often the workload runs in one inference, `flops` what one run computes,
    `implementation` ("ALGORITHM PROBLEM") what it computes by which algorithm, where tasks of
    other algorithms compete with it."""

    workload: NewWorkload
    name: str
    weight: float
    flops: float | None = None
    implementation: str | None = None


@dataclass(frozen=True)
class NewTrial:
    """A candidate that was measured: raw `samples_s` of every repeat, or `failure`, never both.

    `measure_s` is the wall clock of the measurement, `build_s` of the build,
    `calibration_s` of the calibration kernel timed next to it. `slowdown` says how many
    times slower than its usual self the host was meanwhile (1.0: not at all; None: not known), and
    `device` which remote device measured. ValueError where the seconds are not finite, positive and
    below 1e9 (MetaSchedule's 1e10 for "failed" is refused).
    """

    task_id: int
    candidate_digest: str
    trace_json: str
    samples_s: tuple[float, ...] | None = None
    failure: Failure | None = None
    measure_options: Mapping[str, Any] = field(default_factory=dict)
    build_s: float | None = None
    measure_s: float | None = None
    measured_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    calibration_s: float | None = None
    slowdown: float | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if (self.samples_s is None) == (self.failure is None):
            raise ValueError("a trial has either samples_s or a failure, exactly one of them")
        if self.samples_s is not None:
            object.__setattr__(self, "samples_s", tuple(float(s) for s in self.samples_s))
            if not self.samples_s:
                raise ValueError("samples_s is empty: a trial without seconds needs a failure")
            for seconds in self.samples_s:
                if not 0 < seconds < _LONGEST_RUN_S:  # false for NaN too
                    raise ValueError(
                        f"samples_s holds {seconds}: not a measurement (finite, positive, below "
                        f"{_LONGEST_RUN_S:g} s); a candidate that failed has a failure instead"
                    )
        for name in ("build_s", "measure_s", "calibration_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}, not a finite number of seconds")
        if (
            self.slowdown is not None
            and not 1 / _LARGEST_SLOWDOWN < self.slowdown < _LARGEST_SLOWDOWN
        ):
            raise ValueError(f"slowdown is {self.slowdown}, not a positive factor")
        if self.device is not None and not 0 < len(self.device) <= _LONGEST_DEVICE:
            raise ValueError(f"device has {len(self.device)} characters, not 1 to 128")
        if self.measured_at.tzinfo is None:
            raise ValueError("measured_at has no time zone")

    @property
    def score_s(self) -> float | None:
        """What ranks the trial: the mean of its run seconds, as the host usually is."""
        return None if self.samples_s is None else corrected_mean(self.samples_s, self.slowdown)


@dataclass(frozen=True)
class Trial:
    """A trial as stored; `position` counts from 0 within its session in the order of arrival.

    `samples_s` are as measured, `score_s` is corrected by `slowdown`.
    """

    trial_id: int
    session_id: str
    position: int
    task_id: int
    task_name: str
    structural_hash: str
    target_json: str
    host_fingerprint: str
    candidate_digest: str
    trace_json: str
    samples_s: tuple[float, ...] | None
    score_s: float | None
    failure: Failure | None
    measure_options: dict[str, Any]
    build_s: float | None
    measure_s: float | None
    calibration_s: float | None
    measured_at: datetime
    slowdown: float | None = None
    device: str | None = None

    def as_record(self, module_json: str) -> Record | None:
        """The same as a record of the workload with this module; None for a failure."""
        if self.samples_s is None or self.score_s is None:
            return None
        return Record(
            trial_id=self.trial_id,
            structural_hash=self.structural_hash,
            module_json=module_json,
            trace_json=self.trace_json,
            samples_s=self.samples_s,
            score_s=self.score_s,
            target_json=self.target_json,
            host_fingerprint=self.host_fingerprint,
            measured_at=self.measured_at,
        )


@dataclass(frozen=True)
class Record:
    """A good trial with all that is needed to replay it."""

    trial_id: int
    structural_hash: str
    module_json: str
    trace_json: str
    samples_s: tuple[float, ...]
    score_s: float
    target_json: str
    host_fingerprint: str
    measured_at: datetime


@dataclass(frozen=True)
class TaskSummary:
    """A task of a session with what its trials came to; `best_s` is the lowest mean, seconds.
    `name` is TVM's, `operation` what it computes in words (TVM's name again where nobody said)."""

    task_id: int
    position: int
    name: str
    structural_hash: str
    weight: float
    flops: float | None
    implementation: str | None
    trials: int
    failures: dict[FailureKind, int]
    best_s: float | None
    operation: str = ""


@dataclass(frozen=True)
class NewLibrary:
    """A compiled model. `session_id` is None for one compiled without a session of its own."""

    name: str
    path: str
    sha256: str
    recipe_digest: str
    manifest: Mapping[str, Any]
    session_id: str | None = None


@dataclass(frozen=True)
class NewBenchRun:
    """A benchmark that was run.

    Attributes:
        results: the report with every raw sample, as JSON has it; its `verdict` is what lists show.
        environment: what it ran in.
        library_id: of the tuned library, where it is in the catalogue.
    """

    name: str
    recipe_digest: str
    host: Mapping[str, Any]
    host_fingerprint: str
    toolchain: Mapping[str, str]
    environment: Mapping[str, Any]
    results: Mapping[str, Any]
    library_id: int | None = None
    measured_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class BenchRunInfo:
    """A benchmark as lists show it; `verdict` is the report's own, None where it has none."""

    id: int
    name: str
    measured_at: datetime
    recipe_digest: str
    host_fingerprint: str
    cpu_name: str
    verdict: str | None


@dataclass(frozen=True)
class BenchRun:
    """A benchmark with all that was kept of it; `library` is the path of the tuned library, where
    that is in the catalogue."""

    info: BenchRunInfo
    host: dict[str, Any]
    toolchain: dict[str, str]
    environment: dict[str, Any]
    results: dict[str, Any]
    library: str | None


def mean(seconds: tuple[float, ...]) -> float:
    """The arithmetic mean, correctly rounded sums; seconds."""
    return math.fsum(seconds) / len(seconds)


def corrected_mean(seconds: tuple[float, ...], slowdown: float | None) -> float:
    """The mean on a host that is as fast as it usually is; seconds."""
    return mean(seconds) / (slowdown or 1.0)


def comparable(options: Mapping[str, Any]) -> dict[str, Any]:
    """What of measuring options has to be the same for seconds to be comparable at all: what the
    measured code found in the caches."""
    return {key: options[key] for key in ("cache",) if key in options}


def toolchain_key(versions: Mapping[str, str]) -> str:
    """What records depend on among `versions`: two toolchains with one key can replay each other's
    traces. That is the TVM wheel (it brings its own LLVM); the frameworks do not matter."""
    tvm = versions.get("apache-tvm")
    return f"apache-tvm=={tvm}" if tvm else f"sha256:{digest(canonical_json(versions))}"

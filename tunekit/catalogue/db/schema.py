"""The catalogue's tables, as SQLAlchemy 2 typed declarative models.

    hosts   toolchains   models   targets   workloads   measure_options
       \\________ \\________ | ________/          |              |
                         sessions ───< tasks >───┤              |
                            |            |       |              |
                            └────────< trials >──┴──────────────┘
                                         |
                                         └──< reuses      libraries, bench_runs

A trial names its session, workload, target, host and toolchain itself although most of them follow
from its task: the lookup "best records of this workload on this target" must be one index range
however many sessions there were. `check` verifies that the copies agree.

Only `tunekit.catalogue` uses these classes; what leaves the package are the plain dataclasses in
`tunekit.catalogue.entries`.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Connection,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: The table in which the schema's revision is kept. Its presence makes a database a catalogue.
VERSION_TABLE = "catalogue_version"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime with microseconds; stored without its zone, which is always UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; the catalogue keeps UTC")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class CompressedText(TypeDecorator[str]):
    """Text kept as a zlib stream of its UTF-8 bytes.

    Modules and traces are JSON of 5 to 50 kB that shrinks to a tenth, and zlib's checksum shows
    when a stored one was damaged.
    """

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else zlib.compress(value.encode("utf-8"), 6)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else zlib.decompress(value).decode("utf-8")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Host(Base):
    """A machine that measures, or a class of equal ones: equal fingerprint, equal speed."""

    __tablename__ = "hosts"
    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(128), unique=True)
    cpu_name: Mapped[str] = mapped_column(Text)
    cores: Mapped[int | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    features: Mapped[list[str]] = mapped_column(JSON)
    description: Mapped[dict[str, Any]] = mapped_column(JSON)


class Toolchain(Base):
    """Versions that were installed. `key` names what traces and generated code depend on."""

    __tablename__ = "toolchains"
    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(128), unique=True)
    key: Mapped[str] = mapped_column(String(128))
    versions: Mapped[dict[str, str]] = mapped_column(JSON)


class Model(Base):
    __tablename__ = "models"
    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(128), unique=True)
    name: Mapped[str] = mapped_column(Text)


class Target(Base):
    """A target by its canonical JSON; the digest is that text's sha256."""

    __tablename__ = "targets"
    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(128), unique=True)
    canonical_json: Mapped[str] = mapped_column(Text)


class Workload(Base):
    """One fused operator. A structural hash can collide, hash and content together cannot.

    The content's digest is `canonical.content_digest`: equal for the same kernel of two models,
    whose texts differ. Of those the first is kept.
    """

    __tablename__ = "workloads"
    __table_args__ = (UniqueConstraint("structural_hash", "content_digest"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    structural_hash: Mapped[str] = mapped_column(String(128))
    content_digest: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(Text)
    preparation: Mapped[str] = mapped_column(Text)
    module_json: Mapped[str] = mapped_column(CompressedText)


class MeasureOptions(Base):
    """How trials were measured; a table of its own because thousands of trials share a row."""

    __tablename__ = "measure_options"
    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(128), unique=True)
    options: Mapped[dict[str, Any]] = mapped_column(JSON)


class Session(Base):
    """One run of a recipe against a budget. The owner columns say which process runs it."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("budget_trials >= 0", name="budget"),
        CheckConstraint("state IN ('running', 'interrupted', 'finished', 'failed')", name="state"),
        Index(None, "recipe_digest", "target_id", "host_id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(Text)
    origin: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    budget_trials: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    recipe_digest: Mapped[str] = mapped_column(String(128))
    recipe_yaml: Mapped[str] = mapped_column(Text)
    model_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))
    target_id: Mapped[int] = mapped_column(ForeignKey("targets.id"))
    host_id: Mapped[int] = mapped_column(ForeignKey("hosts.id"))
    toolchain_id: Mapped[int] = mapped_column(ForeignKey("toolchains.id"))
    owner_pid: Mapped[int]
    owner_started: Mapped[str] = mapped_column(String(128))
    owner_machine: Mapped[str] = mapped_column(String(128))
    heartbeat_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Wall clock by phase, over all runs of the session; seconds.
    seconds: Mapped[dict[str, float] | None] = mapped_column(JSON(none_as_null=True))


class Task(Base):
    """A workload with its weight in the model of one session."""

    __tablename__ = "tasks"
    __table_args__ = (UniqueConstraint("session_id", "workload_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    workload_id: Mapped[int] = mapped_column(ForeignKey("workloads.id"))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(Text)
    weight: Mapped[float] = mapped_column(Double)
    flops: Mapped[float | None] = mapped_column(Double)
    implementation: Mapped[str | None] = mapped_column("place", String(128), key="implementation")


_BEST, _HAS_TIME = "ix_trials_best", "mean_s IS NOT NULL"


class Trial(Base):
    """One candidate with all its run seconds, or the reason why it has none.

    The trace stands behind the numbers: SQLite reads a row from its start, so lookups that need
    only them stay off the overflow pages. What follows it is read only together with it.
    """

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("session_id", "position"),
        CheckConstraint("(mean_s IS NULL) <> (failure_kind IS NULL)", name="outcome"),
        CheckConstraint("mean_s > 0", name="mean"),
        # What `records` walks, best first; host and toolchain are filtered within the index.
        Index(
            _BEST,
            "workload_id",
            "target_id",
            "score_s",
            "host_id",
            "toolchain_id",
            sqlite_where=text(_HAS_TIME),
        ),
        # What `task_summaries` and `sessions` count from, without touching the rows.
        Index("ix_trials_task", "task_id", "failure_kind", "score_s"),
        # What `known_trials` asks: has this candidate a result?
        Index("ix_trials_candidate", "workload_id", "candidate_digest"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    position: Mapped[int]
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    workload_id: Mapped[int] = mapped_column(ForeignKey("workloads.id"))
    target_id: Mapped[int] = mapped_column(ForeignKey("targets.id"))
    host_id: Mapped[int] = mapped_column(ForeignKey("hosts.id"))
    toolchain_id: Mapped[int] = mapped_column(ForeignKey("toolchains.id"))
    measure_options_id: Mapped[int] = mapped_column(ForeignKey("measure_options.id"))
    candidate_digest: Mapped[str] = mapped_column(String(128))
    measured_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Derived from samples_s and slowdown, for the index; seconds.
    score_s: Mapped[float | None] = mapped_column("mean_s", Double, key="score_s")
    failure_kind: Mapped[str | None] = mapped_column(String(32))
    build_s: Mapped[float | None] = mapped_column(Double)
    #: Wall clock of the whole measurement, not of one run of the candidate.
    measure_s: Mapped[float | None] = mapped_column("run_s", Double, key="measure_s")
    calibration_s: Mapped[float | None] = mapped_column(Double)
    samples_s: Mapped[list[float] | None] = mapped_column(
        "run_seconds", JSON(none_as_null=True), key="samples_s"
    )
    failure_text: Mapped[str | None] = mapped_column(Text)
    trace_json: Mapped[str] = mapped_column(CompressedText)
    #: How many times slower than usual the host was meanwhile.
    slowdown: Mapped[float | None] = mapped_column(Double)
    #: The remote device that measured.
    device: Mapped[str | None] = mapped_column(String(128))


@event.listens_for(Trial.__table__, "before_create")
def _leave_failures_out(table: Table, connection: Connection, **_: object) -> None:
    """Makes the index of the best one of good trials only on PostgreSQL as well.

    Said with the index, it would load that dialect in every process that uses a catalogue.
    """
    if connection.dialect.name == "postgresql":
        (index,) = (index for index in table.indexes if index.name == _BEST)
        index.dialect_options["postgresql"]["where"] = text(_HAS_TIME)


class Reuse(Base):
    """A trial of another session whose result a task took instead of measuring it again."""

    __tablename__ = "reuses"
    __table_args__ = (UniqueConstraint("task_id", "trial_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"), index=True)
    reused_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Winner(Base):
    """The trial that won when the best of its workload were measured again, taking turns.

    Seconds of different minutes are not comparable on a shared host, those of one comparison are.
    """

    __tablename__ = "winners"
    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"), index=True)
    #: All runs of the comparison, and the shortest of them; seconds.
    samples_s: Mapped[list[float]] = mapped_column("run_seconds", JSON, key="samples_s")
    best_s: Mapped[float] = mapped_column(Double)
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Library(Base):
    """A compiled model: where it was written and what it was."""

    __tablename__ = "libraries"
    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[int | None] = mapped_column(
        ForeignKey("sessions.id", ondelete="SET NULL"), index=True
    )
    name: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(128), index=True)
    recipe_digest: Mapped[str] = mapped_column(String(128))
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class BenchRun(Base):
    """One benchmark with every raw sample of every runtime."""

    __tablename__ = "bench_runs"
    id: Mapped[int] = mapped_column(primary_key=True)
    library_id: Mapped[int | None] = mapped_column(
        ForeignKey("libraries.id", ondelete="SET NULL"), index=True
    )
    host_id: Mapped[int] = mapped_column(ForeignKey("hosts.id"))
    toolchain_id: Mapped[int] = mapped_column(ForeignKey("toolchains.id"))
    name: Mapped[str] = mapped_column(Text)
    recipe_digest: Mapped[str] = mapped_column(String(128), index=True)
    environment: Mapped[dict[str, Any]] = mapped_column(JSON)
    results: Mapped[dict[str, Any]] = mapped_column(JSON)
    measured_at: Mapped[datetime] = mapped_column(UtcDateTime)

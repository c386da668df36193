"""A new catalogue for each test, on SQLite and, where its programs and a driver are installed, on a
PostgreSQL server that the tests start and stop themselves."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy

from tunekit.catalogue import (
    Catalogue,
    NewSession,
    NewTask,
    NewTrial,
    NewWorkload,
)

TARGET = '{"kind":"llvm","mcpu":"x86-64-v3","num-cores":2}'


class Examples:
    """Entries to write, each with as little as a test needs to say."""

    target = TARGET

    def session(self, **changes: object) -> NewSession:
        example = NewSession(
            name="small",
            recipe_yaml="name: small\n",
            recipe_digest="recipe",
            model_digest="model",
            model_name="resnet18",
            target_json=TARGET,
            host={
                "cpu_name": "AMD EPYC",
                "features": frozenset({"avx2", "fma"}),
                "cores": 2,
                "memory_bytes": 24 * 2**30,
                "gpus": (),
            },
            host_fingerprint="host",
            toolchain={"apache-tvm": "0.27.0.post1", "torch": "2.12.1"},
            budget_trials=64,
            seed=3,
        )
        return replace(example, **changes)  # type: ignore[arg-type]

    def tasks(self, count: int) -> list[NewTask]:
        return [self.task(f"hash{number}") for number in range(count)]

    def task(self, structural_hash: str, module_json: str | None = None) -> NewTask:
        module = module_json or f'{{"module": "{structural_hash}"}}'
        workload = NewWorkload(structural_hash, module, "fused", f"conv_{structural_hash}")
        return NewTask(workload, workload.name, weight=2.0, flops=1e9)

    def trial(self, task_id: int, score_s: float = 1e-3, **changes: object) -> NewTrial:
        example = NewTrial(
            task_id=task_id,
            candidate_digest=f"candidate of {score_s}",
            trace_json='{"trace": []}',
            samples_s=(score_s,),
            measure_options={"repeat": 3},
        )
        return replace(example, **changes)  # type: ignore[arg-type]


@pytest.fixture
def new() -> Examples:
    return Examples()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a new catalogue."""
    if request.param == "sqlite":
        return str(tmp_path / "catalogue.db")
    server: str = request.getfixturevalue("postgresql_server")
    return new_database(server)


@pytest.fixture
def catalogue(url: str) -> Iterator[Catalogue]:
    with Catalogue.open(url) as opened:
        yield opened


@pytest.fixture
def engine(catalogue: Catalogue, url: str) -> Iterator[sqlalchemy.Engine]:
    """The same database past the catalogue's back."""
    engine = sqlalchemy.create_engine(url if "://" in url else f"sqlite:///{url}")
    yield engine
    engine.dispose()


_numbers = itertools.count()


def new_database(server: str) -> str:
    name = f"catalogue{next(_numbers)}"
    engine = sqlalchemy.create_engine(server.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.format(name)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server with {} for the database's name."""
    initdb, pg_ctl = shutil.which("initdb"), shutil.which("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("initdb and pg_ctl are not installed")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed")
    # Directly under the system's folder: a socket's path is short, and the server, which refuses to
    # run as root, must reach it.
    folder = Path(tempfile.mkdtemp(prefix="tunekit-pg-"))
    user: int | None = None
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        user = nobody.pw_uid
    data = folder / "data"

    def run(*command: str) -> None:
        # The server inherits the output: into a file, as a pipe would never end.
        with (folder / "output").open("ab") as output:
            subprocess.run(command, user=user, check=True, stdout=output, stderr=output, cwd="/")

    try:
        run(initdb, "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run(pg_ctl, "-D", str(data), "-w", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://postgres@/{{}}?host={folder}"
        finally:
            run(pg_ctl, "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)

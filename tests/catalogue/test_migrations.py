"""The migrations lead to the schema that a new catalogue gets at once."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tunekit.catalogue import Catalogue
from tunekit.catalogue.db import migrate
from tunekit.catalogue.db.schema import VERSION_TABLE, Base


def test_migrating_an_empty_database_gives_the_schema_of_a_new_one(url: str) -> None:
    engine = sqlalchemy.create_engine(url if "://" in url else f"sqlite:///{url}")
    with engine.begin() as connection:
        migrate.upgrade(connection)
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
    with Catalogue.open(url, create=False) as catalogue:
        assert catalogue.maintenance.check() == []


def test_a_new_sqlite_catalogue_has_the_very_tables_of_a_migrated_one(tmp_path: Path) -> None:
    new, migrated = (sqlalchemy.create_engine(f"sqlite:///{tmp_path}/{n}.db") for n in range(2))
    with new.begin() as connection:
        migrate.create(connection)
        made = definitions(connection)
    with migrated.begin() as connection:
        migrate.upgrade(connection)
        assert definitions(connection) == made
    new.dispose()
    migrated.dispose()


def test_the_index_of_the_best_has_only_what_has_a_time(engine: sqlalchemy.Engine) -> None:
    queries = {
        "sqlite": "SELECT sql FROM sqlite_master WHERE name = 'ix_trials_best'",
        "postgresql": "SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_trials_best'",
    }
    with engine.connect() as connection:
        definition = connection.scalar(sqlalchemy.text(queries[engine.dialect.name]))
    assert "mean_s IS NOT NULL" in definition


def test_the_newest_migration_is_the_revision_that_new_catalogues_carry() -> None:
    folder = Path(migrate.__file__).with_name("migrations")
    assert ScriptDirectory(str(folder)).get_heads() == [migrate.CURRENT]


def definitions(connection: sqlalchemy.Connection) -> dict[str, list[str]]:
    """Each table's and index's definition as its sorted clauses: the order in which columns and
    constraints were added has no meaning."""
    query = sqlalchemy.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: sorted(clauses(sql)) for name, sql in connection.execute(query)}


def clauses(sql: str) -> list[str]:
    """What stands between the outer parentheses, cut at the commas outside of inner ones."""
    head, _, rest = sql.partition("(")
    body, _, tail = rest.rpartition(")")
    found, depth = [""], 0
    for letter in body:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [" ".join(clause.split()) for clause in (head, *found, tail)]

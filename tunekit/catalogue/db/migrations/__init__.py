"""Alembic's scripts: one revision per file in `versions`, run by `tunekit.catalogue.db.migrate`."""

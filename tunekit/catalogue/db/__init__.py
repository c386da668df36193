"""The database itself: schema, connection, migrations, upkeep, integrity."""

"""What every test may ask for."""

from tests.support.postgres import (
    database_url,
    empty_database_url,
    migrated_template,
    own_postgres,
    postgres_16,
    postgres_16_url,
    postgres_server,
)

__all__ = [
    "database_url",
    "empty_database_url",
    "migrated_template",
    "own_postgres",
    "postgres_16",
    "postgres_16_url",
    "postgres_server",
]

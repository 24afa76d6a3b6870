"""What every test may ask for."""

from tests.support.counts import counted, pytest_terminal_summary
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
    "counted",
    "database_url",
    "empty_database_url",
    "migrated_template",
    "own_postgres",
    "postgres_16",
    "postgres_16_url",
    "postgres_server",
    "pytest_terminal_summary",
]

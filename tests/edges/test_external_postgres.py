"""A PostgreSQL that somebody else runs, of another major version: migrated, placed on, read, and append-only."""

from pathlib import Path

import asyncpg
import pytest

from ordertrail.storage.postgres.migrate import migrate
from tests.support.http_calls import place
from tests.support.postgres import fetch, run, trail
from tests.support.programs import api_program


def test_an_order_is_placed_on_an_older_server(postgres_16_url: str, tmp_path: Path) -> None:
    with api_program(postgres_16_url, tmp_path) as api:
        status, order = place(api)

    assert status == 201
    assert [row[0] for row in trail(postgres_16_url, order["id"])] == ["COMPLETED", "INITIATED"]
    assert fetch(postgres_16_url, "SHOW server_version_num")[0][0].startswith("16")


def test_migrating_an_older_server_twice_changes_nothing_and_rows_stay(postgres_16_url: str) -> None:
    run(migrate(postgres_16_url))
    run(migrate(postgres_16_url))

    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        fetch(postgres_16_url, "DELETE FROM orders")

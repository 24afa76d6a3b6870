"""A PostgreSQL that somebody else runs, of another major version: migrated, placed on, read, and append-only."""

from pathlib import Path

import asyncpg
import pytest

from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.event_log import PostgresEventLog
from ordertrail.storage.postgres.migrate import migrate
from ordertrail.storage.postgres.orders import PostgresRows
from tests.conformance.arrange import recorded
from tests.conformance.databases import DEADLINES
from tests.conformance.event_log.test_reading import in_short, rows_after
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


async def test_events_are_kept_read_and_held_back_on_an_older_server(postgres_16_url: str) -> None:
    await migrate(postgres_16_url)
    database = Database(postgres_16_url, timeout_seconds=20, connections_max=2)
    await database.open()
    other = await asyncpg.connect(postgres_16_url)
    try:
        log, rows = PostgresEventLog(database, SystemClock()), PostgresRows(database, DEADLINES)
        await log.keep(kept_days=1)
        start = await log.newest()
        [first] = await recorded(rows)
        await other.execute("BEGIN; SELECT pg_current_xact_id()")
        [second] = await recorded(rows)
        before = in_short(await rows_after(log, start))
        holder = await log.horizon_holder()
        await other.execute("COMMIT")
        after = in_short(await rows_after(log, start))
    finally:
        await other.close()
        await database.close()

    assert (before, after) == ([(first.id, "INITIATED")], [(first.id, "INITIATED"), (second.id, "INITIATED")])
    assert holder is not None and holder.pid == other.get_server_pid()

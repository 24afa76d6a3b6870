"""What keeps the event log in order: room for the days, what is dropped, another server, and what holds it back."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.event_rows import LogMark, MarkGone
from ordertrail.storage.order_rows import Rows
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.event_log import DAYS_AHEAD, PostgresEventLog
from ordertrail.storage.postgres.orders import PostgresRows
from tests.conformance.arrange import recorded
from tests.conformance.databases import CONNECTIONS_MAX, DEADLINES
from tests.conformance.event_log.test_reading import in_short, rows_after
from tests.support.orders import new_id

KEPT_DAYS = 7.0
PARTITIONS = """
SELECT c.relname AS name,
       (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'append_only' AND t.tgenabled = 'O')
           AS triggers
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'event_log'::regclass ORDER BY 1
"""
CHANGES = ("UPDATE {} SET count = 9", "DELETE FROM {}", "TRUNCATE {}")
# As a dump is restored: another transaction writes what the row says of its own.
COPY_BOUNDS = """
WITH copied AS (DELETE FROM event_log_bounds RETURNING *) INSERT INTO event_log_bounds SELECT * FROM copied
"""
# As on a young server, where another transaction may have the same id.
COPY_BOUNDS_ALIKE = "UPDATE event_log_bounds SET written_by = pg_current_xact_id()::text::bigint"
LOG_TO_COME = """
INSERT INTO event_log (txid, count, order_ids, statuses)
SELECT txid + 100000, count, order_ids, statuses FROM event_log
"""
LOGGED_AT = """
INSERT INTO event_log (logged_at, count, order_ids, statuses) VALUES ($1, 1, ARRAY[$2], '{INITIATED}')
"""


class Kept:
    """A log on PostgreSQL, and a connection of its owner's."""

    def __init__(self, database: Database, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.connection = connection
        self.rows: Rows = PostgresRows(database, DEADLINES)
        self.log = PostgresEventLog(database, SystemClock())

    async def partitions(self) -> list[str]:
        return [record["name"] for record in await self.connection.fetch(PARTITIONS)]

    async def logged(self, at: datetime) -> str:
        """An order whose row of the log has this time."""
        order_id = new_id()
        await self.connection.execute(
            "INSERT INTO orders (id, type, side, instrument, quantity, status) "
            "VALUES ($1, 'market', 'buy', 'A', 1, 'INITIATED')",
            order_id,
        )
        await self.connection.execute(LOGGED_AT, at, order_id)
        return order_id


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    database = Database(database_url, timeout_seconds=30, connections_max=CONNECTIONS_MAX)
    await database.open()
    connection = await asyncpg.connect(database_url)
    try:
        yield Kept(database, connection)
    finally:
        await connection.close()
        await database.close()


def today(days: int = 0) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def partition_of(moment: datetime) -> str:
    return f"event_log_{moment:%Y_%m_%d}"


async def test_every_partition_refuses_change_and_has_the_trigger(kept: Kept) -> None:
    await kept.logged(today(400))
    await kept.log.keep(kept_days=KEPT_DAYS)
    records = await kept.connection.fetch(PARTITIONS)

    assert len(records) >= DAYS_AHEAD + 3
    assert {record["triggers"] for record in records} == {1}
    for name in ("event_log", *(record["name"] for record in records)):
        for change in CHANGES:
            with pytest.raises(asyncpg.RestrictViolationError):
                await kept.connection.execute(change.format(name))


async def test_a_day_without_a_partition_loses_no_event_and_is_counted(kept: Kept) -> None:
    start = await kept.log.newest()
    order_id = await kept.logged(today(30))

    # The day has come: rows are there already, so they stay where they are.
    await kept.connection.execute("SELECT make_event_log_partition($1::date)", today(30).date())
    done = await kept.log.keep(kept_days=KEPT_DAYS)

    assert done.misplaced == 1
    assert partition_of(today(30)) not in await kept.partitions()
    assert in_short(await rows_after(kept.log, start)) == [(order_id, "INITIATED")]


async def test_a_clock_that_steps_back_a_day_changes_no_order(kept: Kept) -> None:
    start = await kept.log.newest()
    ids = [await kept.logged(today(days)) for days in (0, -1, 0, 1, -400)]

    assert in_short(await rows_after(kept.log, start)) == [(order_id, "INITIATED") for order_id in ids]


async def test_old_days_are_detached_and_their_marks_are_gone(kept: Kept) -> None:
    await kept.connection.execute("SELECT make_event_log_partition($1::date)", today(-9).date())
    start = await kept.log.newest()
    old = [await kept.logged(today(-9)) for _ in range(2)]
    first, last = await rows_after(kept.log, start)
    new = await kept.logged(today())

    done = await kept.log.keep(kept_days=KEPT_DAYS)

    assert done.dropped == 1
    assert partition_of(today(-9)) not in await kept.partitions()
    assert in_short([first, last]) == [(order_id, "INITIATED") for order_id in old]
    gone = await kept.log.read(first.mark, events_max=10)
    assert isinstance(gone, MarkGone)
    assert "older" in gone.why
    # Who has read all that is gone misses nothing.
    assert in_short(await rows_after(kept.log, last.mark)) == [(new, "INITIATED")]
    assert await kept.log.oldest() == last.mark


async def test_rows_that_no_day_had_room_for_go_when_all_of_them_are_old(kept: Kept) -> None:
    await kept.logged(today(-100))
    recent = await kept.logged(today(-100 + 95))
    [*_, mark] = [row.mark for row in await rows_after(kept.log, await kept.log.oldest())]

    assert (await kept.log.keep(kept_days=KEPT_DAYS)).misplaced == 2
    done = await kept.log.keep(kept_days=1)

    assert (done.dropped >= 1, done.misplaced) == (True, 0)
    assert recent
    assert "event_log_default" in await kept.partitions()
    assert await kept.log.oldest() == mark
    order_id = await kept.logged(today(-100))
    assert in_short(await rows_after(kept.log, mark)) == [(order_id, "INITIATED")]


async def test_a_log_of_another_server_begins_anew(kept: Kept) -> None:
    await recorded(kept.rows)
    mark = await kept.log.newest()
    await kept.connection.execute(COPY_BOUNDS)

    with pytest.raises(StatementFailed, match="has not begun anew"):
        await kept.log.read(mark, events_max=10)
    await kept.log.keep(kept_days=KEPT_DAYS)

    gone = await kept.log.read(mark, events_max=10)
    assert isinstance(gone, MarkGone)
    assert "restored" in gone.why
    start = await kept.log.newest()
    [order] = await recorded(kept.rows)
    assert in_short(await rows_after(kept.log, start)) == [(order.id, "INITIATED")]
    assert partition_of(today()) in await kept.partitions()


async def test_rows_of_transactions_that_are_to_come_begin_the_log_anew(kept: Kept) -> None:
    await recorded(kept.rows)
    mark = await kept.log.newest()
    await kept.connection.execute(COPY_BOUNDS_ALIKE)
    await kept.log.keep(kept_days=KEPT_DAYS)
    assert await kept.log.are_there([mark]) == [None]

    await kept.connection.execute(LOG_TO_COME)
    await kept.log.keep(kept_days=KEPT_DAYS)

    [gone] = await kept.log.are_there([mark])
    assert isinstance(gone, MarkGone)
    assert "restored" in gone.why


async def test_dropped_days_leave_a_log_that_is_not_taken_for_a_copy(kept: Kept) -> None:
    await kept.connection.execute("SELECT make_event_log_partition($1::date)", today(-9).date())
    await kept.logged(today(-9))
    await kept.logged(today(-100))
    before = await kept.log.newest()

    done = await kept.log.keep(kept_days=KEPT_DAYS)
    await kept.log.keep(kept_days=KEPT_DAYS)

    assert done.dropped >= 2
    assert (await kept.log.oldest()).database == before.database


async def test_keeping_twice_at_once_does_each_thing_once(kept: Kept) -> None:
    await kept.connection.execute("SELECT make_event_log_partition($1::date)", today(-9).date())
    await kept.logged(today(-9))
    async with kept.connection.transaction():
        await kept.connection.execute("SELECT pg_advisory_xact_lock(7305112028)")
        assert (await kept.log.keep(kept_days=KEPT_DAYS)).dropped == 0

    assert (await kept.log.keep(kept_days=KEPT_DAYS)).dropped == 1
    assert (await kept.log.keep(kept_days=KEPT_DAYS)).dropped == 0


async def test_an_open_transaction_holds_the_log_back_and_is_named(kept: Kept, database_url: str) -> None:
    start = await kept.log.newest()
    other = await asyncpg.connect(database_url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT pg_current_xact_id()")
        await recorded(kept.rows)

        first = await kept.log.read(start, events_max=10)
        second = await kept.log.read(start, events_max=10)
        holder = await kept.log.horizon_holder()

        assert not isinstance(first, MarkGone)
        assert not isinstance(second, MarkGone)
        assert (first.rows, second.rows) == ((), ())
        assert second.horizon_seconds > 0
        assert holder is not None
        assert (holder.pid, holder.database) == (other.get_server_pid(), database_url.rpartition("/")[2])
        await transaction.rollback()
    finally:
        await other.close()
    assert len(await rows_after(kept.log, start)) == 1
    done = await kept.log.read(start, events_max=10)
    assert not isinstance(done, MarkGone)
    assert done.horizon_seconds == 0


async def test_a_mark_that_was_lost_with_a_failover_is_named_so(kept: Kept) -> None:
    await recorded(kept.rows)
    mark = await kept.log.newest()
    lost = LogMark(mark.database, mark.timeline - 1, mark.txid, mark.id, mark.check + 1)

    [gone] = await kept.log.are_there([lost])

    assert isinstance(gone, MarkGone)
    assert "standby" in gone.why

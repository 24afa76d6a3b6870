"""The event log where only a PostgreSQL of a distribution will do: a standby takes over, a dump is restored on another
server, other databases and prepared transactions hold events back, and roles may see little.
"""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.event_rows import LogMark, MarkGone
from ordertrail.storage.order_rows import Rows
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.event_log import PostgresEventLog
from ordertrail.storage.postgres.inspection import EventLogInspection, inspect_event_log
from ordertrail.storage.postgres.migrate import migrate
from ordertrail.storage.postgres.orders import PostgresRows
from tests.conformance.arrange import recorded
from tests.conformance.databases import DEADLINES
from tests.conformance.event_log.test_reading import in_short, rows_after
from tests.support.postgres import execute, fetch
from tests.support.service import ScriptedVenue, running
from tests.support.system_postgres import (
    SystemPostgres,
    copy_database,
    needs_system_postgres,
    standby_of,
    system_postgres,
)
from tests.support.until import until

pytestmark = [pytest.mark.machine, needs_system_postgres]

KEPT_DAYS = 7.0
WITHOUT_REPLICATION = ("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
# More transactions than a server has had that was just made.
AGE = "DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
# What providers take away, and more.
REVOKED = """
REVOKE EXECUTE ON FUNCTION pg_control_system(), pg_current_wal_lsn(), pg_walfile_name(pg_lsn) FROM PUBLIC;
REVOKE SELECT ON pg_stat_activity, pg_prepared_xacts FROM PUBLIC;
"""


class OpenLog:
    def __init__(self, database: Database) -> None:
        self.rows: Rows = PostgresRows(database, DEADLINES)
        self.log = PostgresEventLog(database, SystemClock())

    async def written(self, count: int) -> list[tuple[str, str]]:
        """So many new orders, as the log should say it."""
        return [(order.id, "INITIATED") for order in await recorded(self.rows, count=count)]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[OpenLog]:
    database = Database(url, timeout_seconds=20, connections_max=2)
    await database.open()
    try:
        yield OpenLog(database)
    finally:
        await database.close()


@pytest.fixture
def server() -> Iterator[SystemPostgres]:
    with system_postgres(max_prepared_transactions="2") as server:
        yield server


def caught_up(primary: SystemPostgres, standby: SystemPostgres) -> None:
    written = fetch(primary.url, "SELECT pg_current_wal_lsn()::text")[0][0]
    until(lambda: fetch(standby.url, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written)[0][0])


def cut_replication(standby: SystemPostgres) -> None:
    for statement in WITHOUT_REPLICATION:
        execute(standby.url, statement)
    until(lambda: not fetch(standby.url, "SELECT FROM pg_stat_wal_receiver"), what="the standby receives nothing")


def take_over(primary: SystemPostgres, standby: SystemPostgres) -> None:
    primary.stop(signal.SIGKILL)
    standby.promote()
    until(lambda: not fetch(standby.url, "SELECT pg_is_in_recovery()")[0][0], what="the standby has taken over")


def why(gone: object) -> str:
    assert isinstance(gone, MarkGone)
    return gone.why


async def test_a_mark_goes_on_at_a_standby_only_where_its_row_came_over() -> None:
    with system_postgres() as primary:
        await migrate(primary.url)
        with standby_of(primary) as standby:
            async with opened(primary.url) as before:
                await before.written(3)
                kept_mark = await before.log.newest()
                caught_up(primary, standby)
                cut_replication(standby)
                lost = await before.written(5)
                lost_rows = await rows_after(before.log, kept_mark)
            take_over(primary, standby)

            async with opened(standby.url) as after:
                lost_marks = [row.mark for row in lost_rows]
                gone_at_once = await after.log.are_there(lost_marks)
                nothing = await rows_after(after.log, kept_mark)
                new = await after.written(12)
                new_rows = await rows_after(after.log, kept_mark)
                gone_later = await after.log.are_there(lost_marks)
                read = await after.log.read(lost_marks[-1], events_max=10)

    assert in_short(lost_rows) == lost
    assert nothing == []
    assert in_short(new_rows) == new
    # Ids that were given and lost have been given again, and yet no mark is taken for another.
    assert {mark.txid for mark in lost_marks} & {row.mark.txid for row in new_rows}
    assert all("standby took over" in why(gone) for gone in (*gone_at_once, *gone_later, read))
    assert len(gone_at_once) == len(gone_later) == 5
    assert {row.mark.timeline for row in new_rows} == {kept_mark.timeline + 1}


async def test_a_reader_follows_a_standby_that_takes_over_without_a_loss() -> None:
    with system_postgres() as primary:
        await migrate(primary.url)
        with standby_of(primary) as standby:
            async with opened(primary.url) as before:
                start = await before.log.oldest()
                written = await before.written(4)
                [first, second, *_] = await rows_after(before.log, start)
                caught_up(primary, standby)
            take_over(primary, standby)

            async with opened(standby.url) as after:
                written += await after.written(4)
                found = await rows_after(after.log, second.mark)

    assert in_short([first, second, *found]) == written


async def test_a_restored_dump_is_another_log(server: SystemPostgres) -> None:
    execute(server.url, AGE)
    await migrate(server.url)
    async with opened(server.url) as before:
        await before.written(3)
        mark = await before.log.newest()
    with system_postgres() as other:
        copy_database(server, other)

        async with opened(other.url) as after:
            with pytest.raises(StatementFailed, match="has not begun anew"):
                await after.log.read(mark, events_max=10)
            with pytest.raises(StatementFailed, match="has not begun anew"):
                await after.log.horizon_holder()
            await after.log.keep(kept_days=KEPT_DAYS)
            gone = await after.log.read(mark, events_max=10)
            start = await after.log.oldest()
            new = await after.written(2)
            found = await rows_after(after.log, start)

    assert "restored" in why(gone)
    assert in_short(found) == new


async def held_back(log: OpenLog, start: LogMark) -> float:
    """Nothing can be read, twice; for how long the reader says that this has been so."""
    seconds = []
    for _ in range(2):
        page = await log.log.read(start, events_max=10)
        assert not isinstance(page, MarkGone)
        assert page.rows == ()
        seconds.append(page.horizon_seconds)
    return seconds[-1]


async def test_a_prepared_transaction_holds_events_back_and_is_named(server: SystemPostgres) -> None:
    await migrate(server.url)
    async with opened(server.url) as log:
        start = await log.log.newest()
        execute(server.url, "BEGIN; CREATE TABLE left_open (); PREPARE TRANSACTION 'left open'")
        written = await log.written(2)

        seconds = await held_back(log, start)
        holder = await log.log.horizon_holder()
        execute(server.url, "ROLLBACK PREPARED 'left open'")
        found = await rows_after(log.log, start)

    assert seconds > 0
    assert holder is not None
    assert (holder.pid, holder.database, holder.prepared) == (None, "postgres", "left open")
    assert holder.seconds > 0
    assert in_short(found) == written


async def test_a_transaction_of_another_database_holds_events_back_and_is_named(server: SystemPostgres) -> None:
    await migrate(server.url)
    execute(server.url, "CREATE DATABASE elsewhere")
    other = await asyncpg.connect(server.url.rpartition("/")[0] + "/elsewhere")
    try:
        async with opened(server.url) as log:
            start = await log.log.newest()
            await other.execute("BEGIN")
            await other.execute("SELECT pg_current_xact_id()")
            written = await log.written(2)

            await held_back(log, start)
            holder = await log.log.horizon_holder()
            await other.execute("COMMIT")
            found = await rows_after(log.log, start)
    finally:
        await other.close()

    assert holder is not None
    assert (holder.pid, holder.database) == (other.get_server_pid(), "elsewhere")
    assert in_short(found) == written


async def owned_by_app(server: SystemPostgres) -> str:
    """The URL of a role that owns our tables and is nothing more; with the schema in place."""
    execute(server.url, "CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app")
    url = server.url.replace("postgres@", "app@")
    await migrate(url)
    return url


@pytest.mark.parametrize("revoked", ["", REVOKED], ids=["plain", "revoked"])
async def test_a_role_that_may_see_little_reads_all_and_times_what_holds_it_back(
    server: SystemPostgres, revoked: str
) -> None:
    if revoked:
        execute(server.url, revoked)
    url = await owned_by_app(server)
    superuser = await asyncpg.connect(server.url)
    try:
        async with opened(url) as log:
            await log.log.keep(kept_days=KEPT_DAYS)
            start = await log.log.newest()
            await superuser.execute("BEGIN")
            await superuser.execute("SELECT pg_current_xact_id()")
            written = await log.written(2)
            assert await held_back(log, start) > 0
            holders = [await log.log.horizon_holder() for _ in range(2)]
            await superuser.execute("COMMIT")
            found = await rows_after(log.log, start)
    finally:
        await superuser.close()

    shown = (None, None, None) if revoked else (superuser.get_server_pid(), "postgres", None)
    for holder in holders:
        assert holder is not None
        assert (holder.pid, holder.database, holder.prepared) == shown
    assert holders[1] is not None and holders[1].seconds > 0
    assert in_short(found) == written
    assert start.timeline == (0 if revoked else 1)


async def test_orders_are_placed_where_the_role_may_see_nothing(server: SystemPostgres, tmp_path: Path) -> None:
    execute(server.url, REVOKED)
    url = await owned_by_app(server)

    async with running(url, tmp_path, ScriptedVenue()) as service:
        reply = await service.place()
        status = await service.call("GET", "/status")

    assert reply.status == 201
    assert status.body["doubts"]["count"] is not None
    assert status.body["events"]["horizon_seconds"] is not None


async def test_what_a_role_may_do_for_the_log_is_found_out(server: SystemPostgres) -> None:
    url = await owned_by_app(server)
    execute(server.url, "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    owner = await inspected(url)
    superuser = await inspected(server.url)
    execute(server.url, REVOKED)

    assert superuser == EventLogInspection(True, True, True, True)
    assert owner == EventLogInspection(True, True, True, False)
    assert await inspected(url) == EventLogInspection(True, True, False, False)
    assert await inspected(url.replace("app@", "reader@")) == EventLogInspection(True, False, False, False)


async def inspected(url: str) -> EventLogInspection:
    database = Database(url, timeout_seconds=20, connections_max=1)
    await database.open()
    try:
        return await inspect_event_log(database)
    finally:
        await database.close()

"""Sessions of ours depend on nobody's defaults, are found out when they die, and repeat what was not executed."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.postgres.address import read_address
from ordertrail.storage.postgres.connecting import KEEPALIVE_IDLE_SECONDS, Connector
from ordertrail.storage.postgres.database import IDLE_SECONDS_MAX, Database, session_settings
from ordertrail.storage.postgres.migrate import migrate
from tests.support.postgres import execute
from tests.support.service import ScriptedVenue, running

WAIT_SECONDS = 30
PID = "SELECT pg_backend_pid() AS pid"

# What a role may say by default, and what our sessions have all the same.
HOSTILE = {
    "default_transaction_isolation": ("serializable", "read committed"),
    "default_transaction_deferrable": ("on", "off"),
    "synchronous_commit": ("off", "on"),
    "statement_timeout": ("1ms", "20s"),
    "lock_timeout": ("1ms", "5s"),
    "idle_in_transaction_session_timeout": ("1ms", "20s"),
    "idle_session_timeout": ("1ms", "0"),
    "transaction_timeout": ("10min", "1min"),
    "search_path": ("elsewhere", "public"),
    "row_security": ("on", "off"),
    "timezone": ("Asia/Kathmandu", "UTC"),
    "plan_cache_mode": ("force_generic_plan", "auto"),
    "enable_indexscan": ("off", "on"),
    "enable_nestloop": ("off", "on"),
    "enable_seqscan": ("on", "off"),
    "jit": ("on", "off"),
}


def set_for_role(url: str, name: str, value: str) -> None:
    execute(url, f"ALTER ROLE ordertrail IN DATABASE {url.rpartition('/')[2]} SET {name} = '{value}'")


@asynccontextmanager
async def opened(url: str, *, timeout_seconds: float = 20, connections_max: int = 4) -> AsyncIterator[Database]:
    database = Database(url, timeout_seconds=timeout_seconds, connections_max=connections_max)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_the_role_says_by_default_does_not_matter(database_url: str, tmp_path: Path, name: str) -> None:
    hostile, ours = HOSTILE[name]
    set_for_role(database_url, name, hostile)

    async with running(database_url, tmp_path, ScriptedVenue()) as service:
        reply = await service.place()
        shown = await service.service.database.fetch(f"SHOW {name}")

        assert reply.status == 201
        assert shown[0][0] == ours


async def test_commits_that_are_kept_by_more_than_one_server_stay_so(database_url: str) -> None:
    set_for_role(database_url, "synchronous_commit", "remote_apply")

    async with opened(database_url) as database:
        assert (await database.fetch("SHOW synchronous_commit"))[0][0] == "remote_apply"


async def test_migrations_do_not_depend_on_the_role_either(empty_database_url: str) -> None:
    # The one that would end the statements which set the others comes last.
    for name in ("lock_timeout", "search_path", "default_transaction_isolation", "statement_timeout"):
        set_for_role(empty_database_url, name, HOSTILE[name][0])

    await migrate(empty_database_url)

    async with opened(empty_database_url) as database:
        assert (await database.fetch("SELECT count(*) FROM public.orders"))[0][0] == 0


async def test_role_that_may_only_read_is_refused_with_a_sentence(database_url: str, tmp_path: Path) -> None:
    set_for_role(database_url, "default_transaction_read_only", "on")

    async with running(database_url, tmp_path, ScriptedVenue(), database_timeout_seconds=1) as service:
        readiness = await service.call("GET", "/readyz")

        assert readiness.status == 503
        assert "it is read-only" in readiness.text.decode()


async def test_the_kernel_watches_over_each_connection(database_url: str) -> None:
    async with opened(database_url, timeout_seconds=6) as database, database.connection() as connection:
        connected = connection._transport.get_extra_info("socket")

        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE_SECONDS
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000


async def test_connection_that_was_idle_for_too_long_is_not_used_again(database_url: str) -> None:
    async with opened(database_url) as database:
        [first] = await database.fetch(PID)
        database._idle = [(connection, since - IDLE_SECONDS_MAX) for connection, since in database._idle]

        [second] = await database.fetch(PID)

        assert second["pid"] != first["pid"]


async def test_ping_gives_up_what_was_idle_for_too_long(database_url: str) -> None:
    async with opened(database_url) as database:
        async with database.connection(), database.connection():
            pass
        [(old, since), *rest] = database._idle
        database._idle = [(old, since - IDLE_SECONDS_MAX), *rest]

        await database.ping()

        assert database._pool is not None
        assert database._pool.get_size() == len(database._idle) == 1


async def test_host_that_says_nothing_does_not_keep_us_from_the_next_one(database_url: str) -> None:
    address, _, name = database_url.rpartition("/")
    port = address.rpartition(":")[2]
    silent = socket.create_server(("127.0.0.1", 0))
    silent_port = silent.getsockname()[1]
    url = f"postgresql://ordertrail:ordertrail@127.0.0.1:{silent_port},127.0.0.1:{port}/{name}"
    with silent:
        async with opened(url, timeout_seconds=2) as database:
            await database.fetch(PID)
            # The second connection begins where the first was well.
            database._give_up_idle()
            async with asyncio.timeout(0.9):
                await database.fetch(PID)


async def test_statements_that_a_session_has_lost_are_prepared_anew(database_url: str) -> None:
    async with opened(database_url) as database:
        await database.fetch("SELECT count(*) FROM orders")
        async with database.connection() as connection:
            await connection.execute("DEALLOCATE ALL")

        assert (await database.fetch("SELECT count(*) FROM orders"))[0][0] == 0


async def test_deadlock_is_repeated(database_url: str) -> None:
    async with opened(database_url) as database:
        await database.fetch("CREATE TABLE counts (id integer PRIMARY KEY, count integer DEFAULT 0)")
        await database.fetch("INSERT INTO counts VALUES (1), (2)")
        both_have_one = asyncio.Barrier(2)
        tries = 0

        async def count(connection: Any, first: int, second: int) -> None:
            nonlocal tries
            tries += 1
            await connection.execute("BEGIN")
            await connection.execute(f"UPDATE counts SET count = count + 1 WHERE id = {first}")
            if tries <= 2:
                await both_have_one.wait()
            await connection.execute(f"UPDATE counts SET count = count + 1 WHERE id = {second}")
            await connection.execute("COMMIT")

        await asyncio.gather(
            database.run(lambda connection: count(connection, 1, 2)),
            database.run(lambda connection: count(connection, 2, 1)),
        )

        assert [record["count"] for record in await database.fetch("SELECT count FROM counts")] == [2, 2]
        assert tries == 3


async def test_serialization_failure_is_repeated(database_url: str) -> None:
    async with opened(database_url) as database:
        await database.fetch("CREATE TABLE counts (count integer)")
        await database.fetch("INSERT INTO counts VALUES (0)")
        tries = 0

        async def count(connection: Any) -> None:
            nonlocal tries
            tries += 1
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await connection.fetch("SELECT count FROM counts")
            if tries == 1:
                await database.fetch("UPDATE counts SET count = count + 1")
            await connection.execute("UPDATE counts SET count = count + 1")
            await connection.execute("COMMIT")

        await database.run(count)

        assert (await database.fetch("SELECT count FROM counts"))[0][0] == 2
        assert tries == 2


async def test_conflict_that_does_not_end_is_repeated_a_few_times_and_then_raised(database_url: str) -> None:
    tries = 0

    async def conflict(_connection: Any) -> None:
        nonlocal tries
        tries += 1
        raise asyncpg.DeadlockDetectedError("deadlock detected")

    async with opened(database_url) as database:
        with pytest.raises(StatementFailed) as caught:
            await database.run(conflict)

    assert caught.value.code == "40P01"
    assert tries == 5


@pytest.mark.parametrize("error", ["serialization_failure", "deadlock_detected", "lock_not_available"])
@pytest.mark.parametrize("status", ["INITIATED", "COMPLETED"])
async def test_order_is_placed_in_spite_of_conflicts(
    database_url: str, tmp_path: Path, error: str, status: str
) -> None:
    async with running(database_url, tmp_path, ScriptedVenue()) as service:
        service.refuse_rows(status, first=2, error=error)

        reply = await service.place()

        assert reply.status == 201
        assert [row[0] for row in await service.trail(reply.body["id"])] == ["INITIATED", "COMPLETED"]


async def test_full_disk_of_the_database_is_a_failed_step_and_the_trail_is_kept(
    database_url: str, tmp_path: Path
) -> None:
    venue = ScriptedVenue()
    async with running(database_url, tmp_path, venue) as service:
        service.refuse_rows("INITIATED", error="disk_full", first=2)

        reply = await service.place()

        assert (reply.status, reply.body["outcome"]) == (500, "not_placed")
        assert venue.sent == []
        await service.service.housekeeping.run_once()
        trail = await service.trail(reply.body["order_id"])
        assert [row[:2] for row in trail] == [
            ("INITIATED", None),
            ("DATABASE_PERSISTENCE_FAILED", "not_sent:not_recorded"),
        ]


async def test_canceled_by_its_time_limit_a_statement_was_not_executed(database_url: str) -> None:
    async with opened(database_url) as database:
        await database.fetch("SELECT set_config('statement_timeout', '10ms', false)")
        with pytest.raises(StatementOutcomeUnknown) as caught:
            # The server cancels it after its 10 ms.
            await database.fetch("SELECT pg_sleep(5)")

    assert not caught.value.may_have_happened


async def go_on_and_on(session: "asyncpg.Connection[asyncpg.Record]") -> None:
    await session.execute("BEGIN")
    while True:
        await session.fetch("SELECT pg_sleep(0.02)")


async def test_a_transaction_that_goes_on_and_on_is_ended_however_busy_it_is(database_url: str) -> None:
    settings = session_settings(timeout_seconds=0.2)
    session = await Connector(read_address(database_url), settings, timeout_seconds=20).connect()
    try:
        # No statement and no pause between two of them is long.
        with pytest.raises(asyncpg.PostgresConnectionError):
            await go_on_and_on(session)
    finally:
        session.terminate()


async def test_an_older_server_has_all_settings_but_those_it_does_not_know(postgres_16_url: str) -> None:
    async with opened(postgres_16_url) as database:
        [record] = await database.fetch(
            "SELECT current_setting('statement_timeout') AS known, current_setting('transaction_timeout', true) AS new"
        )

    assert (record["known"], record["new"]) == ("20s", None)


@pytest.mark.parametrize("is_given_up", [True, False])
async def test_connections_that_wait_in_the_pool_are_given_up_like_the_others(
    database_url: str, *, is_given_up: bool
) -> None:
    """Where somebody waits for a connection, all that end then go back to the pool, and one of them is taken."""
    async with opened(database_url, connections_max=3) as database:
        all_there = asyncio.Barrier(4)

        async def pid(barrier: asyncio.Barrier) -> int:
            async with database.connection() as connection:
                await barrier.wait()
                return int(connection.backend_pid)

        holding = [asyncio.create_task(pid(all_there)) for _ in range(3)]
        async with asyncio.timeout(WAIT_SECONDS):
            while all_there.n_waiting < 3:  # noqa: ASYNC110 - a barrier tells nobody but who waits at it
                await asyncio.sleep(0)
        waiting = asyncio.create_task(database.fetch(PID))
        while not database._wanted:  # noqa: ASYNC110 - nor does this
            await asyncio.sleep(0)
        await all_there.wait()
        before = await asyncio.gather(*holding)
        await waiting
        assert len(database._idle) < 3
        if is_given_up:
            database._give_up_idle()

        all_taken = asyncio.Barrier(3)
        after = await asyncio.gather(*(pid(all_taken) for _ in range(3)))

    assert len(set(before)) == len(set(after)) == 3
    assert set(before) & set(after) == (set() if is_given_up else set(before))

"""Connections that are kept at hand: those that ended meanwhile are replaced, and nobody waits beside a free one."""

import asyncio

from ordertrail.storage.postgres.database import Database

PID = "SELECT pg_backend_pid() AS pid"


async def test_connection_that_ended_while_it_was_idle_is_replaced(database_url: str) -> None:
    database, other = (Database(database_url, timeout_seconds=20, connections_max=1) for _ in range(2))
    await database.open()
    await other.open()
    ended = asyncio.Event()
    async with database.connection() as connection:
        [first] = await connection.fetch(PID)
        connection.add_termination_listener(lambda _: ended.set())
    [kept] = await database.fetch(PID)

    await other.fetch("SELECT pg_terminate_backend($1, 10000)", first["pid"])
    async with asyncio.timeout(20):
        await ended.wait()
    [second] = await database.fetch(PID)
    await database.close()
    await other.close()

    assert kept["pid"] == first["pid"]
    assert second["pid"] != first["pid"]


async def test_more_callers_than_connections_take_turns(database_url: str) -> None:
    database = Database(database_url, timeout_seconds=20, connections_max=2)
    await database.open()

    found = await asyncio.gather(*(database.fetch(PID) for _ in range(150)))
    await database.close()

    assert len({records[0]["pid"] for records in found}) <= 2

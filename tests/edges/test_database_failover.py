"""What befalls a database that a provider runs: it turns read-only, moves, and lets connections die silently."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.support.postgres import execute
from tests.support.service import Running, ScriptedVenue, running
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

READ_ONLY = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"


async def in_each_connection(service: Running, statement: str) -> None:
    """Have the service keep as many connections at hand as it may have, and run a statement in each."""
    connections = service.service.settings.database_connections_max
    database = service.service.database
    all_there = asyncio.Barrier(connections)

    async def act() -> None:
        async with database.connection() as connection:
            await all_there.wait()
            await connection.execute(statement)

    await asyncio.gather(*(act() for _ in range(connections)))


async def place_many(service: Running, count: int = 8) -> list[Any]:
    replies = await asyncio.gather(*(service.place() for _ in range(count)))
    return [reply.status for reply in replies]


async def test_no_order_is_sacrificed_to_connections_that_turned_read_only(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path, ScriptedVenue()) as service:
        await in_each_connection(service, READ_ONLY)

        assert await place_many(service) == [201] * 8


async def test_orders_wait_a_moment_for_a_database_that_is_read_only(database_url: str, tmp_path: Path) -> None:
    name = database_url.rpartition("/")[2]
    async with running(database_url, tmp_path, ScriptedVenue()) as service:
        await in_each_connection(service, READ_ONLY)
        execute(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        before = failures()

        placing = asyncio.create_task(place_many(service))

        async def was_refused() -> bool:
            return failures() > before

        await service.until(was_refused)
        # In a session that is not read-only itself.
        execute(database_url, f"BEGIN READ WRITE; ALTER DATABASE {name} RESET default_transaction_read_only; COMMIT")

        assert await placing == [201] * 8


def failures() -> float:
    return sum(
        REGISTRY.get_sample_value("ordertrail_database_failures_total", {"kind": kind}) or 0
        for kind in ("failed", "outcome_unknown")
    )


@pytest.fixture
def proxied(database_url: str) -> Iterator[tuple[TcpProxy, str]]:
    address, _, name = database_url.rpartition("/")
    host, _, port = address.rpartition(":")
    with tcp_proxy(int(port)) as proxy:
        yield proxy, f"{host}:{proxy.port}/{name}"


async def test_orders_on_connections_that_died_silently_are_placed(
    proxied: tuple[TcpProxy, str], tmp_path: Path
) -> None:
    proxy, url = proxied
    # Half of it is left for connecting anew, and for the repeat.
    async with running(url, tmp_path, ScriptedVenue(), database_timeout_seconds=6) as service:
        await in_each_connection(service, "SELECT 1")
        proxy.silence()

        assert await place_many(service) == [201] * 8


async def test_first_list_after_a_schema_change_is_a_list(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path, ScriptedVenue()) as service:
        await service.place()
        assert (await service.call("GET", "/orders")).status == 200
        await service.fetch("ALTER TABLE orders ALTER COLUMN reason TYPE varchar(1000)")

        assert (await service.call("GET", "/orders")).status == 200

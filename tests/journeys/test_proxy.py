"""The proxies cut exactly where they say: seen from both sides of the cut."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from simulated_exchange.log import LOG_NAME, read_lines
from tests.support.clients import until
from tests.support.postgres import UNREACHABLE
from tests.support.programs import Program, exchange_program
from tests.support.proxy import Cut, Proxy, When, exchange_proxy, postgres_proxy

INSERT = "INSERT INTO numbers SELECT * FROM unnest($1::integer[])"
CUT_OFF = (*UNREACHABLE, aiohttp.ClientError)
WAIT_SECONDS = 30
CASES: list[tuple[When, bool]] = [("before", False), ("after", True), ("silent", True)]


async def cut_off(call: Awaitable[object], cut: Cut) -> None:
    """It fails by itself, or hears nothing for ever."""
    calling = asyncio.ensure_future(call)
    await until(lambda: cut.hits, timeout_seconds=WAIT_SECONDS)
    if cut.when == "silent":
        calling.cancel()
    await asyncio.wait({calling}, timeout=WAIT_SECONDS)
    assert calling.cancelled() or isinstance(calling.exception(), CUT_OFF)


@pytest.fixture
async def beside(empty_database_url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("CREATE TABLE numbers (number integer PRIMARY KEY)")
    yield connection
    await connection.close()


@pytest.fixture
def database(empty_database_url: str) -> Iterator[tuple[Proxy, str]]:
    address, _, name = empty_database_url.rpartition("/")
    host, _, port = address.rpartition(":")
    with postgres_proxy(int(port), {INSERT: "insert"}) as proxy:
        yield proxy, f"{host}:{proxy.port}/{name}"


@pytest.mark.parametrize(("when", "is_there"), CASES)
async def test_statement_is_cut_before_it_arrives_or_after_it_was_committed(
    beside: "asyncpg.Connection[asyncpg.Record]", database: tuple[Proxy, str], when: When, is_there: bool
) -> None:
    proxy, url = database
    connection = await asyncpg.connect(url)
    await connection.fetch(INSERT, [1])
    cut = proxy.plan("insert", when)

    await cut_off(connection.fetch(INSERT, [2]), cut)
    connection.terminate()

    assert (cut.hits, proxy.passed["insert"]) == (1, 2)
    assert [row["number"] for row in await beside.fetch("TABLE numbers")] == ([1, 2] if is_there else [1])


async def test_transaction_is_cut_before_or_after_its_commit(
    beside: "asyncpg.Connection[asyncpg.Record]", database: tuple[Proxy, str]
) -> None:
    proxy, url = database
    uncommitted, committed = proxy.plan("insert before its commit", "after"), proxy.plan("insert", "after")

    for number in (1, 2):
        connection = await asyncpg.connect(url)
        await connection.execute("BEGIN")
        with suppress(*CUT_OFF):
            await connection.fetch(INSERT, [number])
            await connection.execute("COMMIT")
        connection.terminate()

    assert (uncommitted.hits, committed.hits) == (1, 1)
    assert [row["number"] for row in await beside.fetch("TABLE numbers")] == [2]


async def test_refused_statement_is_no_step_that_took_effect(
    beside: "asyncpg.Connection[asyncpg.Record]", database: tuple[Proxy, str]
) -> None:
    proxy, url = database
    cut = proxy.plan("insert", "after")
    connection = await asyncpg.connect(url)

    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.fetch(INSERT, [1, 1])

    assert cut.hits == 0
    await connection.close()


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Program]:
    with exchange_program(tmp_path) as exchange:
        yield exchange


@pytest.mark.parametrize(("when", "is_there"), CASES)
async def test_order_is_cut_off_before_it_arrives_or_after_it_was_accepted(
    exchange: Program, tmp_path: Path, when: When, is_there: bool
) -> None:
    order = {"client_order_id": "a", "type": "market", "side": "buy", "instrument": "AAPL12345678", "quantity": 1}
    with exchange_proxy(exchange.port) as proxy:
        cut = proxy.plan("place", when)

        async with aiohttp.ClientSession(f"http://127.0.0.1:{proxy.port}") as session:
            await cut_off(session.post("/v1/orders", json=order), cut)
            async with session.get("/v1/orders/a") as found:
                assert found.status == (200 if is_there else 404)

    assert cut.hits == 1
    assert [line for _, line in read_lines(tmp_path / LOG_NAME)][1:] == [] or is_there

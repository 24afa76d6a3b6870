"""The commit that queues an order may end late: its request has given up, and says meanwhile that nothing was sent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg
import pytest

from ordertrail.domain.order import Order
from ordertrail.domain.reason import NOT_RECORDED
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.order_queue_rows import ClaimedOrder
from ordertrail.storage.order_rows import NeverSent, SentLater, SpooledTrail
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.order_queue import PostgresOrderQueue
from ordertrail.storage.postgres.orders import PostgresRows
from tests.conformance.databases import DEADLINES
from tests.support.clients import POLL_SECONDS
from tests.support.orders import an_order

WAITS_FOR_IT = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))"
RACES = 30
WAIT_SECONDS_MAX = 30


class _OnConnection:
    """A database of one connection, in whatever transaction that is."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        return list(await self._connection.fetch(sql, *arguments))


class House:
    """The operations on rows, and a connection whose transaction ends when a test says so."""

    def __init__(self, database: Database, slow: Any, watching: Any) -> None:
        self.rows = PostgresRows(database, DEADLINES)
        self.queue = PostgresOrderQueue(database, DEADLINES)
        self._slow = slow
        self._watching = watching

    async def never_sent(self, order: Order) -> object:
        return (await self.rows.insert_never_sent([order]))[0]

    async def replayed(self, order: Order) -> object:
        """By another process, from the spool of one that could not write it."""
        now = datetime.now(UTC)
        failed = TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, NOT_RECORDED.text, created_at=now)
        await self.rows.replay([SpooledTrail(order, (TrailRow(OrderStatus.INITIATED, created_at=now), failed))])
        stored = await self.rows.read(order.id)
        assert stored is not None
        said = any(row.reason == NOT_RECORDED.text for row in stored.rows)
        return NeverSent(now) if said else SentLater()

    async def claimed(self) -> list[ClaimedOrder]:
        return await self.queue.claim(orders_max=10, claimed_by="worker")

    @asynccontextmanager
    async def queueing(self, order: Order, *, commits: bool = True) -> AsyncIterator[None]:
        """The order is queued by a transaction that is open within the block."""
        transaction = self._slow.transaction()
        await transaction.start()
        await PostgresRows(cast("Database", _OnConnection(self._slow)), DEADLINES).insert_queued([order])
        yield
        await (transaction.commit() if commits else transaction.rollback())

    async def until_waited_for(self) -> None:
        """Until another statement waits for the end of the transaction."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not await self._watching.fetchval(WAITS_FOR_IT, self._slow.get_server_pid()):  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(POLL_SECONDS)


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    database = Database(database_url, timeout_seconds=60, connections_max=8)
    await database.open()
    slow, watching = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    try:
        yield House(database, slow, watching)
    finally:
        await slow.close()
        await watching.close()
        await database.close()


WAYS: list[Callable[[House, Order], Coroutine[Any, Any, object]]] = [House.never_sent, House.replayed]


@pytest.mark.parametrize("key", [None, "key"])
@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("way", WAYS)
async def test_one_that_is_queued_meanwhile_is_taken_out(
    house: House, way: Callable[[House, Order], Coroutine[Any, Any, object]], key: str | None, *, commits: bool
) -> None:
    order = an_order(client_order_id=key)
    async with house.queueing(order, commits=commits):
        saying = asyncio.create_task(way(house, order))
        await house.until_waited_for()

    assert isinstance(await saying, NeverSent)
    assert await house.claimed() == []
    assert (await house.queue.depth()).orders == 0


@pytest.mark.parametrize("way", WAYS)
async def test_of_a_worker_and_of_who_says_that_nothing_was_sent_one_gets_it(
    house: House, way: Callable[[House, Order], Coroutine[Any, Any, object]]
) -> None:
    for _ in range(RACES):
        order = an_order()
        async with house.queueing(order):
            saying = asyncio.create_task(way(house, order))
            await house.until_waited_for()
        claims = await asyncio.gather(*(house.claimed() for _ in range(3)))

        is_claimed = any(claims)
        assert isinstance(await saying, SentLater if is_claimed else NeverSent)

"""Rows of both kinds in one line: they share commits, each has its own kind of result, and no other's trouble."""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from ordertrail.domain.order import Order
from ordertrail.domain.trail import OrderStatus
from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import Limits
from ordertrail.storage.order_rows import KeyTaken, NewTrailRow, Recorded, Rows
from ordertrail.storage.placing_batcher import PlacingBatcher
from ordertrail.storage.trail_writer import TrailWriter
from tests.support.orders import an_order

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LIMITS = Limits(rows_max=10, queue_max=10, timeout_seconds=5)
# How an order's rows end up, by its id.
TAKEN, GONE, BAD = "taken", "gone", "bad"


class Table:
    """Writes what it is given once it is open; `commits` says what came together: INITIATED, then COMPLETED."""

    def __init__(self) -> None:
        self.commits: list[tuple[list[str], list[str]]] = []
        self.begun = asyncio.Event()
        self.open = asyncio.Event()

    async def insert_initiated(self, orders: Sequence[Order]) -> list[Recorded | KeyTaken]:
        recorded, _ = await self._write(orders, ())
        return recorded

    async def insert_trail_rows(self, rows: Sequence[NewTrailRow]) -> list[bool]:
        _, are_there = await self._write((), rows)
        return are_there

    async def insert_initiated_and_completed(
        self, orders: Sequence[Order], completed: Sequence[NewTrailRow]
    ) -> tuple[list[Recorded | KeyTaken], list[bool]]:
        assert orders
        assert completed
        return await self._write(orders, completed)

    async def _write(
        self, orders: Sequence[Order], completed: Sequence[NewTrailRow]
    ) -> tuple[list[Recorded | KeyTaken], list[bool]]:
        self.commits.append(([order.id for order in orders], [row.order_id for row in completed]))
        self.begun.set()
        await self.open.wait()
        assert all(row.status is OrderStatus.COMPLETED for row in completed)
        if any(BAD in (order.id, order.instrument) for order in orders) or any(
            row.order_id == BAD for row in completed
        ):
            raise StatementFailed("23514", "a bad row")
        recorded = [KeyTaken("owner") if order.id == TAKEN else Recorded(NOW) for order in orders]
        return recorded, [row.order_id != GONE for row in completed]


class House:
    def __init__(self, limits: Limits = LIMITS) -> None:
        self.table = Table()
        writer = TrailWriter(cast("Rows", self.table))
        self.batcher = PlacingBatcher(writer, SystemClock(), limits)

    def initiated(self, order_id: str) -> "asyncio.Future[Any]":
        return self.batcher.initiated(an_order(id=order_id))

    def completed(self, order_id: str) -> "asyncio.Future[Any]":
        return self.batcher.completed(NewTrailRow(order_id, OrderStatus.COMPLETED, None, "x-1"))

    async def held(self) -> "asyncio.Future[Any]":
        """An order whose commit is under way until the table is open."""
        under_way = self.initiated("first")
        async with asyncio.timeout(5):
            await self.table.begun.wait()
        return under_way


async def results(*rows: Awaitable[Any]) -> list[Any]:
    async with asyncio.timeout(10):
        return await asyncio.gather(*rows, return_exceptions=True)


async def test_both_kinds_share_a_commit_and_each_row_gets_its_own_result() -> None:
    house = House()
    rows = [await house.held()]
    rows += [house.completed("p"), house.initiated("a"), house.completed(GONE), house.initiated(TAKEN)]
    rows += [house.initiated("b"), house.completed("q")]

    house.table.open.set()

    assert await results(*rows) == [Recorded(NOW), True, Recorded(NOW), False, KeyTaken("owner"), Recorded(NOW), True]
    assert house.table.commits == [(["first"], []), (["a", TAKEN, "b"], ["p", GONE, "q"])]


async def test_rows_of_one_kind_are_written_as_such() -> None:
    house = House()
    house.table.open.set()

    assert await results(house.initiated("a"), house.initiated(TAKEN)) == [Recorded(NOW), KeyTaken("owner")]
    assert await results(house.completed(GONE), house.completed("p")) == [False, True]
    assert house.table.commits == [(["a", TAKEN], []), ([], [GONE, "p"])]


async def test_bad_row_of_one_kind_harms_none_of_the_other() -> None:
    house = House()
    rows = [await house.held(), house.completed("p"), house.initiated(BAD), house.initiated("a"), house.completed(BAD)]

    house.table.open.set()
    first, placed, bad, recorded, bad_too = await results(*rows)

    assert (first, placed, recorded) == (Recorded(NOW), True, Recorded(NOW))
    assert isinstance(bad, StatementFailed)
    assert isinstance(bad_too, StatementFailed)
    # Together, and then one by one, in the order in which they came.
    assert house.table.commits[1:] == [([BAD, "a"], ["p", BAD]), ([], ["p"]), ([BAD], []), (["a"], []), ([], [BAD])]


async def test_order_that_is_at_the_exchange_has_its_place_where_a_new_one_has_none() -> None:
    house = House(Limits(rows_max=10, queue_max=1, timeout_seconds=5))
    rows = [await house.held(), house.initiated("a"), house.completed("p")]
    assert house.batcher.waiting == 2
    shed = house.initiated("b")

    house.table.open.set()
    *written, error = await results(*rows, shed)

    assert written == [Recorded(NOW), Recorded(NOW), True]
    assert isinstance(error, StatementOutcomeUnknown)
    assert not error.may_have_happened
    assert (house.batcher.batcher, house.batcher.waiting) == ("placing", 0)

"""The reverse sweep: what the exchange has and we do not know, page by page, and in turns."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from ordertrail.domain.order import Side
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.reconciliation import sweep as module
from ordertrail.reconciliation.fed_reports import Fed
from ordertrail.reconciliation.sweep import Sweep, Swept
from ordertrail.runtime import failpoints
from simulated_exchange.execution_log import ExecutionLog
from tests.support.reconciling import Installation, installation, limit_order, market_order, replica


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(database_url, tmp_path, sweep_interval_seconds=0) as opened:
        yield opened
    failpoints.disarm()


class FedStub:
    """A feed of which this is true."""

    def __init__(self, fed: Fed) -> None:
        self._fed = fed

    async def review(self) -> Fed:
        return self._fed


def sweep_of(house: Installation, *, fed: Fed | None = None) -> Sweep:
    service = house.service
    return Sweep(
        service.doubts,
        service.parked,
        service.gateway,
        venue="simulated",
        rest_seconds=0,
        fed=None if fed is None else cast("Any", FedStub(fed)),
    )


async def position(house: Installation) -> tuple[str, int]:
    record = await house.connection.fetchrow("SELECT epoch, seq FROM sweep_positions")
    return (record["epoch"], record["seq"]) if record else ("", 0)


async def test_orphan_is_kept_once(house: Installation) -> None:
    order = limit_order()
    house.arrives(order)

    first, second = await sweep_of(house).run_once(), await sweep_of(house).run_once()

    assert (first.orphans, second.orphans) == (1, 0)
    [kept] = await house.service.doubts.orphans(limit=10)
    assert (kept.client_order_id, kept.exchange_order_id) == (order.id, house.at_exchange(order)[0])
    assert (kept.instrument, kept.side, kept.quantity) == (order.instrument, order.side, order.quantity)


async def test_placed_orders_are_nothing_new(house: Installation) -> None:
    for _ in range(3):
        await house.place(limit_order())

    swept = await sweep_of(house).run_once()

    assert (swept.observed, swept.late, swept.orphans) == (0, 0, 0)
    assert await house.connection.fetchval("SELECT count(*) FROM doubts") == 0


async def test_executions_are_read_page_by_page(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ORDERS_PER_PAGE", 3)
    monkeypatch.setattr(module, "PAGES_MAX", 3)
    orders = [market_order() for _ in range(5)]  # each is canceled at once: two reports
    for order in orders:
        house.arrives(order)

    first = await sweep_of(house).run_once()
    at_first = await position(house)
    second = await sweep_of(house).run_once()

    assert first.has_more and not second.has_more
    assert at_first == (house.exchange.epoch, 6)
    assert await position(house) == (house.exchange.epoch, 10)
    assert first.orphans + second.orphans == 5


async def test_rejected_orders_are_not_there(house: Installation) -> None:
    house.fail("refuse")
    await house.place(limit_order())

    swept = await sweep_of(house).run_once()

    assert swept.observed == 0


async def test_open_orders_only_are_enough(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    order = limit_order()
    house.arrives(order)
    await sweep_of(house).run_once()
    house.exchange.executions_log = ExecutionLog(house.exchange.epoch)

    await house.connection.execute("ALTER TABLE orphans DISABLE TRIGGER append_only")
    await house.connection.execute("DELETE FROM orphans")
    assert (await sweep_of(house).run_once()).orphans == 1


async def test_new_epoch_is_read_from_its_beginning(house: Installation) -> None:
    for _ in range(3):
        house.arrives(market_order())
    await sweep_of(house).run_once()
    house.exchange.executions_log.epoch = "another"

    swept = await sweep_of(house).run_once()

    assert swept.orphans == 3
    assert await position(house) == ("another", 6)


async def test_position_stays_where_there_was_no_answer(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    house.arrives(limit_order())
    await sweep_of(house).run_once()
    house.arrives(limit_order())

    async def no_answer(**_: object) -> NoAnswer:
        return NoAnswer("timeout")

    with monkeypatch.context() as patch:
        patch.setattr(house.service.venue, "executions", no_answer)
        assert (await sweep_of(house).run_once()).orphans == 0
        assert (await position(house))[1] == 1
    assert (await sweep_of(house).run_once()).orphans == 1


async def test_position_stays_where_the_comparison_failed(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    house.arrives(limit_order())

    async def fails(_: Any) -> Any:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(house.service.doubts, "statuses_of", fails)
        with pytest.raises(RuntimeError):
            await sweep_of(house).run_once()
    assert (await position(house))[1] == 0
    await house.connection.execute("UPDATE sweep_positions SET leased_until = NULL")
    assert (await sweep_of(house).run_once()).orphans == 1


async def test_order_that_is_being_placed_is_left_to_its_request(house: Installation) -> None:
    order = limit_order()
    sweeps: list[asyncio.Task[Swept]] = []
    failpoints.arm("after_send", lambda: sweeps.append(asyncio.create_task(sweep_of(house).run_once())))
    await house.place(order)
    failpoints.disarm()
    (swept,) = await asyncio.gather(*sweeps)
    await house.due()

    assert (swept.late, swept.orphans) == (0, 0)
    assert await house.rows(order.id) == [("INITIATED", None), ("COMPLETED", None)]


async def test_reports_that_a_feed_brings_are_not_read_again(house: Installation) -> None:
    canceled, unknown, orphan = market_order(), limit_order(), limit_order()
    await house.service.rows.insert_initiated([unknown])
    for order in (canceled, unknown, orphan):
        house.arrives(order)

    swept = await sweep_of(house, fed=Fed("e-1", 7, 3)).run_once()

    assert await position(house) == ("e-1", 7)
    assert (swept.shown_orders, swept.observed, swept.orphans, swept.gap_reports) == (2, 1, 1, 3)
    assert not swept.has_more


async def test_position_stays_where_the_first_report_is_not_applied(house: Installation) -> None:
    house.arrives(limit_order())
    await sweep_of(house).run_once()
    before = await position(house)

    await sweep_of(house, fed=Fed("e-1", 0, 0)).run_once()

    assert await position(house) == before


async def test_two_replicas_take_turns(house: Installation, database_url: str, tmp_path: Path) -> None:
    house.arrives(limit_order(side=Side.SELL))
    async with replica(database_url, tmp_path, house.service.venue) as other:
        mine = Sweep(
            house.service.doubts, house.service.parked, house.service.gateway, venue="simulated", rest_seconds=30
        )
        theirs = Sweep(other.doubts, other.parked, other.gateway, venue="simulated", rest_seconds=30)

        one, two, again = *await asyncio.gather(mine.run_once(), theirs.run_once()), await theirs.run_once()

    assert sorted([one.shown_orders, two.shown_orders]) == [0, 2]
    assert one.orphans + two.orphans == 1
    assert again.shown_orders == 0

"""Processors on a real PostgreSQL: whatever a report says, it is a row or parked, and its neighbours go through."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from ordertrail.domain.execution import AVG_PX_DECIMALS, Execution
from ordertrail.executions.applied_reports import AppliedReports
from ordertrail.executions.applying import Applying
from ordertrail.executions.processor import Processor, ProcessorLimits
from ordertrail.executions.sources import BrokerSource, InboxSource
from ordertrail.queues.queue import Position
from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.execution_rows import INBOX_CHANNEL
from ordertrail.storage.inbox_queue import InboxQueue
from ordertrail.storage.postgres.channel_watch import ChannelWatch
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.execution_reads import PostgresExecutionReads
from ordertrail.storage.postgres.executions import PostgresExecutions
from tests.support.executions import EPOCH, VENUE, MemoryQueue, frame, frames, report
from tests.support.hostile_values import spoiled
from tests.support.postgres import execute, fetch

QUEUE_BYTES = 10**9
WAIT_SECONDS = 30
ONCE_EACH = ("INITIATED", "COMPLETED", "PARTIALLY_FILLED", "FILLED")
OF_EACH_TYPE = ("seq", "last_qty", "last_px", "exec_id")
FIELDS = sorted(report(1) | {"exec_ref_id": None, "reject_reason": None})


@dataclass
class House:
    """A database with the parts that a process has; `processor` makes another one."""

    url: str
    database: Database
    rows: PostgresExecutions
    queue: InboxQueue

    def processor(self, broker: MemoryQueue | None = None, **limits: Any) -> Processor:
        applying = Applying(self.rows, SystemClock(), AppliedReports(VENUE))
        source = (
            InboxSource(self.rows, self.rows, applying, venue=VENUE)
            if broker is None
            else BrokerSource(broker, applying, SystemClock())
        )
        return Processor(source, ProcessorLimits(**{"statements_in_flight": 2, "reports_max": 4000} | limits))

    def place(self, *order_ids: str, quantity: int = 10) -> None:
        """Orders that were accepted."""
        ids = ", ".join(f"('{order_id}')" for order_id in order_ids)
        for status in ("INITIATED", "COMPLETED"):
            execute(
                self.url,
                "INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status) "
                f"SELECT id, now(), 'limit', 'buy', 'AAPL12345678', 150, {quantity}, '{status}' "
                f"FROM (VALUES {ids}) AS t(id)",
            )

    def exec_ids(self) -> set[str]:
        return {record["exec_id"] for record in fetch(self.url, "SELECT exec_id FROM executions")}

    def parked(self) -> list[Any]:
        return list(fetch(self.url, "SELECT raw, field, reason, seq FROM parked WHERE kind = 'execution_report'"))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[House]:
    database = Database(url, timeout_seconds=20, connections_max=6)
    await database.open()
    try:
        rows = PostgresExecutions(database)
        yield House(url, database, rows, InboxQueue(rows, SystemClock(), venue=VENUE, bytes_max=QUEUE_BYTES))
    finally:
        await database.close()


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with opened(database_url) as made:
        yield made


def hostile_reports(name: str) -> Iterator[tuple[int, str, bytes]]:
    """Reports with what one field may be, each of an order of its own: number, what is wrong, and the report.

    Everything for one field of each type; of the rest a third each, another one for each field.
    """
    kinds = [what for what, _ in spoiled({name: b"1"}, name)]
    if name not in OF_EACH_TYPE:
        kinds = [what for what in kinds[FIELDS.index(name) % 3 :: 3] if not what.startswith("a deep")]
    for number, what in enumerate(kinds, 1):
        fields = {key: json.dumps(value).encode() for key, value in report(number).items()}
        fields.setdefault(name, b"null")
        [raw] = [raw for each, raw in spoiled(fields, name) if each == what]
        yield number, what, raw


@pytest.mark.parametrize("name", FIELDS)
async def test_a_hostile_field_is_a_row_or_parked_and_holds_up_nobody(house: House, name: str) -> None:
    hostile = list(hostile_reports(name))
    good = [report(number) for number in range(1001, 1001 + len(hostile))]
    house.place(*(f"order-{number}" for number, *_ in hostile), *(each["client_order_id"] for each in good))
    mixed: list[dict[str, Any] | bytes] = [
        each for pair in zip(good, (raw for *_, raw in hostile), strict=True) for each in pair
    ]
    await house.queue.publish(frame(*mixed), after=None)

    await house.processor().run_until_empty()

    kept = house.exec_ids()
    parked = house.parked()
    assert {each["exec_id"] for each in good} <= kept
    assert await house.queue.depth() == 0
    rows = len(kept) - len(good)
    assert rows + len(parked) >= len(hostile) - 3  # the same report twice is one
    assert {each["field"] for each in parked} <= {name, None}
    coverage = await house.rows.coverage(VENUE, EPOCH)
    if name != "seq":
        assert coverage.ranges == ((1, len(hostile)), (1001, 1000 + len(good)))


async def test_what_is_applied_twice_shuffled_and_cut_off_is_there_once(house: House) -> None:
    """Two processors, each cut off again and again in the middle of what it does."""
    chance = random.Random(14)
    orders = [f"order-{number}" for number in range(1, 41)]
    house.place(*orders)
    reports = [report(seq, client_order_id=orders[seq % 40]) for seq in range(1, 401)]
    given = [frame(*reports[first : first + 8]) for first in range(0, 400, 8)]
    given += chance.sample(given, 25)
    chance.shuffle(given)
    for each in given:
        await house.queue.publish(each, after=None)

    while await house.queue.depth():
        running = [asyncio.get_running_loop().create_task(house.processor(reports_max=30).run()) for _ in range(2)]
        await asyncio.sleep(chance.random() * 0.05)
        for task in running:
            task.cancel()
        await asyncio.wait(running)

    assert house.exec_ids() == {each["exec_id"] for each in reports}
    assert (await house.rows.coverage(VENUE, EPOCH)).ranges == ((1, 400),)
    assert house.parked() == []
    [trail] = fetch(house.url, "SELECT count(*) AS count FROM orders WHERE status = 'PARTIALLY_FILLED'")
    assert trail["count"] == 40


async def test_one_order_with_ten_thousand_fills_is_worked_off_by_two_processors_at_once(house: House) -> None:
    """In any order, with fills that were corrected or taken back: each statement locks, and adds to, the same order."""
    fills, revised = 10_000, 20
    chance = random.Random(14)
    house.place("one", quantity=fills)
    prices = [Decimal(100 + number % 7) / 100 for number in range(fills)]
    of_one = {"client_order_id": "one", "exchange_order_id": "X", "cum_qty": fills, "leaves_qty": 0}
    reports = [report(number + 1, **of_one, last_px=str(price)) for number, price in enumerate(prices)]
    reports[-1]["ord_status"] = "filled"
    for number in range(0, revised, 2):
        for revises, exec_type in ((number, "trade_cancel"), (number + 1, "trade_correct")):
            seq = len(reports) + 1
            revising = {"exec_type": exec_type, "exec_ref_id": f"x{revises + 1}", "last_px": "9.99"}
            reports.append(report(seq, **of_one, **revising, ord_status="filled"))
        prices[number], prices[number + 1] = Decimal(0), Decimal("9.99")
    chance.shuffle(reports)
    for first in range(0, len(reports), 250):
        await house.queue.publish(frame(*reports[first : first + 250]), after=None)

    await asyncio.gather(*(house.processor(reports_max=500).run_until_empty() for _ in range(2)))

    assert (await house.rows.coverage(VENUE, EPOCH)).ranges == ((1, len(reports)),)
    assert house.parked() == []
    reads = PostgresExecutionReads(house.database)
    pages: list[Execution] = []
    while page := await reads.executions("one", limit=2_000, after=pages[-1].position if pages else None):
        pages += page
    assert [each.exec_id for each in pages] == [f"x{seq}" for seq in range(1, len(reports) + 1)]
    order = await reads.order("one")
    assert order is not None
    assert Counter(row.status.name for row in order.stored.rows) == dict.fromkeys(ONCE_EACH, 1)
    assert order.progress.cum_qty == fills - revised // 2
    assert order.progress.avg_px == round(sum(prices, Decimal(0)) / order.progress.cum_qty, AVG_PX_DECIMALS)
    [position] = (await reads.positions(limit=10, after="")).positions
    assert (position.buy_qty, position.buy_avg_px) == (order.progress.cum_qty, order.progress.avg_px)


async def test_a_broker_is_worked_off_as_the_inbox_is(house: House) -> None:
    broker = MemoryQueue()
    house.place(*(f"order-{number}" for number in range(1, 61)))
    bad = json.dumps(report(61, last_qty="x")).encode()
    broker.waiting = [*frames(6, of=10), frame(report(61) | {"seq": 62}, bad), frame(body=b"no array")]

    await house.processor(broker, reports_max=25).run_until_empty()

    assert house.exec_ids() == {f"x{number}" for number in range(1, 61)}
    assert {(each["field"], each["reason"], each["seq"]) for each in house.parked()} == {
        ("last_qty", "is no whole number", 61),
        (None, "is no JSON array", None),
        (None, "unknown_order", 62),
    }
    assert not broker.taken and not broker.waiting


async def test_an_idle_processor_hears_that_something_is_put_in(house: House) -> None:
    heard = asyncio.Event()
    connected = asyncio.Event()
    watch = ChannelWatch(house.url, channel=INBOX_CHANNEL, payload=VENUE, timeout_seconds=10)
    listening = asyncio.get_running_loop().create_task(
        watch.run(lambda: heard.set() if connected.is_set() else connected.set())
    )
    async with asyncio.timeout(WAIT_SECONDS):
        await connected.wait()
        is_listening = watch.is_listening

        await house.queue.publish(frame(report(1)), after=Position(EPOCH, 0))
        await heard.wait()
    listening.cancel()
    await asyncio.wait([listening])

    assert is_listening
    assert not watch.is_listening


async def test_a_lost_connection_is_made_anew_and_wakes_once(house: House) -> None:
    connects = 0
    connected = asyncio.Event()

    def count() -> None:
        nonlocal connects
        connects += 1
        connected.set()

    watch = ChannelWatch(house.url, channel=INBOX_CHANNEL, payload=VENUE, timeout_seconds=10)
    listening = asyncio.get_running_loop().create_task(watch.run(count))
    async with asyncio.timeout(WAIT_SECONDS):
        await connected.wait()
        connected.clear()
        execute(
            house.url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query ILIKE 'LISTEN%'",
        )
        await connected.wait()
    listening.cancel()
    await asyncio.wait([listening])

    assert connects == 2


@pytest.mark.parametrize("spoiled_byte", [b"\xff", b"\x00"])
async def test_a_byte_that_no_text_can_have_costs_its_report_alone(house: House, spoiled_byte: bytes) -> None:
    house.place("order-1", "order-2")
    bad = json.dumps(report(3)).encode().replace(b"x3", b"x" + spoiled_byte)
    await house.queue.publish(frame(report(1), bad, report(2)), after=Position(EPOCH, 0))

    await house.processor().run_until_empty()

    assert house.exec_ids() == {"x1", "x2"}
    assert [(each["reason"], each["seq"]) for each in house.parked()] == [("is no JSON", 3)]

"""Any number of processors come to the same rows: reports shuffled, repeated, spread over batches that share orders."""

import asyncio
import json
from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any

import asyncpg
import pytest

from ordertrail.queues.queue import Frame
from ordertrail.storage.execution_rows import Applied
from tests.conformance.databases import DatabaseSubject, postgres
from tests.support.executions import EPOCH, VENUE, report

ORDERS = 150
PROCESSORS = 4
BATCH = 40
# What becomes of each order, by turns.
LIVES = (
    ("new", "trade", "trade", "filled"),
    ("new", "trade", "canceled"),
    ("rejected", "new"),
    ("new", "expired"),
)
ENDS = {"filled": {"PARTIALLY_FILLED", "FILLED"}, "canceled": {"PARTIALLY_FILLED", "CANCELED"}}
ENDS |= {"new": {"REJECTED"}, "expired": {"EXPIRED"}}
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
RECORDED = """
INSERT INTO orders (id, type, side, instrument, quantity, status)
SELECT id, 'market', 'buy', 'AAPL12345678', 10, s::order_status_enum
  FROM unnest($1::varchar[]) AS i(id) CROSS JOIN unnest('{INITIATED,COMPLETED}'::varchar[]) AS t(s)
"""


def all_reports(random: Random) -> list[dict[str, Any]]:
    """Shuffled, with repeats."""
    reports: list[dict[str, Any]] = []
    for number in range(ORDERS):
        for word in LIVES[number % len(LIVES)]:
            is_trade = word in {"trade", "filled"}
            status = "partially_filled" if word == "trade" else word
            quantity = {"last_qty": 2, "last_px": "1.25"} if is_trade else {"last_qty": 0, "last_px": None}
            names = {"client_order_id": f"order-{number}", "exec_type": "trade" if is_trade else word}
            reports.append(report(len(reports) + 1, ord_status=status, **names, **quantity))
    mixed = [*reports, *random.choices(reports, k=len(reports) // 2)]
    random.shuffle(mixed)
    return mixed


@pytest.mark.parametrize("way", ["from_memory", "from_inbox"])
async def test_processors_at_once_come_to_the_same_rows(database_url: str, way: str) -> None:
    random = Random(7)
    mixed = all_reports(random)
    batches = [mixed[start : start + BATCH] for start in range(0, len(mixed), BATCH)]
    frames = [Frame(VENUE, EPOCH, "order", len(each), None, None, json.dumps(each).encode()) for each in batches]
    async with (
        postgres(database_url) as database,
        asyncpg.create_pool(database_url, min_size=1, max_size=1) as connection,
    ):
        await connection.execute(RECORDED, [f"order-{number}" for number in range(ORDERS)])
        before = await connection.fetchval(DEADLOCKS)

        applied = await process(database, frames, is_inbox=way == "from_inbox")

        rows = (await database.contents())["executions"]
        seqs = {each["seq"] for each in mixed}
        assert Counter(row["seq"] for row in rows) == Counter(seqs)
        assert sum(each.inserted for each in applied) == len(seqs)
        assert sum(each.reports for each in applied) == len(mixed)
        assert sum(each.parked for each in applied) == 0
        coverage = await database.executions.coverage(VENUE, EPOCH)
        assert coverage.ranges == ((1, len(seqs)),)
        sums = (await database.contents())["position_sums"]
        trades = sum(2 for row in rows if row["exec_type"] == "trade")
        assert sum(row["quantities"][0] for row in sums) == trades
        assert sum(row["notionals"][0] for row in sums) == Decimal("1.25") * trades
        trails = await connection.fetch("SELECT id, array_agg(status::text) AS statuses FROM orders GROUP BY id")
        for trail in trails:
            life = LIVES[int(trail["id"].removeprefix("order-")) % len(LIVES)]
            assert set(trail["statuses"]) - {"INITIATED", "COMPLETED"} == ENDS[life[-1]], trail
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        assert await connection.fetchval(DEADLOCKS) == before


async def process(database: DatabaseSubject, frames: list[Frame], *, is_inbox: bool) -> list[Applied]:
    """All of it, by so many processors at once."""
    if is_inbox:
        for frame in frames:
            await database.executions.put_in_inbox(frame, after=None)
    waiting = iter(frames)
    applied = []

    async def one_processor() -> None:
        while True:
            if is_inbox:
                done = await database.executions.apply_inbox(VENUE, reports_max=BATCH)
            else:
                frame = next(waiting, None)
                done = None if frame is None else await database.executions.apply_reports([frame])
            if done is None:
                return
            applied.append(done)

    async with asyncio.TaskGroup() as processors:
        for _ in range(PROCESSORS):
            processors.create_task(one_processor())
    return applied

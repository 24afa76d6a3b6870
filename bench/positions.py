"""How long positions take to read: `python -m bench.positions`.

A table of as many executions as are asked for, with busts and corrections among them, and reads by the service's own
statement: alone, then while reports are applied and reckoned in beside them as a processor does it.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.database import open_postgres
from ordertrail.executions.upkeep import COMPACT_SECONDS
from ordertrail.queues.queue import Frame
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.execution_reads import PostgresExecutionReads
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.storage.postgres.migrate import migrate

EXECUTIONS = 500_000
PER_ORDER = 50
PER_STATEMENT = 250_000
INSTRUMENTS = 500
REVISIONS = 10_000
READS = 200
PAGE = 100
APPLIED_PER_SECOND = 20_000
PER_FRAME = 1_000

# In their order, as months of orders would come; the ids are of this month.
ORDER_ID = "'0199a000-' || to_char({0}, 'FM000000000000')"
INSERT_ORDERS = f"""
INSERT INTO orders (id, type, side, instrument, quantity, status)
SELECT {ORDER_ID.format("n")}, 'market', CASE WHEN n % 2 = 0 THEN 'buy' ELSE 'sell' END,
       'BENCH' || to_char(n / 2 % $3::integer, 'FM0000000'), 1000000, 'INITIATED'
  FROM generate_series($1::bigint, $2::bigint) AS n
"""
INSERT_TRADES = f"""
INSERT INTO executions (order_id, session, exec_id, epoch, seq, exec_type, ord_status, exchange_order_id, last_qty,
                        last_px, cum_qty, leaves_qty, avg_px, transact_time)
SELECT {ORDER_ID.format(f"(n / {PER_ORDER})")}, 1, 'E' || to_char(n, 'FM0000000000'), 'e1', n + 1, 'trade',
       'partially_filled', 'bench', 3, 150.25, 3, 1, 150.25, now()
  FROM generate_series($1::bigint, $2::bigint) AS n
"""
SUM_UP = """
INSERT INTO position_sums (instruments, sides, quantities, notionals)
SELECT array_agg(instrument), array_agg(side), array_agg(quantity), array_agg(quantity * 150.25)
  FROM (SELECT instrument, side, 3 * $1::numeric * count(*) AS quantity FROM orders GROUP BY instrument, side) AS s
"""
# One in so many trades is taken back, or corrected.
REVISE = """
WITH revised AS (
    INSERT INTO executions (order_id, session, exec_id, epoch, seq, exec_type, ord_status, exchange_order_id, last_qty,
                            last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, transact_time)
    SELECT e.order_id, 1, 'R' || e.exec_id, 'e1', e.seq + 1000000000,
           CASE WHEN n % 2 = 0 THEN 'trade_cancel' ELSE 'trade_correct' END, 'partially_filled', 'bench',
           CASE WHEN n % 2 = 0 THEN 0 ELSE 2 END, CASE WHEN n % 2 = 0 THEN NULL ELSE 149.75 END, 3, 1, 150.25,
           e.exec_id, now()
      FROM (SELECT n, n * $1::bigint AS trade FROM generate_series(0, $2::bigint - 1) AS n) AS each
     CROSS JOIN LATERAL (SELECT * FROM executions e
                          WHERE e.order_id = '0199a000-' || to_char(trade / {per_order}, 'FM000000000000')
                            AND e.session = 1 AND e.exec_id = 'E' || to_char(trade, 'FM0000000000') OFFSET 0) AS e
    RETURNING order_id, session, exec_id, exec_ref_id
)
INSERT INTO position_revisions (order_id, session, exec_id, exec_ref_id)
SELECT order_id, session, exec_id, exec_ref_id FROM revised
""".replace("{per_order}", str(PER_ORDER))


async def fill(database: Database, rows: PostgresExecutions, *, executions: int, instruments: int) -> None:
    """The table, as it is once all trades are joined, and nothing of the busts and corrections is reckoned in."""
    orders = executions // PER_ORDER
    await rows.begin_epoch("bench", "e1", "order")
    for statement, count, rest in ((INSERT_ORDERS, orders, [instruments]), (INSERT_TRADES, executions, [])):
        for first in range(0, count, PER_STATEMENT):
            await database.fetch(statement, first, min(first + PER_STATEMENT, count) - 1, *rest)
    await database.fetch(SUM_UP, PER_ORDER)
    await database.fetch(REVISE, executions // (2 * REVISIONS), 2 * REVISIONS)
    await database.fetch("ANALYZE")


def frames(executions: int, count: int) -> list[Frame]:
    """More trades, over the orders in turn."""
    orders, made = executions // PER_ORDER, []
    for number in range(count):
        first = executions + number * PER_FRAME + 1
        elements = [
            {
                "seq": seq, "exec_id": f"E{seq:010}", "exec_type": "trade", "ord_status": "partially_filled",
                "client_order_id": f"0199a000-{seq * 7919 % orders:012}", "exchange_order_id": "bench", "last_qty": 3,
                "last_px": "150.25", "cum_qty": 3, "leaves_qty": 1, "avg_px": "150.25",
                "transact_time": "2026-11-27T12:00:00Z",
            }
            for seq in range(first, first + PER_FRAME)
        ]  # fmt: skip
        body = json.dumps(elements).encode()
        made.append(Frame("bench", "e1", "order", PER_FRAME, first, first + PER_FRAME - 1, body))
    return made


async def read_again_and_again(reads: PostgresExecutionReads) -> list[float]:
    """Milliseconds of each first page, rising."""
    took = []
    for _ in range(READS):
        start = time.perf_counter()
        await reads.positions(limit=PAGE, after="")
        took.append((time.perf_counter() - start) * 1000)
        await asyncio.sleep(0.02)
    return sorted(took)


async def apply_steadily(rows: PostgresExecutions, waiting: Sequence[Frame]) -> None:
    """What a processor does, until cancelled."""
    loop = asyncio.get_running_loop()
    begun = compacted = loop.time()
    for number, frame in enumerate(waiting):
        await asyncio.sleep(max(0.0, begun + number * PER_FRAME / APPLIED_PER_SECOND - loop.time()))
        await rows.apply_reports([frame])
        if loop.time() - compacted >= COMPACT_SECONDS:
            await rows.compact("bench")
            compacted = loop.time()


def report(name: str, took: Sequence[float]) -> None:
    """One line of percentiles."""
    p50, p99 = statistics.median(took), took[int(len(took) * 0.99)]
    load = " ".join(f"{each:.1f}" for each in os.getloadavg()[:2])
    print(f"{name:<46} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   worst {took[-1]:6.1f} ms   load {load}", flush=True)


async def measure(url: str, *, executions: int, instruments: int) -> None:
    """Fill the table, and read."""
    database = Database(url, timeout_seconds=300, connections_max=4)
    await database.open()
    try:
        rows, reads = PostgresExecutions(database), PostgresExecutionReads(database)
        begun = time.monotonic()
        await fill(database, rows, executions=executions, instruments=instruments)
        print(f"{executions:,} executions of {instruments} instruments in {time.monotonic() - begun:.0f} s", flush=True)
        begun = time.monotonic()
        while await database.fetch("SELECT FROM position_revisions LIMIT 1"):
            await rows.compact("bench")
        print(f"{2 * REVISIONS:,} busts and corrections reckoned in in {time.monotonic() - begun:.1f} s", flush=True)
        report("alone", await read_again_and_again(reads))
        applying = asyncio.create_task(apply_steadily(rows, frames(executions, APPLIED_PER_SECOND // PER_FRAME * 40)))
        report(f"beside {APPLIED_PER_SECOND:,} reports/s", await read_again_and_again(reads))
        applying.cancel()
        with suppress(asyncio.CancelledError):
            await applying
    finally:
        await database.close()


def main() -> None:
    """A server of our own, gone afterwards."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--executions", type=int, default=EXECUTIONS)
    arguments.add_argument("--instruments", type=int, default=INSTRUMENTS)
    options = arguments.parse_args()
    with open_postgres(Path(tempfile.gettempdir())) as (_, postgres), postgres.fresh_database() as url:
        asyncio.run(migrate(url))
        asyncio.run(measure(url, executions=options.executions, instruments=options.instruments))


if __name__ == "__main__":
    main()

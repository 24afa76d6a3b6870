"""`python -m bench.reconciliation`: what a pass reads beside many settled orders, and how fast doubts are settled.

Pages are PostgreSQL's own count of the table and index pages that it touched, in memory or not.
"""

import argparse
import asyncio
import contextlib
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import uuid_utils
from pydantic import SecretStr
from typing_extensions import override

from bench.database import open_postgres
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.runtime.settings import Settings
from ordertrail.runtime.telemetry.logs import configure_logs
from ordertrail.server.service import Service
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.migrate import migrate

CHUNK = 500_000
DOUBTS = 100

SETTLED = """
INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status, exchange_order_id, send_by)
SELECT lpad(to_hex(n), 36, '0'), 'limit', 'buy', 'AAPL12345678', 150.25, 10, s.status::order_status_enum,
       CASE WHEN s.status = 'COMPLETED' THEN 'x' END, now()
  FROM generate_series($1::bigint, $2::bigint) n CROSS JOIN (VALUES ('INITIATED'), ('COMPLETED')) AS s(status)
"""
FAILING_ROWS = """
WITH fresh AS (
    INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status, reason, place_by, send_by, accept_by)
    SELECT id, 'limit', 'buy', 'AAPL12345678', 150.25, 10, s.status::order_status_enum, s.reason,
           now() + interval '1 hour', now(), now()
      FROM unnest($1::varchar[]) AS t(id)
     CROSS JOIN (VALUES ('INITIATED', NULL), ($2, $3)) AS s(status, reason)
)
INSERT INTO doubts (order_id) SELECT id FROM unnest($1::varchar[]) AS t(id)
"""
PAGES = """
SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read, 0) + coalesce(idx_blks_hit, 0)
           + coalesce(toast_blks_read, 0) + coalesce(toast_blks_hit, 0))::bigint
  FROM pg_statio_user_tables
"""


class CountedDatabase(Database):
    """Has each statement's pages counted at once, instead of a second later."""

    @override
    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        records = await super().fetch(sql, *arguments)
        await super().fetch("SELECT pg_stat_force_next_flush()")
        return records


@contextlib.asynccontextmanager
async def opened(url: str, folder: Path, exchange_url: str, **changes: Any) -> AsyncIterator[Service]:
    """A process of Ordertrail as far as reconciliation goes."""
    service = Service(
        Settings(
            _env_file=None,
            database_url=SecretStr(url),
            data_dir=folder,
            exchange_url=exchange_url,
            reconcile_in_api=False,
            **changes,
        )
    )
    await service.venue.open()
    await service.database.open()
    try:
        yield service
    finally:
        await service.journal.close()
        await service.venue.close()
        await service.database.close()


async def pages(url: str, folder: Path, *, doubts: int) -> int:
    """Pages that one pass and its sweep touch."""
    connection = await asyncpg.connect(url)
    async with opened(url, folder, "in_memory:", database_connections_max=1, sweep_interval_seconds=0) as service:
        counted = CountedDatabase(url, timeout_seconds=30, connections_max=1)
        await counted.open()
        service.doubts._database = counted  # noqa: SLF001 - the benchmark looks inside
        service.rows._database = counted  # type: ignore[attr-defined]  # noqa: SLF001
        await service.schedule.run_once()
        ids = [str(uuid_utils.uuid7()) for _ in range(doubts)]
        await connection.execute(FAILING_ROWS, ids, "EXCHANGE_CREATION_FAILED", "not_sent:closed")
        await connection.execute("SELECT pg_stat_force_next_flush()")
        before = await connection.fetchval(PAGES)
        counts = await service.schedule.run_once()
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        touched = int(await connection.fetchval(PAGES) - before)
        await counted.close()
    await connection.close()
    assert counts.settled == doubts, counts
    return touched


async def settle(url: str, folder: Path, *, doubts: int, port: int, start: Any) -> tuple[float, float]:
    """Seconds after the exchange's return until nothing is in doubt; half were swallowed, half never sent."""
    ids = [str(uuid_utils.uuid7()) for _ in range(doubts)]
    swallowed, not_sent = ids[: doubts // 2], ids[doubts // 2 :]
    connection = await asyncpg.connect(url)
    async with opened(url, folder, f"http://127.0.0.1:{port}") as service:
        exchange = await start()

        async def place(order_id: str) -> None:
            order = Order(order_id, OrderType.LIMIT, Side.BUY, "AAPL12345678", Decimal("150.25"), 10)
            await service.venue.place(order, send_by=float("inf"), timeout_seconds=30, accept_by=None)

        for first in range(0, len(swallowed), 200):
            await asyncio.gather(*(place(order_id) for order_id in swallowed[first : first + 200]))
        await service.schedule.run_once()
        exchange.terminate()
        exchange.wait()
        await connection.execute(FAILING_ROWS, swallowed, "EXCHANGE_OUTCOME_UNKNOWN", "unknown:timeout")
        await connection.execute(FAILING_ROWS, not_sent, "EXCHANGE_CREATION_FAILED", "not_sent:connect_failed")
        await connection.execute("ANALYZE orders, doubts")
        reconciling = asyncio.create_task(service.schedule.run())
        await asyncio.sleep(15)
        exchange = await start()
        begun = time.monotonic()
        try:
            while (await service.doubts.counts()).count:
                await asyncio.sleep(0.1)
                if time.monotonic() - begun > 300:
                    break
            seconds = time.monotonic() - begun
            placed = await connection.fetchval("SELECT count(*) FROM orders WHERE status = 'COMPLETED' AND id > '01'")
        finally:
            reconciling.cancel()
            await asyncio.wait({reconciling})
            exchange.terminate()
            exchange.wait()
    await connection.close()
    return seconds, placed / doubts


async def fill(url: str, rows: int, *, from_row: int = 0) -> None:
    """Settled orders, up to so many."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET synchronous_commit = off")
    for first in range(from_row + 1, rows + 1, CHUNK):
        await connection.execute(SETTLED, first, min(first + CHUNK - 1, rows), timeout=600)
    await connection.execute("VACUUM (ANALYZE) orders", timeout=600)
    await connection.close()


def main() -> int:
    """0: measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.reconciliation", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="settled orders in the large database")
    parser.add_argument("--doubts", type=int, default=10_000, help="orders in doubt to settle; 0: none")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "reconciliation.md")
    arguments = parser.parse_args()
    lines: list[str] = []
    configure_logs(level="error", log_format="text")
    with open_postgres(arguments.folder) as (folder, postgres):
        machine = {
            "processors": f"{os.cpu_count()}, {platform.machine()}",
            "load average at the start": f"{os.getloadavg()[0]:.1f}",
            "Python": platform.python_version(),
            "PostgreSQL": postgres.version(),
        }
        with postgres.fresh_database() as url:
            asyncio.run(migrate(url))
            if arguments.doubts:
                port = _free_port()

                async def start() -> "subprocess.Popen[bytes]":
                    process = subprocess.Popen(  # noqa: ASYNC220 - forking takes no time here
                        [
                            sys.executable,
                            "-m",
                            "simulated_exchange",
                            "--data-dir",
                            folder / "exchange",
                            "--port",
                            str(port),
                        ],
                        stdout=subprocess.PIPE,
                    )
                    assert process.stdout is not None
                    await asyncio.to_thread(process.stdout.readline)
                    return process

                seconds, share = asyncio.run(
                    settle(url, folder / "settle", doubts=arguments.doubts, port=port, start=start)
                )
                lines.append(
                    f"- {arguments.doubts:,} orders in doubt: settled {seconds:.1f} s after the exchange's return, "
                    f"{share:.0%} of them placed."
                )
                print(lines[-1], flush=True)
        with postgres.fresh_database() as url:
            asyncio.run(migrate(url))
            done = 0
            for rows in (1_000, arguments.rows):
                begun = time.monotonic()
                asyncio.run(fill(url, rows, from_row=done))
                done = rows
                filled = time.monotonic() - begun
                idle = asyncio.run(pages(url, folder / "pages", doubts=0))
                busy = asyncio.run(pages(url, folder / "pages", doubts=DOUBTS))
                lines.append(
                    f"- {rows:,} settled orders: an idle pass touches {idle} pages, one with {DOUBTS} doubts {busy} "
                    f"({busy / DOUBTS:.1f} a doubt); built in {filled:.0f} s."
                )
                print(lines[-1], flush=True)
    text = "# Reconciliation\n\n" + f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n\n" + "\n".join(lines) + "\n\n"
    text += "".join(f"- {name}: {value}\n" for name, value in machine.items())
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(text)
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())

"""The way of execution reports as the benchmark runs it: exchange, feed, processors, on a database with orders."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import uuid_utils

from bench.database import Postgres
from bench.servers import ROOT, open_server
from ordertrail.storage.postgres.migrate import migrate
from ordertrail.up.child_processes import end, spawn

ORDERS = 2_000
INSTRUMENTS = 50
PER_FRAME = 200
WAIT_SECONDS_MAX = 600.0
STOP = ((signal.SIGTERM, 15.0),)
PLACED = """
INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status, exchange_order_id, send_by)
SELECT t.id, 'limit', CASE WHEN n % 2 = 0 THEN 'buy' ELSE 'sell' END, 'BENCH' || lpad((n % $2)::text, 7, '0'), 150.25,
       2000000000, s.status::order_status_enum, CASE WHEN s.status = 'COMPLETED' THEN 'X' || n END, now()
  FROM unnest($1::varchar[]) WITH ORDINALITY AS t(id, n) CROSS JOIN (VALUES ('INITIATED'), ('COMPLETED')) AS s(status)
"""
APPLIED = """
SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint
  FROM (SELECT unnest(range_agg(seqs)) AS r FROM execution_coverage) AS applied
"""


@dataclass
class Measured:
    """Reports a second; microseconds of processor time a report, and the largest resident megabytes, by role."""

    rate: float
    cpu_us: dict[str, float] = field(default_factory=dict)
    rss_mb: dict[str, float] = field(default_factory=dict)
    more: dict[str, float] = field(default_factory=dict)


@dataclass
class Way:
    """What runs: the exchange's address, and the processes by role."""

    exchange_url: str
    processes: dict[str, list[psutil.Process]]

    def cpu(self) -> dict[str, float]:
        """Processor seconds so far, by role."""
        return {role: sum(cpu_of(p) for p in processes) for role, processes in self.processes.items()}

    def rss_mb(self) -> dict[str, float]:
        """The largest of each role's Python processes now."""
        return {
            role: max((p.memory_info().rss / 1e6 for p in processes), default=0.0)
            for role, processes in self.processes.items()
        }


@contextmanager
def open_way(
    url: str, folder: Path, *, processors: int = 2, queue: str = "", feeds: bool = True, kept: int = 1_000_000
) -> Iterator[Way]:
    """The exchange, a feed, processors and their queue."""
    with ExitStack() as stack:
        exchange = stack.enter_context(
            open_server(
                "simulated_exchange",
                ["--port", "0", "--data-dir", str(folder / "exchange"), "--reports-kept", str(kept)],
                {},
                folder / "exchange.log",
            )
        )
        exchange_url = f"http://127.0.0.1:{exchange.port}"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ORDERTRAIL_")},
            "PYTHONPATH": str(ROOT),
            "ORDERTRAIL_DATABASE_URL": url,
            "ORDERTRAIL_EXCHANGE_URL": exchange_url,
            "ORDERTRAIL_DATA_DIR": str(folder / "data"),
            "ORDERTRAIL_LOG_LEVEL": "warning",
            **({"ORDERTRAIL_QUEUE_URL": queue} if queue else {}),
        }
        processes = {"exchange": [psutil.Process(exchange.process.pid)]}
        roles = [*(["feed"] if feeds else []), *["process"] * processors]
        for number, role in enumerate(roles):
            processes.setdefault(role, []).append(
                stack.enter_context(open_role(role, environment, folder / f"{role}-{number}.log"))
            )
        yield Way(exchange_url, processes)


@contextmanager
def open_role(role: str, environment: Mapping[str, str], log: Path) -> Iterator[psutil.Process]:
    """`ordertrail feed` or `ordertrail process`, until the end of the block."""
    with log.open("wb") as output:
        process = spawn([sys.executable, "-m", "ordertrail", role], environment=environment, output=output, folder=ROOT)
    try:
        yield psutil.Process(process.pid)
    finally:
        ended = process.poll()
        end(process, STOP)
        if ended is not None:
            print(f"{role} had ended with {ended}:\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)


def load(
    way: Way,
    ids: Sequence[str],
    *,
    rate: int,
    seconds: float,
    reports: int | None = None,
    per_frame: int = PER_FRAME,
) -> None:
    """Have the exchange send a flood about our orders; `reports`: so many, as far as they fill frames."""
    body = {
        "reports_per_second": rate, "frame": per_frame, "seconds": seconds, "client_order_ids": list(ids),
        "instrument": "BENCH0000000", **({} if reports is None else {"reports": reports}),
    }  # fmt: skip
    request = urllib.request.Request(
        f"{way.exchange_url}/v1/faults/load",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 202, answer.read()


def wait_for(url: str, reports: int, way: Way | None = None) -> dict[str, float]:
    """Until so many are applied; the largest resident sizes meanwhile."""
    largest: dict[str, float] = {}
    deadline = time.monotonic() + WAIT_SECONDS_MAX

    async def poll() -> None:
        connection = await asyncpg.connect(url)
        try:
            while (await connection.fetchval(APPLIED)) < reports:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{await connection.fetchval(APPLIED)} of {reports} applied")
                for role, size in (way.rss_mb() if way else {}).items():
                    largest[role] = max(largest.get(role, 0.0), size)
                await asyncio.sleep(0.05)
        finally:
            await connection.close()

    asyncio.run(poll())
    return largest


def head_of(way: Way) -> int:
    """How many reports the exchange has made."""
    with urllib.request.urlopen(f"{way.exchange_url}/v1/executions?after=999999999999&limit=1", timeout=30) as answer:
        return int(json.load(answer)["head"])


def database_cpu() -> float:
    """Processor seconds of all PostgreSQL processes of this benchmark, also those that have ended."""
    return sum(cpu_of(p, children=True) for p in psutil.process_iter(["name"]) if is_ours(p, "postgres"))


def broker_cpu() -> float:
    """Processor seconds of the broker's server."""
    return sum(cpu_of(p) for p in psutil.process_iter(["name"]) if is_ours(p, "nats-server"))


def is_ours(process: psutil.Process, name: str) -> bool:
    """Whether it is a program of that name that this process has started, however far down."""
    with contextlib.suppress(psutil.Error):
        return process.name().startswith(name) and os.getpid() in {p.pid for p in process.parents()}
    return False


def cpu_of(process: psutil.Process, *, children: bool = False) -> float:
    """Processor seconds; with `children`, of those that have ended too."""
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        ended = times.children_user + times.children_system if children else 0.0
        return float(times.user + times.system + ended)
    return 0.0


def fetch(url: str, sql: str, *arguments: Any) -> list[asyncpg.Record]:
    """Read over a connection of its own."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    return asyncio.run(run())


@contextmanager
def fresh_orders(postgres: Postgres, parent: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A fresh database with orders that are placed, and a folder."""
    with postgres.fresh_database() as url, tempfile.TemporaryDirectory(dir=parent) as folder:
        asyncio.run(migrate(url))
        ids = [str(uuid_utils.uuid7()) for _ in range(ORDERS)]
        random.Random(1).shuffle(ids)
        fetch(url, PLACED, ids, INSTRUMENTS)
        fetch(url, "VACUUM ANALYZE orders")
        yield url, Path(folder), ids

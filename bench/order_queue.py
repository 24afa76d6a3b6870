"""Orders through the queue: `python -m bench.order_queue`.

How many orders a second the API takes into the queue beside how many it places itself; what a slow exchange changes for
those who post; and a long queue, worked off by one worker and by four.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from typing_extensions import override

from bench.contenders import CONTENDERS, Contender
from bench.database import Postgres, open_postgres
from bench.execution_way import Way, cpu_of, database_cpu, fetch, head_of, open_role, open_way
from bench.machine import is_in_memory
from bench.measure import load as run_load
from bench.measure import serve
from bench.servers import ROOT, Server
from ordertrail.storage.postgres.migrate import migrate

RATIO_TO_REACH = 1.5
# Two runs of the same thing differ by as much.
NO_WORSE_RATIO = 1.1
FLAT_RATIO = 0.8
RSS_MB_MAX = 120.0
ORDERS = 1_000_000
PER_STATEMENT = 100_000
INSTRUMENTS = 50
FAST_MS, SLOW_MS = 5, 500
POSTED_PER_SECOND = 500.0
WAIT_SECONDS_MAX = 3 * 3600.0
WARM_SECONDS = 2.0
# No order's time is up while it is measured, and the API's processes leave the queue alone.
QUEUEING = {"ORDERTRAIL_PLACE_QUEUED_IN_API": "false", "ORDERTRAIL_QUEUE_WINDOW_SECONDS": "43200"}
FILL = """
WITH fresh AS (
    INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status, place_by, start_by)
    SELECT '0199a000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), 'limit', 'buy',
           'BENCH' || lpad((n % $3::bigint)::text, 7, '0'), 150.25, 10, 'INITIATED', now() + interval '12 hours',
           now() + interval '12 hours'
      FROM generate_series($1::bigint, $2::bigint) AS n
    RETURNING id, instrument, start_by
), queued AS (
    INSERT INTO order_queue (order_id, instrument, queued_at, start_by)
    SELECT id, instrument, now(), start_by FROM fresh
    RETURNING order_id
)
INSERT INTO order_queue_sums (delta) SELECT count(*) FROM queued
"""
QUEUED = "SELECT count(*) FROM order_queue"
# A worker takes what the gate lets through, 8,192 by default: more than an exchange of one process, which takes about
# 1,000 a second, answers within the timeout. Whoever places there sets this.
IN_FLIGHT_MAX = 64
STATUSES = "SELECT status::text, count(*) FROM orders GROUP BY status"
CLAIMS = "SELECT count(*) FILTER (WHERE number = 1), count(DISTINCT order_id), count(*) FROM attempts"


@contextmanager
def fresh(postgres: Postgres, parent: Path) -> Iterator[tuple[str, Path]]:
    """An empty database with its schema, and a folder."""
    with postgres.fresh_database() as url, tempfile.TemporaryDirectory(dir=parent) as folder:
        asyncio.run(migrate(url))
        yield url, Path(folder)


@contextmanager
def open_workers(way: Way, url: str, folder: Path, count: int) -> Iterator[list[psutil.Process]]:
    """So many `ordertrail place`, and one `ordertrail reconcile` for what they leave in doubt."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ORDERTRAIL_")},
        "PYTHONPATH": str(ROOT),
        "ORDERTRAIL_DATABASE_URL": url,
        "ORDERTRAIL_EXCHANGE_URL": way.exchange_url,
        "ORDERTRAIL_DATA_DIR": str(folder / "data"),
        "ORDERTRAIL_LOG_LEVEL": "warning",
        "ORDERTRAIL_PLACE_IN_FLIGHT_MAX": str(IN_FLIGHT_MAX),
    }
    with ExitStack() as stack:
        stack.enter_context(open_role("reconcile", environment, folder / "reconcile.log"))
        yield [stack.enter_context(open_role("place", environment, folder / f"place-{n}.log")) for n in range(count)]


def post(server: Server, contender: Contender, *, seconds: float, rate: float | None, status: str) -> dict[str, Any]:
    """One run of the load generator; an answer with any other status makes it void."""
    prefer = "respond-async" if status == "202" else ""
    result, _, _ = run_load(
        server,
        connections=contender.connections,
        warm_seconds=WARM_SECONDS,
        seconds=seconds,
        rate=rate,
        prefer=prefer,
    )
    if set(result["statuses_in_all"]) != {status} or result["lost"]:
        raise RuntimeError(f"not all answers were {status}: {result['statuses_in_all']}, {result['lost']} lost")
    return result


@dataclass
class Posted:
    """Runs of one way to post, in turn with the other: orders a second, and microseconds an order.

    Microseconds are processor time of the API's processes and of the database's; the exchange is left out.
    """

    rates: list[float] = field(default_factory=list)
    api_us: list[float] = field(default_factory=list)
    database_us: list[float] = field(default_factory=list)

    @property
    def us(self) -> list[float]:
        """Of both."""
        return [api + database for api, database in zip(self.api_us, self.database_us, strict=True)]

    @override
    def __str__(self) -> str:
        return (
            f"{statistics.median(self.rates):,.0f} orders/s, {statistics.median(self.api_us):.0f} µs of the API and "
            f"{statistics.median(self.database_us):.0f} µs of PostgreSQL an order"
        )


def accepted(postgres: Postgres, parent: Path, *, rounds: int, seconds: float, contender: Contender) -> str:
    """Orders a second with `respond-async` and without, in turn, at the same server; no worker runs."""
    posted = {"201": Posted(), "202": Posted()}
    queued = 0
    with fresh(postgres, parent) as (url, folder), serve(contender, postgres, folder, url) as server:
        server.wait_for_workers(contender.workers)
        for number in range(rounds):
            for status in ("202", "201") if number % 2 else ("201", "202"):
                postgres.execute(url, "CHECKPOINT")
                api, database = sum(map(cpu_of, server.processes())), database_cpu()
                result = post(server, contender, seconds=seconds, rate=None, status=status)
                api, database = sum(map(cpu_of, server.processes())) - api, database_cpu() - database
                orders = result["statuses_in_all"][status]
                posted[status].rates.append(result["statuses"][status] / result["seconds"])
                posted[status].api_us.append(api / orders * 1e6)
                posted[status].database_us.append(database / orders * 1e6)
                queued += result["statuses_in_all"].get("202", 0)
            print(f"{contender.name}, round {number + 1}: 202 {posted['202']}; 201 {posted['201']}", flush=True)
        found = fetch(url, QUEUED)[0][0]
    if found != queued:
        raise RuntimeError(f"{queued} orders were answered 202, and {found} are in the queue")
    is_http = contender.exchange == "http"
    by_rate = [a / b for a, b in zip(posted["202"].rates, posted["201"].rates, strict=True)]
    by_time = [b / a for a, b in zip(posted["202"].us, posted["201"].us, strict=True)]
    ratio = by_time if is_http else by_rate
    exchange = (
        "the simulated exchange over HTTP, on the same cores" if is_http else "an exchange that sleeps, in process"
    )
    return (
        f"- With {exchange}: `respond-async` {posted['202']}, no worker on these cores; placed synchronously "
        f"{posted['201']}. Ratio by rate {_with_range(by_rate)}, by processor time, the exchange's apart, "
        f"{_with_range(by_time)}; to reach {RATIO_TO_REACH:g} by {'processor time' if is_http else 'rate'}: "
        f"{_verdict(statistics.median(ratio) >= RATIO_TO_REACH)}. Each order that was answered 202 was in the queue."
    )


def beside_slow_exchange(postgres: Postgres, parent: Path, *, pairs: int, seconds: float) -> str:
    """The API's 99th percentile while a worker places at a fast exchange and at a slow one, in turn."""
    p99: dict[int, list[float]] = {FAST_MS: [], SLOW_MS: []}
    with fresh(postgres, parent) as (url, folder), open_way(url, folder, processors=0, feeds=False) as way:
        contender = replace(_contender(QUEUEING), exchange=way.exchange_url)
        with (
            serve(contender, postgres, folder, url) as server,
            open_workers(way, url, folder, 1),
        ):
            server.wait_for_workers(contender.workers)
            for number in range(pairs):
                for latency_ms in (SLOW_MS, FAST_MS) if number % 2 else (FAST_MS, SLOW_MS):
                    _set_latency(way, latency_ms)
                    result = post(server, contender, seconds=seconds, rate=POSTED_PER_SECOND, status="202")
                    p99[latency_ms].append(result["latency_ms"]["p99"])
                    _wait(lambda: fetch(url, QUEUED)[0][0] == 0, "the queue is empty")
                print(
                    f"slow exchange, pair {number + 1}: {p99[FAST_MS][-1]:.1f} and {p99[SLOW_MS][-1]:.1f} ms",
                    flush=True,
                )
        placed = _rows(url)
    ratios = [b / a for a, b in zip(p99[FAST_MS], p99[SLOW_MS], strict=True)]
    middle = statistics.median(ratios)
    return (
        f"- `respond-async` at {POSTED_PER_SECOND:,.0f} orders/s beside a worker: p99 "
        f"{statistics.median(p99[FAST_MS]):.1f} ms with an exchange that takes {FAST_MS} ms, "
        f"{statistics.median(p99[SLOW_MS]):.1f} ms with one that takes {SLOW_MS} ms. Ratio {middle:.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}); to reach {NO_WORSE_RATIO:g}: {_verdict(middle <= NO_WORSE_RATIO)}. "
        f"Rows: {_shown(placed)}."
    )


@dataclass
class Drained:
    """A queue that was worked off: orders a second and the largest worker's megabytes, by fifths."""

    rates: list[float]
    rss_mb: list[float]
    wrong: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    resends: int = 0

    @property
    def is_flat(self) -> bool:
        """Whether the end is as the beginning."""
        return self.rates[-1] >= FLAT_RATIO * self.rates[0] and max(self.rss_mb) < RSS_MB_MAX


def drain(postgres: Postgres, parent: Path, *, orders: int, workers: int) -> Drained:
    """Orders that wait already, until all are placed."""
    with fresh(postgres, parent) as (url, folder), open_way(url, folder, processors=0, feeds=False) as way:
        for first in range(1, orders + 1, PER_STATEMENT):
            fetch(url, FILL, first, min(first + PER_STATEMENT - 1, orders), INSTRUMENTS)
        fetch(url, "VACUUM ANALYZE orders")
        fetch(url, "VACUUM ANALYZE order_queue")
        postgres.execute(url, "CHECKPOINT")
        drained = Drained([], [])
        with open_workers(way, url, folder, workers) as processes:
            _wait(lambda: head_of(way) > 0, "the first order is placed")
            done, begun = head_of(way), time.monotonic()
            for number in range(1, 6):
                target = orders * number // 5
                _wait(lambda target=target: head_of(way) >= target, f"{target:,} orders are placed")
                now, head = time.monotonic(), head_of(way)
                drained.rates.append((head - done) / (now - begun))
                drained.rss_mb.append(max(process.memory_info().rss for process in processes) / 1e6)
                done, begun = head, now
                print(
                    f"drain, {workers} workers, {number}/5: {drained.rates[-1]:,.0f}/s, {drained.rss_mb[-1]:.0f} MB",
                    flush=True,
                )
            _wait(lambda: _rows(url).get("COMPLETED") == orders or head_of(way) > orders, "all is recorded")
            drained.rows = _rows(url)
        first_claims, claimed, claims = fetch(url, CLAIMS)[0]
        drained.resends = claims - orders
        # A limit order that rests is one report: as many reports as orders.
        if (head_of(way), first_claims, claimed) != (orders, orders, orders):
            drained.wrong = f"{orders} orders, {head_of(way)} at the exchange, {first_claims} first claims of {claimed}"
        return drained


def drained_line(found: Drained, *, orders: int, workers: int) -> str:
    """What it came to."""
    each = "one worker" if workers == 1 else f"{workers} workers"
    verdict = f"**not reached** ({found.wrong})" if found.wrong else _verdict(found.is_flat)
    return (
        f"- {orders:,} queued orders, worked off by {each} at an exchange on the same cores: "
        f"{statistics.mean(found.rates):,.0f}/s; by fifths {', '.join(f'{rate:,.0f}' for rate in found.rates)}/s, the "
        f"largest worker {', '.join(f'{size:.0f}' for size in found.rss_mb)} MB. "
        f"{'' if found.wrong else 'At the exchange each once; '}rows {_shown(found.rows)}; {found.resends:,} sent "
        f"again by the reconciler. {IN_FLIGHT_MAX} in flight a worker. To reach: the last fifth at "
        f"{FLAT_RATIO:g} of the first, under {RSS_MB_MAX:g} MB: {verdict}."
    )


def write_report(lines: Sequence[str]) -> None:
    """The newest figures, in one file."""
    path = Path(__file__).parent / "results" / "order_queue.md"
    machine = (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} processors, {platform.machine()}, Python "
        f"{platform.python_version()}; everything on this machine. Load average: {os.getloadavg()[2]:.1f}. Medians; "
        "ratios are taken within a round."
    )
    path.write_text("\n".join(["# Orders through the queue", "", machine, "", *lines]) + "\n")
    print(f"\n{path.read_text()}\nWritten to {path}")


def main() -> int:
    """Run all, or a part; 1: a figure that must be reached is not."""
    arguments = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lines: list[str] = []
    parts = set(arguments.parts.split(","))
    with open_postgres(arguments.folder) as (folder, postgres):
        if "accepted" in parts:
            for name in ("ordertrail", "ordertrail_http"):
                contender = _contender(QUEUEING, name)
                how = {"rounds": arguments.rounds, "seconds": arguments.seconds}
                lines.append(accepted(postgres, folder, contender=contender, **how))
                write_report(lines)
        if "slow" in parts:
            lines.append(beside_slow_exchange(postgres, folder, pairs=arguments.rounds, seconds=arguments.seconds))
            write_report(lines)
        if "drain" in parts:
            for workers in (1, 4):
                found = drain(postgres, folder, orders=arguments.orders, workers=workers)
                lines.append(drained_line(found, orders=arguments.orders, workers=workers))
                write_report(lines)
    return int(any("**not reached**" in line for line in lines))


def _contender(environment: dict[str, str], name: str = "ordertrail") -> Contender:
    return replace(next(each for each in CONTENDERS if each.name == name), environment=environment)


def _with_range(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _rows(url: str) -> dict[str, int]:
    return {record["status"]: record["count"] for record in fetch(url, STATUSES)}


def _shown(rows: dict[str, int]) -> str:
    return ", ".join(f"{status} {count:,}" for status, count in sorted(rows.items()))


def _set_latency(way: Way, latency_ms: int) -> None:
    request = urllib.request.Request(
        f"{way.exchange_url}/v1/faults",
        data=json.dumps({"latency_ms": latency_ms}).encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


def _wait(is_so: Any, what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in time: {what}")
        time.sleep(0.2)


def _verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "**not reached**"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.order_queue", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--parts", default="accepted,slow,drain")
    usual = Path(tempfile.gettempdir())
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp") if is_in_memory(usual) else usual)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

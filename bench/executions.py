"""Execution updates, from the exchange's socket to committed rows: `python -m bench.executions`.

Everything on this machine: the exchange, the feed, the queue, the processors and PostgreSQL. Each round measures every
way in turn, on fresh tables, so that a ratio is of one moment of the machine.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import uuid_utils

from bench.contenders import CONTENDERS
from bench.database import Postgres, open_postgres
from bench.machine import is_in_memory
from bench.measure import load as run_load
from bench.measure import serve
from bench.servers import ROOT, open_server
from ordertrail.queues.queue import Frame
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.storage.postgres.migrate import migrate
from ordertrail.up.child_processes import end, spawn
from ordertrail.up.embedded_nats import EmbeddedNats

ORDERS = 2_000
INSTRUMENTS = 50
REPORTS = 400_000
PER_FRAME = 200
PER_STATEMENT = 4_000
IN_FLIGHT = 1
BACKLOG = 5_000_000
BESIDE_RATE = 10_000
LAG_RATE = 20_000
LAG_SECONDS = 15
POLL_SECONDS = 0.002
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
VISIBLE = "SELECT id, seqs FROM execution_coverage WHERE id > $1 ORDER BY id"
WHEN_SENT = "SELECT seq, transact_time FROM executions WHERE seq % 97 = 0"


@dataclass
class Measured:
    """Reports a second; microseconds of processor time a report, and the largest resident megabytes, by role."""

    rate: float
    cpu_us: dict[str, float] = field(default_factory=dict)
    rss_mb: dict[str, float] = field(default_factory=dict)
    more: dict[str, float] = field(default_factory=dict)


# The statement alone, fed from memory


def make_frames(ids: Sequence[str], reports: int, *, first_seq: int = 1) -> list[Frame]:
    """Frames of trades over orders in turn, some 300 bytes a report."""
    frames = []
    cum = dict.fromkeys(ids, 0)
    for first in range(first_seq, first_seq + reports, PER_FRAME):
        elements = []
        for seq in range(first, first + PER_FRAME):
            id_ = ids[seq * 7919 % len(ids)]
            cum[id_] += 3
            elements.append(
                {
                    "seq": seq, "exec_id": f"E{seq}", "exec_type": "trade", "ord_status": "partially_filled",
                    "client_order_id": id_, "exchange_order_id": f"bench-{seq % len(ids)}", "last_qty": 3,
                    "last_px": "150.25", "cum_qty": cum[id_], "leaves_qty": 2_000_000_000 - cum[id_],
                    "avg_px": "150.25", "transact_time": "2026-11-27T12:00:00.000000Z",
                }
            )  # fmt: skip
        body = json.dumps(elements, separators=(",", ":")).encode()
        frames.append(Frame("bench", "e1", "order", PER_FRAME, first, first + PER_FRAME - 1, body))
    return frames


async def apply_from_memory(url: str, frames: Sequence[Frame]) -> None:
    """What one processor does with its database, without a queue."""
    database = Database(url, timeout_seconds=60, connections_max=IN_FLIGHT)
    await database.open()
    rows = PostgresExecutions(database)
    batch = max(1, PER_STATEMENT // PER_FRAME)
    batches = iter([frames[start : start + batch] for start in range(0, len(frames), batch)])

    async def work() -> None:
        for each in batches:
            await rows.apply_reports(each)

    try:
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    finally:
        await database.close()


def memory_worker(url: str, ids: Path, share: int, shares: int, reports: int) -> None:
    """A processor fed from memory, as a process: says when it is ready, begins at a line, says what it used."""
    frames = make_frames(ids.read_text().split(), reports)[share::shares]
    print("ready", flush=True)
    sys.stdin.readline()
    before = time.process_time()
    asyncio.run(apply_from_memory(url, frames))
    print(json.dumps({"cpu": time.process_time() - before}), flush=True)


def from_memory(url: str, folder: Path, ids: Sequence[str], *, processors: int, reports: int) -> Measured:
    """The statement, by so many processes at once."""
    names = folder / "ids"
    names.write_text("\n".join(ids))
    base = [sys.executable, "-m", "bench.executions", "--memory-worker", url, str(names)]
    children = [
        subprocess.Popen(
            [*base, str(share), str(processors), str(reports)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for share in range(processors)
    ]  # fmt: skip
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        used_before = database_cpu()
        begun = time.monotonic()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        used = [json.loads(child.stdout.readline())["cpu"] for child in children if child.stdout is not None]
        seconds = time.monotonic() - begun
        database = database_cpu() - used_before
    finally:
        for child in children:
            child.kill()
            child.wait()
    rows = fetch(url, "SELECT count(*) FROM executions")[0][0]
    assert rows == reports, f"{rows} rows of {reports} reports"
    return Measured(reports / seconds, {"process": sum(used) / reports * 1e6, "PostgreSQL": database / reports * 1e6})


# The whole way


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


def load(way: Way, ids: Sequence[str], *, rate: int, seconds: float, reports: int | None = None) -> None:
    """Have the exchange send a flood about our orders."""
    body = {
        "reports_per_second": rate, "frame": PER_FRAME, "seconds": seconds, "client_order_ids": list(ids),
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


def whole_way(url: str, folder: Path, ids: Sequence[str], *, queue: str = "", processors: int = 2) -> Measured:
    """From the socket to committed rows, as fast as it goes: more is offered than it can take."""
    seconds = 6.0
    with open_way(url, folder, processors=processors, queue=queue) as way:
        warm = 20_000
        load(way, ids, rate=20_000, seconds=60, reports=warm)
        wait_for(url, warm)
        before, database_before, broker_before = way.cpu(), database_cpu(), broker_cpu()
        begun = time.monotonic()
        load(way, ids, rate=1_000_000, seconds=seconds)
        time.sleep(seconds)
        head = head_of(way)
        rss = wait_for(url, head, way)
        took = time.monotonic() - begun
        reports = head - warm
        used = {role: (after - before[role]) / reports * 1e6 for role, after in way.cpu().items()}
        used["PostgreSQL"] = (database_cpu() - database_before) / reports * 1e6
        if queue:
            used["broker"] = (broker_cpu() - broker_before) / reports * 1e6
    return Measured(reports / took, used, rss, {"reports": reports})


def lag(url: str, folder: Path, ids: Sequence[str]) -> Measured:
    """How long after the exchange made a report its row is visible to others, at a steady rate."""
    visible: list[tuple[int, int, float]] = []
    with open_way(url, folder) as way:
        load(way, ids, rate=LAG_RATE, seconds=60, reports=2 * LAG_RATE)
        wait_for(url, 2 * LAG_RATE)
        load(way, ids, rate=LAG_RATE, seconds=LAG_SECONDS)

        async def watch() -> None:
            connection = await asyncpg.connect(url)
            newest = await connection.fetchval("SELECT max(id) FROM execution_coverage")
            end_at = time.time() + LAG_SECONDS
            while time.time() < end_at:
                records = await connection.fetch(VISIBLE, newest)
                now = time.time()
                for record in records:
                    newest = record["id"]
                    visible.extend((r.lower, r.upper, now) for r in record["seqs"])
                await asyncio.sleep(POLL_SECONDS)
            await connection.close()

        asyncio.run(watch())
        head = head_of(way)
        wait_for(url, head)
    sent = {r["seq"]: r["transact_time"].timestamp() for r in fetch(url, WHEN_SENT)}
    # A joined row repeats what was visible before: the first time counts.
    first: dict[int, float] = {}
    for lower, upper, now in visible:
        for seq in range(lower - lower % 97, upper, 97):
            if seq >= lower and seq in sent:
                first.setdefault(seq, now)
    lags = sorted((now - sent[seq]) * 1000 for seq, now in first.items())
    return Measured(
        LAG_RATE,
        more={"p50_ms": lags[len(lags) // 2], "p99_ms": lags[int(len(lags) * 0.99)], "samples": len(lags)},
    )


def backlog(url: str, folder: Path, ids: Sequence[str], reports: int) -> Measured:
    """What waits while no processor runs, worked off by two: the rate at the beginning and at the end, and memory."""
    with open_way(url, folder, processors=0) as filling:
        rate = 200_000
        load(filling, ids, rate=rate, seconds=WAIT_SECONDS_MAX, reports=reports)
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while fetch(url, "SELECT coalesce(max(last_seq), 0) FROM execution_inbox")[0][0] < reports:
            if time.monotonic() > deadline:
                raise TimeoutError("the backlog did not fill")
            time.sleep(0.5)
        with ExitStack() as stack:
            environment = {
                **{key: value for key, value in os.environ.items() if not key.startswith("ORDERTRAIL_")},
                "PYTHONPATH": str(ROOT), "ORDERTRAIL_DATABASE_URL": url,
                "ORDERTRAIL_EXCHANGE_URL": filling.exchange_url, "ORDERTRAIL_DATA_DIR": str(folder / "data"),
                "ORDERTRAIL_LOG_LEVEL": "warning",
            }  # fmt: skip
            for number in range(2):
                filling.processes.setdefault("process", []).append(
                    stack.enter_context(open_role("process", environment, folder / f"late-{number}.log"))
                )
            marks: list[float] = []
            rss: dict[str, float] = {}
            share = reports // 5
            wait_for(url, 1)
            for number in range(1, 6):
                begun, done = time.monotonic(), fetch(url, APPLIED)[0][0]
                rss = wait_for(url, share * number, filling) | rss
                now = fetch(url, APPLIED)[0][0]
                marks.append((now - done) / (time.monotonic() - begun))
    return Measured(
        statistics.mean(marks), rss_mb=rss, more={"first_fifth": marks[0], "last_fifth": marks[-1], "reports": reports}
    )


# What all of them need


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


def beside(postgres: Postgres, parent: Path, *, rate: float, seconds: float) -> Measured:
    """Placement's 99th percentile at a steady rate, alone and beside 10,000 reports a second, one after the other."""
    contender = next(each for each in CONTENDERS if each.name == "ordertrail")
    p99: dict[str, float] = {}
    with fresh_orders(postgres, parent) as (url, folder, ids), serve(contender, postgres, folder, url) as server:
        server.wait_for_workers(contender.workers)

        def measure(name: str) -> None:
            result, _, _ = run_load(
                server, connections=contender.connections, warm_seconds=2, seconds=seconds, rate=rate
            )
            p99[name] = result["latency_ms"]["p99"]

        measure("alone")
        with open_way(url, folder, processors=1) as way:
            load(way, ids, rate=BESIDE_RATE, seconds=seconds + 20)
            wait_for(url, BESIDE_RATE)
            measure("beside")
    return Measured(rate, more={**p99, "ratio": p99["beside"] / p99["alone"]})


# Rounds, and what is written down


@contextmanager
def open_broker(parent: Path) -> Iterator[str]:
    """The NATS server from the wheel, which flushes each message before it says that it has it."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        server = EmbeddedNats(Path(folder))
        server.start()
        try:
            yield server.url
        finally:
            server.stop_now()


def run_rounds(postgres: Postgres, parent: Path, rounds: int, reports: int) -> dict[str, list[Measured]]:
    """Every way once a round, in another order each time."""
    results: dict[str, list[Measured]] = {}

    def statement(processors: int) -> Measured:
        with fresh_orders(postgres, parent) as (url, folder, ids):
            return from_memory(url, folder, ids, processors=processors, reports=reports)

    def inbox() -> Measured:
        with fresh_orders(postgres, parent) as (url, folder, ids):
            return whole_way(url, folder, ids)

    def broker() -> Measured:
        with fresh_orders(postgres, parent) as (url, folder, ids), open_broker(parent) as queue:
            return whole_way(url, folder, ids, queue=queue)

    ways = {
        "memory, 1 processor": lambda: statement(1),
        "memory, 2 processors": lambda: statement(2),
        "PostgreSQL queue": inbox,
        "NATS": broker,
    }
    for number in range(rounds):
        names = list(ways)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            measured = ways[name]()
            results.setdefault(name, []).append(measured)
            shown = " ".join(f"{role} {us:.1f}" for role, us in measured.cpu_us.items())
            print(f"round {number + 1}  {name:22} {measured.rate:10,.0f}/s   µs a report: {shown}", flush=True)
    return results


def median(measured: Sequence[Measured]) -> float:
    """Of the rates."""
    return statistics.median(each.rate for each in measured)


def ratios_of(theirs: Sequence[Measured], ours: Sequence[Measured]) -> list[float]:
    """Round by round, rising."""
    return sorted(a.rate / b.rate for a, b in zip(theirs, ours, strict=True))


def write_report(lines: Sequence[str]) -> None:
    """The newest figures, in one file."""
    path = Path(__file__).parent / "results" / "executions.md"
    machine = (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} processors, {platform.machine()}, Python "
        f"{platform.python_version()}; everything on this machine, the exchange too. Frames of {PER_FRAME} reports of "
        f"about 300 bytes, {ORDERS:,} orders. Medians; ratios are taken within a round."
    )
    path.write_text("\n".join(["# Execution updates", "", machine, "", *lines]) + "\n")
    print(f"\n{path.read_text()}\nWritten to {path}")


def main() -> int:
    """Run all, or a part; 1: a ratio that must be reached is not."""
    if "--memory-worker" in sys.argv:
        address, names, share, shares, reports = sys.argv[sys.argv.index("--memory-worker") + 1 :]
        memory_worker(address, Path(names), int(share), int(shares), int(reports))
        return 0
    arguments = _parse()
    lines: list[str] = []
    failed = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_postgres(arguments.folder) as (folder, postgres):
        parts = set(arguments.parts.split(","))
        if "rates" in parts:
            results = run_rounds(postgres, folder, arguments.rounds, arguments.reports)
            table, failed = rates_table(results)
            lines += table
        if "lag" in parts:
            with fresh_orders(postgres, folder) as (url, its_folder, ids):
                found = lag(url, its_folder, ids)
            lines.append(
                f"- Lag at {LAG_RATE:,} reports a second, from the exchange's time of the report until its row is "
                f"visible: p50 {found.more['p50_ms']:.1f} ms, p99 {found.more['p99_ms']:.1f} ms "
                f"({found.more['samples']:,.0f} samples; to reach: p99 < 50 ms)."
            )
            print(lines[-1], flush=True)
        if "backlog" in parts:
            with fresh_orders(postgres, folder) as (url, its_folder, ids):
                found = backlog(url, its_folder, ids, arguments.backlog)
            sizes = ", ".join(f"{role} {size:.0f} MB" for role, size in found.rss_mb.items())
            lines.append(
                f"- A backlog of {arguments.backlog:,} reports: worked off at {found.more['first_fifth']:,.0f}/s in "
                f"its first fifth and {found.more['last_fifth']:,.0f}/s in its last; largest processes: {sizes} "
                "(to reach: under 120 MB, rate undiminished)."
            )
            print(lines[-1], flush=True)
        if "beside" in parts:
            found = beside(postgres, folder, rate=arguments.placement_rate, seconds=15)
            lines.append(
                f"- Placement at {arguments.placement_rate:,.0f} orders a second: p99 {found.more['alone']:.0f} ms "
                f"alone, {found.more['beside']:.0f} ms beside {BESIDE_RATE:,} reports a second: "
                f"{found.more['ratio']:.2f} times (to reach: 1.5)."
            )
            print(lines[-1], flush=True)
    write_report(lines)
    return int(failed)


def rates_table(results: Mapping[str, Sequence[Measured]]) -> tuple[list[str], bool]:
    """Rates and processor time of each way, the ratios, and whether one of them is not reached."""
    roles = ["exchange", "feed", "process", "broker", "PostgreSQL"]
    lines = [
        f"| | reports/s (least to most) | {' | '.join(f'{role}, µs a report' for role in roles)} |",
        f"|---|---|{'---|' * len(roles)}",
    ]
    for name, measured in results.items():
        rates = sorted(each.rate for each in measured)
        used = [
            f"{statistics.median(each.cpu_us[role] for each in measured):.1f}" if role in measured[0].cpu_us else "-"
            for role in roles
        ]
        lines.append(
            f"| {name} | {statistics.median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f}) | {' | '.join(used)} |"
        )
    memory = results["memory, 2 processors"]
    failed = False
    lines.append("")
    for title, theirs, ours, wanted in (
        ("PostgreSQL queue ÷ the statement from memory", results["PostgreSQL queue"], memory, 0.7),
        ("NATS ÷ the statement from memory", results["NATS"], memory, 0.7),
        ("two processors ÷ one, from memory", memory, results["memory, 1 processor"], 1.6),
    ):
        found = ratios_of(theirs, ours)
        middle = statistics.median(found)
        verdict = "reached" if middle >= wanted else "**not reached**"
        failed |= middle < wanted
        lines.append(f"- {title}: {middle:.2f} ({found[0]:.2f} to {found[-1]:.2f}); to reach {wanted:g}: {verdict}.")
    return lines, failed


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.executions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--reports", type=int, default=REPORTS)
    parser.add_argument("--backlog", type=int, default=BACKLOG)
    parser.add_argument("--placement-rate", type=float, default=4_000, help="about half of the top rate here")
    parser.add_argument("--parts", default="rates,lag,backlog,beside")
    usual = Path(tempfile.gettempdir())
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp") if is_in_memory(usual) else usual)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

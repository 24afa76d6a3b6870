"""Execution updates, from the exchange's socket to committed rows: `python -m bench.executions`.

Everything on this machine: the exchange, the feed, the queue, the processors and PostgreSQL. Each round measures every
way in turn, on fresh tables, so that a ratio is of one moment of the machine.
"""

import argparse
import asyncio
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from bench.contenders import CONTENDERS
from bench.database import Postgres, open_postgres
from bench.execution_statement import from_memory
from bench.execution_way import (
    APPLIED,
    ORDERS,
    PER_FRAME,
    WAIT_SECONDS_MAX,
    Measured,
    broker_cpu,
    database_cpu,
    fetch,
    fresh_orders,
    head_of,
    load,
    open_role,
    open_way,
    wait_for,
)
from bench.machine import is_in_memory
from bench.measure import load as run_load
from bench.measure import serve
from bench.servers import ROOT
from ordertrail.up.embedded_nats import EmbeddedNats

REPORTS = 400_000
BACKLOG = 5_000_000
BESIDE_RATE = 10_000
LAG_RATE = 20_000
LAG_SECONDS = 15
POLL_SECONDS = 0.002
VISIBLE = "SELECT id, seqs FROM execution_coverage WHERE id > $1 ORDER BY id"
WHEN_SENT = "SELECT seq, transact_time FROM executions WHERE seq % 97 = 0"


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
    warm = 2 * LAG_RATE
    with open_way(url, folder, processors=1) as way:
        load(way, ids, rate=LAG_RATE, seconds=60, reports=warm)
        wait_for(url, warm)
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
    sent = {r["seq"]: r["transact_time"].timestamp() for r in fetch(url, WHEN_SENT) if r["seq"] > warm}
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


def beside(postgres: Postgres, parent: Path, *, pairs: int, seconds: float) -> Measured:
    """Placement's 99th percentile at half of its top rate, alone and beside 10,000 reports a second, in turn."""
    contender = next(each for each in CONTENDERS if each.name == "ordertrail")
    alone: list[float] = []
    together: list[float] = []
    reports: list[float] = []
    with fresh_orders(postgres, parent) as (url, folder, ids), serve(contender, postgres, folder, url) as server:
        server.wait_for_workers(contender.workers)

        def measured(rate: float | None) -> dict[str, Any]:
            postgres.execute(url, "CHECKPOINT")  # what was written before is not flushed meanwhile
            result, _, _ = run_load(
                server, connections=contender.connections, warm_seconds=2, seconds=seconds, rate=rate
            )
            return result

        top = measured(None)
        rate = top["statuses"]["201"] / top["seconds"] / 2
        with open_way(url, folder, processors=1) as way:
            for _ in range(pairs):
                alone.append(measured(rate)["latency_ms"]["p99"])
                before = head_of(way)
                load(way, ids, rate=BESIDE_RATE, seconds=seconds + 10)
                wait_for(url, before + BESIDE_RATE)
                begun, applied = time.monotonic(), fetch(url, APPLIED)[0][0]
                together.append(measured(rate)["latency_ms"]["p99"])
                reports.append((fetch(url, APPLIED)[0][0] - applied) / (time.monotonic() - begun))
                time.sleep(10)
                wait_for(url, head_of(way))
    ratios = [b / a for a, b in zip(alone, together, strict=True)]
    more = {"alone": alone, "beside": together, "ratio": ratios, "reports": reports}
    return Measured(rate, more={name: statistics.median(values) for name, values in more.items()})


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
            write_report(lines)
        if "lag" in parts:
            with fresh_orders(postgres, folder) as (url, its_folder, ids):
                found = lag(url, its_folder, ids)
            lines.append(
                f"- Lag at {LAG_RATE:,} reports a second, from the exchange's time of the report until its row is "
                f"visible, with one processor: p50 {found.more['p50_ms']:.1f} ms, p99 {found.more['p99_ms']:.1f} ms "
                f"({found.more['samples']:,.0f} samples; to reach: p99 < 50 ms)."
            )
            write_report(lines)
        if "backlog" in parts:
            with fresh_orders(postgres, folder) as (url, its_folder, ids):
                found = backlog(url, its_folder, ids, arguments.backlog)
            sizes = ", ".join(f"{role} {size:.0f} MB" for role, size in found.rss_mb.items())
            lines.append(
                f"- A backlog of {arguments.backlog:,} reports: worked off at {found.more['first_fifth']:,.0f}/s in "
                f"its first fifth and {found.more['last_fifth']:,.0f}/s in its last; largest processes: {sizes} "
                "(to reach: under 120 MB, rate undiminished)."
            )
            write_report(lines)
        if "beside" in parts:
            found = beside(postgres, folder, pairs=3, seconds=15)
            lines.append(
                f"- Placement at {found.rate:,.0f} orders a second, half of its top rate: p99 "
                f"{found.more['alone']:.0f} ms alone, {found.more['beside']:.0f} ms beside {BESIDE_RATE:,} reports a "
                f"second, of which {found.more['reports']:,.0f} were applied: {found.more['ratio']:.2f} times (to "
                "reach: 1.5)."
            )
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
    parser.add_argument("--parts", default="rates,lag,backlog,beside")
    usual = Path(tempfile.gettempdir())
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp") if is_in_memory(usual) else usual)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

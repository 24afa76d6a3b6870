"""The readers' stream beside placement: `python -m bench.watching`.

Everything on this machine: the API with two workers, PostgreSQL, what places orders, and all readers. An order that is
placed is two events. Each figure beside readers has one without them from the minute before.
"""

import argparse
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from typing_extensions import override

from bench.contenders import CONTENDERS, Contender
from bench.database import Postgres, open_postgres
from bench.execution_way import cpu_of, database_cpu, fetch, fresh_orders, head_of, open_way, wait_for
from bench.execution_way import load as flood
from bench.machine import is_in_memory
from bench.measure import load as run_load
from bench.measure import serve
from bench.servers import ROOT, Server

EVENTS_PER_SECOND = 5_000
EVENTS_PER_ORDER = 2
OF_EVERYTHING = 10
OF_ONE_ORDER = 1_000
FIREHOSE = 1_000
# Reports of the orders that are watched one by one, beside the rows of those that are placed.
REPORTS_PER_SECOND_MIN = 100
PER_FRAME = 20
LAG_MS_TO_REACH = 50.0
RATIO_TO_REACH = 1.5
WAIT_SECONDS_MAX = 60.0
WARM_SECONDS = 2.0
FILES_MIN = 16_384
# When the transaction that has written a row of a trail was committed; its record was then yet to be flushed.
COMMITTED = """
SELECT x.order_id, x.status::text AS status,
       extract(epoch FROM pg_xact_commit_timestamp((l.txid & 4294967295)::text::xid))::float8 AS at
  FROM event_log l CROSS JOIN LATERAL unnest(l.order_ids, l.statuses) AS x(order_id, status)
"""
COMMITS_ARE_TIMED = {"track_commit_timestamp": "on"}
LOGGED = "SELECT coalesce(sum(count), 0)::bigint FROM event_log"


class Watchers:
    """The process with all readers."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._usage = psutil.Process(process.pid)

    def mark(self) -> None:
        """Count from here on."""
        self._command("mark")

    def report(self) -> dict[str, Any]:
        """What was counted."""
        found: dict[str, Any] = json.loads(self._command("report"))
        return found

    def arrivals(self, path: Path) -> dict[tuple[str, str], float]:
        """When the rows of trails came, by order and status."""
        self._command(f"arrivals {path}")
        rows = (line.split() for line in path.read_text().splitlines())
        return {(order_id, status): float(at) for order_id, status, at in rows}

    def cpu(self) -> float:
        """Processor seconds so far."""
        return cpu_of(self._usage)

    def wait_until_ready(self) -> None:
        """Until every reader is answered."""
        self._read()

    def _command(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the readers have failed")
        return line


@contextmanager
def open_watchers(
    server: Server, folder: Path, *, everything: int, counted: int = OF_EVERYTHING, order_ids: Sequence[str] = ()
) -> Iterator[Watchers]:
    """Readers in a process of their own, all of them answered."""
    ids = folder / "watched-ids"
    ids.write_text("\n".join(order_ids))
    command = [sys.executable, "-m", "bench.load.watchers", "--port", str(server.port)]
    command += ["--everything", str(everything), "--counted", str(counted), "--order-ids", str(ids)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        watchers = Watchers(process)
        watchers.wait_until_ready()
        yield watchers
    finally:
        process.kill()
        process.communicate()


@dataclass
class Usage:
    """Processor seconds while something is measured, by what used them; `orders`: how many were placed meanwhile."""

    seconds: dict[str, float] = field(default_factory=dict)
    orders: int = 0

    @override
    def __str__(self) -> str:
        return (
            ", ".join(f"{name} {used / self.orders * 1e6:.0f}" for name, used in self.seconds.items()) + " µs an order"
        )


@contextmanager
def used(server: Server, watchers: Watchers | None) -> Iterator[Usage]:
    """What the API, PostgreSQL and the readers take within the block."""

    def now() -> dict[str, float]:
        seconds = {"API": sum(cpu_of(each) for each in server.processes()), "PostgreSQL": database_cpu()}
        return seconds if watchers is None else seconds | {"readers": watchers.cpu()}

    usage, before = Usage(), now()
    yield usage
    usage.seconds = {name: seconds - before[name] for name, seconds in now().items()}


@dataclass
class Placed:
    """One run of placement at a constant rate."""

    orders: int
    p99_ms: float
    per_second: float
    usage: Usage
    generator_share: float


def place(server: Server, contender: Contender, watchers: Watchers | None, *, rate: float, seconds: float) -> Placed:
    """Orders at that rate; anything but 201 makes the figure void."""
    with used(server, watchers) as usage:
        result, _, _ = run_load(
            server, connections=contender.connections, warm_seconds=WARM_SECONDS, seconds=seconds, rate=rate
        )
    if set(result["statuses_in_all"]) != {"201"} or result["lost"]:
        raise RuntimeError(f"not all orders were placed: {result['statuses_in_all']}, {result['lost']} lost")
    usage.orders = result["statuses_in_all"]["201"]
    return Placed(
        usage.orders,
        result["latency_ms"]["p99"],
        result["rate_answered"],
        usage,
        result["generator_cpu_share"],
    )


def top_rate(server: Server, contender: Contender, *, seconds: float) -> float:
    """As many orders a second as there can be."""
    result, _, _ = run_load(
        server, connections=contender.connections, warm_seconds=WARM_SECONDS, seconds=seconds, rate=None
    )
    return float(result["statuses"]["201"] / result["seconds"])


def logged(url: str) -> int:
    """Events in the log."""
    return int(fetch(url, LOGGED)[0][0])


def wait_for_readers(watchers: Watchers, events: int) -> dict[str, Any]:
    """Until each reader of everything that was not cut off has so many events, and no more: none left out or twice."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        found = watchers.report()
        counts: list[int] = found["everything_events"]
        if set(counts) == {events} or found["everything_lost"]:
            return found
        if time.monotonic() > deadline or max(counts) > events:
            raise RuntimeError(f"{events:,} events are in the log, and the readers have {sorted(set(counts))}")
        time.sleep(0.2)


# The parts


def lag(postgres: Postgres, parent: Path, *, rounds: int, seconds: float) -> str:
    """How long after its commit an event is at a reader."""
    runs: list[dict[str, Any]] = []
    since_commit: list[list[float]] = []
    placed: list[Placed] = []
    with api(postgres, parent) as (server, contender, url, folder, _):
        for number in range(rounds):
            with open_watchers(server, folder, everything=1) as watchers:
                place(server, contender, watchers, rate=EVENTS_PER_SECOND / EVENTS_PER_ORDER, seconds=2)
                watchers.mark()
                before = logged(url)
                placed.append(
                    place(server, contender, watchers, rate=EVENTS_PER_SECOND / EVENTS_PER_ORDER, seconds=seconds)
                )
                runs.append(wait_for_readers(watchers, logged(url) - before))
                arrivals = watchers.arrivals(folder / "arrivals")
            commits = {(each["order_id"], each["status"]): each["at"] for each in fetch(url, COMMITTED)}
            since_commit.append(sorted((at - commits[row]) * 1000 for row, at in arrivals.items()))
            shown = " ".join(f"{name} {_share(since_commit[-1], share):.1f}" for name, share in SHARES.items())
            print(f"lag, round {number + 1}: {shown} ms; {placed[-1].usage}", flush=True)
    p50, p99 = ([_share(lags, SHARES[name]) for lags in since_commit] for name in ("p50", "p99"))
    of_row = statistics.median(run["lag_ms"]["p99"] for run in runs)
    per_second = statistics.median(each.per_second for each in placed) * EVENTS_PER_ORDER
    return (
        "- Lag of an event, from its commit (whose record is then yet to be flushed) to a reader, at "
        f"{per_second:,.0f} events/s: p50 {statistics.median(p50):.1f} ms, p99 {statistics.median(p99):.1f} ms "
        f"({sum(map(len, since_commit)):,} samples in {rounds} rounds, p99 {_range(p99)}); to reach p99 < "
        f"{LAG_MS_TO_REACH:g} ms: {_verdict(statistics.median(p99) < LAG_MS_TO_REACH)}. From the row's own time on, "
        f"before its statement has run: p99 {of_row:.1f} ms. Placement's p99 meanwhile "
        f"{statistics.median(each.p99_ms for each in placed):.0f} ms; processor time "
        f"{placed[-1].usage}; the generator {placed[-1].generator_share:.2f} of a core."
    )


def beside(postgres: Postgres, parent: Path, *, pairs: int, seconds: float) -> str:
    """Placement's 99th percentile at half of its top rate: alone, beside execution reports, and with readers too."""
    alone: list[Placed] = []
    unread: list[Placed] = []
    together: list[Placed] = []
    found: list[dict[str, Any]] = []
    with api(postgres, parent) as (server, contender, url, folder, ids):
        rate = top_rate(server, contender, seconds=seconds) / 2
        # An order has two events; what is missing of the rate are reports of the orders that are watched one by one.
        reports = max(REPORTS_PER_SECOND_MIN, round(EVENTS_PER_SECOND - rate * EVENTS_PER_ORDER))
        watched = ids[:OF_ONE_ORDER]
        with open_way(url, folder, processors=1) as way:

            def place_beside_reports(watchers: Watchers | None) -> Placed:
                head = head_of(way)
                in_all = round(reports * (seconds + WARM_SECONDS) / PER_FRAME) * PER_FRAME
                span = seconds + WAIT_SECONDS_MAX
                flood(way, watched, rate=reports, seconds=span, reports=in_all, per_frame=PER_FRAME)
                placed = place(server, contender, watchers, rate=rate, seconds=seconds)
                wait_for(url, head + in_all)
                return placed

            for number in range(pairs):
                alone.append(place(server, contender, None, rate=rate, seconds=seconds))
                unread.append(place_beside_reports(None))
                with open_watchers(server, folder, everything=OF_EVERYTHING, order_ids=watched) as watchers:
                    before = logged(url)
                    together.append(place_beside_reports(watchers))
                    events = logged(url) - before
                    run = wait_for_readers(watchers, events)
                    of_watched = events - EVENTS_PER_ORDER * together[-1].orders
                    if run["order_events"] != of_watched and not run["order_lost"]:
                        raise RuntimeError(f"readers of one order have {run['order_events']} events of {of_watched}")
                    found.append(run)
                print(
                    f"beside, pair {number + 1}: p99 {alone[-1].p99_ms:.1f}, {unread[-1].p99_ms:.1f} and "
                    f"{together[-1].p99_ms:.1f} ms; {alone[-1].usage} and {together[-1].usage}",
                    flush=True,
                )
    ratios = [b.p99_ms / a.p99_ms for a, b in zip(alone, together, strict=True)]
    of_readers = [b.p99_ms / a.p99_ms for a, b in zip(unread, together, strict=True)]
    lost = sum(run["everything_lost"] + run["order_lost"] for run in found)
    return (
        f"- Placement at {rate:,.0f} orders/s, half of its top rate, beside {OF_EVERYTHING} readers of everything and "
        f"{OF_ONE_ORDER:,} of one order each, at "
        f"{rate * EVENTS_PER_ORDER + reports:,.0f} events/s, {reports:,} of them execution reports: p99 "
        f"{_median_p99(alone):.1f} ms alone, {_median_p99(together):.1f} ms beside them; ratio "
        f"{statistics.median(ratios):.2f} ({_range(ratios, 2)}); to reach {RATIO_TO_REACH:g}: "
        f"{_verdict(statistics.median(ratios) <= RATIO_TO_REACH)}. Beside the reports alone, without readers: "
        f"{_median_p99(unread):.1f} ms, of which the readers make {statistics.median(of_readers):.2f} times as much "
        f"({_range(of_readers, 2)}). Lag meanwhile: p99 {statistics.median(run['lag_ms']['p99'] for run in found):.1f} "
        f"ms. Readers cut off: {lost}; all others had each event once. Processor time alone: {alone[-1].usage}; beside "
        f"the reports: {unread[-1].usage}; with readers: {together[-1].usage}."
    )


def firehose(postgres: Postgres, parent: Path, *, readers: int, seconds: float) -> str:
    """Many readers of everything: what comes of it, without a bar."""
    with api(postgres, parent) as (server, contender, url, folder, _):
        rate = EVENTS_PER_SECOND / EVENTS_PER_ORDER
        with open_watchers(server, folder, everything=readers) as watchers:
            before = logged(url)
            placed = place(server, contender, watchers, rate=rate, seconds=seconds)
            run = watchers.report()
            made = logged(url) - before
    counted = run["everything_events"]
    size = run["counted_bytes"] / max(1, sum(counted))
    delivered = run["everything_bytes"] / size / run["seconds"]
    return (
        f"- {readers:,} readers of everything at {placed.per_second * EVENTS_PER_ORDER:,.0f} events/s (no bar): "
        f"{delivered:,.0f} events/s delivered, {run['everything_bytes'] / run['seconds'] / 1e6:,.0f} MB/s, "
        f"{delivered * run['seconds'] / (made * readers):.0%} of what was written; {run['everything_lost']} readers "
        f"cut off; lag p99 {run['lag_ms'].get('p99', float('nan')):,.0f} ms; placement's p99 {placed.p99_ms:,.0f} ms. "
        f"Processor time: {placed.usage}."
    )


@contextmanager
def api(postgres: Postgres, parent: Path) -> Iterator[tuple[Server, Contender, str, Path, list[str]]]:
    """The API as `python -m bench` runs it, on a database with orders that are placed already."""
    contender = replace(
        next(each for each in CONTENDERS if each.name == "ordertrail"),
        # The generator opens its connections one after the other, which takes its time beside 1,000 others.
        environment={"ORDERTRAIL_HEADER_TIMEOUT_SECONDS": "60"},
    )
    with fresh_orders(postgres, parent) as (url, folder, ids), serve(contender, postgres, folder, url) as server:
        server.wait_for_workers(contender.workers)
        yield server, contender, url, folder, ids


def write_report(lines: Sequence[str]) -> None:
    """The newest figures, in one file."""
    path = Path(__file__).parent / "results" / "watching.md"
    machine = (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} processors, {platform.machine()}, Python "
        f"{platform.python_version()}; everything on this machine, the readers too. Load average before: "
        f"{os.getloadavg()[2]:.1f}."
    )
    path.write_text("\n".join(["# Readers of the stream", "", machine, "", *lines]) + "\n")
    print(f"\n{path.read_text()}\nWritten to {path}")


def main() -> int:
    """Run all, or a part; 1: a figure that must be reached is not."""
    arguments = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MIN if hard == resource.RLIM_INFINITY else hard, hard))
    lines: list[str] = []
    parts = set(arguments.parts.split(","))
    with open_postgres(arguments.folder, options=COMMITS_ARE_TIMED) as (folder, postgres):
        if "lag" in parts:
            lines.append(lag(postgres, folder, rounds=arguments.rounds, seconds=arguments.seconds))
            write_report(lines)
        if "beside" in parts:
            lines.append(beside(postgres, folder, pairs=arguments.rounds, seconds=arguments.seconds))
            write_report(lines)
        if "firehose" in parts:
            lines.append(firehose(postgres, folder, readers=arguments.firehose, seconds=arguments.seconds))
            write_report(lines)
    return int(any("**not reached**" in line for line in lines))


def _median_p99(placed: Sequence[Placed]) -> float:
    return statistics.median(each.p99_ms for each in placed)


SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def _share(ordered: Sequence[float], share: float) -> float:
    return ordered[int(len(ordered) * share)]


def _range(values: Sequence[float], decimals: int = 1) -> str:
    return f"{min(values):.{decimals}f} to {max(values):.{decimals}f}"


def _verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "**not reached**"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.watching", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--firehose", type=int, default=FIREHOSE)
    parser.add_argument("--parts", default="lag,beside,firehose")
    usual = Path(tempfile.gettempdir())
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp") if is_in_memory(usual) else usual)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""One run of one contender: a fresh database, a fresh server, load, and a check of what it wrote."""

import json
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contenders import SLEEP, Contender
from bench.database import SCHEMA, Postgres
from bench.servers import ROOT, Memory, Server, open_server

EXCHANGE_MS = 5
# How long a generator may take beyond its times: connecting, waiting for the last answers, summing up.
GENERATOR_SECONDS_MAX = 90.0


@dataclass(frozen=True)
class Run:
    """What one run found. `wrong` says why its figures may not be used; empty if they may."""

    per_second: float
    generator_cpu_share: float | None = None
    statuses: dict[str, int] = field(default_factory=dict)
    connections_by_worker: list[int] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    wrong: str = ""
    # Of an open-loop run.
    open_loop: dict[str, Any] | None = None


def measure(
    contender: Contender,
    postgres: Postgres,
    parent: Path,
    *,
    warm_seconds: float,
    seconds: float,
    rate: float | None = None,
) -> Run:
    """Run it once; `rate` makes it an open loop."""
    warm_seconds = max(warm_seconds, contender.warm_seconds_min)
    with postgres.fresh_database() as url, tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        if contender.name == "pgbench":
            return _measure_pgbench(contender, postgres, url, seconds=seconds)
        with serve(contender, postgres, folder, url) as server:
            server.wait_for_workers(contender.workers)
            result, connections, memory = load(
                server, connections=contender.connections, warm_seconds=warm_seconds, seconds=seconds, rate=rate
            )
            server.check()
        answered: dict[str, int] = result["statuses_in_all"]
        rows = _rows(contender, postgres, url) if contender.records else {}
        return Run(
            per_second=_per_second(result, contender),
            generator_cpu_share=result["generator_cpu_share"],
            statuses=answered,
            connections_by_worker=sorted(connections.values(), reverse=True),
            memory=memory,
            rows=rows,
            wrong=_find_wrong(contender, result, rows),
            open_loop=result if rate is not None else None,
        )


def _per_second(result: dict[str, Any], contender: Contender) -> float:
    if "rate_answered" in result:
        return float(result["rate_answered"])
    return float(sum(result["statuses"].get(status, 0) for status in contender.statuses) / result["seconds"])


def _find_wrong(contender: Contender, result: dict[str, Any], rows: dict[str, int]) -> str:
    """Every answer must be one that was expected, and stand in the table as exactly two rows."""
    answered: dict[str, int] = result["statuses_in_all"]
    unexpected = {status: count for status, count in answered.items() if status not in contender.statuses}
    if unexpected:
        return f"unexpected answers: {unexpected}"
    if result["lost"]:
        return f"{result['lost']} requests without an answer"
    if not contender.records:
        return ""
    placed, failed = answered.get("201", 0), answered.get("500", 0)
    expected = {"INITIATED": placed + failed, "COMPLETED": placed, "EXCHANGE_CREATION_FAILED refused": failed}
    expected = {status: count for status, count in expected.items() if count}
    return "" if rows == expected else f"rows {rows}, expected {expected}"


def _rows(contender: Contender, postgres: Postgres, url: str) -> dict[str, int]:
    """Rows by status; Ordertrail's with the kind of reason, so that an order not sent does not pass as refused."""
    is_ours = contender.exchange is not None
    kind = "concat_ws(' ', status, split_part(reason, ':', 1))" if is_ours else "status::text"
    return dict(postgres.query(url, f"SELECT {kind} AS kind, count(*) FROM orders GROUP BY kind ORDER BY kind"))


@contextmanager
def serve(
    contender: Contender,
    postgres: Postgres,
    folder: Path,
    url: str,
    *,
    under: tuple[str, ...] = (),
) -> Iterator[Server]:
    """Run a contender on an empty database; `under` is a module that runs `bench.ours`, and its arguments."""
    log = folder / f"{contender.name}.log"
    if contender.app is not None:
        if contender.records:
            postgres.execute(url, SCHEMA)
        arguments = [contender.app, "--workers", str(contender.workers)]
        with open_server("bench.serve", arguments, {"BENCH_DATABASE_URL": url, **contender.environment}, log) as server:
            yield server
        return
    with ExitStack() as stack:
        environment = {
            "ORDERTRAIL_DATABASE_URL": url,
            # With the rivals' sleep it names what is not used, but without it several workers do not start.
            "ORDERTRAIL_EXCHANGE_URL": "in_memory:" if contender.exchange == SLEEP else contender.exchange or "",
            "ORDERTRAIL_DATA_DIR": str(folder / "ordertrail"),
            **contender.environment,
        }
        if contender.exchange == "http":
            exchange = stack.enter_context(_open_exchange(folder))
            environment["ORDERTRAIL_EXCHANGE_URL"] = f"http://127.0.0.1:{exchange.port}"
        _migrate(environment, folder)
        module, *first = under or ("bench.ours" if contender.exchange == SLEEP else "ordertrail",)
        arguments = [*first, "api", "--host", "127.0.0.1", "--port", "0", "--workers", str(contender.workers)]
        yield stack.enter_context(open_server(module, arguments, environment, log))


@contextmanager
def _open_exchange(folder: Path) -> Iterator[Server]:
    arguments = ["--host", "127.0.0.1", "--port", "0", "--data-dir", str(folder / "exchange")]
    with open_server("simulated_exchange", arguments, {}, folder / "exchange.log") as exchange:
        faults = urllib.request.Request(
            f"http://127.0.0.1:{exchange.port}/v1/faults",
            data=json.dumps({"latency_ms": EXCHANGE_MS}).encode(),
            headers={"Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(faults, timeout=10):
            pass
        yield exchange


def _migrate(environment: dict[str, str], folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "ordertrail", "migrate"],
        env={"PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )


def load(
    server: Server,
    *,
    connections: int,
    warm_seconds: float,
    seconds: float,
    rate: float | None,
    keys: bool = True,
    prefer: str = "",
) -> tuple[dict[str, Any], dict[int, int], list[Memory]]:
    """Run the generator in a process of its own; look at the server while its connections are still open."""
    command = [sys.executable, "-m", "bench.load", "--port", str(server.port)]
    command += ["--server-pid", str(server.process.pid), "--workers", str(server.workers)]
    command += ["--connections", str(connections), "--warm-seconds", str(warm_seconds), "--seconds", str(seconds)]
    if rate is not None:
        command += ["--rate", str(rate)]
    if keys:
        command.append("--keys")
    if prefer:
        command += ["--prefer", prefer]
    generator = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    too_long = threading.Timer(warm_seconds + seconds + GENERATOR_SECONDS_MAX, generator.kill)
    too_long.start()
    try:
        assert generator.stdout is not None
        line = generator.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator failed\n{server.last_words()}")
        found = server.connections_by_process(), server.memory()
        generator.communicate("\n", timeout=10)
        return json.loads(line), *found
    finally:
        too_long.cancel()
        generator.kill()
        generator.wait()


def _measure_pgbench(contender: Contender, postgres: Postgres, url: str, *, seconds: float) -> Run:
    postgres.execute(url, SCHEMA)
    postgres.run_pgbench(url, clients=contender.connections, seconds=1)
    postgres.execute(url, "TRUNCATE orders")
    report = postgres.run_pgbench(url, clients=contender.connections, seconds=max(1, round(seconds)))
    processed = re.search(r"transactions actually processed: (\d+)", report)
    per_second = re.search(r"^tps = ([\d.]+)", report, re.MULTILINE)
    assert processed is not None and per_second is not None, report
    rows = _rows(contender, postgres, url)
    count = int(processed[1])
    expected = {"INITIATED": count, "COMPLETED": count}
    return Run(
        per_second=float(per_second[1]),
        rows=rows,
        wrong="" if rows == expected else f"rows {rows}, expected {expected}",
    )

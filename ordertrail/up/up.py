"""`ordertrail up`: PostgreSQL, the simulated exchange and the API on this machine, from one command."""

import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from ordertrail import __version__
from ordertrail.queues.registry import queue_title
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import STARTED_BY_UP, Settings
from ordertrail.up.child_processes import StopSequence, end_stale_processes, find_stale_processes
from ordertrail.up.embedded_nats import EmbeddedNats
from ordertrail.up.embedded_postgres import STOP_QUICKLY, EmbeddedPostgres
from ordertrail.up.programs import HttpProgram, Program
from ordertrail.up.running_up import make_found, not_found_after
from ordertrail.up.shared_metrics import SharedMetrics
from ordertrail.up.supervisor import SupervisedService, Supervisor
from ordertrail.up.tcp_ports import free_port, is_free

HOST = "127.0.0.1"

EmbeddedQueue = Literal["postgres", "nats"]
# Beside the stream itself: what its server keeps of consumers.
NATS_BYTES_MORE = 64 * 1024 * 1024

_STALE_STOP_SEQUENCE: StopSequence = ((signal.SIGTERM, 20.0),)

_ROLES = {
    "place": "The worker for queued orders",
    "feed": "The feed of execution reports",
    "process": "The processor of execution reports",
}

_CURL = """\
curl --location '{url}/orders' \\
--header 'Content-Type: application/json' \\
--data '{{
    "type": "limit",
    "side": "buy",
    "instrument": "AAPL12345678",
    "limit_price": 150.00,
    "quantity": 10
}}'"""


@dataclass
class DatabaseService:
    """The embedded PostgreSQL; its start returns when it takes connections."""

    server: EmbeddedPostgres
    name: str = "The database"
    stop_seconds: float = 60.0

    def start(self) -> None:
        self.server.start()

    def is_ready(self) -> bool:
        return self.server.is_running()

    def ending(self) -> str | None:
        return None if self.server.is_running() else f"its log is {self.server.log}."

    def cannot_start(self) -> bool:
        return False

    def request_stop(self) -> None:
        self.server.request_stop()

    def stop_now(self) -> None:
        self.server.stop(STOP_QUICKLY)


def up(
    settings: Settings,
    *,
    postgres_port: int = 0,
    exchange_port: int = 0,
    host: str = HOST,
    queue: EmbeddedQueue | None = None,
    processors: int = 1,
    placers: int = 1,
) -> int:
    """Run all until Ctrl-C, SIGTERM or SIGHUP; raises CannotStart. A port of 0 lets the kernel choose.

    `queue`: where execution reports wait; None: where the settings say. `processors` of them and `placers` of queued
    orders: how many processes.
    """
    data_dir = settings.data_dir.absolute()
    with _held(data_dir), not_found_after(data_dir):
        _end_stale_processes(data_dir)
        if settings.port and not is_free(host, settings.port):
            raise CannotStart(_taken(settings.port))
        # Half for the API, which has a line for each order; an eighth for each of the others, or a little less.
        eighth = settings.log_bytes_max // 8
        database = EmbeddedPostgres(data_dir / "postgres", port=postgres_port, say=say, log_bytes_max=eighth)
        exchange = _exchange(data_dir, exchange_port or free_port(), log_bytes_max=eighth)
        nats = _nats(settings, data_dir, log_bytes_max=eighth // 2) if queue == "nats" else None
        if queue == "postgres" and settings.queue_url is not None:
            raise CannotStart("The queue is to be in PostgreSQL, but ORDERTRAIL_QUEUE_URL names another: unset it.")
        port = settings.port or free_port(host)
        metrics = SharedMetrics(data_dir / "metrics" / "up")

        def environment() -> dict[str, str]:
            """Read at the start, for the database has its port only then."""
            return {
                **_environment(data_dir),
                **metrics.environment,
                "ORDERTRAIL_DATABASE_URL": database.url,
                "ORDERTRAIL_EXCHANGE_URL": exchange.url,
                "ORDERTRAIL_DATA_DIR": str(data_dir),
                **({} if nats is None else {"ORDERTRAIL_QUEUE_URL": nats.url}),
            }

        api = _api(data_dir, host, port, environment, metrics, log_bytes_max=4 * eighth)
        counts = {"place": placers, "feed": 1, "process": processors}
        roles = [
            _role(role, number, data_dir, environment, metrics, log_bytes_max=6 * eighth // 4 // sum(counts.values()))
            for role, count in counts.items()
            for number in range(1, count + 1)
        ]
        if settings.model_fields_set & {"database_url", "exchange_url"}:
            say("ORDERTRAIL_DATABASE_URL and ORDERTRAIL_EXCHANGE_URL are for `ordertrail api`; this brings its own.")
        say(f"Starting PostgreSQL, {'' if nats is None else 'NATS, '}the simulated exchange and the API ...")
        metrics.begin()
        # The API last: whoever waits for it places an order at once, and looks for its fill in the same second.
        services: list[SupervisedService] = [DatabaseService(database), exchange, *reversed(roles), api]
        if nats is not None:
            services.insert(1, nats)

        def on_ready() -> None:
            queue_url = settings.queue_url if nats is None else nats.url
            make_found(
                data_dir, api_url=api.url, database_url=database.url, exchange_url=exchange.url, queue_url=queue_url
            )
            say(_welcome(data_dir, database, exchange, api, queue_url=queue_url, counts=counts))

        Supervisor(services, say).run(on_ready=on_ready)
    return 0


def say(sentence: str) -> None:
    """Tell the person at the terminal; the terminal may be gone, and stopping in order goes on."""
    with contextlib.suppress(OSError):
        print(sentence, flush=True)


@contextlib.contextmanager
def _held(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for this run; the kernel lets go of it however we end."""
    try:
        (data_dir / "logs").mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "up.lock").open("a+")
    except OSError as error:
        raise CannotStart(
            f"The data folder {data_dir} cannot be used: {error.strerror} ({error.filename}). "
            "Make it writable, or choose another with ORDERTRAIL_DATA_DIR."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CannotStart(
                f"Another `ordertrail up` (process {lock.read().strip()}) runs on the data folder {data_dir}. "
                "Stop that one, or choose another folder with ORDERTRAIL_DATA_DIR (and another ORDERTRAIL_PORT)."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _end_stale_processes(data_dir: Path) -> None:
    """End what a run that was killed left behind; PostgreSQL's launcher sees to its own."""
    mark = os.path.realpath(data_dir)
    above_us = {process.pid for process in psutil.Process().parents()}

    def is_marked(process: psutil.Process) -> bool:
        return process.environ().get(STARTED_BY_UP) == mark and process.pid not in above_us

    stale_processes = find_stale_processes(is_marked)
    if stale_processes:
        say(f"Ending {len(stale_processes)} process(es) that an earlier run left behind.")
        end_stale_processes(stale_processes, _STALE_STOP_SEQUENCE)


def _exchange(data_dir: Path, port: int, *, log_bytes_max: int) -> HttpProgram:
    return HttpProgram(
        name="The simulated exchange",
        command=_python("simulated_exchange", "--host", HOST, "--port", port, "--data-dir", data_dir / "exchange"),
        environment=lambda: _environment(data_dir),
        log=data_dir / "logs" / "exchange.log",
        log_bytes_max=log_bytes_max,
        host=HOST,
        port=port,
        ready_path="/v1/capabilities",
        stop_seconds=15.0,
    )


def _nats(settings: Settings, data_dir: Path, *, log_bytes_max: int) -> EmbeddedNats:
    return EmbeddedNats(
        data_dir / "nats",
        log=data_dir / "logs" / "nats.log",
        bytes_max=settings.queue_bytes_max + NATS_BYTES_MORE,
        log_bytes_max=log_bytes_max,
        environment=lambda: {STARTED_BY_UP: os.path.realpath(data_dir)},
    )


def _api(
    data_dir: Path,
    host: str,
    port: int,
    environment: Callable[[], Mapping[str, str]],
    metrics: SharedMetrics,
    *,
    log_bytes_max: int,
) -> HttpProgram:
    return HttpProgram(
        name="The API",
        command=_python("ordertrail", "api", "--host", host, "--port", port),
        environment=environment,
        log=data_dir / "logs" / "api.log",
        log_bytes_max=log_bytes_max,
        host={"0.0.0.0": HOST, "::": "::1"}.get(host, host),  # noqa: S104 - compared, not listened on # nosec B104
        port=port,
        ready_path="/readyz",
        stop_seconds=60.0,
        when_ended=metrics.forget,
    )


def _role(
    role: str,
    number: int,
    data_dir: Path,
    environment: Callable[[], Mapping[str, str]],
    metrics: SharedMetrics,
    *,
    log_bytes_max: int,
) -> Program:
    return Program(
        name=_ROLES[role] + (f" ({number})" if number > 1 else ""),
        command=_python("ordertrail", role),
        environment=environment,
        log=data_dir / "logs" / f"{role}{'' if number == 1 else f'-{number}'}.log",
        log_bytes_max=log_bytes_max,
        stop_seconds=30.0,
        when_ended=metrics.forget,
    )


def _python(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def _environment(data_dir: Path) -> dict[str, str]:
    # Of the metrics port there is one, and of those who would listen there two; the API answers for all.
    inherited = {name: value for name, value in os.environ.items() if name != "ORDERTRAIL_METRICS_PORT"}
    return {**inherited, STARTED_BY_UP: os.path.realpath(data_dir), "PYTHONUNBUFFERED": "1"}


def _counted(count: int, role: str) -> str:
    return f"one {role}" if count == 1 else f"{count} {role}s"


def _taken(port: int) -> str:
    return (
        f"Port {port} is taken by another program. Stop that one, or choose another port: "
        f"PORT={port + 1} make up, or ORDERTRAIL_PORT={port + 1} ordertrail up."
    )


def _welcome(
    data_dir: Path,
    database: EmbeddedPostgres,
    exchange: HttpProgram,
    api: HttpProgram,
    *,
    queue_url: str | None,
    counts: Mapping[str, int],
) -> str:
    elsewhere = "" if database.folder.is_relative_to(data_dir) else f" (the database's own: {database.folder})"
    return f"""
Ordertrail {__version__} is up.

  API        {api.url}   (/docs, /readyz, /metrics)
  exchange   {exchange.url}   (SIMULATED, no real order is placed)
  queue      orders posted with `Prefer: respond-async` are placed by {_counted(counts["place"], "worker")}
  reports    go from one feed to {_counted(counts["process"], "processor")}, over {queue_title(queue_url)}
  database   {database.url}
  data       {data_dir}{elsewhere}
  logs       {api.log.parent}, {database.log}

Place an order:

{_CURL.format(url=api.url)}

`ordertrail status`, `order`, `doubts`, `halt` and `resume` find it from this folder. Ctrl-C stops all of it.
"""

"""`/metrics` of any worker tells of all of them, whoever has started them, in the data folder that `.env` names."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ordertrail.up.tcp_ports import free_port
from tests.support.orders import SEED_ORDER
from tests.support.postgres import refuse_connections
from tests.support.programs import WAIT_SECONDS, exchange_program
from tests.support.site import children_of
from tests.support.until import until

ROOT = Path(__file__).parents[2]
WORKERS = 2
OURS = ("ordertrail", "api")
UVICORN = ("uvicorn", "app.api:app", "--log-level", "warning")


@dataclass(frozen=True)
class Api:
    """A server with several workers."""

    process: "subprocess.Popen[bytes]"
    port: int

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)

    def get(self, path: str) -> str:
        with closing(self.connection()) as connection:
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def is_up(self) -> bool:
        assert self.process.poll() is None
        with suppress(OSError, http.client.HTTPException):
            return "ok" in self.get("/readyz")
        return False

    def workers(self) -> list[psutil.Process]:
        return children_of(self.process.pid, "spawn_main")

    def serving(self) -> set[int]:
        """The workers that have a connection now."""
        return {
            worker.pid
            for worker in self.workers()
            for found in worker.net_connections("tcp")
            if found.status == psutil.CONN_ESTABLISHED and found.laddr.port == self.port
        }

    def place_one_at_each(self) -> int:
        """Place orders on so many connections at once that every worker has some; returns how many."""
        with ExitStack() as stack:
            connections: list[http.client.HTTPConnection] = []
            while len(self.serving()) < WORKERS:
                connections.append(stack.enter_context(closing(self.connection())))
                connections[-1].request("GET", "/livez")
                connections[-1].getresponse().read()
            for connection in connections:
                connection.request("POST", "/orders", json.dumps(SEED_ORDER), {"Content-Type": "application/json"})
                assert connection.getresponse().read()
        return len(connections)

    def placed(self) -> float:
        found = re.search(r'^ordertrail_requests_total\{status="201"\} (\S+)', self.get("/metrics"), re.MULTILINE)
        return float(found[1]) if found else 0


@contextmanager
def several_workers(
    command: Sequence[str], database_url: str, exchange_url: str, folder: Path, *, workers: int = WORKERS
) -> Iterator[Api]:
    """Started in `folder`, with all settings in its `.env`."""
    port = free_port()
    (folder / ".env").write_text(
        f"ORDERTRAIL_DATABASE_URL={database_url}\nORDERTRAIL_EXCHANGE_URL={exchange_url}\n"
        f"ORDERTRAIL_DATA_DIR={folder / 'data'}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", str(port), "--workers", str(workers)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    api = Api(process, port)
    try:
        until(api.is_up, timeout_seconds=WAIT_SECONDS)
        yield api
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_SECONDS)


@pytest.fixture
def exchange_url(tmp_path: Path) -> Iterator[str]:
    with exchange_program(tmp_path / "exchange") as running:
        yield running.url


@pytest.mark.parametrize("command", [OURS, UVICORN], ids=["ordertrail", "uvicorn"])
def test_metrics_are_the_sum_of_all_workers(
    database_url: str, tmp_path: Path, exchange_url: str, command: Sequence[str]
) -> None:
    with several_workers(command, database_url, exchange_url, tmp_path) as api:
        count = api.place_one_at_each()

        until(lambda: api.placed() >= count, timeout_seconds=WAIT_SECONDS)  # each hands over once a second

        assert api.placed() == count
        assert [folder.name for folder in (tmp_path / "data" / "metrics").iterdir()] == [str(api.process.pid)]


@pytest.mark.parametrize("command", [OURS, UVICORN], ids=["ordertrail", "uvicorn"])
def test_metrics_of_one_process_are_its_own(
    database_url: str, tmp_path: Path, exchange_url: str, command: Sequence[str]
) -> None:
    with several_workers(command, database_url, exchange_url, tmp_path, workers=1) as api:
        for _ in range(3):
            with closing(api.connection()) as connection:
                connection.request("POST", "/orders", json.dumps(SEED_ORDER), {"Content-Type": "application/json"})
                assert connection.getresponse().status == 201

        assert api.placed() == 3
        until(lambda: re.search(r"^ordertrail_database_up 1\.0$", api.get("/metrics"), re.MULTILINE))
        refuse_connections(database_url)
        # While idle, too.
        until(lambda: re.search(r"^ordertrail_database_up 0\.0$", api.get("/metrics"), re.MULTILINE))


def test_worker_that_died_is_counted_on_and_says_nothing_of_the_present(
    database_url: str, tmp_path: Path, exchange_url: str
) -> None:
    with several_workers(OURS, database_url, exchange_url, tmp_path) as api:
        count = api.place_one_at_each()
        until(lambda: api.placed() == count, timeout_seconds=WAIT_SECONDS)
        folder = tmp_path / "data" / "metrics" / str(api.process.pid)
        victim = api.workers()[0]
        assert list(folder.glob(f"gauge_live*_{victim.pid}.db"))

        victim.kill()
        until(lambda: len(api.workers()) == WORKERS and victim not in api.workers(), timeout_seconds=WAIT_SECONDS)

        assert api.placed() == count
        assert not list(folder.glob(f"gauge_live*_{victim.pid}.db"))


def test_status_names_its_worker_and_counts_for_all(database_url: str, tmp_path: Path, exchange_url: str) -> None:
    with several_workers(OURS, database_url, exchange_url, tmp_path) as api:
        document = json.loads(api.get("/status"))

        assert int(document["worker"].rpartition(":")[2]) in {worker.pid for worker in api.workers()}
        assert document["gate"]["worker"] == document["worker"]
        assert document["invariants"]["broken"] == {}
        assert document["log"]["records_dropped"] == 0
        assert document["to_do"] == []

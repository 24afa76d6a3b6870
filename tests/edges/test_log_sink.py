"""The log's sink is gone, full, closed or read by nobody: every order is placed and answered all the same."""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pytest

from ordertrail.up.tcp_ports import free_port
from tests.support.orders import SEED_ORDER
from tests.support.programs import Program, exchange_program
from tests.support.until import until

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 90  # a start and a drain, on a machine that does much else
ORDERS = 1000
PIPE_BYTES = 4096  # what an order's lines fill soon
STARTS = {
    "api": ("ordertrail", "api"),
    "workers": ("ordertrail", "api", "--workers", "2"),
    "uvicorn": ("uvicorn", "app.api:app"),
}

PORTS_MAX = 3


class Api:
    """A server whose standard error is whatever a test gives it."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self._port = port

    def connection(self) -> "closing[http.client.HTTPConnection]":
        return closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=WAIT_SECONDS))

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def is_ready_or_has_ended(self) -> bool:
        return self.has_ended or self.is_ready()

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException), self.connection() as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False

    def place(self, count: int) -> list[int]:
        """Place so many orders, one after the other; what each was answered."""
        with self.connection() as connection:
            return [self._place_one(connection) for _ in range(count)]

    def _place_one(self, connection: http.client.HTTPConnection) -> int:
        connection.request("POST", "/orders", json.dumps(SEED_ORDER), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def stopped(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_SECONDS)


@contextlib.contextmanager
def api(
    database_url: str,
    folder: Path,
    exchange: Program,
    start: str = "api",
    *,
    stdout: int | IO[Any] = subprocess.DEVNULL,
    stderr: int | IO[Any] = subprocess.DEVNULL,
    shell_redirection: str = "",
) -> Iterator[Api]:
    environment = {
        **os.environ,
        "ORDERTRAIL_DATABASE_URL": database_url,
        "ORDERTRAIL_DATA_DIR": str(folder / "data"),
        "ORDERTRAIL_EXCHANGE_URL": exchange.url,
    }
    for _ in range(PORTS_MAX):
        # Another program may have been quicker than ours: then it ends at once, and another port is tried.
        port = free_port()
        command = [sys.executable, "-m", *STARTS[start], "--port", str(port)]
        if shell_redirection:
            command = ["sh", "-c", f'exec "$@" {shell_redirection}', "sh", *command]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        running = Api(process, port)
        try:
            until(running.is_ready_or_has_ended, timeout_seconds=WAIT_SECONDS, what="it is ready")
            if running.has_ended:
                continue
            yield running
            return
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(WAIT_SECONDS)
    raise AssertionError(f"it ended {PORTS_MAX} times before it was ready")


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A small one, as (reader, writer)."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield reader, writer
    finally:
        for end in (reader, writer):
            with contextlib.suppress(OSError):
                os.close(end)


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Program]:
    with exchange_program(tmp_path / "exchange") as running:
        yield running


def test_orders_are_answered_though_the_reader_of_the_log_is_gone(
    database_url: str, tmp_path: Path, exchange: Program
) -> None:
    with pipe() as (reader, writer), api(database_url, tmp_path, exchange, stderr=writer) as running:
        os.close(writer)
        before = running.place(1)

        os.close(reader)

        assert before + running.place(20) == [201] * 21
        assert running.is_ready()
        assert running.stopped() == 0


@pytest.mark.parametrize("start", STARTS)
def test_orders_are_answered_though_nobody_reads_the_log(
    database_url: str, tmp_path: Path, exchange: Program, start: str
) -> None:
    with pipe() as (_, writer), api(database_url, tmp_path, exchange, start, stdout=writer, stderr=writer) as running:
        assert running.place(ORDERS) == [201] * ORDERS
        assert running.is_ready()
        code = running.stopped()

    assert code in (0, -signal.SIGTERM)  # as uvicorn by itself ends


@pytest.mark.parametrize(
    ("start", "redirection"),
    [
        *((start, ">/dev/full 2>/dev/full") for start in STARTS),
        *((start, "<&- >&- 2>&-") for start in STARTS if start != "uvicorn"),
        ("uvicorn", "<&- 2>&-"),  # it does not start by itself where standard output is closed
    ],
)
def test_server_starts_and_places_whatever_its_output_is(
    database_url: str, tmp_path: Path, exchange: Program, start: str, redirection: str
) -> None:
    with api(database_url, tmp_path, exchange, start, shell_redirection=redirection) as running:
        assert running.place(20) == [201] * 20
        code = running.stopped()

    assert code in (0, -signal.SIGTERM)

"""A background task that ends though nobody asked for it: the process says so, drains, and ends to be started anew."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ordertrail.up.tcp_ports import free_port
from tests.edges.test_drain import answer, request
from tests.support.postgres import fetch
from tests.support.programs import Program, exchange_program
from tests.support.site import children_of
from tests.support.until import until

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 90  # a start and a drain, on a machine that does much else
# Cancels tasks from the outside, by the name of their coroutine, in every Python process that finds it on its path.
CANCELLER = """
import asyncio.tasks, os, pathlib, threading, time

folder = pathlib.Path(__file__).parent

def cancel():
    while True:
        for order in folder.glob(f"cancel-{os.getpid()}-*"):
            name = order.name.split("-")[2]
            found = [task for task in list(asyncio.tasks._all_tasks) if task.get_coro().__qualname__ == name]
            for task in found:
                task.get_loop().call_soon_threadsafe(task.cancel)
            # A worker may not be so far yet, though another one answers that all is ready.
            if found:
                order.unlink()
        # The test is another process, and has nothing but files to say it with.
        time.sleep(0.01)

threading.Thread(target=cancel, daemon=True).start()
"""
API = ("ordertrail", "api")
UVICORN = ("uvicorn", "app.api:app")


class Running:
    """A program whose tasks a test may cancel; its log is a file."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
        self.process = process
        self._port = port
        self._folder = folder

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=WAIT_SECONDS)

    def cancel(self, coroutine: str, pid: int | None = None) -> None:
        order = self._folder / f"cancel-{pid or self.process.pid}-{coroutine}"
        order.touch()
        until(lambda: not order.exists(), what="it is canceled")

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.log
            with suppress(OSError), self.connect() as connection:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
                found = answer(connection)
                return found is not None and found[0] == 200
            return False

        until(is_ready, timeout_seconds=WAIT_SECONDS, what="it is ready")


@contextmanager
def running(command: Sequence[str], database_url: str, folder: Path, exchange: Program) -> Iterator[Running]:
    (folder / "sitecustomize.py").write_text(CANCELLER)
    port = free_port()
    listens = [] if command[-1] == "reconcile" else ["--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *listens],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(folder),
                "ORDERTRAIL_DATABASE_URL": database_url,
                "ORDERTRAIL_DATA_DIR": str(folder / "data"),
                "ORDERTRAIL_EXCHANGE_URL": exchange.url,
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Running(process, port, folder)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_SECONDS)


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Program]:
    with exchange_program(tmp_path / "exchange", "--faults", '{"latency_ms": 1000}') as running:
        yield running


@pytest.mark.parametrize(
    ("command", "coroutine"),
    [
        (API, "Housekeeping.run"),
        (API, "Schedule.run"),
        (API, "Server._sweep"),
        (UVICORN, "Housekeeping.run"),
        (UVICORN, "Schedule.run"),
    ],
)
def test_server_finishes_what_it_has_taken_says_why_and_ends(
    database_url: str, tmp_path: Path, exchange: Program, command: Sequence[str], coroutine: str
) -> None:
    with running(command, database_url, tmp_path, exchange) as server:
        server.wait_until_ready()
        with server.connect() as connection:
            connection.sendall(request("in-flight"))
            until(lambda: fetch(database_url, "SELECT FROM orders"), what="it is recorded")

            server.cancel(coroutine)

            found = answer(connection)
        code = server.process.wait(WAIT_SECONDS)

        assert found is not None and found[0] == 201
        assert code == 1
        assert "a background task has ended" in server.log


def test_worker_that_lost_a_task_is_replaced(database_url: str, tmp_path: Path, exchange: Program) -> None:
    with running((*API, "--workers", "2"), database_url, tmp_path, exchange) as server:
        server.wait_until_ready()
        until(
            lambda: len(children_of(server.process.pid, "spawn_main")) == 2,
            timeout_seconds=WAIT_SECONDS,
            what="both are there",
        )
        victim = children_of(server.process.pid, "spawn_main")[0].pid

        server.cancel("Schedule.run", victim)

        until(
            lambda: "a worker died and is replaced" in server.log, timeout_seconds=WAIT_SECONDS, what="it is replaced"
        )
        assert re.search(rf'"pid":{victim},"exit_code":1\b', server.log)
        server.wait_until_ready()


def test_reconciler_without_its_schedule_ends(database_url: str, tmp_path: Path, exchange: Program) -> None:
    with running(("ordertrail", "reconcile"), database_url, tmp_path, exchange) as reconciler:
        until(lambda: "reconcile started" in reconciler.log, timeout_seconds=WAIT_SECONDS, what="it has started")

        reconciler.cancel("Schedule.run")

        assert reconciler.process.wait(WAIT_SECONDS) == 1
        assert "a background task has ended" in reconciler.log

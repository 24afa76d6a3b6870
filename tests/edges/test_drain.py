"""SIGTERM and SIGINT under load: every request that was taken is answered, and every order has its rows."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.orders import request_body
from tests.support.postgres import fetch
from tests.support.programs import WAIT_SECONDS, Program, api_program, exchange_program

ORDER = request_body()
LATENCY = '{"latency_ms": 300}'


def request(key: str) -> bytes:
    return (
        b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: %b\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (key.encode(), len(ORDER), ORDER)
    )


def answer(connection: socket.socket) -> tuple[int, dict[str, str], dict[str, Any]] | None:
    """One answer; None where the connection ends before it."""
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            if not (chunk := connection.recv(65536)):
                return None
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        while len(body) < int(headers["content-length"]):
            if not (chunk := connection.recv(65536)):
                return None
            body += chunk
    except ConnectionError:
        return None
    return int(lines[0].split()[1]), headers, json.loads(body)


def connect(api: Program) -> socket.socket:
    return socket.create_connection(("127.0.0.1", api.port), timeout=WAIT_SECONDS)


def rows(database_url: str) -> dict[str, set[str]]:
    """The statuses of each order."""
    records = fetch(database_url, "SELECT id, array_agg(status::text) AS statuses FROM orders GROUP BY id")
    return {record["id"]: set(record["statuses"]) for record in records}


class Load:
    """Clients that place one order after the other on connections that stay open, until these are closed."""

    def __init__(self, api: Program, clients: int) -> None:
        self.statuses: Counter[int | None] = Counter()
        self.placed: list[str] = []
        self.unanswered: list[str] = []
        self._api = api
        self._under_way = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._client, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def wait_for_answers(self, count: int) -> None:
        for _ in range(count):
            assert self._under_way.acquire(timeout=WAIT_SECONDS)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()

    def _client(self, number: int) -> None:
        with connect(self._api) as connection:
            for count in range(100_000):
                key = f"client-{number}-order-{count}"
                connection.sendall(request(key))
                found = answer(connection)
                self.statuses[None if found is None else found[0]] += 1
                self._under_way.release()
                if found is None:
                    self.unanswered.append(key)
                    return
                if found[0] == 201:
                    self.placed.append(found[2]["id"])
                if found[1].get("connection") == "close":
                    return


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Program]:
    with exchange_program(tmp_path / "exchange", "--faults", LATENCY) as running:
        yield running


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.kills)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_drain_under_load_answers_everything_that_was_taken(
    database_url: str, tmp_path: Path, exchange: Program, workers: int, number: signal.Signals
) -> None:
    with api_program(database_url, tmp_path, "--workers", str(workers), exchange_url=exchange.url) as api:
        load = Load(api, clients=40)
        load.wait_for_answers(60)

        api.send_signal(number)
        load.join()
        code = api.wait()

    assert code == 0, api.stderr
    assert load.statuses.keys() == {201}
    assert not load.unanswered
    assert rows(database_url) == {order_id: {"INITIATED", "COMPLETED"} for order_id in load.placed}


def test_orders_whose_clients_have_gone_are_finished_too(database_url: str, tmp_path: Path, exchange: Program) -> None:
    with api_program(database_url, tmp_path, exchange_url=exchange.url) as api:
        with connect(api) as connection, connect(api) as witness:
            connection.sendall(request("gone"))
            witness.sendall(request("seen"))  # taken after the other one, so both are
            assert answer(witness) is not None
            connection.sendall(request("gone-too"))
            wait_for_rows(database_url, 3)
        api.send_signal(signal.SIGTERM)
        code = api.wait()

    assert code == 0
    assert set(map(frozenset, rows(database_url).values())) == {frozenset({"INITIATED", "COMPLETED"})}


def test_readiness_says_that_the_process_stops_before_it_stops_accepting(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path, drain_notice_seconds=30) as api:
        assert status_of(api, b"/readyz")[0] == 200

        api.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + WAIT_SECONDS
        while (found := status_of(api, b"/readyz"))[0] == 200 and time.monotonic() < deadline:
            pass

        assert found[0] == 503
        assert found[1]["problems"] == ["This process is stopping."]
        with connect(api) as connection:
            connection.sendall(request("while-it-says-so"))
            placed = answer(connection)
        assert placed is not None and placed[0] == 201


def test_idle_and_half_sent_connections_do_not_hold_the_drain_up(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path) as api, connect(api) as idle, connect(api) as half, connect(api) as body:
        half.sendall(b"POST /orders HTTP/1.1\r\nHost")
        body.sendall(request("half")[:-1])
        assert status_of(api, b"/livez")[0] == 200  # so those before have been read

        api.send_signal(signal.SIGTERM)
        code = api.wait()

        assert code == 0
        assert answer(idle) is None
        for connection in (half, body):
            refused = answer(connection)
            assert refused is not None
            assert (refused[0], refused[2]["type"]) == (503, "/problems/shutting-down")
            # The one that has said its key.
            is_keyed = connection is body
            assert refused[2]["advice"] == ("wait_then_repeat_same_key" if is_keyed else "repeat_request")
    assert rows(database_url) == {}


def test_drain_has_a_bound_and_says_what_is_left(database_url: str, tmp_path: Path) -> None:
    with (
        exchange_program(tmp_path / "exchange", "--faults", '{"latency_ms": 60000}') as exchange,
        api_program(
            database_url, tmp_path, exchange_url=exchange.url, exchange_timeout_seconds=60, drain_seconds=1
        ) as api,
        connect(api) as connection,
    ):
        connection.sendall(request("left"))
        wait_for_rows(database_url, 1)

        api.send_signal(signal.SIGTERM)
        code = api.wait()

    (order_id,) = rows(database_url)
    assert code == 1
    (event,) = [json.loads(line) for line in api.log if "the drain was cut short" in line]
    assert event["order_ids"] == [order_id]


@pytest.mark.parametrize("workers", [1, 2])
def test_second_signal_hurries(database_url: str, tmp_path: Path, workers: int) -> None:
    with (
        exchange_program(tmp_path / "exchange", "--faults", '{"latency_ms": 60000}') as exchange,
        api_program(
            database_url,
            tmp_path,
            "--workers",
            str(workers),
            exchange_url=exchange.url,
            exchange_timeout_seconds=60,
        ) as api,
        connect(api) as connection,
    ):
        connection.sendall(request("left"))
        wait_for_rows(database_url, 1)

        api.send_signal(signal.SIGTERM)
        wait_until_refused(api)
        api.send_signal(signal.SIGTERM)
        code = api.wait(10)

    assert code == 1
    assert "the drain was cut short" in api.stderr


def test_bare_uvicorn_finishes_what_it_has_taken(database_url: str, tmp_path: Path, exchange: Program) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app.api:app", "--port", "0", "--log-level", "info"],
        env={
            **os.environ,
            "ORDERTRAIL_DATABASE_URL": database_url,
            "ORDERTRAIL_DATA_DIR": str(tmp_path),
            "ORDERTRAIL_EXCHANGE_URL": exchange.url,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if "running on" in line or "rror" in line)
            running = re.search(r"running on http://127\.0\.0\.1:(\d+)", line)
            assert running is not None, line
            with socket.create_connection(("127.0.0.1", int(running[1])), timeout=WAIT_SECONDS) as connection:
                connection.sendall(request("bare"))
                wait_for_rows(database_url, 1)
                process.send_signal(signal.SIGTERM)
                found = answer(connection)
            process.wait(WAIT_SECONDS)
        finally:
            process.kill()

    assert found is not None and found[0] == 201
    assert rows(database_url) == {found[2]["id"]: {"INITIATED", "COMPLETED"}}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_cannot_start_ends_with_a_sentence(tmp_path: Path, workers: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "ordertrail", "api", "--port", "0", "--workers", workers],
        env={**os.environ, "ORDERTRAIL_DATA_DIR": str(tmp_path), "ORDERTRAIL_EXCHANGE_URL": "ftp://nowhere"},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )

    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "ordertrail: ORDERTRAIL_EXCHANGE_URL must be" in result.stderr


def test_worker_that_dies_is_replaced(database_url: str, tmp_path: Path, exchange: Program) -> None:
    with api_program(database_url, tmp_path, "--workers", "2", exchange_url=exchange.url) as api:
        victim = children(api.process.pid)[0]

        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + WAIT_SECONDS
        while (victim in (now := children(api.process.pid)) or len(now) < 2) and time.monotonic() < deadline:
            pass

        assert status_of(api, b"/livez")[0] == 200
        api.send_signal(signal.SIGTERM)
        api.wait()

    assert "a worker died and is replaced" in api.stderr


def test_workers_end_with_their_parent(database_url: str, tmp_path: Path, exchange: Program) -> None:
    with api_program(database_url, tmp_path, "--workers", "2", exchange_url=exchange.url) as api:
        workers = children(api.process.pid)

        api.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + WAIT_SECONDS
        while (alive := [pid for pid in workers if is_alive(pid)]) and time.monotonic() < deadline:
            pass

    assert alive == []


def children(pid: int) -> list[int]:
    """The worker processes of a parent."""
    found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in found if b"spawn_main" in command_line(child)]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # gone meanwhile


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def status_of(api: Program, path: bytes) -> tuple[int, dict[str, Any]]:
    with connect(api) as connection:
        connection.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
        found = answer(connection)
    assert found is not None
    return found[0], found[2]


def wait_until_refused(api: Program) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            connect(api).close()
        except ConnectionError:
            return
    raise AssertionError("it still accepts connections")


def wait_for_rows(database_url: str, count: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while len(rows(database_url)) < count:
        assert time.monotonic() < deadline

"""`ordertrail order` as a program: what it prints and how it exits."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import WAIT_SECONDS, Program, api_program

LIMIT = [
    "--type",
    "limit",
    "--side",
    "buy",
    "--instrument",
    "AAPL12345678",
    "--limit-price",
    "150.25",
    "--quantity",
    "1",
]
MARKET = ["--type", "market", "--side", "sell", "--instrument", "AAPL12345678", "--quantity", "3"]


def order(*arguments: str, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ordertrail", "order", *arguments],
        env={**os.environ, "ORDERTRAIL_API_URL": url, **environment},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Program]:
    with api_program(database_url, tmp_path, retry_window_seconds=0, exchange_timeout_seconds=0.5) as running:
        yield running


@contextmanager
def api_that(answer: bytes) -> Iterator[tuple[str, threading.Event]]:
    """A server that reads one request, says `answer`, and closes; the event tells that it has read."""
    has_read = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                has_read.set()
                if answer == b"wait":
                    while connection.recv(65536):  # the request may come in parts
                        pass
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", has_read
        finally:
            thread.join(WAIT_SECONDS)


def problem(status: int, **members: Any) -> bytes:
    body = json.dumps(members).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_placed_order_can_be_shown_and_listed(api: Program) -> None:
    placed = order("place", *LIMIT, url=api.url)
    assert placed.returncode == 0, placed.stderr
    assert "is placed: COMPLETED, at the exchange" in placed.stdout
    assert "repeat the command with --key " in placed.stderr
    order_id = placed.stdout.split()[1]

    shown = order("show", order_id, url=api.url)
    listed = order("list", "--instrument", "AAPL12345678", "--outcome", "placed", url=api.url)

    assert shown.returncode == 0, shown.stderr
    assert "limit buy 1 AAPL12345678 at 150.25" in shown.stdout
    assert "0 of 1 filled, 1 left, live" in shown.stdout
    assert [line.split()[1] for line in shown.stdout.splitlines()[3:6]] == ["status", "INITIATED", "COMPLETED"]
    assert listed.returncode == 0, listed.stderr
    assert order_id in listed.stdout


def test_json_is_the_answer_and_nothing_else(api: Program) -> None:
    placed = order("place", *MARKET, "--key", "mine", "--json", url=api.url)
    document = json.loads(placed.stdout)
    assert (placed.returncode, placed.stderr) == (0, "")
    assert (document["client_order_id"], document["limit_price"]) == ("mine", None)

    shown = json.loads(order("show", document["id"], "--json", url=api.url).stdout)
    listed = json.loads(order("list", "--client-order-id", "mine", "--json", url=api.url).stdout)

    # What the exchange has reported since may stand there too, also before: nobody trades with a market order.
    statuses = [row["status"] for row in shown["trail"]]
    assert statuses[0] == "INITIATED"
    assert set(statuses) - {"CANCELED"} == {"INITIATED", "COMPLETED"}
    assert [found["id"] for found in listed["orders"]] == [document["id"]]


def test_repeat_with_the_key_is_the_same_order(api: Program) -> None:
    first, second = (order("place", *LIMIT, "--key", "again", "--json", url=api.url) for _ in range(2))

    assert json.loads(first.stdout)["id"] == json.loads(second.stdout)["id"]


def test_refused_order_is_1(api: Program) -> None:
    arguments = ["FAULTREFUSE0" if argument == "AAPL12345678" else argument for argument in LIMIT]
    placed = order("place", *arguments, url=api.url)

    assert placed.returncode == 1, placed.stderr
    assert placed.stdout == ""
    assert "The order is " in placed.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["place"], "--type requires an argument"),
        (["place", *LIMIT[2:], "--type", "stop"], 'Invalid value "stop" for --type'),
        (["place", *LIMIT[:-1], "many"], "--quantity"),
        (["place", *LIMIT, "--key", "two words"], "A key is 1 to 255 visible ASCII characters"),
        (["place", *LIMIT, "--url", "nowhere"], "nowhere is no address of an API"),
        (["place", *LIMIT], "No connection to"),
        (["show"], "requires an argument"),
        (["list"], "No connection to"),
        (["lost"], 'Unknown command "lost"'),
    ],
)
def test_wrong_usage_and_no_connection_are_a_sentence_and_2(arguments: list[str], sentence: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    result = order(*arguments, url=f"http://127.0.0.1:{port}")

    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_invalid_order_names_the_field(api: Program) -> None:
    result = order("place", *MARKET[:-1], "0", url=api.url)

    assert result.returncode == 2
    assert "/quantity" in result.stderr


def test_unknown_order_is_2(api: Program) -> None:
    result = order("show", "01980b3e-7c1e-7d0a-9a51-2f5f0c9be001", url=api.url)

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{", b"nonsense\r\n\r\n"])
def test_lost_answer_is_3_with_the_key_to_repeat(answer: bytes) -> None:
    with api_that(answer) as (url, _):
        result = order("place", *LIMIT, "--key", "mine", "--json", url=url)

    assert result.returncode == 3
    assert "--key mine" in result.stderr
    assert json.loads(result.stdout)["outcome"] == "unknown"


@pytest.mark.parametrize(
    ("answer", "arguments", "code"),
    [
        (problem(500, type="/problems/outcome-unknown", outcome="unknown"), [], 3),
        (problem(500, type="/problems/exchange-unavailable", outcome="pending"), [], 3),
        (problem(500, type="/problems/exchange-refused", outcome="not_placed"), [], 1),
        (problem(409, type="/problems/request-in-progress"), ["--key", "k"], 3),
        (problem(503, type="/problems/overloaded"), [], 1),
        (problem(503, type="/problems/overloaded"), ["--key", "k"], 3),
        (problem(503), [], 3),
        (problem(502), [], 3),
        (problem(422, type="/problems/key-reused"), ["--key", "k"], 2),
    ],
)
def test_exit_code_says_what_is_proven(answer: bytes, arguments: list[str], code: int) -> None:
    with api_that(answer) as (url, _):
        result = order("place", *LIMIT, *arguments, url=url)

    assert result.returncode == code
    assert "Traceback" not in result.stderr


def test_interrupt_is_clean_and_names_the_key() -> None:
    with api_that(b"wait") as (url, has_read):
        process = subprocess.Popen(
            [sys.executable, "-m", "ordertrail", "order", "place", *LIMIT, "--url", url],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert has_read.wait(WAIT_SECONDS)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == 3
    assert stderr.count("--key ") == 2
    assert "Traceback" not in stderr

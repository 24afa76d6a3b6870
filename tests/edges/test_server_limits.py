"""Slow, half-sent, lying and oversized requests against a real `ordertrail api`, over bare sockets."""

import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.orders import request_body
from tests.support.postgres import temporary_database
from tests.support.programs import Program, api_program
from tests.support.until import until

TIMEOUT_SECONDS = 0.6
KEEP_ALIVE_SECONDS = 1.0
HEADER_BYTES_MAX = 2048
BODY_BYTES_MAX = 4096
CONNECTIONS_MAX = 20
# Timeouts are late by a quarter and a linger at the most; a hang would be far more.
WAIT_SECONDS_MAX = 10

ORDER = request_body()


@pytest.fixture(scope="module")
def api(postgres_server: Any, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with (
        temporary_database(postgres_server, migrated_template) as database_url,
        api_program(
            database_url,
            tmp_path_factory.mktemp("data"),
            header_timeout_seconds=TIMEOUT_SECONDS,
            body_timeout_seconds=TIMEOUT_SECONDS,
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
            answer_timeout_seconds=TIMEOUT_SECONDS,
            header_bytes_max=HEADER_BYTES_MAX,
            body_bytes_max=BODY_BYTES_MAX,
            connections_max=CONNECTIONS_MAX,
        ) as running,
    ):
        yield running


@contextmanager
def connected(api: Program) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", api.port), timeout=WAIT_SECONDS_MAX) as connection:
        yield connection


def until_closed(connection: socket.socket) -> bytes:
    """Everything that comes until the server closes; a connection that hangs raises TimeoutError."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def exchanged(api: Program, *parts: bytes) -> bytes:
    with connected(api) as connection:
        for part in parts:
            connection.sendall(part)
        return until_closed(connection)


def one_answer(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"}"):
        chunk = connection.recv(65536)
        assert chunk, f"closed after {received!r}"
        received += chunk
    return received


def answers(received: bytes) -> list[tuple[int, dict[str, str], dict[str, Any]]]:
    """Status, headers and JSON body of each answer."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        length = int(headers["content-length"])
        found.append((int(lines[0].split()[1]), headers, json.loads(rest[:length])))
        received = rest[length:]
    return found


def post(body: bytes = ORDER, *headers: bytes) -> bytes:
    head = [b"POST /orders HTTP/1.1", b"Host: x", b"Content-Type: application/json", *headers]
    if not any(header.lower().startswith((b"content-length", b"transfer-encoding")) for header in headers):
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
DESCRIPTION = LIVEZ.replace(b"/livez", b"/openapi.json")


def assert_problem(received: bytes, status: int, name: str) -> None:
    ((answered, headers, problem),) = answers(received)
    assert (answered, problem["type"], problem["status"]) == (status, f"/problems/{name}", status)
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert problem["advice"] == ("repeat_request" if status in (408, 503) else "correct_and_repeat")


@pytest.mark.parametrize(
    "half",
    [
        b"P",
        b"POST /orders HTTP/1.1\r\n",
        b"POST /orders HTTP/1.1\r\nContent-Type: application/json\r\nContent-Le",
        post(ORDER)[:-1],
        post(b"", b"Content-Length: 100"),
        post(b"5\r\n{", b"Transfer-Encoding: chunked"),
    ],
    ids=["one byte", "request line", "half a header", "all but one byte", "no body", "half a chunk"],
)
def test_half_a_request_ends_with_408(api: Program, half: bytes) -> None:
    begin = time.monotonic()

    received = exchanged(api, half)

    assert_problem(received, 408, "request-timeout")
    assert time.monotonic() - begin > TIMEOUT_SECONDS


@pytest.mark.parametrize("already_sent", [b"POST /orders HTTP/1.1\r\nX: ", post(b"", b"Content-Length: 4000")])
def test_trickle_does_not_put_off_the_end(api: Program, already_sent: bytes) -> None:
    with connected(api) as connection:
        connection.sendall(already_sent)
        connection.settimeout(0.05)
        begin = time.monotonic()
        received = b""
        while not received and time.monotonic() - begin < WAIT_SECONDS_MAX:
            connection.sendall(b"a")
            try:
                received = connection.recv(65536)
            except TimeoutError:
                continue

    assert received.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", LIVEZ, b"\r\n" * 100])
def test_idle_connection_is_closed_without_a_word(api: Program, sent: bytes) -> None:
    received = exchanged(api, sent)

    assert received.count(b"HTTP/1.1") == (1 if sent == LIVEZ else 0)


def test_connection_in_use_is_not_closed(api: Program) -> None:
    with connected(api) as connection:
        begin = time.monotonic()
        while time.monotonic() - begin < 1.5 * KEEP_ALIVE_SECONDS:
            connection.sendall(LIVEZ)
            assert one_answer(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_",
    [
        post(ORDER, b"Content-Length: %d" % len(ORDER), b"Content-Length: 3"),
        post(ORDER, b"Content-Length: %d" % len(ORDER), b"Content-Length: %d" % len(ORDER)),
        post(ORDER, b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        post(ORDER, b"Transfer-Encoding: chunked", b"Content-Length: 3"),
        post(ORDER, b"Transfer-Encoding: chunked, identity"),
        post(ORDER, b"Transfer-Encoding: xchunked"),
        post(ORDER, b"Transfer-Encoding: gzip"),
        post(ORDER, b"Content-Length: -1"),
        post(ORDER, b"Content-Length: +3"),
        post(ORDER, b"Content-Length: 0x10"),
        post(ORDER, b"Content-Length: 99999999999999999999999999"),
        post(ORDER, b"Content-Length : 3"),
        post(ORDER, b"X: a", b" folded"),
        post(b"zz\r\n", b"Transfer-Encoding: chunked"),
        LIVEZ.replace(b"\r\n", b"\n"),
        b"GET /\0 HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    ],
)
def test_what_breaks_the_protocol_is_answered_and_closed(api: Program, request_: bytes) -> None:
    assert_problem(exchanged(api, request_), 400, "malformed-request")


def test_lying_content_length_cuts_the_body_where_it_says(api: Program) -> None:
    received = exchanged(api, post(ORDER, b"Content-Length: 5"))

    first, second = answers(received)
    assert (first[0], second[0]) == (422, 400)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\nX: " + b"a" * 1_000_000,
        b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * 100_000,
        b"GET /" + b"a" * 1_000_000,
        b"GET /livez HTTP/1.1\r\nX: " + b"a" * (HEADER_BYTES_MAX + 1) + b"\r\n\r\n",
        LIVEZ + b"GET /livez HTTP/1.1\r\nX: " + b"a" * 1_000_000,
    ],
    ids=["one value", "many headers", "target", "a little", "after another"],
)
def test_huge_head_is_answered_with_431(api: Program, head: bytes) -> None:
    with connected(api) as connection:
        try:
            connection.sendall(head)
            received = until_closed(connection)
        except ConnectionError:
            pytest.fail("the answer was lost to a reset")

    *before, last = answers(received)
    assert [status for status, _, _ in before] == ([200] if head.startswith(LIVEZ) else [])
    assert (last[0], last[2]["type"]) == (431, "/problems/headers-too-large")


def test_head_within_the_limit_is_read(api: Program) -> None:
    received = exchanged(api, LIVEZ.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * (HEADER_BYTES_MAX - 100) + b"\r\n\r\n"))

    assert received.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_",
    [
        post(b" " * (BODY_BYTES_MAX + 1)),
        post(b"", b"Content-Length: 10000000000"),
        post(b"1000\r\n" + b" " * 4096 + b"\r\n1\r\n \r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
        post(b"1;" + b"a" * 1_000_000, b"Transfer-Encoding: chunked"),
        post(b"0\r\n" + b"a: b\r\n" * 100_000, b"Transfer-Encoding: chunked"),
    ],
    ids=["sent", "announced", "in chunks", "extension", "trailers"],
)
def test_huge_body_is_answered_with_413(api: Program, request_: bytes) -> None:
    assert_problem(exchanged(api, request_), 413, "payload-too-large")


def test_body_that_nobody_wants_ends_the_connection(api: Program) -> None:
    with connected(api) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n")
        received = until_closed(connection)

    assert received.startswith(b"HTTP/1.1 200 ")


def test_trailer_is_not_taken_for_a_header(api: Program) -> None:
    chunked = b"%x\r\n%s\r\n0\r\nIdempotency-Key: smuggled\r\n\r\n" % (len(ORDER), ORDER)

    received = exchanged(api, post(chunked, b"Transfer-Encoding: chunked"))

    ((status, _, order),) = answers(received)
    assert (status, order["client_order_id"]) == (201, None)


@pytest.mark.parametrize("chunked", [False, True])
def test_order_that_offers_http2_is_placed(api: Program, chunked: bool) -> None:
    offer = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIAAAAB"]
    order = b"%x\r\n%s\r\n0\r\n\r\n" % (len(ORDER), ORDER) if chunked else ORDER
    offer += [b"Transfer-Encoding: chunked"] if chunked else []

    received = exchanged(api, post(order, *offer), post())

    assert [status for status, _, _ in answers(received)] == [201, 201]


def test_pipelined_requests_are_all_answered_in_order(api: Program) -> None:
    keys = [b"pipelined-%d" % number for number in range(50)]

    received = exchanged(api, b"".join(post(ORDER, b"Idempotency-Key: " + key) for key in keys))

    assert [order["client_order_id"].encode() for _, _, order in answers(received)] == keys


def test_broken_request_after_good_ones_harms_none_of_them(api: Program) -> None:
    received = exchanged(api, post() * 3 + b"BROKEN\r\n\r\n")

    assert [status for status, _, _ in answers(received)] == [201, 201, 201, 400]


def test_ten_thousand_pipelined_requests_of_a_client_that_does_not_read_take_little_memory(api: Program) -> None:
    before = resident_bytes(api)

    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # or the kernel would read for us
        connection.connect(("127.0.0.1", api.port))
        connection.settimeout(0.5)
        with suppress(TimeoutError, ConnectionError):
            connection.sendall(LIVEZ * 200_000)
        grown = resident_bytes(api) - before

    assert grown < 10_000_000


def test_client_that_does_not_read_its_answers_is_cut(api: Program) -> None:
    before = ended(api, "answer_timeout")

    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # or the kernel would read for us
        connection.connect(("127.0.0.1", api.port))
        connection.sendall(DESCRIPTION * 200)  # more than the kernel keeps of the answers

        until(lambda: ended(api, "answer_timeout") > before)


def test_client_that_leaves_while_it_is_answered_is_no_error(api: Program) -> None:
    with connected(api) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
        connection.sendall(post() * 20)

    ((_, _, order),) = answers(exchanged(api, post()))
    until(lambda: order["id"] in api.stderr)

    assert "handler is closed" not in api.stderr


def test_connections_beyond_the_limit_are_answered_so(api: Program) -> None:
    connections = []
    try:
        for _ in range(CONNECTIONS_MAX):
            connection = socket.create_connection(("127.0.0.1", api.port), timeout=WAIT_SECONDS_MAX)
            connections.append(connection)
            connection.sendall(LIVEZ)
            assert one_answer(connection).startswith(b"HTTP/1.1 200 ")

        received = exchanged(api, LIVEZ)
    finally:
        for connection in connections:
            connection.close()

    assert_problem(received, 503, "overloaded")
    assert answers(received)[0][1]["retry-after"] == "1"


def test_what_the_limits_ended_is_counted(api: Program) -> None:
    before = ended(api, "syntax")

    exchanged(api, b"BROKEN\r\n\r\n")

    assert ended(api, "syntax") == before + 1


def ended(api: Program, limit: str) -> float:
    """So many connections has this limit ended."""
    received = exchanged(api, b"GET /metrics HTTP/1.0\r\n\r\n")
    count = re.search(rb'ordertrail_connections_ended_total\{limit="%s"\} (\S+)' % limit.encode(), received)
    return float(count[1]) if count is not None else 0.0


def resident_bytes(api: Program) -> int:
    status = Path(f"/proc/{api.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024

"""`ordertrail events` and `order watch` over sockets: what they live through, what they say, and how they end."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from uuid import uuid4

import pytest

from ordertrail.cli import events, watch_order
from ordertrail.cli.event_follower import FollowerClock
from ordertrail.cli.main import main
from tests.support.http_calls import place
from tests.support.programs import WAIT_SECONDS, Program, api_program, program
from tests.support.until import until

ID = "01980b3e-7c1e-7d0a-9a51-2f5f0c9be001"
GONE = {"type": "/problems/events-gone", "detail": "They are older than what is kept."}
ROW = {
    "order_id": ID,
    "status": "COMPLETED",
    "created_at": "2026-11-22T09:30:00.200000Z",
    "recorded_at": None,
    "reason": None,
    "exchange_order_id": "X-1",
}
LIVE_ORDER = {
    "id": ID,
    "created_at": "2026-11-22T09:30:00.123456Z",
    "type": "limit",
    "side": "buy",
    "instrument": "AAPL12345678",
    "limit_price": 150.25,
    "quantity": 1,
    "status": "COMPLETED",
    "outcome": "placed",
    "cum_qty": 0,
    "leaves_qty": 1,
    "avg_px": None,
    "is_live": True,
    "busted": False,
    "overfilled": False,
    "executions_complete": True,
    "cancel_requested_at": None,
    "trail": [{name: value for name, value in ROW.items() if name != "order_id"}],
    "executions": [],
}
LINE = f"2026-11-22T09:30:00.200000Z  {ID}  COMPLETED  at the exchange X-1"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
ENDLESS = HEAD + b"\r\n"


def http(status: int, document: object, *headers: str) -> bytes:
    content = json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


def sse(event_id: str, event_type: str = "order", data: object = ROW) -> bytes:
    return f"id: {event_id}\nevent: {event_type}\ndata: {json.dumps(data)}\n\n".encode()


HEARTBEAT = sse("h", "heartbeat", {"head": "h", "horizon_seconds": 0})
ENDED = http(410, GONE)
RESET = struct.pack("ii", 1, 0)


@dataclass
class Server:
    """Answers one connection after the other with these bytes, and then: `close`, `reset`, `drip`, or `hold` it open.

    `drip`: a byte of a header again and again, until it is cut off.
    """

    url: str
    requests: list[str] = field(default_factory=list)
    held: list[socket.socket] = field(default_factory=list)

    def resumed_after(self) -> list[str | None]:
        ids = []
        for request in self.requests:
            lines = [line for line in request.splitlines() if line.lower().startswith("last-event-id:")]
            ids.append(lines[0].partition(":")[2].strip() if lines else None)
        return ids


Answer = tuple[bytes, str]


def drip(connection: socket.socket) -> None:
    connection.settimeout(0.02)
    with suppress(ConnectionError):
        while True:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                if connection.recv(1) == b"":
                    return


@contextmanager
def serving(*answers: Answer) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(f"http://127.0.0.1:{listening.getsockname()[1]}")

        def serve() -> None:
            for content, then in answers:
                connection, _ = listening.accept()
                server.requests.append(connection.recv(65536).decode())
                connection.sendall(content)
                if then == "hold":
                    server.held.append(connection)
                    continue
                if then == "drip":
                    drip(connection)
                if then == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            for connection in server.held:
                connection.close()
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive(), "not every answer was fetched"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for between connections."""
    for command in (events, watch_order):
        monkeypatch.setattr(command, "CLOCK", FollowerClock(lambda: 0.0, lambda _: None, lambda: 0.0))


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def chunked(*parts: bytes) -> bytes:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)


def test_events_are_lines_and_go_on_after_the_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    first = chunked(HEARTBEAT, sse("a")[:20], sse("a")[20:] + sse("b"))
    cut_in_the_middle = chunked(sse("c") + sse("d")[:-1])

    with serving(
        (first, "close"), (cut_in_the_middle, "reset"), (ENDLESS + sse("d"), "close"), (ENDED, "close")
    ) as server:
        code = exit_code("events", "--after", "0", "--order-id", ID, "--type", "order", "--url", server.url)

    assert code == 4
    output = capsys.readouterr()
    assert output.out.splitlines() == [LINE] * 4
    assert server.resumed_after() == [None, "b", "c", "d"]
    assert server.requests[0].startswith(f"GET /events?order_id={ID}&type=order&after=0 HTTP/1.1\r\n")
    assert server.requests[1].startswith(f"GET /events?order_id={ID}&type=order HTTP/1.1\r\n")
    assert "\r\nAccept: text/event-stream\r\n" in server.requests[0]
    assert f"ordertrail: The connection to {server.url} was cut off. Trying again." in output.err.splitlines()
    assert output.err.count("Trying again.") == output.err.count("The API answers again.") + 1 == 3


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    strange = ROW | {"reason": "\x1b[31m\u2028é"}

    with serving((ENDLESS + sse("a", data=strange) + sse("b", "execution"), "close"), (ENDED, "close")) as server:
        exit_code("events", "--json", "--url", server.url)

    output = capsys.readouterr().out
    assert output.isascii()
    assert "\x1b" not in output
    assert [json.loads(line) for line in output.splitlines()] == [
        {"id": "a", "type": "order", "data": strange},
        {"id": "b", "type": "execution", "data": ROW},
    ]


def test_a_connection_that_is_half_open_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(events, "SILENCE_SECONDS_MAX", 0.2)

    with serving(
        (ENDLESS + sse("a"), "hold"), (b"", "hold"), (ENDLESS + sse("b"), "close"), (ENDED, "close")
    ) as server:
        exit_code("events", "--url", server.url)

    assert server.resumed_after() == [None, "a", "a", "b"]
    assert "Nothing has come from" in capsys.readouterr().err


def test_an_answer_whose_head_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(events, "SILENCE_SECONDS_MAX", 0.2)

    with serving((HEAD, "drip"), (ENDLESS + sse("a"), "close"), (ENDED, "close")) as server:
        exit_code("events", "--url", server.url)

    output = capsys.readouterr()
    assert output.out.splitlines() == [LINE]
    assert "no answer within 0.2 s" in output.err


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_api_that_is_away_is_waited_for(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    away = http(status, {}, "Retry-After: 1")

    with serving((away, "close"), (away, "close"), (ENDLESS + sse("a"), "close"), (ENDED, "close")) as server:
        exit_code("events", "--url", server.url)

    output = capsys.readouterr()
    assert output.out.splitlines() == [LINE]
    assert output.err.splitlines()[1] == "ordertrail: The API answers again."


def test_the_api_says_how_long_it_wants_to_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(events, "CLOCK", FollowerClock(lambda: 0.0, pauses.append, lambda: 0.0))

    answers = [http(503, {}, f"Retry-After: {said}") for said in ("7", "Wed, 21 Oct 2026 07:28:00 GMT", "-1", "9" * 99)]
    with serving(*[(answer, "close") for answer in [*answers, ENDED]]) as server:
        exit_code("events", "--after", "0", "--url", server.url)

    assert pauses[0] >= 7
    assert max(pauses[1:]) < 7


def test_types_that_are_not_known_are_passed_over_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    odd = sse("a", "t\x1bax") + sse("b", "t\x1bax") + sse("c", "", {})

    with serving((ENDLESS + odd, "close"), (ENDED, "close")) as server:
        exit_code("events", "--url", server.url)

    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("are not known to this version") == 2
    assert "'t\\x1bax'" in output.err
    assert server.resumed_after() == [None, "c"]


@pytest.mark.parametrize(
    "answer",
    [
        http(404, {}),
        http(422, {"type": "/problems/invalid-request", "errors": [{"pointer": "#/after", "detail": "no id"}]}),
        http(200, {"hello": "world"}),
        http(302, {}, "Location: /elsewhere"),
    ],
)
@pytest.mark.parametrize("command", [["events"], ["order", "watch"], ["order", "watch", ID]])
def test_an_address_that_is_not_the_apis_is_2(
    command: Sequence[str], answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving((answer, "close")) as server:
        assert exit_code(*command, "--url", server.url) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("ordertrail: ")


@pytest.mark.parametrize("command", [["events"], ["order", "watch"], ["order", "watch", ID]])
def test_no_api_at_the_start_is_2(command: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    assert exit_code(*command, "--url", f"http://127.0.0.1:{port}") == 2
    assert "No connection to" in capsys.readouterr().err


def test_a_watch_goes_on_from_now_where_what_came_between_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    unreadable = http(422, {"type": "/problems/invalid-request"})
    answers = [ENDLESS + sse("a"), ENDED, ENDLESS + sse("b"), unreadable]

    with serving(*[(answer, "close") for answer in answers]) as server:
        assert exit_code("order", "watch", "--url", server.url) == 2

    output = capsys.readouterr()
    assert output.out.splitlines() == [LINE] * 2
    assert "was not shown. Going on from now." in output.err
    assert server.resumed_after() == [None, "a", None, "b"]


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "ordertrail", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def stream_of(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def test_ctrl_c_ends_it_quietly() -> None:
    with serving((ENDLESS + sse("a"), "hold")) as server, running("events", "--url", server.url) as process:
        assert stream_of(process.stdout).readline().rstrip() == LINE

        process.send_signal(signal.SIGINT)

        assert process.wait(WAIT_SECONDS) == 130
        assert stream_of(process.stderr).read() == ""


@pytest.mark.parametrize("later", [sse("b"), HEARTBEAT], ids=["event", "heartbeat"])
@pytest.mark.parametrize("command", [["events"], ["order", "watch"], ["order", "watch", "--json"]])
def test_a_reader_that_has_gone_ends_it_quietly(command: Sequence[str], later: bytes) -> None:
    with serving((ENDLESS + sse("a"), "hold")) as server, running(*command, "--url", server.url) as process:
        assert stream_of(process.stdout).readline()
        stream_of(process.stdout).close()

        until(lambda: server.held)
        server.held[0].sendall(later)

        assert process.wait(WAIT_SECONDS) == -signal.SIGPIPE
        assert stream_of(process.stderr).read() == ""


def test_a_reader_of_one_order_that_has_gone_ends_its_watch() -> None:
    order = http(200, LIVE_ORDER)

    with (
        serving((ENDLESS + HEARTBEAT, "hold"), (order, "close")) as server,
        running("order", "watch", ID, "--url", server.url) as process,
    ):
        lines = [stream_of(process.stdout).readline() for _ in range(2)]
        stream_of(process.stdout).close()

        server.held[0].sendall(HEARTBEAT)

        assert process.wait(WAIT_SECONDS) == -signal.SIGPIPE
        assert lines == [f"Order {ID} is placed: COMPLETED. limit buy 1 AAPL12345678 at 150.25.\n", f"{LINE}\n"]
        assert stream_of(process.stderr).read() == ""


def test_the_real_api_is_followed_through_a_kill(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path) as api:
        port = str(api.port)
        with running("events", "--after", "0", "--type", "order", "--json", "--url", api.url) as everything:
            before = [placed_id(api) for _ in range(2)]
            lines = [json.loads(stream_of(everything.stdout).readline()) for _ in range(4)]
            api.send_signal(signal.SIGKILL)
            api.wait()

            environment = {
                "ORDERTRAIL_DATABASE_URL": database_url,
                "ORDERTRAIL_DATA_DIR": str(tmp_path),
                "ORDERTRAIL_EXCHANGE_URL": "simulated:",
            }
            with program("ordertrail", "api", "--port", port, environment=environment) as again:
                after = [placed_id(again) for _ in range(2)]
                lines += [json.loads(stream_of(everything.stdout).readline()) for _ in range(4)]
                everything.send_signal(signal.SIGINT)

                assert everything.wait(WAIT_SECONDS) == 130
                assert stream_of(everything.stdout).read() == ""
                says = stream_of(everything.stderr).read()
                of_unknown_order = exit_code("order", "watch", "--url", again.url, str(uuid4()))

    rows = [(line["data"]["order_id"], line["data"]["status"]) for line in lines]
    assert rows == [(order_id, status) for order_id in before + after for status in ("INITIATED", "COMPLETED")]
    assert len({line["id"] for line in lines}) == 8
    assert says.count("Trying again.") == says.count("The API answers again.") == 1
    assert of_unknown_order == 2


def placed_id(api: Program) -> str:
    status, order = place(api)
    assert status == 201
    return str(order["id"])

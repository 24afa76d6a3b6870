"""`ordertrail order …` against whatever may answer at an address: 0 and 1 need proof, nothing is a traceback."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ordertrail.cli.api_client import REPLY_BYTES_MAX
from ordertrail.cli.main import main
from ordertrail.server.status_document import SECTIONS
from tests.support.programs import WAIT_SECONDS

ID = "01980b3e-7c1e-7d0a-9a51-2f5f0c9be001"
ORDER = {
    "id": ID,
    "created_at": "2026-11-22T09:30:00.123456Z",
    "type": "limit",
    "side": "buy",
    "instrument": "AAPL12345678",
    "limit_price": 150.25,
    "quantity": 1,
    "status": "COMPLETED",
    "outcome": "placed",
    "client_order_id": "k",
    "exchange_order_id": "X-1",
    "place_by": None,
}
SHOWN = {
    **ORDER,
    "venue": "SIMULATED",
    "cum_qty": 0,
    "leaves_qty": 1,
    "avg_px": None,
    "is_live": True,
    "busted": False,
    "overfilled": False,
    "executions_complete": True,
    "cancel_requested_at": None,
    "trail": [{"status": "INITIATED"}, {"status": "COMPLETED"}],
    "executions": [],
}
PLACE = ["place", "--type", "limit", "--side", "buy", "--instrument", "AAPL12345678"]
PLACE += ["--limit-price", "150.25", "--quantity", "1", "--key", "k"]
COMMANDS = {"place": PLACE, "show": ["show", ID], "list": ["list"]}


@contextmanager
def server(answer: bytes, *, drips: bytes = b"") -> Iterator[str]:
    """It reads a request, says `answer`, and closes; or goes on with `drips`, a byte at a time, until it is cut off."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(answer)
                    connection.settimeout(0.02)
                    while drips:
                        connection.sendall(drips)
                        try:
                            if connection.recv(1) == b"":
                                return
                        except TimeoutError:
                            continue
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            thread.join(WAIT_SECONDS)


def http(status: int, body: object = b"", *headers: str, media_type: str = "application/json") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {media_type}", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + content


def exit_code(arguments: list[str], url: str, *more: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["order", *arguments, "--url", url, *more])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


ODD_BODIES = {
    "empty": b"",
    "html": b"<!doctype html><title>Welcome to nginx!</title>",
    "no object": b"[]",
    "a number": b"201",
    "null": b"null",
    "empty object": b"{}",
    "cut off": json.dumps(ORDER).encode()[:-20],
    "not UTF-8": b'{"id": "\xff\xfe\x00"}',
    "a lone surrogate": b'{"id": "\\ud800", "detail": "\\ud800", "type": "x", "orders": "\\ud800"}',
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "long number": b'{"quantity": ' + b"9" * 10_000 + b"}",
    "wrong types": {name: [] for name in ORDER},
    "nothing but nulls": dict.fromkeys(ORDER),
    "unknown status": ORDER | {"status": "DANCING"},
    "unknown outcome": ORDER | {"outcome": "perhaps"},
    "wrong id": ORDER | {"id": "1; rm"},
    "no id": without(ORDER, "id"),
    "errors of another form": {"type": "/problems/invalid-request", "errors": [{"field": "x"}]},
    "too large": b'{"a": "' + b"x" * (REPLY_BYTES_MAX + 10) + b'"}',
}
ODD_ORDERS = {
    "status without outcome": ORDER | {"status": "INITIATED"},
    "outcome without status": ORDER | {"outcome": "unknown"},
    "not placed": ORDER | {"status": "NOT_PLACED", "outcome": "not_placed"},
    "another order's key": ORDER | {"client_order_id": "other"},
    "no key": ORDER | {"client_order_id": None},
    "another instrument": ORDER | {"instrument": "MSFT12345678"},
    "another quantity": ORDER | {"quantity": 10},
    "another side": ORDER | {"side": "sell"},
}
STATUSES = [
    200,
    201,
    202,
    204,
    206,
    301,
    302,
    307,
    400,
    401,
    403,
    404,
    408,
    409,
    413,
    422,
    429,
    500,
    502,
    503,
    504,
    599,
]
CUT = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "half a head": b"HTTP/1.1 201 Created\r\nContent-Le",
    "half a body": b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{",
    "half a chunk": b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
    "a chunk of no length": b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n-zz\r\n{",
    "a huge length": b"HTTP/1.1 201 Created\r\nContent-Length: 999999999999999999999\r\n\r\n{",
    "a long line": b"HTTP/1.1 201 Created\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "many lines": b"HTTP/1.1 201 Created\r\n" + b"X: x\r\n" * 1_000 + b"\r\n",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("body", ODD_BODIES)
@pytest.mark.parametrize("status", [200, 201, 422, 500, 503])
def test_odd_body_is_never_believed(command: str, body: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    with server(http(status, ODD_BODIES[body])) as url:
        code = exit_code(COMMANDS[command], url)

    said = capsys.readouterr()
    assert code == (3 if command == "place" else 2)
    assert said.out == "" and said.err.startswith("ordertrail: ")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("media_type", ["text/html", "application/json"])
def test_status_without_a_word_of_ours_proves_nothing(command: str, status: int, media_type: str) -> None:
    with server(http(status, b"<h1>x</h1>", "Location: http://elsewhere/", media_type=media_type)) as url:
        code = exit_code(COMMANDS[command], url)

    assert code == (3 if command == "place" else 2)


@pytest.mark.parametrize("status", [status for status in STATUSES if status != 201])
def test_order_under_another_status_than_201_is_not_placed_yet(status: int) -> None:
    with server(http(status, ORDER)) as url:
        assert exit_code(PLACE, url) == 3


@pytest.mark.parametrize("odd", ODD_ORDERS)
def test_201_about_another_order_is_3(odd: str) -> None:
    with server(http(201, ODD_ORDERS[odd])) as url:
        assert exit_code(PLACE, url) == 3


def test_201_whose_location_is_another_order_is_3() -> None:
    with server(http(201, ORDER, "Location: /orders/01980b3e-7c1e-7d0a-9a51-000000000000")) as url:
        assert exit_code(PLACE, url) == 3


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_201_with_the_order_is_0(more: list[str]) -> None:
    with server(http(201, ORDER, f"Location: /orders/{ID}")) as url:
        assert exit_code(PLACE, url, *more) == 0


@pytest.mark.parametrize(
    ("status", "problem", "code"),
    [
        (500, {"type": "/problems/exchange-refused", "outcome": "not_placed"}, 1),
        (500, {"type": "/problems/exchange-refused", "outcome": "not_placed", "status": 500}, 1),
        (500, {"type": "/problems/not-recorded", "outcome": "placed"}, 0),
        (500, {"type": "/problems/outcome-unknown", "outcome": "unknown"}, 3),
        (500, {"type": "/problems/internal-error"}, 3),
        # Not the API's word: a proxy's, an old cache's, or of an outcome that no version knows.
        (500, {"type": "/problems/not-placed", "outcome": "not_placed", "certainty": "proved"}, 1),
        (500, {"type": "/problems/not-placed", "outcome": "not_placed", "certainty": "presumed"}, 3),
        (500, {"outcome": "not_placed"}, 3),
        (500, {"type": "about:blank", "outcome": "not_placed"}, 3),
        (500, {"type": "/problems/exchange-refused", "outcome": "not_placed", "status": 502}, 3),
        (500, {"type": "/problems/exchange-refused", "outcome": "refused"}, 3),
        (200, {"type": "/problems/exchange-refused", "outcome": "not_placed"}, 3),
        (409, {"type": "/problems/request-in-progress"}, 3),
        (422, {"type": "/problems/invalid-request", "errors": [{"pointer": "/quantity", "detail": "x"}]}, 2),
        (413, {"type": "/problems/payload-too-large"}, 2),
        (503, {"type": "/problems/overloaded"}, 3),
    ],
)
def test_problem_of_the_api_is_taken_at_its_word(status: int, problem: dict[str, Any], code: int) -> None:
    with server(http(status, problem)) as url:
        assert exit_code(PLACE, url) == code


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("answer", CUT)
def test_answer_that_is_cut_or_no_http_is_no_answer(
    command: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with server(CUT[answer]) as url:
        code = exit_code(COMMANDS[command], url)

    assert code == (3 if command == "place" else 2)
    assert capsys.readouterr().err.startswith("ordertrail: The ")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("begun", [b"HTTP/1.1 201 X\r\n\r\n", b"HTTP/1.1 201 X\r\nX: ", b""])
def test_answer_that_never_ends_is_given_up_in_time(
    command: str, begun: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with server(begun, drips=b"x") as url:
        code = exit_code(COMMANDS[command], url, "--timeout-seconds", "0.3")

    assert code == (3 if command == "place" else 2)
    assert "no answer within 0.3 s" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("url", ["http://[::1", "http://h:99999", "http://h\n", "ftp://h", "http://127.0.0.1:1", ""])
def test_address_that_is_none_sends_nothing(command: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = exit_code(COMMANDS[command], url or "nowhere")

    assert code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_shown_order_is_the_one_of_that_id() -> None:
    with server(http(200, SHOWN | {"id": "01980b3e-7c1e-7d0a-9a51-000000000000"})) as url:
        assert exit_code(["show", ID], url) == 2


@pytest.mark.parametrize("recorded_at", [None, "2026-11-22T09:30:37.000000Z"])
def test_trail_has_both_times_where_a_row_went_through_the_spool(
    recorded_at: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"status": "INITIATED", "created_at": "2026-11-22T09:30:00.000000Z", "recorded_at": recorded_at}
    with server(http(200, SHOWN | {"trail": [row]})) as url:
        assert exit_code(["show", ID], url) == 0

    shown = capsys.readouterr().out
    assert ("recorded_at" in shown) is (recorded_at is not None)
    assert (recorded_at or "INITIATED") in shown


@pytest.mark.parametrize(("outcome", "code"), [("placed", 0), ("not_placed", 1), ("pending", 3), ("unknown", 3)])
def test_shown_outcome_is_the_exit_code(outcome: str, code: int) -> None:
    with server(http(200, SHOWN | {"outcome": outcome})) as url:
        assert exit_code(["show", ID], url) == code


@pytest.mark.parametrize(("certainty", "code"), [("proved", 1), ("presumed", 3)])
def test_shown_order_that_is_only_presumed_not_to_be_placed_may_be(certainty: str, code: int) -> None:
    with server(http(200, SHOWN | {"outcome": "not_placed", "certainty": certainty})) as url:
        assert exit_code(["show", ID], url) == code


def test_text_that_no_terminal_can_write_is_written_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({"orders": [ORDER | {"exchange_order_id": "\ud800", "created_at": "\ud800"}]}).encode()
    with server(http(200, body)) as url:
        result = shell(f"{ORDERTRAIL} order list --url {url}", stdout=subprocess.PIPE)

    assert (result.returncode, result.stderr) == (0, b"")


ORDERTRAIL = f"{sys.executable} -m ordertrail"


def shell(command: str, **streams: Any) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        ["/bin/bash", "-c", command],
        stderr=subprocess.PIPE,
        timeout=WAIT_SECONDS,
        check=False,
        **streams,
    )


@pytest.mark.parametrize("lines", [1, 2000])
def test_reader_that_leaves_early_ends_a_list_as_it_ends_other_tools(lines: int) -> None:
    page = {"orders": [ORDER] * lines}
    with server(http(200, page)) as url:
        result = shell(f"{ORDERTRAIL} order list --url {url} | true; echo ${{PIPESTATUS[0]}}", stdout=subprocess.PIPE)

    assert result.stderr == b""
    assert result.stdout == b"141\n"


def test_reader_that_leaves_early_does_not_change_what_became_of_an_order() -> None:
    arguments = " ".join(PLACE)
    with server(http(201, ORDER)) as url:
        result = shell(f"{ORDERTRAIL} order {arguments} --url {url} | true; echo ${{PIPESTATUS[0]}}", stdout=-1)

    assert (result.stdout, result.stderr) == (b"0\n", b"")


@pytest.mark.parametrize("command", ["settings", "settings --json"])
def test_every_command_with_output_ends_silently(command: str) -> None:
    result = shell(f"{ORDERTRAIL} {command} | true; echo ${{PIPESTATUS[0]}}", stdout=subprocess.PIPE)

    assert (result.stdout, result.stderr) == (b"141\n", b"")


@pytest.mark.parametrize("command", ["--help", "order list --help", "--version"])
def test_help_ends_silently(command: str) -> None:
    result = shell(f"{ORDERTRAIL} {command} | true", stdout=subprocess.PIPE)

    assert result.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
def test_full_disk_is_a_sentence_of_a_list_and_nothing_of_an_order() -> None:
    with server(http(200, {"orders": [ORDER]})) as url:
        listed = shell(f"{ORDERTRAIL} order list --url {url} >/dev/full")
    with server(http(201, ORDER)) as url:
        placed = shell(f"{ORDERTRAIL} order {' '.join(PLACE)} --url {url} >/dev/full")

    assert listed.returncode == 2 and listed.stderr.startswith(b"ordertrail: ") and listed.stderr.count(b"\n") == 1
    assert (placed.returncode, placed.stderr) == (0, b"")


@pytest.mark.parametrize("number", ["-1", "99999999999999999999"])
@pytest.mark.parametrize(
    "command",
    ["doubts --limit", "orphans list --limit", "parked list --limit", "orphans show", "parked show"],
)
def test_number_that_no_list_has_is_wrong_usage_and_no_trouble_of_the_database(
    command: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), number])

    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert "database" not in said


STATUS: dict[str, object] = {
    "as_of": "2026-11-22T09:30:00.123Z",
    "worker": "host:1",
    "figures_as_of": None,
    "to_do": [],
    **{name: {"to_do": None} for name in SECTIONS},
}
ODD_STATUSES: dict[str, object] = {
    "sections without what they say": STATUS,
    "something to do that is not said": STATUS | {"doubts": {"to_do": "Look."}},
    "no list": STATUS | {"to_do": "nothing"},
}


@pytest.mark.parametrize("status", [200, 201, 404, 500, 503])
@pytest.mark.parametrize("body", [*ODD_BODIES.values(), *ODD_STATUSES.values()], ids=[*ODD_BODIES, *ODD_STATUSES])
def test_nothing_but_a_status_is_one(
    body: object, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERTRAIL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    with server(http(status, body)) as url, pytest.raises(SystemExit) as ended:
        main(["status", "--url", url])

    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Nor could the database be read" in shown.err

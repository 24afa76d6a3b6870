"""`GET /events` of a real `ordertrail api` over sockets, on a real PostgreSQL."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ordertrail.events.cursor import Cursor, write_cursor
from ordertrail.storage.event_rows import LogMark
from tests.support.event_streams import SentEvent, streaming
from tests.support.http_calls import place
from tests.support.postgres import fetch
from tests.support.programs import Program, api_program
from tests.support.until import until

WAIT_SECONDS = 60


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Program]:
    with api_program(database_url, tmp_path) as running:
        yield running


def get(api: Program, query: str = "", **headers: str) -> tuple[int, dict[str, str], Any]:
    """A page, whatever is answered."""
    request = Request(f"{api.url}/events{query}", headers={"Accept": "application/json", **headers})
    try:
        with urlopen(request, timeout=WAIT_SECONDS) as answer:
            return answer.status, lower(answer.headers), json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, lower(error.headers), json.load(error)


def lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def statuses(events: list[SentEvent]) -> list[tuple[str, str]]:
    return [(event.data["order_id"], event.data["status"]) for event in events]


def test_a_stream_reports_what_is_written_while_it_is_open(api: Program) -> None:
    with streaming(api.port, "?type=order") as stream:
        [beat] = [next(stream.frames())]
        _, order = place(api)

        events = stream.take(2)

    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store", "no")
    assert beat.type == "heartbeat"
    assert beat.id == beat.data["head"]
    assert statuses(events) == [(order["id"], "INITIATED"), (order["id"], "COMPLETED")]
    assert set(events[1].data) == {
        "order_id", "status", "created_at", "recorded_at", "reason", "exchange_order_id"
    }  # fmt: skip


def test_a_reader_goes_on_after_the_last_event_that_it_has(api: Program) -> None:
    with streaming(api.port, "?type=order") as stream:
        next(stream.frames())
        _, first = place(api)
        [initiated] = stream.take(1)

    _, second = place(api)
    with streaming(api.port, "?type=order", headers={"Last-Event-ID": initiated.id}) as stream:
        events = stream.take(3)

    assert statuses(events) == [(first["id"], "COMPLETED"), (second["id"], "INITIATED"), (second["id"], "COMPLETED")]


def test_an_order_and_a_type_come_alone(api: Program) -> None:
    _, first = place(api)
    with streaming(api.port, f"?after=0&order_id={first['id']}&type=order") as stream:
        place(api)
        status, _, page = get(api, f"?after=0&order_id={first['id']}&limit=1000")

        events = stream.take(2)

    assert statuses(events) == [(first["id"], "INITIATED"), (first["id"], "COMPLETED")]
    assert status == 200
    assert {event["data"]["order_id"] for event in page["events"]} == {first["id"]}


def test_pages_have_all_events_once_and_say_where_to_go_on(api: Program) -> None:
    placed = [place(api)[1]["id"] for _ in range(3)]

    received: list[tuple[str, str]] = []
    after, pages = "0", 0
    while len(received) < 6:
        status, headers, page = get(api, f"?after={after}&limit=2&type=order", Prefer="wait=30")
        assert (status, headers["preference-applied"]) == (200, "wait=30")
        assert len(page["events"]) <= 2
        received += [(event["data"]["order_id"], event["data"]["status"]) for event in page["events"]]
        after, pages = page["next_after"], pages + 1

    assert received == [(order_id, status) for order_id in placed for status in ("INITIATED", "COMPLETED")]
    assert pages >= 3


def test_a_page_at_the_end_is_empty_and_goes_on_from_there(api: Program) -> None:
    _, _, end = get(api)
    _, order = place(api)

    _, _, page = get(api, f"?after={end['next_after']}&type=order", Prefer="wait=30")

    assert end["events"] == []
    assert page["events"][0]["data"]["order_id"] == order["id"]


def test_a_long_poll_ends_in_time_without_an_event(api: Program) -> None:
    _, _, end = get(api)

    status, headers, page = get(api, f"?after={end['next_after']}&order_id=nobody", Prefer="wait=1")

    assert (status, headers["preference-applied"], page["events"]) == (200, "wait=1", [])


def test_more_than_may_be_waited_is_taken_as_the_most(api: Program) -> None:
    place(api)

    _, headers, _ = get(api, "?after=0", Prefer="wait=3600")

    assert headers["preference-applied"] == "wait=30"


def test_a_cursor_of_an_event_goes_on_in_pages_and_of_a_page_in_a_stream(api: Program) -> None:
    place(api)
    _, _, page = get(api, "?after=0&type=order&limit=1", Prefer="wait=30")
    with streaming(api.port, f"?after={page['next_after']}&type=order") as stream:
        [completed] = stream.take(1)

    _, _, rest = get(api, f"?after={completed.id}&type=order")

    assert page["events"][0]["data"]["status"] == "INITIATED"
    assert completed.data["status"] == "COMPLETED"
    assert rest["events"] == []


@pytest.mark.parametrize(
    "query",
    [
        "?after=x",
        "?after=",
        "?after=00",
        f"?after={'A' * 72}",
        "?type=orders",
        "?limit=0",
        "?limit=1001",
        "?since=0",
        "?after=0&after=0",
    ],
)
def test_a_query_that_means_nothing_is_refused(api: Program, query: str) -> None:
    status, headers, problem = get(api, query)

    assert (status, headers["content-type"]) == (422, "application/problem+json")
    assert problem["type"] == "/problems/invalid-request"
    assert len(problem["errors"]) == 1


def test_the_header_wins_and_is_refused_where_it_is_no_cursor(api: Program) -> None:
    status, _, problem = get(api, "?after=0", **{"Last-Event-ID": "x"})

    assert (status, problem["errors"][0]["pointer"]) == (422, "/header/Last-Event-ID")


def test_a_stream_takes_no_limit(api: Program) -> None:
    assert get(api, "?limit=1", Accept="text/event-stream")[0] == 422


def test_a_place_in_another_database_is_gone(api: Program) -> None:
    elsewhere = write_cursor(Cursor(LogMark(database=1, timeline=1, txid=7, id=7, check=7)))

    status, _, problem = get(api, f"?after={elsewhere}")

    assert (status, problem["type"]) == (410, "/problems/events-gone")
    assert "`?after=0`" in problem["detail"]
    with streaming(api.port, headers={"Last-Event-ID": elsewhere}) as stream:
        assert stream.status == 410


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0, text/event-stream;q=0"])
def test_what_is_neither_a_stream_nor_a_page_is_not_acceptable(api: Program, accept: str) -> None:
    status, _, problem = get(api, Accept=accept)

    assert (status, problem["type"]) == (406, "/problems/not-acceptable")


def test_a_heartbeat_comes_and_is_a_place_to_go_on_from(api: Program) -> None:
    with streaming(api.port, "?order_id=nobody") as stream:
        frames = stream.frames()
        next(frames)
        _, order = place(api)
        later = next(frames)
    _, _, page = get(api, f"?after={later.id}")

    assert later.type == "heartbeat"
    assert later.id == later.data["head"]
    assert later.data["horizon_seconds"] >= 0
    assert not any(event["data"]["order_id"] == order["id"] and event["type"] == "order" for event in page["events"])


def test_a_thousand_reconnects_skip_nothing_and_repeat_nothing(api: Program) -> None:
    placed = [place(api)[1]["id"] for _ in range(3)]
    received: list[tuple[str, str]] = []
    after = "0"
    for number in range(1000):
        with streaming(api.port, "?type=order", headers={"Last-Event-ID": after}) as stream:
            if number % 200 == 199:
                placed.append(place(api)[1]["id"])
            beat = next(stream.frames())
            if len(received) < 2 * len(placed):
                [event] = stream.take(1)
                received += statuses([event])
                after = event.id
            else:
                after = beat.id
    while len(received) < 2 * len(placed):
        with streaming(api.port, "?type=order", headers={"Last-Event-ID": after}) as stream:
            [event] = stream.take(1)
            received += statuses([event])
            after = event.id

    assert received == [(order_id, status) for order_id in placed for status in ("INITIATED", "COMPLETED")]


def test_a_client_that_hangs_up_frees_its_place(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path, event_readers_max=1) as api:
        with streaming(api.port) as stream:
            next(stream.frames())
            status, headers, problem = get(api, "?after=0")
            assert (status, headers["retry-after"]) == (503, "1")
            assert problem["type"] == "/problems/too-many-readers"

        until(lambda: get(api)[0] == 200, what="the place is free")


def test_a_stream_ends_as_it_should_where_the_process_drains(api: Program) -> None:
    with streaming(api.port) as stream, streaming(api.port, "?order_id=nobody") as other:
        next(stream.frames())
        next(other.frames())
        api.send_signal(signal.SIGTERM)
        for each in (stream, other):
            assert [event for event in each.frames() if event.type != "heartbeat"] == []

        assert api.wait() == 0
    assert stream.is_ended
    assert other.is_ended
    assert "cut short" not in api.stderr


def test_a_bare_server_ends_its_streams_too(database_url: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app.api:app", "--port", "0", "--log-level", "info"],
        env={
            **os.environ,
            "ORDERTRAIL_DATABASE_URL": database_url,
            "ORDERTRAIL_DATA_DIR": str(tmp_path),
            "ORDERTRAIL_EXCHANGE_URL": "simulated:",
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
            with streaming(int(running[1])) as stream:
                next(stream.frames())
                process.send_signal(signal.SIGTERM)
                assert [event for event in stream.frames() if event.type != "heartbeat"] == []
            process.wait(WAIT_SECONDS)
        finally:
            process.kill()

    assert stream.is_ended


FLOOD = """
WITH written AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status)
    SELECT $1 || '-' || n, clock_timestamp() AT TIME ZONE 'UTC', 'limit', 'buy', 'AAPL12345678', 150.25, 10, 'INITIATED'
      FROM generate_series(1, 1000) AS n
    RETURNING id, status
)
INSERT INTO event_log (count, order_ids, statuses) SELECT count(*), array_agg(id), array_agg(status) FROM written
"""
# More than the kernel's buffers on both sides hold.
FLOODS = 30


@pytest.mark.parametrize("bytes_read", [0, 1])
def test_a_reader_that_takes_too_little_is_cut_off_and_no_other(
    database_url: str, tmp_path: Path, bytes_read: int
) -> None:
    with (
        api_program(database_url, tmp_path, event_lag_bytes_max=200_000, event_ring_bytes_max=100_000_000) as api,
        streaming(api.port, receive_bytes=4096) as slow,
        streaming(api.port, "?type=order") as quick,
    ):
        next(slow.frames())
        next(quick.frames())
        received = 0
        for number in range(FLOODS):
            fetch(database_url, FLOOD, f"flood-{number}")
            received += len(quick.take(1000))
            if bytes_read:
                slow.connection.recv(bytes_read)

        until(lambda: CUT_OFF in metrics_of(api), what="the slow one is cut off")
        assert not slow.rest().endswith(b"\r\n0\r\n\r\n")
        assert place(api)[0] == 201
        assert {event.data["status"] for event in quick.take(2)} == {"INITIATED", "COMPLETED"}
    assert received == 1000 * FLOODS
    assert "ASGI" not in api.stderr


CUT_OFF = 'ordertrail_event_readers_cut_off_total{cause="lagging"} 1.0'


def metrics_of(api: Program) -> str:
    with urlopen(f"{api.url}/metrics", timeout=WAIT_SECONDS) as answer:
        text: str = answer.read().decode()
    return text

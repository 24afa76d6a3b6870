"""`GET /events` of a real `ordertrail api` over sockets, on a real PostgreSQL."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.event_streams import SentEvent, streaming
from tests.support.http_calls import place
from tests.support.programs import Program, api_program

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
            return answer.status, dict(answer.headers), json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


def statuses(events: list[SentEvent]) -> list[tuple[str, str]]:
    return [(event.data["order_id"], event.data["status"]) for event in events]


def test_a_stream_tells_what_is_written_while_it_is_open(api: Program) -> None:
    with streaming(api, "?type=order") as stream:
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
    with streaming(api, "?type=order") as stream:
        next(stream.frames())
        _, first = place(api)
        [initiated] = stream.take(1)

    _, second = place(api)
    with streaming(api, "?type=order", headers={"Last-Event-ID": initiated.id}) as stream:
        events = stream.take(3)

    assert statuses(events) == [(first["id"], "COMPLETED"), (second["id"], "INITIATED"), (second["id"], "COMPLETED")]

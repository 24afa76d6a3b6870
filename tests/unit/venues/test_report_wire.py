"""What a reply to a page of execution reports says, or that it says nothing."""

from typing import Any

import pytest

from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.venues.http.report_wire import read_report_page
from ordertrail.venues.http.wire import Reply
from ordertrail.venues.venue import Compacted, OtherEpoch, Reports


def read(status: int, body: bytes, epoch: str | None = "e") -> Any:
    return read_report_page(Reply(status, body), epoch=epoch)


def test_page_gives_the_reports_byte_for_byte() -> None:
    body = b'{"epoch": "e", "executions": [ {"seq": 4, "new": "word"} ,{"seq":5}], "head": 9, "more": 1}'

    assert read(200, body) == Reports(b'[ {"seq": 4, "new": "word"} ,{"seq":5}]', 2, 4, 5, is_contiguous=True)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"epoch":"f","executions":[],"head":3}', OtherEpoch("f", 3)),
        (409, b'{"error":"epoch","epoch":"f","head":3}', OtherEpoch("f", 3)),
        (410, b'{"error":"compacted","oldest":8}', Compacted(8)),
    ],
)
def test_position_that_the_venue_has_not(status: int, body: bytes, expected: object) -> None:
    assert read(status, body) == expected


def test_page_of_any_epoch_is_taken_where_none_was_named() -> None:
    assert isinstance(read(200, b'{"epoch":"f","executions":[],"head":3}', epoch=None), Reports)


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (200, b"no JSON", "unreadable"),
        (200, b'{"epoch":"e","head":3}', "unreadable"),
        (200, b'{"epoch":"e","executions":{"epoch":"e","head":1},"head":3}', "unreadable"),
        (200, b'{"epoch":"e","executions":7,"head":3}', "unreadable"),
        (409, b'{"error":"duplicate_client_order_id"}', "http_409"),
        (410, b"", "http_410"),
        (410, b'{"error":"compacted","oldest":0}', "http_410"),
        (500, b"", "http_500"),
        (404, b'{"error":"not_found"}', "http_404"),
    ],
)
def test_reply_that_is_none_of_the_protocol_s_says_nothing(status: int, body: bytes, cause: str) -> None:
    answer = read(status, body)

    assert isinstance(answer, NoAnswer)
    assert answer.cause == cause

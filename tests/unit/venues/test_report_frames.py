"""What a frame of the venue's socket is, by the `seq` of its reports alone."""

import json
from typing import Any

import pytest

from ordertrail.venues.report_frames import join_bodies, read_frame, split_reports
from ordertrail.venues.venue import RAW_BYTES_MAX, Heartbeat, Reports, UnreadableFrame


def frame(*seqs: object) -> bytes:
    return json.dumps([{"seq": seq, "exec_id": f"é-{seq}"} for seq in seqs], ensure_ascii=False).encode()


def summary(data: bytes) -> Any:
    read = read_frame(data)
    assert isinstance(read, Reports)
    assert read.body == data
    return (read.count, read.first, read.last, read.is_contiguous)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frame(7), (1, 7, 7, True)),
        (frame(1, 2, 3), (3, 1, 3, True)),
        (frame(3, 1, 2), (3, 1, 3, True)),
        (frame(1, 3), (2, 1, 3, False)),
        (frame(1, 2, 2), (3, 1, 2, False)),
        (frame(1, 1, 3), (3, 1, 3, False)),
        (b" [ ] ", (0, None, None, False)),
        (b'[{"seq":2,"seq":1}]', (1, 1, 1, True)),
        (b'[{"seq":9223372036854775807}]', (1, 2**63 - 1, 2**63 - 1, True)),
        (b'[{"seq":1,"exec_type":"a new word"}]', (1, 1, 1, True)),
    ],
)
def test_reports_are_known_by_their_seq(data: bytes, expected: object) -> None:
    assert summary(data) == expected


@pytest.mark.parametrize(
    ("element", "first"),
    [
        ("7", 1), ("null", 1), ('"a"', 1), ("[]", 1), ("{}", 1), ('{"seq":null}', 1), ('{"seq":"2"}', 1),
        ('{"seq":1.5}', 1), ('{"seq":true}', 1), ('{"seq":0}', 1), ('{"seq":-1}', 1),
        ('{"seq":9223372036854775808}', 1), ('{"seq":2}', 1),
    ],
)  # fmt: skip
def test_array_with_something_else_in_it_loses_no_report(element: str, first: int) -> None:
    data = f'[{{"seq":1}}, {element}, {{"seq":3}}]'.encode()

    count, found_first, last, is_contiguous = summary(data)

    assert (count, found_first, last) == (3, first, 3)
    assert is_contiguous == (element == '{"seq":2}')
    assert [raw for _, raw in split_reports(data)] == [b'{"seq":1}', element.encode(), b'{"seq":3}']


def test_array_without_any_seq_is_kept_whole() -> None:
    assert summary(b'["a", {}]') == (2, None, None, False)


@pytest.mark.parametrize("head", [0, 5, 2**63 - 1])
def test_object_with_epoch_and_head_is_a_heartbeat(head: int) -> None:
    assert read_frame(b' {"epoch":"e-1","head":%d,"more":1}' % head) == Heartbeat("e-1", head)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"no JSON",
        b'[{"seq":1}',
        b'[{"seq":1}] [',
        b"{}",
        b'{"epoch":"e"}',
        b'{"epoch":"e","head":-1}',
        b'{"epoch":"e f","head":1}',
        b'{"epoch":7,"head":1}',
        b"7",
        b"null",
        b'[{"seq":1,"exec_id":"\xff"}]',
        b'[{"seq":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_neither_is_kept_as_it_came(data: bytes) -> None:
    read = read_frame(data)

    assert isinstance(read, UnreadableFrame)
    assert read.raw == data[:RAW_BYTES_MAX]
    assert read.why


def test_bodies_are_joined_without_writing_reports_anew() -> None:
    bodies = [b' [ {"seq": 1} ]\n', frame(2, 3), b'[{"seq":4}]']

    joined = join_bodies(bodies)

    assert summary(joined) == (4, 1, 4, True)
    assert b'{"seq": 1}' in joined
    assert join_bodies([bodies[0]]) == bodies[0]

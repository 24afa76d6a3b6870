"""Bytes of an event stream → events, by the HTML standard's rules; in whatever pieces the bytes come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.cli.event_stream import (
    DATA_CHARACTERS_MAX,
    LINE_BYTES_MAX,
    EventStreamParser,
    EventTooLong,
    StreamEvent,
)


def parsed(*chunks: bytes) -> list[StreamEvent]:
    parser = EventStreamParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: one\n\n", [StreamEvent("message", "one", "")]),
        (b"event: order\nid: 7\ndata: {}\n\n", [StreamEvent("order", "{}", "7")]),
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [StreamEvent("message", "YHOO\n+2\n10", "")]),
        (b"data\n\ndata\ndata\n\ndata:", [StreamEvent("message", "", ""), StreamEvent("message", "\n", "")]),
        (b"data:test\n\ndata: test\n\n", [StreamEvent("message", "test", "")] * 2),
        (b"data:  two spaces\n\n", [StreamEvent("message", " two spaces", "")]),
        (b"event: order\n\ndata: 1\n\n", [StreamEvent("message", "1", "")]),
        (b"id: 1\ndata: a\n\ndata: b\n\n", [StreamEvent("message", "a", "1"), StreamEvent("message", "b", "1")]),
        (b"id: 1\n\ndata: b\n\n", [StreamEvent("message", "b", "1")]),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [StreamEvent("message", "a", "1"), StreamEvent("message", "b", "")]),
        (
            b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n",
            [StreamEvent("message", "a", "1"), StreamEvent("message", "b", "1")],
        ),
        (b": a comment\n\n:data: x\ndata: 1\n: another\n\n", [StreamEvent("message", "1", "")]),
        (b"retry: 10\nDATA: 1\nunknown: 2\n data: 3\n\n", []),
        (b"data: cut off", []),
        (b"data: cut off\n", []),
        (b"\xef\xbb\xbfdata: 1\n\n", [StreamEvent("message", "1", "")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n", []),
        (b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [StreamEvent("message", "1", "")]),
        (b"data: \xff\xc3\n\n", [StreamEvent("message", "\N{REPLACEMENT CHARACTER}" * 2, "")]),
        (b"data: a\x0bb\x1cc\xc2\x85d\xe2\x80\xa8e\n\n", [StreamEvent("message", "a\x0bb\x1cc\x85d\u2028e", "")]),
        (b"data: a: b\n\n", [StreamEvent("message", "a: b", "")]),
        (b"", []),
        (b"\n\n\n", []),
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_a_stream_is_read_by_the_rules_of_the_standard(text: bytes, events: list[StreamEvent], line_end: bytes) -> None:
    assert parsed(text.replace(b"\n", line_end)) == events


def test_an_event_is_there_with_the_first_byte_of_its_end() -> None:
    parser = EventStreamParser()

    assert list(parser.feed(b"data: 1\r\n\r")) == [StreamEvent("message", "1", "")]
    assert list(parser.feed(b"\ndata: 2\n\n")) == [StreamEvent("message", "2", "")]


PIECES = [
    b"data",
    b"id",
    b"event",
    b":",
    b" ",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"x",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xc3",
    b"\xa9",
]


@given(
    text=st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join),
    cuts=st.lists(st.integers(0, 150), max_size=12).map(sorted),
)
def test_any_pieces_give_the_same_events(text: bytes, cuts: list[int]) -> None:
    starts, ends = [0, *cuts], [*cuts, len(text)]

    assert parsed(*[text[start:end] for start, end in zip(starts, ends, strict=True)]) == parsed(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_as_they_are_one_by_one(text: bytes) -> None:
    assert parsed(*[text[index : index + 1] for index in range(len(text))]) == parsed(text)


@pytest.mark.parametrize("end", [b"", b"\n\n"])
@pytest.mark.parametrize("size", [1, 1000, LINE_BYTES_MAX * 2])
def test_a_line_that_is_too_long_is_said_after_the_events_before_it(size: int, end: bytes) -> None:
    text = b"data: 1\n\n" + b"x" * (LINE_BYTES_MAX + 1) + end
    parser = EventStreamParser()
    events: list[StreamEvent] = []

    def feed() -> None:
        for start in range(0, len(text), size):
            events.extend(parser.feed(text[start : start + size]))

    with pytest.raises(EventTooLong, match=str(LINE_BYTES_MAX)):
        feed()
    assert events == [StreamEvent("message", "1", "")]


def test_a_line_within_the_limit_is_taken() -> None:
    value = "x" * (LINE_BYTES_MAX - len("data: "))

    assert parsed(f"data: {value}\n\n".encode()) == [StreamEvent("message", value, "")]


def test_an_event_of_too_many_lines_is_said() -> None:
    line = b"data: " + b"x" * 1000 + b"\n"
    lines = DATA_CHARACTERS_MAX // 1001

    assert len(parsed(line * lines + b"\n" + line * lines + b"\n")) == 2
    with pytest.raises(EventTooLong, match=str(DATA_CHARACTERS_MAX)):
        parsed(line * (lines + 1))


def test_comments_without_end_are_no_event_that_is_too_long() -> None:
    assert parsed(*[b": still here\n" * 1000] * 100, b"data: 1\n\n") == [StreamEvent("message", "1", "")]

"""The last moment before an order's first byte."""

import asyncio

import aiohttp
import pytest
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_writer import StreamWriter
from typing_extensions import override

from ordertrail.domain.venue_answer import NotSent
from ordertrail.venues.http.client import HttpVenue
from ordertrail.venues.http.send import NotWrittenError, SendOnce
from tests.support.clocks import ManualClock
from tests.support.payloads import RECORDED_ORDER


class Line(asyncio.Transport):
    """A connection that keeps what is written to it."""

    def __init__(self, *, closing: bool = False) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = closing

    @override
    def is_closing(self) -> bool:
        return self.closing

    @override
    def write(self, data: object) -> None:
        assert isinstance(data, bytes | bytearray | memoryview)
        self.written += data


def writer_on(line: Line) -> AbstractStreamWriter:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(line)
    return StreamWriter(protocol, loop)


async def test_body_is_written_before_send_by() -> None:
    line, body = Line(), SendOnce(b"order", send_by=10.0, clock=ManualClock(9.999))

    await body.write_with_length(writer_on(line), None)

    assert line.written == b"order"
    assert body.has_begun


@pytest.mark.parametrize("seconds", [10.0, 11.0])
async def test_nothing_is_written_from_send_by_on(seconds: float) -> None:
    line, body = Line(), SendOnce(b"order", send_by=10.0, clock=ManualClock(seconds))

    with pytest.raises(NotWrittenError):
        await body.write_with_length(writer_on(line), None)

    assert not line.written
    assert not body.has_begun
    assert body.window_has_passed


async def test_body_is_never_written_twice() -> None:
    line, body = Line(), SendOnce(b"order", send_by=10.0, clock=ManualClock(1.0))
    await body.write_with_length(writer_on(line), None)

    with pytest.raises(NotWrittenError):
        await body.write_with_length(writer_on(line), None)

    assert line.written == b"order"


async def test_nothing_is_written_once_the_answer_has_been_given() -> None:
    line, body = Line(), SendOnce(b"order", send_by=10.0, clock=ManualClock(1.0))
    body.close_window()

    with pytest.raises(NotWrittenError):
        await body.write_with_length(writer_on(line), None)

    assert not line.written
    assert not body.has_begun


async def test_kept_connection_that_the_venue_has_closed_takes_nothing() -> None:
    line, body = Line(closing=True), SendOnce(b"order", send_by=10.0, clock=ManualClock(1.0))

    with pytest.raises(NotWrittenError):
        await body.write_with_length(writer_on(line), None)

    assert not body.has_begun
    assert not body.window_has_passed


async def test_what_was_called_not_sent_cannot_leave_later(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[SendOnce] = []

    def keeps_the_body(session: object, method: str, url: object, *, data: SendOnce, **options: object) -> None:
        kept.append(data)
        raise aiohttp.ClientConnectionError

    venue = HttpVenue("http://127.0.0.1:9", clock=ManualClock(1.0), connections_max=1)
    await venue.open()
    monkeypatch.setattr(aiohttp.ClientSession, "request", keeps_the_body)
    answer = await venue.place(RECORDED_ORDER, send_by=10.0, timeout_seconds=10, accept_by=None)
    await venue.close()
    line = Line()

    with pytest.raises(NotWrittenError):
        await kept[0].write_with_length(writer_on(line), None)

    assert answer == NotSent("connect_failed")
    assert not line.written

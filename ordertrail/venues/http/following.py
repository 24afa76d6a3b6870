"""The socket over which a venue sends its execution reports: no compression, and no more read than is wanted."""

import asyncio
from typing import assert_never

import aiohttp
from yarl import URL

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.venues.http.call_failed import CALL_ERRORS, call_failed
from ordertrail.venues.report_frames import read_frame
from ordertrail.venues.venue import Heartbeat, Reports, UnreadableFrame

FRAME_BYTES_MAX = 8 * 1024 * 1024
# The venue says at least every 2 s that it is alive.
SILENCE_SECONDS_MAX = 3 * 2.0
CLOSE_SECONDS = 1.0

_DATA = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)

Socket = aiohttp.ClientWebSocketResponse[bool]


class HttpFollowing:
    """An open socket. While nothing is received of it, the library stops reading, and TCP holds the venue back."""

    def __init__(self, socket: Socket, first: Heartbeat, *, silence_seconds: float) -> None:
        self.epoch = first.epoch
        self.head = first.head
        self._socket = socket
        self._silence_seconds = silence_seconds

    async def receive(self) -> Reports | Heartbeat | UnreadableFrame | NoAnswer:
        return await _receive(self._socket, self._silence_seconds)

    async def close(self) -> None:
        # The venue's own close frame is not worth a wait, and its connection may be broken.
        try:
            await self._socket.close()
        except CALL_ERRORS:
            return


async def open_following(
    session: aiohttp.ClientSession, url: URL, *, timeout_seconds: float, silence_seconds: float = SILENCE_SECONDS_MAX
) -> HttpFollowing | NoAnswer | aiohttp.WSServerHandshakeError:
    """A socket whose first frame has come; the error is the venue's refusal to open one, without its body."""
    socket: Socket | None = None
    first: Heartbeat | NoAnswer | None = None
    try:
        async with asyncio.timeout(timeout_seconds):
            socket = await session.ws_connect(
                url,
                compress=0,
                decode_text=False,
                max_msg_size=FRAME_BYTES_MAX,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )
            first = await _first(socket)
    except aiohttp.WSServerHandshakeError as refusal:
        return refusal
    except CALL_ERRORS as error:
        failed = call_failed(error)
        return NoAnswer(failed.cause, failed.detail)
    finally:
        if socket is not None and not isinstance(first, Heartbeat):
            await HttpFollowing(socket, Heartbeat("", 0), silence_seconds=0).close()
    assert socket is not None
    if isinstance(first, NoAnswer):
        return first
    return HttpFollowing(socket, first, silence_seconds=silence_seconds)


async def _first(socket: Socket) -> Heartbeat | NoAnswer:
    first = await _receive(socket, None)
    match first:
        case Heartbeat() | NoAnswer():
            return first
        case Reports() | UnreadableFrame():
            return NoAnswer(Cause.UNREADABLE, "the first frame does not say epoch and head")
    assert_never(first)


async def _receive(socket: Socket, silence_seconds: float | None) -> Reports | Heartbeat | UnreadableFrame | NoAnswer:
    try:
        message = await socket.receive(silence_seconds)
    except TimeoutError:
        return NoAnswer(Cause.TIMEOUT, f"nothing came for {silence_seconds} s")
    except CALL_ERRORS as error:
        failed = call_failed(error)
        return NoAnswer(failed.cause, failed.detail)
    if message.type in _DATA:
        assert isinstance(message.data, bytes)
        return read_frame(message.data)
    if message.type is aiohttp.WSMsgType.ERROR:
        return NoAnswer(Cause.UNREADABLE, str(message.data))
    return NoAnswer(Cause.CONNECTION_LOST)

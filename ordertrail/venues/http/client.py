"""The connections to a venue over HTTP: one request a call, one deadline around all of it, and no retries."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar, assert_never
from urllib.parse import quote

import aiohttp
from yarl import URL

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.reason import Cause, http_cause
from ordertrail.domain.venue_answer import CancelAnswer, NoAnswer, NotSent, PlaceAnswer, Unknown, Verification
from ordertrail.runtime.clock import Clock
from ordertrail.venues.adapter_error import adapter_raised
from ordertrail.venues.http import wire
from ordertrail.venues.http.address import base_of
from ordertrail.venues.http.call_failed import CALL_ERRORS, CallFailed, call_failed
from ordertrail.venues.http.following import HttpFollowing, open_following
from ordertrail.venues.http.json_list import Slices
from ordertrail.venues.http.report_wire import read_report_page
from ordertrail.venues.http.send import SendOnce
from ordertrail.venues.http.wire import Reply
from ordertrail.venues.venue import Compacted, ExecutionPage, OpenOrders, OtherEpoch, Reports

# By kind of reply; what is longer is read no further, and is no answer.
REPLY_BYTES_MAX = 64 * 1024
OPEN_ORDERS_BYTES_MAX = 64 * 1024 * 1024
EXECUTIONS_BYTES_MAX = 8 * 1024 * 1024
# A list is read in slices of about a millisecond, and orders are placed between them: for as long as a slice took, so
# many times.
PAUSE_PER_SLICE = 2
# Common servers close an idle connection after 5 s. A client that writes on one just then learns nothing of the order.
KEEPALIVE_SECONDS = 4.0
DNS_TTL_SECONDS = 10
REFUSED_POSITION = (409, 410)
FEED_CONNECTIONS = 4  # one that is followed, one that ends, and pages
QUERIES_SHARE = 8  # one in so many connections is for querying, and one for cancelling

_HEADERS = {"User-Agent": "ordertrail", "Accept": "application/json", "Accept-Encoding": "identity"}
# Our own deadline covers all of a call, waiting for a connection included, so aiohttp needs none.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None)

_Learned = TypeVar("_Learned")


class HttpVenue:
    """A venue at a URL. Placing, cancelling and querying have connections of their own, so none starves another."""

    name = "http"

    def __init__(self, url: str, *, clock: Clock, connections_max: int) -> None:
        """CannotStart with a sentence where the URL cannot be one."""
        base = base_of(url)
        self._orders_url = URL(base + "/v1/orders", encoded=True)
        self._order_url = base + "/v1/orders/"
        self._open_orders_url = URL(base + "/v1/orders?open=true", encoded=True)
        self._executions_url = base + "/v1/executions"
        self._capabilities_url = URL(base + "/v1/capabilities", encoded=True)
        self._clock = clock
        self._connections_max = connections_max
        self._sessions: list[aiohttp.ClientSession] = []

    async def open(self) -> None:
        share = max(self._connections_max // QUERIES_SHARE, 1)
        self._placing = self._session(max(self._connections_max - 2 * share, 1))
        self._cancelling = self._session(share)
        self._querying = self._session(share)
        self._following = self._session(FEED_CONNECTIONS)

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()

    async def capabilities(self, *, timeout_seconds: float) -> Capabilities | NoAnswer:
        reply = await self._get(self._capabilities_url, timeout_seconds)
        return _learned(reply, wire.read_capabilities)

    async def place(
        self, order: Order, *, send_by: float, timeout_seconds: float, accept_by: datetime | None
    ) -> PlaceAnswer:
        body = SendOnce(wire.write_order(order, accept_by), send_by=send_by, clock=self._clock)
        try:
            reply = await _call(self._placing, "POST", self._orders_url, timeout_seconds, body=body)
            if body.has_begun and isinstance(reply, Reply):
                return wire.read_placed(reply, order, now=self._clock.now())
        except Exception as error:  # noqa: BLE001 - whatever is wrong here, whether a byte has left is known
            reply = CallFailed(Cause.ADAPTER_RAISED, adapter_raised(self.name, order.id, error))
        finally:
            body.close_window()
        if not body.has_begun:
            return NotSent(_why_not_sent(body, reply))
        assert isinstance(reply, CallFailed)
        return Unknown(reply.cause, reply.detail)

    async def query(self, order_id: str, *, timeout_seconds: float) -> Verification:
        reply = await self._get(self._url_of(order_id), timeout_seconds)
        return _learned(reply, partial(wire.read_order, order_id=order_id))

    async def cancel(self, order_id: str, *, timeout_seconds: float) -> CancelAnswer:
        reply = await _call(self._cancelling, "DELETE", self._url_of(order_id), timeout_seconds)
        return _learned(reply, wire.read_canceled)

    async def open_orders(self, *, timeout_seconds: float) -> OpenOrders | NoAnswer:
        reply = await self._get(self._open_orders_url, timeout_seconds, bytes_max=OPEN_ORDERS_BYTES_MAX)
        return await _in_slices(_learned(reply, wire.read_open_orders), self._clock)

    async def executions(self, *, after: int, limit: int, timeout_seconds: float) -> ExecutionPage | NoAnswer:
        url = URL(f"{self._executions_url}?after={after}&limit={limit}", encoded=True)
        reply = await self._get(url, timeout_seconds, bytes_max=EXECUTIONS_BYTES_MAX)
        reading = _learned(reply, partial(wire.read_executions, after=after, limit=limit))
        return await _in_slices(reading, self._clock)

    async def follow(
        self, *, after: int, epoch: str | None, timeout_seconds: float
    ) -> HttpFollowing | OtherEpoch | Compacted | NoAnswer:
        deadline = self._clock.monotonic() + timeout_seconds
        url = self._reports_url(after, epoch)
        opened = await open_following(self._following, url, timeout_seconds=timeout_seconds)
        match opened:
            case HttpFollowing(epoch=followed) if epoch is not None and followed != epoch:
                await opened.close()
                return OtherEpoch(followed, opened.head)
            case HttpFollowing() | NoAnswer():
                return opened
            case aiohttp.WSServerHandshakeError(status=status):
                return await self._why_not(status, after, epoch, deadline - self._clock.monotonic())
        assert_never(opened)

    async def report_page(
        self, *, after: int, limit: int, epoch: str, timeout_seconds: float
    ) -> Reports | OtherEpoch | Compacted | NoAnswer:
        return await self._report_page(after, limit, epoch, timeout_seconds)

    async def _report_page(
        self, after: int, limit: int, epoch: str | None, timeout_seconds: float
    ) -> Reports | OtherEpoch | Compacted | NoAnswer:
        url = URL(f"{self._reports_url(after, epoch)}&limit={limit}", encoded=True)
        reply = await _call(self._following, "GET", url, timeout_seconds, bytes_max=EXECUTIONS_BYTES_MAX)
        return _learned(reply, partial(read_report_page, epoch=epoch))

    async def _why_not(
        self, status: int, after: int, epoch: str | None, timeout_seconds: float
    ) -> OtherEpoch | Compacted | NoAnswer:
        """A page is refused for the same reasons, and the library gives its body."""
        if status not in REFUSED_POSITION:
            return NoAnswer(http_cause(status))
        page = await self._report_page(after, 1, epoch, timeout_seconds)
        return NoAnswer(http_cause(status)) if isinstance(page, Reports) else page

    def _reports_url(self, after: int, epoch: str | None) -> URL:
        of_epoch = "" if epoch is None else f"&epoch={quote(epoch, safe='')}"
        return URL(f"{self._executions_url}?after={after}{of_epoch}", encoded=True)

    async def _get(self, url: URL, timeout_seconds: float, bytes_max: int = REPLY_BYTES_MAX) -> Reply | CallFailed:
        return await _call(self._querying, "GET", url, timeout_seconds, bytes_max=bytes_max)

    def _url_of(self, order_id: str) -> URL:
        return URL(self._order_url + quote(order_id, safe=""), encoded=True)

    def _session(self, connections_max: int) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections_max, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=DNS_TTL_SECONDS
            ),
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            auto_decompress=False,
            trust_env=False,
        )
        self._sessions.append(session)
        return session


async def _call(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    timeout_seconds: float,
    *,
    body: SendOnce | None = None,
    bytes_max: int = REPLY_BYTES_MAX,
) -> Reply | CallFailed:
    """The reply in full, or why there is none.

    aiohttp repeats a request by itself only where a kept connection broke and the method is idempotent: a GET or
    a DELETE of ours may go out twice, which is harmless; a POST never does.
    """
    try:
        async with (
            asyncio.timeout(timeout_seconds),
            session.request(method, url, data=body, allow_redirects=False) as response,
        ):
            # Of an answer that shows no list, no list need be read.
            bytes_max = bytes_max if response.status == 200 else min(bytes_max, REPLY_BYTES_MAX)
            received = await _receive(response, bytes_max)
            if received is None:
                response.close()
                return CallFailed(Cause.TOO_LARGE, f"more than {bytes_max} bytes")
            return Reply(response.status, received, response.headers.get("Retry-After"))
    except CALL_ERRORS as error:
        return call_failed(error)


async def _receive(response: aiohttp.ClientResponse, bytes_max: int) -> bytes | bytearray | None:
    """The body; None if it is longer than `bytes_max`, of which no more is read."""
    received: bytes | bytearray = await response.content.readany()
    while (is_short := len(received) <= bytes_max) and (part := await response.content.readany()):
        # A long one grows where it is; put together in the end, it would be there twice.
        received = bytearray(received) if isinstance(received, bytes) else received
        received += part
    return received if is_short else None


async def _in_slices(reading: Slices[_Learned] | NoAnswer, clock: Clock) -> _Learned | NoAnswer:
    """What was read, with most of the time for others: after every slice, a pause of several times its length."""
    if isinstance(reading, NoAnswer):
        return reading
    while True:
        begun_at = clock.monotonic()
        try:
            next(reading)
        except StopIteration as end:
            read: _Learned = end.value
            return read
        await asyncio.sleep((clock.monotonic() - begun_at) * PAUSE_PER_SLICE)


def _learned(reply: Reply | CallFailed, read: Callable[[Reply], _Learned]) -> _Learned | NoAnswer:
    """What the reply says, or why there is none to say it."""
    match reply:
        case Reply():
            return read(reply)
        case CallFailed():
            return NoAnswer(reply.cause, reply.detail)
    assert_never(reply)


def _why_not_sent(body: SendOnce, reply: Reply | CallFailed) -> Cause:
    if body.window_has_passed:
        return Cause.WINDOW_PASSED
    if reply == CallFailed(Cause.ADAPTER_RAISED):
        return Cause.ADAPTER_RAISED
    return Cause.CONNECT_TIMEOUT if reply == CallFailed(Cause.TIMEOUT) else Cause.CONNECT_FAILED

"""The HTTP adapter against servers that break every rule, on raw sockets."""

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import Accepted, CancelAccepted, Found, NoAnswer, NotSent, PlaceAnswer, Unknown
from ordertrail.runtime.clock import Clock, SystemClock
from ordertrail.venues.http.client import HttpVenue
from tests.support.clocks import ManualClock
from tests.support.open_streams import stream_server
from tests.support.payloads import RECORDED_ORDER, payload

WAIT_SECONDS_MAX = 20.0
SHORT_SECONDS = 0.3
ORDER = RECORDED_ORDER
PLACED = json.dumps(payload("placed")).encode()
VIEW = json.dumps(payload("order")).encode()


class Connection:
    """One connection as the server has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """A whole request; asyncio.IncompleteReadError where the client goes away instead."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")),
            0,
        )
        return head + await self._reader.readexactly(length)

    async def everything(self) -> bytes:
        return await self._reader.read()

    async def answer(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def respond(self, status: int, body: bytes, *headers: bytes) -> None:
        lines = [b"HTTP/1.1 %d Status" % status, b"Content-Length: %d" % len(body), *headers, b"", b""]
        await self.answer(b"\r\n".join(lines) + body)

    def reset(self) -> None:
        """RST instead of FIN."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()


Behaviour = Callable[[Connection], Awaitable[None]]


class Server:
    """Behaves once for each connection, in turn; the last behaviour stays."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self._behaviours = list(behaviours)
        self.connections = 0

    @asynccontextmanager
    async def run(self) -> AsyncIterator[str]:
        async with stream_server(self._serve) as port:
            yield f"http://127.0.0.1:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self._behaviours[min(self.connections, len(self._behaviours) - 1)]
        self.connections += 1
        connection = Connection(reader, writer)
        try:
            await behaviour(connection)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has gone, as it may
        finally:
            await connection.close()


class Venue(HttpVenue):
    """The adapter, with a patience for each call."""

    async def send(self, *, timeout_seconds: float = WAIT_SECONDS_MAX, order: Order = ORDER) -> PlaceAnswer:
        return await self.place(
            order, send_by=time.monotonic() + WAIT_SECONDS_MAX, timeout_seconds=timeout_seconds, accept_by=None
        )


@asynccontextmanager
async def venue_at(url: str, *, clock: Clock | None = None, connections_max: int = 8) -> AsyncIterator[Venue]:
    venue = Venue(url, clock=clock or SystemClock(), connections_max=connections_max)
    await venue.open()
    try:
        yield venue
    finally:
        await venue.close()


async def hears_nothing_more(connection: Connection) -> None:
    await connection.request()
    await connection.everything()


async def closes_before_answering(connection: Connection) -> None:
    await connection.request()


async def resets(connection: Connection) -> None:
    await connection.request()
    connection.reset()


async def resets_in_the_middle(connection: Connection) -> None:
    await connection.request()
    await connection.answer(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")
    connection.reset()


async def answers_html_502(connection: Connection) -> None:
    await connection.request()
    await connection.respond(502, b"<html><h1>Bad Gateway</h1></html>", b"Content-Type: text/html")


async def answers_200_with_a_login_page(connection: Connection) -> None:
    await connection.request()
    await connection.respond(200, b"<html>Please log in</html>", b"Content-Type: text/html")


async def answers_201_with_garbage(connection: Connection) -> None:
    await connection.request()
    await connection.respond(201, b"\x00\xff\xfe{]")


async def answers_for_a_foreign_order(connection: Connection) -> None:
    await connection.request()
    await connection.respond(201, PLACED.replace(b"order-1", b"order-2"))


async def truncates(connection: Connection) -> None:
    await connection.request()
    await connection.answer(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n" + PLACED)


async def truncates_chunks(connection: Connection) -> None:
    await connection.request()
    chunk = b"%x\r\n%b\r\n" % (len(PLACED), PLACED)
    await connection.answer(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)


async def never_ends_its_chunks(connection: Connection) -> None:
    await connection.request()
    await connection.answer(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await connection.answer(b"400\r\n" + b" " * 0x400 + b"\r\n")


async def never_ends_its_body(connection: Connection) -> None:
    await connection.request()
    await connection.answer(b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n")
    while True:
        await connection.answer(b" " * 1024)


async def never_ends_its_headers(connection: Connection) -> None:
    await connection.request()
    await connection.answer(b"HTTP/1.1 201 Created\r\n")
    while True:
        await connection.answer(b"X-Filler: " + b"x" * 1000 + b"\r\n")


async def announces_a_huge_body(connection: Connection) -> None:
    await connection.request()
    await connection.answer(b"HTTP/1.1 201 Created\r\nContent-Length: 9999999999\r\n\r\n" + b" " * 100_000)
    await connection.everything()


async def packs_its_answer(connection: Connection) -> None:
    await connection.request()
    await connection.respond(201, b"\x1f\x8b\x08" + PLACED, b"Content-Encoding: gzip")


async def speaks_another_protocol(connection: Connection) -> None:
    await connection.request()
    await connection.answer(b"SSH-2.0-OpenSSH_9.6\r\n")


async def drips(connection: Connection) -> None:
    await connection.request()
    await connection.answer(b"HTTP/1.1 201 Created\r\nContent-Length: 60000\r\n\r\n")
    while True:  # a byte in each turn of the loop: always something, never enough
        await connection.answer(b" ")
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        (closes_before_answering, "connection_lost"),
        (resets, "connection_lost"),
        (resets_in_the_middle, "connection_lost"),
        (truncates, "connection_lost"),
        (truncates_chunks, "connection_lost"),
        (answers_html_502, "http_502"),
        (answers_200_with_a_login_page, "http_200"),
        (answers_201_with_garbage, "unreadable"),
        (answers_for_a_foreign_order, "another_order"),
        (packs_its_answer, "unreadable"),
        (speaks_another_protocol, "unreadable"),
        (never_ends_its_headers, "unreadable"),
        (never_ends_its_chunks, "too_large"),
        (never_ends_its_body, "too_large"),
        (announces_a_huge_body, "too_large"),
    ],
)
async def test_hostile_answer_proves_nothing_and_nothing_is_sent_twice(behaviour: Behaviour, cause: str) -> None:
    server = Server(behaviour)

    async with server.run() as url, venue_at(url) as venue:
        placed = await venue.send()
        connections = server.connections
        queried = await venue.query(ORDER.id, timeout_seconds=WAIT_SECONDS_MAX)
        canceled = await venue.cancel(ORDER.id, timeout_seconds=WAIT_SECONDS_MAX)

    assert placed == Unknown(cause)
    assert connections == 1
    assert isinstance(queried, NoAnswer)
    assert isinstance(canceled, NoAnswer)


@pytest.mark.parametrize("behaviour", [hears_nothing_more, drips])
async def test_deadline_is_of_the_whole_call(behaviour: Behaviour) -> None:
    async with Server(behaviour).run() as url, venue_at(url) as venue:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            placed = await venue.send(timeout_seconds=SHORT_SECONDS)
            queried = await venue.query(ORDER.id, timeout_seconds=SHORT_SECONDS)

    assert placed == Unknown("timeout")
    assert queried == NoAnswer("timeout")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(status: int) -> None:
    elsewhere = Server(closes_before_answering)

    async with elsewhere.run() as other_url:

        async def redirects(connection: Connection) -> None:
            await connection.request()
            await connection.respond(status, b"", b"Location: " + other_url.encode())

        async with Server(redirects).run() as url, venue_at(url) as venue:
            placed = await venue.send()
            queried = await venue.query(ORDER.id, timeout_seconds=WAIT_SECONDS_MAX)

    assert placed == Unknown("redirect")
    assert queried == NoAnswer("redirect")
    assert elsewhere.connections == 0


async def test_request_is_the_protocols_and_carries_nothing_else() -> None:
    requests: list[bytes] = []

    async def accepts(connection: Connection) -> None:
        requests.append(await connection.request())
        await connection.respond(201, PLACED, b"Set-Cookie: id=1")
        requests.append(await connection.request())
        await connection.respond(201, PLACED)

    async with Server(accepts).run() as url, venue_at(url + "/base/") as venue:
        answers = [await venue.send(), await venue.send()]

    assert answers == [Accepted("X-1")] * 2
    assert requests[0] == requests[1]
    head, body = requests[0].split(b"\r\n\r\n")
    assert head.startswith(b"POST /base/v1/orders HTTP/1.1\r\n")
    assert b"Content-Type: application/json" in head
    assert json.loads(body)["client_order_id"] == "order-1"


async def test_kept_connection_that_breaks_under_an_order_leaves_it_unknown() -> None:
    async def answers_once_and_closes_on_the_next(connection: Connection) -> None:
        await connection.request()
        await connection.respond(201, PLACED)
        await connection.request()

    server = Server(answers_once_and_closes_on_the_next)
    async with server.run() as url, venue_at(url) as venue:
        first, second = await venue.send(), await venue.send()

    assert first == Accepted("X-1")
    assert second == Unknown("connection_lost")
    assert server.connections == 1


async def test_kept_connection_that_was_closed_meanwhile_is_not_used_again() -> None:
    async def answers_once(connection: Connection) -> None:
        request = await connection.request()
        await connection.respond(201 if request.startswith(b"POST") else 200, VIEW)

    server = Server(answers_once)
    async with server.run() as url, venue_at(url) as venue:
        first = await venue.send()
        # A question takes a connection of its own, and so long that the end of the first one is seen.
        queried = await venue.query(ORDER.id, timeout_seconds=WAIT_SECONDS_MAX)
        second = await venue.send()

    assert [first, second] == [Accepted("X-1")] * 2
    assert isinstance(queried, Found)
    assert server.connections == 3


@pytest.mark.parametrize("verb", ["query", "cancel"])
async def test_harmless_request_may_be_repeated_where_a_kept_connection_broke(verb: str) -> None:
    async def answers_once_and_closes_on_the_next(connection: Connection) -> None:
        request = await connection.request()
        await connection.respond(202 if request.startswith(b"DELETE") else 200, VIEW)
        await connection.request()

    server = Server(answers_once_and_closes_on_the_next)
    async with server.run() as url, venue_at(url) as venue:
        call = venue.query if verb == "query" else venue.cancel
        answers = [await call(ORDER.id, timeout_seconds=WAIT_SECONDS_MAX) for _ in range(2)]

    assert all(isinstance(answer, Found | CancelAccepted) for answer in answers)
    assert server.connections == 2


async def test_refused_connection_is_proof_that_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    async with venue_at(f"http://127.0.0.1:{port}") as venue:
        placed = await venue.send()
        queried = await venue.query(ORDER.id, timeout_seconds=WAIT_SECONDS_MAX)
        promised = await venue.capabilities(timeout_seconds=WAIT_SECONDS_MAX)

    assert placed == NotSent("connect_failed")
    assert [queried, promised] == [NoAnswer("connect_failed")] * 2


async def test_name_that_cannot_be_resolved_is_proof_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolves_nothing(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with venue_at("http://exchange.invalid") as venue:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolves_nothing)
        placed = await venue.send()

    assert placed == NotSent("connect_failed")


async def test_failed_tls_handshake_is_proof_that_nothing_was_sent() -> None:
    async def speaks_plainly(connection: Connection) -> None:
        await connection.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.everything()

    async with Server(speaks_plainly).run() as url, venue_at(url.replace("http:", "https:")) as venue:
        placed = await venue.send()

    assert placed == NotSent("connect_failed")


async def test_unanswered_tls_handshake_is_proof_that_nothing_was_sent() -> None:
    heard: list[bytes] = []

    async def listens(connection: Connection) -> None:
        heard.append(await connection.everything())

    async with Server(listens).run() as url, venue_at(url.replace("http:", "https:")) as venue:
        placed = await venue.send(timeout_seconds=SHORT_SECONDS)

    assert placed == NotSent("connect_timeout")
    assert not any(b"order-1" in data for data in heard)


async def test_waiting_for_a_free_connection_counts_and_ends_as_not_sent() -> None:
    is_busy, may_answer = asyncio.Event(), asyncio.Event()
    requests: list[bytes] = []

    async def takes_its_time(connection: Connection) -> None:
        requests.append(await connection.request())
        is_busy.set()
        await may_answer.wait()
        await connection.respond(201, PLACED)
        requests.append(await connection.everything())

    async with Server(takes_its_time).run() as url, venue_at(url, connections_max=1) as venue:
        slow = asyncio.create_task(venue.send())
        await asyncio.wait_for(is_busy.wait(), WAIT_SECONDS_MAX)
        waited = await venue.send(timeout_seconds=SHORT_SECONDS)
        may_answer.set()
        answer = await slow

    assert waited == NotSent("connect_timeout")
    assert answer == Accepted("X-1")
    assert len(requests) == 1 or requests[1] == b""


async def test_placing_that_hangs_leaves_connections_for_querying_and_cancelling() -> None:
    is_busy = asyncio.Event()

    async def answers_all_but_orders(connection: Connection) -> None:
        request = await connection.request()
        if request.startswith(b"POST"):
            is_busy.set()
            await connection.everything()
        await connection.respond(200 if request.startswith(b"GET") else 202, VIEW)

    async with Server(answers_all_but_orders).run() as url, venue_at(url, connections_max=1) as venue:
        hanging = asyncio.create_task(venue.send(timeout_seconds=WAIT_SECONDS_MAX))
        await asyncio.wait_for(is_busy.wait(), WAIT_SECONDS_MAX)
        queried = await venue.query(ORDER.id, timeout_seconds=WAIT_SECONDS_MAX)
        canceled = await venue.cancel(ORDER.id, timeout_seconds=WAIT_SECONDS_MAX)
        hanging.cancel()
        await asyncio.wait({hanging})

    assert isinstance(queried, Found)
    assert canceled == CancelAccepted()


Addresses = list[tuple[int, int, int, str, tuple[str, int]]]


def named(url: str) -> str:
    """The same address under a name, which has to be resolved first."""
    return url.replace("127.0.0.1", "exchange.invalid")


async def test_no_byte_leaves_once_send_by_has_passed_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(100.0)
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listens(connection: Connection) -> None:
        heard.set_result(await connection.everything())

    async with Server(listens).run() as url, venue_at(named(url), clock=clock) as venue:

        async def resolves_slowly(host: str, port: int, **options: object) -> Addresses:
            clock.time = 106.0
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolves_slowly)
        answer = await venue.place(ORDER, send_by=105.0, timeout_seconds=WAIT_SECONDS_MAX, accept_by=None)
        arrived = await asyncio.wait_for(heard, WAIT_SECONDS_MAX)

    assert answer == NotSent("send_window_passed")
    assert arrived == b""


async def test_no_byte_leaves_once_send_by_has_passed_while_waiting_for_a_connection() -> None:
    clock = ManualClock(100.0)
    is_busy, may_answer = asyncio.Event(), asyncio.Event()
    later: list[bytes] = []

    async def answers_once(connection: Connection) -> None:
        await connection.request()
        is_busy.set()
        await may_answer.wait()
        await connection.respond(201, PLACED)
        later.append(await connection.everything())

    async with Server(answers_once).run() as url, venue_at(url, clock=clock, connections_max=1) as venue:

        async def send() -> PlaceAnswer:
            return await venue.place(ORDER, send_by=105.0, timeout_seconds=WAIT_SECONDS_MAX, accept_by=None)

        first = asyncio.create_task(send())
        await asyncio.wait_for(is_busy.wait(), WAIT_SECONDS_MAX)
        second = asyncio.create_task(send())
        clock.time = 106.0
        may_answer.set()
        answers = [await first, await second]

    assert answers == [Accepted("X-1"), NotSent("send_window_passed")]
    assert not any(later)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def accepts(connection: Connection) -> None:
        await connection.request()
        await connection.respond(201, PLACED)

    proxy = Server(closes_before_answering)
    async with proxy.run() as proxy_url, Server(accepts).run() as url:
        monkeypatch.setenv("HTTP_PROXY", proxy_url)
        monkeypatch.setenv("http_proxy", proxy_url)
        async with venue_at(url) as venue:
            placed = await venue.send()

    assert placed == Accepted("X-1")
    assert proxy.connections == 0


async def test_caller_that_gives_up_leaves_no_order_behind_on_the_wire() -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listens(connection: Connection) -> None:
        heard.set_result(await connection.everything())

    class GivesUp(SystemClock):
        """The caller is cancelled in the very step before the order would be written."""

        @override
        def monotonic(self) -> float:
            placing.cancel()
            return float("inf")

    async with Server(listens).run() as url, venue_at(url, clock=GivesUp()) as venue:
        placing = asyncio.create_task(venue.place(ORDER, send_by=1.0, timeout_seconds=9, accept_by=None))
        with pytest.raises(asyncio.CancelledError):
            await placing
        arrived = await asyncio.wait_for(heard, WAIT_SECONDS_MAX)

    assert arrived == b""

"""Limits of connections: slow, half-sent, oversized and unreadable requests end, with an answer where there can be one.

Requests are not timed where they pass. One sweep over all connections, about once a second, sees which of them are
still in the phase in which it found them before; a request that makes progress costs nothing.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import httptools
from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from ordertrail.api.advice import advice_of
from ordertrail.api.event_stream import ABORT_CONNECTION
from ordertrail.api.place_responses import WholeResponse
from ordertrail.api.problems import CONTENT_TYPE, PROBLEMS, problem_body
from ordertrail.runtime.telemetry import metrics
from ordertrail.server.connection_limits import ConnectionLimits, Phase

SLICE_BYTES = 4096
# How long a client that is still sending may go on before its connection is cut: closing at once would reset it,
# and the reset would overtake the answer.
LINGER_SECONDS = 2.0
# Connections beyond the limit that may be open at once, only to be answered so.
SHED_CONNECTIONS_MAX = 256
# Chunked encoding spends at most six bytes on one of the body, and its extensions and trailers some more.
WIRE_BYTES_PER_BODY_BYTE = 8


class Connections(ServerState):
    """All connections of a server, with their limits."""

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__()
        self.limits = limits
        self.is_draining = False

    def all(self) -> "list[LimitedHttpProtocol]":
        """Those that are open now."""
        return [connection for connection in self.connections if isinstance(connection, LimitedHttpProtocol)]

    def sweep(self, now: float) -> None:
        """End what has taken too long; `now` is the event loop's time."""
        for connection in self.all():
            connection.sweep(now)


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits, and with problems for answers."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        assert isinstance(server_state, Connections)
        self._all = server_state
        self._limits = server_state.limits
        self._slice_bytes = min(SLICE_BYTES, self._limits.header_bytes_max)
        self._wire_bytes_max = self._limits.body_bytes_max * WIRE_BYTES_PER_BODY_BYTE + self._limits.header_bytes_max
        self._request_bytes = 0
        self._unread = b""
        self._reading_stopped = False
        self._refusal: tuple[str, str | None] | None = None
        self._last_phase: Phase | None = None
        self._last_scope: Any = None
        self._last_phase_since = 0.0
        self._unwritten_since: float | None = None
        self._unwritten_bytes = 0
        self._lingers_since: float | None = None
        self._take_whole = getattr(config.loaded_app, "take_whole", None)
        self._is_feeding = False
        self._unstarted: tuple[RequestResponseCycle, Any] | None = None
        self._socket: asyncio.Transport

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._socket = transport
        self.transport = _Closing(transport, self._close)  # type: ignore[assignment]  # all that a cycle uses of it
        excess = len(self.connections) - self._limits.connections_max
        if excess > SHED_CONNECTIONS_MAX:
            transport.abort()
        elif excess > 0:
            self._end("overloaded", limit="connections")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn tells only the latest request's cycle; one before it may still be answering.
        self.transport.write = _into_nothing  # type: ignore[method-assign]

    @property
    def phase(self) -> Phase:
        """Where the latest request stands: read off uvicorn's own fields, so that keeping it costs nothing."""
        cycle = self.cycle
        scope: object = self.scope
        if scope is None:
            return Phase.CONNECTED
        if cycle is None or cycle.scope is not scope:
            return Phase.HEAD
        if cycle.response_complete:
            return Phase.IDLE
        return Phase.BODY if cycle.more_body else Phase.ANSWERING

    @override
    def data_received(self, data: bytes) -> None:
        if self._reading_stopped:
            return
        if self._unread or len(data) > self._slice_bytes:
            self._unread += data
            self._feed_unread()
        else:
            self._feed(data)

    def _feed_unread(self) -> None:
        """Parse slice by slice, and only while nothing waits to be answered.

        A parser cannot be stopped within a slice, and every request in it takes memory until it is answered.
        """
        while self._unread and not self._reading_stopped and not self.pipeline:
            data, self._unread = self._unread[: self._slice_bytes], self._unread[self._slice_bytes :]
            self._feed(data)
        if self._unread:
            self.flow.pause_reading()

    def _feed(self, data: bytes) -> None:
        before = self.cycle
        was_between_requests = before is None or not before.more_body
        problem: str | None = None
        rest: bytes | None = None
        self._is_feeding = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            problem = "malformed-request"
        finally:
            self._is_feeding = False
        if self._unstarted is not None:
            self._start(*self._unstarted)
        if rest is not None:
            self._decline_upgrade(rest)
            return
        if problem is not None:
            self.refuse(problem, limit="syntax")
            return
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            # A slice that also ended an earlier request does not count: its length says nothing about this one.
            self._request_bytes += len(data) if cycle is before and was_between_requests else -self._request_bytes
            if self._request_bytes >= self._limits.header_bytes_max:
                self.refuse("headers-too-large", limit="header_bytes")
        elif cycle.more_body:
            self._request_bytes += len(data)
            if self._request_bytes >= self._wire_bytes_max:
                self.refuse("payload-too-large", limit="body_bytes")
        else:
            self._request_bytes = 0

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read a request that offers another protocol as if it did not.

        The parser leaves its body unread, and there are clients that offer HTTP/2 with every first request.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.refuse("malformed-request", limit="syntax")
            return
        lines = [method + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()]
        for name, value in self.headers:
            if name == b"connection":
                tokens = (token.strip().lower() for token in value.split(b","))
                lines.append(b"connection: " + b",".join(t for t in tokens if t in (b"close", b"keep-alive")))
            elif name != b"upgrade":
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    @override
    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_headers_complete()
        # Trailers are no headers: a field that comes after the body must not change what the request means.
        self.headers = []
        if self._all.is_draining:
            self.cycle.keep_alive = False

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._is_feeding:
            # Its body may be in the same slice, and then the request is whole before it begins.
            self._unstarted = cycle, app
        else:
            self._start_task(cycle, app)

    def _start_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope: Any = cycle.scope  # whose type in uvicorn has no extensions of others
        scope["extensions"] = {ABORT_CONNECTION: {"abort": self._socket.abort}}
        super()._start_asgi_task(cycle, app)

    def _start(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._unstarted = None
        is_plain = not (cycle.more_body or cycle.waiting_for_100_continue or self.flow.write_paused)
        if not (
            is_plain
            and self._take_whole is not None
            and self._take_whole(cycle.scope, bytes(cycle.body), partial(self._respond, cycle))
        ):
            self._start_task(cycle, app)

    def _respond(self, cycle: RequestResponseCycle, answer: WholeResponse | None) -> None:
        """Write a whole answer at once: uvicorn's own way takes two messages and checks each header for patterns."""
        if cycle.disconnected:
            return
        if answer is None:
            self._socket.abort()
            return
        status, headers, body = answer
        content = [STATUS_LINE[status]]
        for name, value in cycle.default_headers:
            content += (name, b": ", value, b"\r\n")
        for name, value in headers:
            if name == b"connection":
                cycle.keep_alive = False
            else:
                content += (name, b": ", value, b"\r\n")
        content.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        content.append(body)
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(content))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    @override
    def on_message_complete(self) -> None:
        cycle = self.cycle
        # Where an upgrade is declined, there is no cycle for what has been read.
        if cycle is not None and cycle.scope is self.scope and not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    @override
    def on_response_complete(self) -> None:
        # Instead of uvicorn's, which sets a timer for every answer.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._refusal is not None:
            problem, limit = self._refusal
            self._end(problem, limit=limit)
            return
        elif self.cycle.more_body:
            self.transport.close()  # What follows is a body that is not wanted.
            return
        self.flow.resume_reading()
        if self._unread:
            self._feed_unread()

    @override
    def shutdown(self) -> None:
        """Answer what is being answered, as the last on this connection; an idle one is left for `stop`."""
        if self.phase in (Phase.BODY, Phase.ANSWERING):
            self.cycle.keep_alive = False

    def stop(self) -> None:
        """Close, unless something is being answered; that is the last."""
        if self.phase in (Phase.HEAD, Phase.BODY):
            self.refuse("shutting-down", limit=None)
        elif self._lingers_since is None:
            self.finish()

    def finish(self) -> None:
        """Read no more, answer what has been read, and close."""
        self._reading_stopped = True
        self._unread = b""
        if self.cycle is None or self.cycle.response_complete:
            self._socket.close()
        else:
            self.cycle.keep_alive = False

    def refuse(self, problem: str, *, limit: str | None) -> None:
        """Answer the request that is being read with a problem, and close.

        Requests before it on this connection are answered first: else it would be taken for the answer to one of
        them, which may be an order that is being placed.
        """
        cycle = self.cycle
        self._reading_stopped = True
        self._unread = b""
        if cycle is None or cycle.response_complete:
            self._end(problem, limit=limit)
        elif self.pipeline or not cycle.more_body:
            if cycle.more_body:
                self.pipeline.popleft()
            self._refusal = problem, limit
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self._socket.close()
            else:
                self._end(problem, limit=limit)

    def sweep(self, now: float) -> None:
        """End the connection if it has been in its phase for too long."""
        if self._lingers_since is not None:
            if now - self._lingers_since > LINGER_SECONDS:
                self._socket.abort()
        elif unwritten_bytes := self._socket.get_write_buffer_size():
            # A stream need never be written to its end; what has a limit there is how long its client takes nothing.
            is_taken_from = unwritten_bytes < self._unwritten_bytes and self._is_streaming()
            self._unwritten_since = now if is_taken_from else self._unwritten_since or now
            self._unwritten_bytes = unwritten_bytes
            if now - self._unwritten_since > self._limits.answer_timeout_seconds:
                _count("answer_timeout")
                self._socket.abort()
        else:
            self._unwritten_since = None
            self._sweep_phase(self.phase, now)

    def _is_streaming(self) -> bool:
        """Whether an answer has begun whose length nobody knows."""
        cycle = self.cycle
        return cycle is not None and bool(cycle.chunked_encoding) and not cycle.response_complete

    def _sweep_phase(self, phase: Phase, now: float) -> None:
        if self.flow.read_paused:
            self._last_phase = None  # It is we who do not read.
        elif phase is not self._last_phase or self.scope is not self._last_scope:
            self._last_phase, self._last_scope, self._last_phase_since = phase, self.scope, now
        elif now - self._last_phase_since > self._limits.timeout_seconds_of(phase):
            if phase in (Phase.HEAD, Phase.BODY):
                self.refuse("request-timeout", limit=f"{phase.value}_timeout")
            else:
                _count(f"{phase.value}_timeout")
                self._socket.close()

    def _end(self, problem: str, *, limit: str | None) -> None:
        _count(limit)
        body = problem_body(problem, **self._advice(problem))
        status = PROBLEMS[problem].status
        lines = [STATUS_LINE[status]]
        lines += [name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers]
        if status == 503:
            lines.append(b"retry-after: 1\r\n")
        lines.append(f"content-type: {CONTENT_TYPE}\r\ncontent-length: {len(body)}\r\n".encode())
        lines.append(b"connection: close\r\n\r\n")
        self._socket.write(b"".join(lines) + body)
        self._linger()

    def _advice(self, problem: str) -> dict[str, Any]:
        """What a client may do whose request is an order, or has not said yet what it is."""
        begun: Any = self.scope  # None before the first request
        scope = begun or {"headers": ()}
        if (scope.get("method", "POST"), scope.get("path", "/orders")) != ("POST", "/orders"):
            return {}
        has_key = any(name == b"idempotency-key" for name, _ in scope["headers"])
        return {"advice": advice_of(problem, has_key=has_key)}

    def _close(self) -> None:
        """Close for a request's cycle, gently where its client is still sending."""
        if self._socket.is_closing():
            return
        if self.cycle is not None and self.cycle.more_body:
            self._linger()
        else:
            self._socket.close()

    def _linger(self) -> None:
        """Say that no more comes, and throw away what still arrives until the client has understood."""
        self._reading_stopped = True
        self._unread = b""
        if self._lingers_since is None and not self._socket.is_closing():
            self._lingers_since = self.loop.time()
            self.transport.is_closing = lambda: True  # type: ignore[method-assign]  # for uvicorn it is closed
            self._socket.write_eof()
            self.flow.resume_reading()


class _Closing:
    """A transport whose `close` is ours; the rest are its own methods, without a detour."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


def _into_nothing(data: "bytes | bytearray | memoryview[Any]") -> None:
    """Where answers go whose client has left."""


def _count(limit: str | None) -> None:
    if limit is not None:
        metrics.CONNECTIONS_ENDED.labels(limit).inc()

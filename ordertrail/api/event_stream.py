"""The answer that does not end: server-sent events, written as the client takes them.

Nothing is held for a client beyond its reader's own limit: what the socket does not take waits there, and a client that
takes too little is cut off.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from ordertrail.api.event_json import event_frame, heartbeat_frame
from ordertrail.events.reader import End, Reader
from ordertrail.events.watching import Watching
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.buffered import BufferedCounter
from ordertrail.runtime.telemetry.logs import get_logger

_log = get_logger()

ABORT_CONNECTION = "ordertrail.abort_connection"
"""In `extensions` of a request's scope, where the server has it: `{"abort": …}` ends the connection at once."""

# A client that takes less than this in STALLED_SECONDS is cut off.
CHUNK_BYTES = 64 * 1024
STALLED_SECONDS = 30.0
# How long a connection that was ended may take to say so.
GONE_SECONDS = 2.0
RECONNECT_MS = 1000

DELIVERED = BufferedCounter(metrics.EVENTS_DELIVERED)


class EventStream(Response):
    """Streams what the reader wants until the client hangs up, the reader ends, or the process stops."""

    media_type = "text/event-stream"

    def __init__(self, watching: Watching, reader: Reader, *, stalled_seconds: float = STALLED_SECONDS) -> None:
        # Not the framework's own beginning: it would say how long the body is.
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._watching = watching
        self._reader = reader
        self._stalled_seconds = stalled_seconds

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watching, reader = self._watching, self._reader
        client = _Client(receive, send, reader, stalled_seconds=self._stalled_seconds)
        try:
            await client.start(self.status_code, self.raw_headers)
            await client.write(b"retry: %d\n\n" % RECONNECT_MS + self._heartbeat())
            while reader.end is None and not client.is_stalled:
                deliveries = await watching.more(reader)
                # In one go with what was taken, for its `id` says that all up to it was given.
                frames = [delivery.joined(event_frame) for delivery in deliveries]
                if reader.is_beat_due or not deliveries:
                    frames.append(self._heartbeat())
                if reader.end is None:
                    await client.write(b"".join(frames))
                    DELIVERED.add(sum(len(delivery.events) for delivery in deliveries))
            await self._end(client, scope)
        finally:
            watching.leave(reader)
            client.close()

    def _heartbeat(self) -> bytes:
        self._reader.is_beat_due = False
        tail = self._watching.tail
        return heartbeat_frame(
            self._watching.position_of(self._reader),
            tail.head,
            horizon_seconds=tail.horizon_seconds,
            seconds_since_read=tail.seconds_since_read,
        )

    async def _end(self, client: "_Client", scope: Scope) -> None:
        end = self._reader.end
        if end is End.LEFT:
            return
        if client.is_stalled or end is End.LAGGING:
            metrics.EVENT_READERS_CUT_OFF.labels("stalled" if end is None else "lagging").inc()
        elif end is End.LOG_CHANGED:
            metrics.EVENT_READERS_CUT_OFF.labels("log_changed").inc()
        if client.is_stalled or end is End.LAGGING or not await client.finish():
            await client.abort(scope)


class _Client:
    """The two directions of one request: whether it is still there, and what it takes."""

    def __init__(self, receive: Receive, send: Send, reader: Reader, *, stalled_seconds: float) -> None:
        self.is_stalled = False
        self._send = send
        self._reader = reader
        self._stalled_seconds = stalled_seconds
        self._sending: asyncio.Timeout | None = None
        self._listening = asyncio.create_task(_until_gone(receive))
        self._listening.add_done_callback(self._left)
        reader.on_end = self._hurry

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head of the answer."""
        await self._give({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes) -> None:
        """All of it, unless the client takes too little, or the reader ends."""
        for start in range(0, len(body), CHUNK_BYTES):
            if self.is_stalled:
                return
            chunk = body if len(body) <= CHUNK_BYTES else body[start : start + CHUNK_BYTES]
            await self._give({"type": "http.response.body", "body": chunk, "more_body": True})

    async def finish(self) -> bool:
        """End the answer as it should; False: the client does not take even that."""
        self._stalled_seconds = GONE_SECONDS
        await self._give({"type": "http.response.body", "body": b"", "more_body": False})
        return not self.is_stalled

    async def abort(self, scope: Scope) -> None:
        """End the connection at once where the server can; any other closes it when the answer is given up."""
        extension: dict[str, Any] = (scope.get("extensions") or {}).get(ABORT_CONNECTION) or {}
        abort: Callable[[], None] | None = extension.get("abort")
        if abort is not None:
            abort()
            await asyncio.wait({self._listening}, timeout=GONE_SECONDS)

    def close(self) -> None:
        """It is no longer listened to."""
        self._listening.cancel()

    async def _give(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._stalled_seconds) as self._sending:
                await self._send(message)
        except TimeoutError:
            self.is_stalled = True
        finally:
            self._sending = None

    def _left(self, listening: "asyncio.Task[None]") -> None:
        """Also where listening has failed: a client of whom nothing more is heard has left."""
        self._reader.finish(End.LEFT)
        if not listening.cancelled() and (error := listening.exception()) is not None:
            _log.error("a client of a stream cannot be heard any more", exc_info=error)

    def _hurry(self) -> None:
        """Nobody waits for a client any more that has left, or takes nothing."""
        if self._sending is not None:
            bound_seconds = 0.0 if self._reader.end in (End.LAGGING, End.LEFT) else GONE_SECONDS
            self._sending.reschedule(asyncio.get_running_loop().time() + bound_seconds)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

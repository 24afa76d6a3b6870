"""The queue at NATS JetStream: one stream a venue, one consumer that all processors share.

The chain is the stream's own sequence: each frame says which is the last, and the server refuses one that is mistaken.
That outlives acknowledged frames, restarts and every window of de-duplication, none of which is trusted here.
"""

import asyncio
import contextlib
import hashlib
import json
import re
import urllib.parse
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js import errors as stream_errors

from ordertrail.queues.envelope import HEADER, frame_of, header_of, tail_of
from ordertrail.queues.queue import (
    Frame,
    Overtaken,
    Position,
    QueueFull,
    QueueUnavailable,
    follows,
    position_after,
)
from ordertrail.queues.splitting import ReportTooLarge, split
from ordertrail.runtime.telemetry.logs import get_logger

T = TypeVar("T")

CONSUMER = "processors"
# How long a frame may be worked on before it is offered to others; extended by a processor that takes longer.
ACK_WAIT_SECONDS = 30.0
# Frames that all processors together may have and not have acknowledged.
ACK_PENDING_MAX = 1_000
# A frame that is delivered for the last time and not acknowledged would never be offered again, and nobody would know.
DELIVERIES_MAX = -1
# Of one take; a frame larger than that comes alone.
TAKE_FRAMES_MAX = 256
TAKE_BYTES_MAX = 4 * 1024 * 1024
PING_SECONDS = 5
# For the headers, in a message that may be as large as the server says.
HEADER_BYTES = 4 * 1024
LATE_SECONDS = 1.0

_LAST_SEQUENCE_HEADER = "Nats-Expected-Last-Sequence"
_WRONG_LAST_SEQUENCE = 10071
_NOT_STORED = 10077
_NAME_IN_USE = 10058
_NO_MESSAGES, _EXPIRED, _GONE, _UNAVAILABLE = "404", "408", "409", "503"
_ACKNOWLEDGED, _GIVEN_BACK, _IN_PROGRESS = b"+ACK", b"-NAK", b"+WPI"

_log = get_logger()


@dataclass(frozen=True, slots=True)
class NatsDelivery:
    """Frames, and where to say what became of each."""

    frames: Sequence[Frame]
    _queue: "NatsQueue"
    _replies: Sequence[str]

    async def acknowledge(self) -> None:
        *others, last = self._replies
        await self._queue.say(others, _ACKNOWLEDGED)
        await self._queue.acknowledge(last)  # and all before it, which went over the same connection

    async def give_back(self) -> None:
        await self._say_if_possible(_GIVEN_BACK)

    async def extend(self) -> None:
        await self._say_if_possible(_IN_PROGRESS)

    async def _say_if_possible(self, word: bytes) -> None:
        try:
            await self._queue.say(self._replies, word)
        except QueueUnavailable as error:
            _log.info("a queue does not hear what becomes of its frames", word=word.decode(), error=str(error))


@dataclass(slots=True)
class _Connection:
    client: Client
    stream: JetStreamContext
    lost: "asyncio.Future[None]"


@dataclass(frozen=True, slots=True)
class _End:
    """Where a stream ends: the sequence of its last message, and the feed's position after it, if that is known."""

    sequence: int
    tail: Position | None


class NatsQueue:
    """One venue's stream. `url`: `nats://[user:password@]host[:port][,…][/prefix][?replicas=3]`, or `tls://…`.

    It is declared at the first use, and again whenever the server has lost it. Streams of different `prefix`
    (`ordertrail` if there is none) have nothing to do with each other. `bytes_max` is how much is kept.
    """

    def __init__(
        self,
        url: str,
        *,
        venue: str,
        bytes_max: int,
        timeout_seconds: float = 5.0,
        ack_wait_seconds: float = ACK_WAIT_SECONDS,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        servers = [server.rpartition("@") for server in parts.netloc.split(",")]
        self._servers = [f"{parts.scheme}://{place}" for _, _, place in servers]
        self._credentials = _credentials_of(next((known for known, _, _ in servers if known), ""))
        prefix = parts.path.strip("/") or "ordertrail"
        self._replicas = _replicas_of(parts.query)
        self._venue = venue
        self.name = f"{_as_name(prefix)}_executions_{_as_name(venue)}"
        self._subject = self.name
        self._bytes_max = bytes_max
        self._timeout_seconds = timeout_seconds
        self._ack_wait_seconds = ack_wait_seconds
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._is_closed = False
        self._publishing = asyncio.Lock()
        self._end: _End | None = None
        self._is_end_certain = False
        self._reports_a_frame = 1.0

    async def open(self) -> None:
        """Nothing yet: the first use connects."""

    async def close(self) -> None:
        self._is_closed = True
        async with self._connecting:
            connection, self._connection = self._connection, None
            if connection is not None:
                await _close(connection.client)

    @property
    def is_chained(self) -> bool:
        return True

    async def tail(self) -> Position | None:
        async with self._publishing:
            self._end = await self._read_end()
            return self._end.tail

    async def publish(self, frame: Frame, *, after: Position | None) -> None:
        async with self._publishing:
            if self._end is None or not self._is_end_certain:
                self._end = await self._read_end()
            if after is not None and not follows(self._end.tail, after):
                self._is_end_certain = False
                raise Overtaken(f"{after} was believed to be the tail, and it is {self._end.tail}.")
            connection = await self._connected()
            try:
                parts = split(frame, bytes_max=connection.client.max_payload - HEADER_BYTES)
            except ReportTooLarge as error:
                raise QueueUnavailable(f"{error} Raise `max_payload` of the NATS server.") from error
            for part in parts:
                await self._publish(part, tail=self._end.tail if after is None else position_after(part))

    async def take(self, *, reports_max: int, wait_seconds: float) -> NatsDelivery | None:
        wanted = max(1, min(TAKE_FRAMES_MAX, int(reports_max / self._reports_a_frame)))
        messages = await self._pull(frames_max=wanted, wait_seconds=0)
        if not messages and wait_seconds > 0:
            # One alone: what comes after it is there at the next take, and a frame waits for no other.
            messages = await self._pull(frames_max=1, wait_seconds=wait_seconds)
        if not messages:
            return None
        frames = [
            frame_of((message.headers or {}).get(HEADER), message.data, venue=self._venue) for message in messages
        ]
        average = sum(frame.count for frame in frames) / len(frames)
        self._reports_a_frame = max(1.0, (self._reports_a_frame + average) / 2)
        return NatsDelivery(frames, self, [message.reply for message in messages])

    async def depth(self) -> int | None:
        info = await self._info()
        return info.state.messages

    @property
    def is_depth_exact(self) -> bool:
        return True

    async def frames_waiting(self) -> int | None:
        """As `depth`, but nothing is declared; None: it is in reach, and nothing has been declared there yet."""
        connection = await self._connected()
        try:
            info = await self._bounded(connection, connection.stream.stream_info(self.name))
        except stream_errors.NotFoundError:
            return None
        except (stream_errors.APIError, stream_errors.NoStreamResponseError) as error:
            raise QueueUnavailable(_words(error)) from error
        return info.state.messages

    async def acknowledge(self, reply: str) -> None:
        """Say that a frame is worked off, and wait until the server has heard it."""
        connection = await self._connected()
        await self._bounded(connection, connection.client.request(reply, _ACKNOWLEDGED, timeout=self._timeout_seconds))

    async def say(self, replies: Sequence[str], word: bytes) -> None:
        """Say of each frame what becomes of it."""
        connection = await self._connected()

        async def say_all() -> None:
            for reply in replies:
                await connection.client.publish(reply, word)

        await self._bounded(connection, say_all())

    async def _publish(self, frame: Frame, *, tail: Position | None) -> None:
        assert self._end is not None
        headers = {_LAST_SEQUENCE_HEADER: str(self._end.sequence), HEADER: header_of(frame, tail=tail)}
        connection = await self._connected()
        self._is_end_certain = False  # until the server has answered
        try:
            answer = await self._bounded(
                connection,
                connection.stream.publish(self._subject, frame.body, timeout=self._timeout_seconds, headers=headers),
            )
        except stream_errors.NoStreamResponseError:
            await self._declare(connection)
            raise Overtaken("The stream was gone; it has been declared again.") from None
        except stream_errors.APIError as error:
            raise _why_refused(error) from error
        self._end = _End(answer.seq, tail)
        self._is_end_certain = True

    async def _read_end(self) -> _End:
        info = await self._info()
        sequence = info.state.last_seq
        self._is_end_certain = True
        if self._end is not None and self._end.sequence == sequence:
            return self._end  # also where all of it has been worked off
        if info.state.messages == 0:
            return _End(sequence, None)
        connection = await self._connected()
        try:
            last = await self._bounded(connection, connection.stream.get_last_msg(self.name, self._subject))
        except stream_errors.NotFoundError:  # the processors have been quicker
            return _End(sequence, None)
        except stream_errors.APIError as error:
            raise QueueUnavailable(_words(error)) from error
        # Acknowledged frames are gone, also newer ones: then this is lower than what the feed had reached.
        return _End(max(sequence, last.seq or 0), tail_of((last.headers or {}).get(HEADER)))

    async def _info(self) -> api.StreamInfo:
        connection = await self._connected()
        try:
            return await self._bounded(connection, connection.stream.stream_info(self.name))
        except stream_errors.NotFoundError:
            await self._declare(connection)
        except stream_errors.APIError as error:
            raise QueueUnavailable(_words(error)) from error
        try:
            return await self._bounded(connection, connection.stream.stream_info(self.name))
        except stream_errors.APIError as error:
            raise QueueUnavailable(_words(error)) from error

    async def _pull(self, *, frames_max: int, wait_seconds: float) -> list[Msg]:
        """Frames that are there, or the first that comes; the answers come to an inbox of this call's own."""
        connection = await self._connected()
        client = connection.client
        bytes_max = max(TAKE_BYTES_MAX, client.max_payload + HEADER_BYTES)
        request: dict[str, object] = {"batch": frames_max, "max_bytes": bytes_max}
        if wait_seconds:
            request["expires"] = int(wait_seconds * 1e9)
        else:
            request["no_wait"] = True
        inbox = client.new_inbox()
        subscription = await self._bounded(connection, client.subscribe(inbox))
        try:
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.name}.{CONSUMER}"
            await self._bounded(connection, client.publish(subject, json.dumps(request).encode(), inbox))
            messages: list[Msg] = []
            while len(messages) < frames_max:
                # The server ends the request by itself; later than that, it does not answer.
                limit = wait_seconds + (LATE_SECONDS if wait_seconds else self._timeout_seconds)
                try:
                    message = await self._bounded(connection, subscription.next_msg(limit), limit=limit)
                except QueueUnavailable:
                    if messages:
                        break
                    raise
                status = (message.headers or {}).get("Status") if not message.data else None
                if status is None:
                    messages.append(message)
                    continue
                if status == _UNAVAILABLE or (status == _GONE and not messages):
                    await self._when_refused(connection, message)
                break
            return messages
        finally:
            if not client.is_closed:
                await self._leave(subscription)

    async def _when_refused(self, connection: _Connection, message: Msg) -> None:
        """No such consumer, or one that is just being deleted: declare it. Of other reasons none lasts."""
        described = (message.headers or {}).get("Description", "")
        if "Exceeded" in described or "Batch Completed" in described:
            return
        await self._declare(connection)

    async def _leave(self, subscription: Any) -> None:
        try:
            await subscription.unsubscribe()
        except errors.Error:
            return

    async def _declare(self, connection: _Connection) -> None:
        """The stream and its consumer, as they are to be; changes nothing that is so already."""
        config = api.StreamConfig(
            name=self.name,
            subjects=[self._subject],
            description="Execution reports on their way from the feed to the processors",
            retention=api.RetentionPolicy.WORK_QUEUE,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            max_bytes=self._bytes_max,
            num_replicas=self._replicas,
        )
        consumer = api.ConsumerConfig(
            durable_name=CONSUMER,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait_seconds,
            max_deliver=DELIVERIES_MAX,
            max_ack_pending=ACK_PENDING_MAX,
        )
        try:
            try:
                await self._bounded(connection, connection.stream.add_stream(config))
            except stream_errors.BadRequestError as error:
                if error.err_code != _NAME_IN_USE:
                    raise
                await self._bounded(connection, connection.stream.update_stream(config))
            await self._bounded(connection, connection.stream.add_consumer(self.name, consumer))
        except stream_errors.APIError as error:
            raise QueueUnavailable(f"The stream {self.name} cannot be declared: {_words(error)}") from error
        _log.info("a stream is declared", stream=self.name)

    async def _connected(self) -> _Connection:
        """The connection, or a new one where it was lost; QueueUnavailable. What was declared may be lost with it."""
        connection = self._connection
        if connection is not None and connection.client.is_connected:
            return connection
        async with self._connecting:
            connection = self._connection
            if connection is not None and connection.client.is_connected:
                return connection
            if self._is_closed:
                raise QueueUnavailable("The queue has been closed.")
            if connection is not None:
                self._connection = None
                await _close(connection.client)
            self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> _Connection:
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def when_closed() -> None:
            if not lost.done():
                lost.set_result(None)

        # The library does not reconnect by itself: it would send later what nobody waits for any more.
        client = Client()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await client.connect(
                    self._servers,
                    user=self._credentials.get("user"),
                    password=self._credentials.get("password"),
                    token=self._credentials.get("token"),
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=max(1, int(self._timeout_seconds)),
                    ping_interval=PING_SECONDS,
                    error_cb=_ignore,
                    closed_cb=when_closed,
                    name="ordertrail",
                )
        except (errors.Error, OSError, TimeoutError) as error:
            await _close(client)
            raise QueueUnavailable(f"NATS cannot be reached: {_words(error)}") from error
        except BaseException:
            await _close(client)
            raise
        return _Connection(client, client.jetstream(timeout=self._timeout_seconds), lost)

    async def _bounded(self, connection: _Connection, call: Awaitable[T], *, limit: float | None = None) -> T:
        """What comes of a call; QueueUnavailable where the connection is lost meanwhile, or nothing comes in time."""
        limit = (self._timeout_seconds if limit is None else limit) + LATE_SECONDS
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit) as scope:

                def end_now(_lost: "asyncio.Future[None]") -> None:
                    with contextlib.suppress(RuntimeError):  # the call has just ended
                        scope.reschedule(loop.time())

                connection.lost.add_done_callback(end_now)
                try:
                    return await call
                finally:
                    connection.lost.remove_done_callback(end_now)
        except (stream_errors.APIError, stream_errors.NoStreamResponseError):
            raise
        except (errors.Error, OSError, TimeoutError) as error:
            why = "The connection to NATS was lost" if connection.lost.done() else "NATS does not answer"
            raise QueueUnavailable(f"{why}: {_words(error)}") from error


def _credentials_of(text: str) -> dict[str, str]:
    """Of a URL, where they are escaped: `user:password`, or a token; the library takes them as they stand."""
    user, colon, password = map(urllib.parse.unquote, text.partition(":"))
    if not user:
        return {}
    return {"user": user, "password": password} if colon else {"token": user}


def _replicas_of(query: str) -> int:
    given = urllib.parse.parse_qs(query, keep_blank_values=True)
    replicas = given.pop("replicas", ["1"])[0]
    if given or not replicas.isdecimal():
        raise ValueError("what follows the question mark may be replicas=3")
    return int(replicas)


def _why_refused(error: stream_errors.APIError) -> Exception:
    if error.err_code == _WRONG_LAST_SEQUENCE:
        return Overtaken(_words(error))
    if error.err_code == _NOT_STORED and "maximum" in (error.description or ""):
        return QueueFull(_words(error))
    return QueueUnavailable(_words(error))


def _words(error: BaseException) -> str:
    described = error.description if isinstance(error, stream_errors.APIError) else str(error).removeprefix("nats: ")
    return f"{described or type(error).__name__}"


def _as_name(text: str) -> str:
    """The text as a part of a stream's name; two texts never become one."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    return plain if plain == text else f"{plain}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


async def _ignore(_error: Exception) -> None:
    """The caller learns of it; the library's own answer is a traceback."""


async def _close(client: Client) -> None:
    try:
        async with asyncio.timeout(LATE_SECONDS):
            await client.close()
    except (errors.Error, OSError, TimeoutError):
        return

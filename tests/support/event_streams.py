"""Clients of `GET /events` over bare sockets, one event at a time."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.programs import WAIT_SECONDS


@dataclass
class SentEvent:
    """One event of a stream, as it came."""

    id: str
    type: str
    data: dict[str, Any]


@dataclass
class Stream:
    """An answer that is being read; whatever has to come comes in time, or TimeoutError says that it does not."""

    connection: socket.socket
    status: int
    headers: dict[str, str]
    _file: Any
    last_id: str | None = None
    heartbeats: list[SentEvent] = field(default_factory=list)
    is_ended: bool = False

    def chunk(self) -> bytes:
        """The next part of the body; empty: it has ended as it should. Raises ConnectionError where it was cut."""
        line = self._file.readline()
        if not line:
            raise ConnectionError("the answer was cut")
        size = int(line, 16)
        body: bytes = self._file.read(size)
        if len(body) < size or self._file.read(2) != b"\r\n":
            raise ConnectionError("the answer was cut")
        return body

    def rest(self) -> bytes:
        """What else there is until the connection ends, however it does, as it comes over the wire."""
        received = b""
        with suppress(ConnectionError):
            while chunk := self.connection.recv(1 << 20):
                received += chunk
        return received

    def frames(self) -> Iterator[SentEvent]:
        """Events and heartbeats, until the answer ends."""
        unread = b""
        while body := self.chunk():
            unread += body
            while b"\n\n" in unread:
                block, unread = unread.split(b"\n\n", 1)
                fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
                if "data" in fields:
                    self.last_id = fields["id"]
                    yield SentEvent(fields["id"], fields["event"], json.loads(fields["data"]))
        assert unread == b""
        self.is_ended = True

    def events(self) -> Iterator[SentEvent]:
        """Events alone; heartbeats are kept beside."""
        for event in self.frames():
            if event.type == "heartbeat":
                self.heartbeats.append(event)
            else:
                yield event

    def take(self, count: int) -> list[SentEvent]:
        """The next so many events."""
        events = self._events
        return [next(events) for _ in range(count)]

    def __post_init__(self) -> None:
        self._events = self.events()


@contextmanager
def streaming(
    port: int, query: str = "", *, headers: Mapping[str, str] | None = None, receive_bytes: int | None = None
) -> Iterator[Stream]:
    """`GET /events`; `receive_bytes`: how much the client's socket takes that nobody reads."""
    with socket.socket() as connection:
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(WAIT_SECONDS)
        connection.connect(("127.0.0.1", port))
        lines = [
            f"GET /events{query} HTTP/1.1",
            "Host: x",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        with connection.makefile("rb") as file:
            status = int(file.readline().split()[1])
            answered = {}
            while line := file.readline().strip():
                name, _, value = line.decode().partition(": ")
                answered[name.lower()] = value
            yield Stream(connection, status, answered, file)

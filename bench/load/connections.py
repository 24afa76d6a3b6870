"""Connections with one request at a time, and responses cut by their Content-Length."""

import select
import socket
import time
from collections import Counter

_RECEIVE_BYTES = 65536
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "


class BadResponse(Exception):
    """The server sent something that this generator does not understand: the measurement is void."""


class Connections:
    """All sockets of a run, the responses that have begun, and what was answered."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.answers: Counter[bytes] = Counter()
        self.lost = 0
        self._under_way: set[int] = set()
        self._begun: dict[int, bytes] = {}
        for opened in sockets:
            opened.setblocking(False)
            self.sockets[opened.fileno()] = opened
            self.epoll.register(opened.fileno(), select.EPOLLIN)

    def send(self, number: int, request: bytes) -> None:
        self._under_way.add(number)
        try:
            self.sockets[number].send(request)
        except OSError:
            self._lose(number)

    def receive(self, number: int) -> bytes | None:
        """Read what has come; the status if the response is whole, otherwise None."""
        try:
            data = self.sockets[number].recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self._lose(number)
            return None
        if number in self._begun:
            data = self._begun.pop(number) + data
        end = data.find(_END_OF_HEAD)
        if end < 0 or len(data) < end + 4 + _content_length(data[:end]):
            self._begun[number] = data
            return None
        self._under_way.discard(number)
        status = data[9:12]
        self.answers[status] += 1
        return status

    def drain(self, seconds_max: float) -> None:
        """Wait for the answers under way; what does not come in time is lost."""
        deadline = time.perf_counter() + seconds_max
        while self._under_way and time.perf_counter() < deadline:
            for number, _ in self.epoll.poll(0.1):
                self.receive(number)
        self.lost += len(self._under_way)

    def by_status(self) -> dict[str, int]:
        return {status.decode(): count for status, count in sorted(self.answers.items())}

    def close(self) -> None:
        for opened in self.sockets.values():
            opened.close()
        self.epoll.close()

    def _lose(self, number: int) -> None:
        """A connection that the server closed; it counts as a lost answer only if one was due."""
        self.epoll.unregister(number)
        self.sockets.pop(number).close()
        self._begun.pop(number, None)
        if number in self._under_way:
            self._under_way.discard(number)
            self.lost += 1


def _content_length(head: bytes) -> int:
    head = head.lower()
    at = head.find(_LENGTH)
    if at < 0 or not head.startswith(b"http/1.1 "):
        raise BadResponse(head)
    at += len(_LENGTH)
    end = head.find(b"\r", at)
    return int(head[at:] if end < 0 else head[at:end])

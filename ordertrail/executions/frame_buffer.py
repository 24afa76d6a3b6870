"""What has been received and is on its way to the queue: bounded, in its order, and small frames joined.

While it is full nobody puts anything in, so nothing is read from the venue's socket, and the venue's own log waits.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from ordertrail.venues.report_frames import join_bodies, join_reports, split_reports

BUFFER_BYTES_MAX = 8 * 1024 * 1024
JOINED_REPORTS_MAX = 1000
# What every queue takes as one message.
PIECE_BYTES_MAX = 512 * 1024
# Both, less the comma that the last report does without.
BRACKETS_BYTES = 1


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame to be: reports as they came. `first`, `last`: as in a `Frame`. Chained, it moves the queue's tail."""

    body: bytes
    count: int
    first: int | None
    last: int | None
    is_chained: bool


def split_piece(piece: Piece) -> list[Piece]:
    """The same reports in pieces that a queue takes; mostly it is one already."""
    if len(piece.body) <= PIECE_BYTES_MAX or piece.count <= 1:
        return [piece]
    elements = split_reports(piece.body)
    is_run = piece.first is not None
    if is_run:
        elements.sort(key=lambda element: element[0] or 0)
    pieces: list[Piece] = []
    chunk: list[tuple[int | None, bytes]] = []
    size = BRACKETS_BYTES
    for element in elements:
        if chunk and size + len(element[1]) + 1 > PIECE_BYTES_MAX:
            pieces.append(_piece_of(chunk, is_run=is_run, is_chained=piece.is_chained))
            chunk, size = [], BRACKETS_BYTES
        chunk.append(element)
        size += len(element[1]) + 1
    return [*pieces, _piece_of(chunk, is_run=is_run, is_chained=piece.is_chained)]


def _piece_of(elements: list[tuple[int | None, bytes]], *, is_run: bool, is_chained: bool) -> Piece:
    first, last = (elements[0][0], elements[-1][0]) if is_run else (None, None)
    return Piece(join_reports([raw for _, raw in elements]), len(elements), first, last, is_chained)


class FrameBuffer:
    """For one who takes, and any who put."""

    def __init__(self, *, bytes_max: int = BUFFER_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._waiting: deque[Piece] = deque()
        self._bytes = 0
        self._in_hand = 0
        self._filled = asyncio.Event()
        self._freed = asyncio.Event()

    async def put(self, piece: Piece) -> None:
        """Once there is room; one piece may go beyond it."""
        while self._bytes >= self._bytes_max:
            await self._wait_for(self._freed)
        self._waiting.append(piece)
        self._bytes += len(piece.body)
        self._filled.set()

    async def take(self) -> Piece:
        """The oldest, with what follows on it; it takes room until `done`."""
        while not self._waiting:
            await self._wait_for(self._filled)
        pieces = [self._waiting.popleft()]
        count, size = pieces[0].count, len(pieces[0].body)
        while self._waiting and _follows(pieces[-1], self._waiting[0]):
            count, size = count + self._waiting[0].count, size + len(self._waiting[0].body)
            if count > JOINED_REPORTS_MAX or size > PIECE_BYTES_MAX:
                break
            pieces.append(self._waiting.popleft())
        self._in_hand = sum(len(piece.body) for piece in pieces)
        joined = join_bodies([piece.body for piece in pieces])
        return Piece(joined, sum(p.count for p in pieces), pieces[0].first, pieces[-1].last, pieces[0].is_chained)

    def done(self) -> None:
        """What was taken is with the queue."""
        self._bytes -= self._in_hand
        self._in_hand = 0
        self._freed.set()

    async def drained(self) -> None:
        """All that was put in is with the queue."""
        while self._bytes:
            await self._wait_for(self._freed)

    @staticmethod
    async def _wait_for(event: asyncio.Event) -> None:
        event.clear()
        await event.wait()


def _follows(piece: Piece, following: Piece) -> bool:
    return (
        piece.is_chained == following.is_chained
        and piece.last is not None
        and following.first is not None
        and following.first == piece.last + 1
    )

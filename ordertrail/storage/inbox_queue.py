"""The queue that lives in the database: a feed publishes to it, and processors apply what it holds where it lies.

`take` is for who wants frames all the same: two may get the same ones, for nothing is locked between two statements.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ordertrail.queues.queue import Frame, Overtaken, Position, QueueFull, QueueUnavailable
from ordertrail.runtime.clock import Clock
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.execution_rows import INBOX_FRAMES_MAX, InboxRows

SIZE_IS_READ_SECONDS = 1.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class InboxDelivery:
    """The oldest frames, which others may be working on as well."""

    frames: Sequence[Frame]
    _queue: "InboxQueue"
    _numbers: Sequence[int]

    async def acknowledge(self) -> None:
        await self._queue.drop(self._numbers)

    async def give_back(self) -> None:
        """They have never been away."""

    async def extend(self) -> None:
        """Nobody waits for them."""


class InboxQueue:
    """One venue's; it keeps frames of about `bytes_max` in all."""

    is_chained = True
    is_depth_exact = True

    def __init__(self, rows: InboxRows, clock: Clock, *, venue: str, bytes_max: int) -> None:
        self._rows = rows
        self._clock = clock
        self._venue = venue
        self._bytes_max = bytes_max
        self._is_full = False
        self._size_read_at = float("-inf")

    async def open(self) -> None:
        """The database's connections are its owner's."""

    async def close(self) -> None:
        """Nor are they closed here."""

    async def tail(self) -> Position | None:
        try:
            return await self._rows.inbox_tail(self._venue)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            raise QueueUnavailable(str(error)) from error

    async def publish(self, frame: Frame, *, after: Position | None) -> None:
        try:
            if await self._is_too_large():
                raise QueueFull(f"The inbox has frames of {self._bytes_max} bytes.")
            is_taken = await self._put(frame, after)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            raise QueueUnavailable(str(error)) from error
        if not is_taken:
            raise Overtaken(f"{after} was believed to be the tail.")

    async def take(self, *, reports_max: int, wait_seconds: float) -> InboxDelivery | None:
        deadline = self._clock.monotonic() + wait_seconds
        while not (waiting := await self._peek()):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return None
            await asyncio.sleep(min(POLL_SECONDS, left))
        count = 0
        taken: list[tuple[int, Frame]] = []
        for number, frame in waiting:
            if taken and count + frame.count > reports_max:
                break
            count += frame.count
            taken.append((number, frame))
        return InboxDelivery([frame for _, frame in taken], self, [number for number, _ in taken])

    async def depth(self) -> int | None:
        try:
            return await self._rows.inbox_depth(self._venue)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            raise QueueUnavailable(str(error)) from error

    async def drop(self, numbers: Sequence[int]) -> None:
        """What these frames said is committed."""
        try:
            await self._rows.drop_from_inbox(numbers)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            raise QueueUnavailable(str(error)) from error

    async def _put(self, frame: Frame, after: Position | None) -> bool:
        try:
            return await self._rows.put_in_inbox(frame, after=after)
        except StatementFailed as error:
            if not error.is_about_the_data:
                raise
        # Bytes that no text can have. Escaped they are no JSON: that report is parked, and its neighbours are not.
        text = frame.body.decode(errors="backslashreplace").replace("\0", "\\x00")
        return await self._rows.put_in_inbox(replace(frame, body=text.encode()), after=after)

    async def _peek(self) -> list[tuple[int, Frame]]:
        try:
            return await self._rows.peek_inbox(self._venue, frames_max=INBOX_FRAMES_MAX)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            raise QueueUnavailable(str(error)) from error

    async def _is_too_large(self) -> bool:
        now = self._clock.monotonic()
        if now - self._size_read_at >= SIZE_IS_READ_SECONDS:
            self._size_read_at = now
            self._is_full = await self._rows.inbox_bytes(beyond=self._bytes_max) >= self._bytes_max
        return self._is_full

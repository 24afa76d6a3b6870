"""A queue in memory that keeps all that the Protocol promises, and reports to fill frames with."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from ordertrail.queues.queue import (
    Frame,
    Overtaken,
    Position,
    QueueFull,
    QueueUnavailable,
    follows,
    position_after,
)


def frame(first: int, last: int, *, epoch: str = "e1", venue: str = "simulated", filler: str = "") -> Frame:
    """A frame with reports of these numbers."""
    body = json.dumps([{"seq": seq, "filler": filler} for seq in range(first, last + 1)]).encode()
    return Frame(venue, epoch, "order", last - first + 1, first, last, body)


@dataclass
class QueueStore:
    """What outlives the queue's clients."""

    frames: dict[int, Frame] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    tail: Position | None = None
    number: int = 0
    frames_max: int = 1_000_000
    is_reachable: bool = True
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def expire(self) -> None:
        """All that is held is offered again."""
        self.held.clear()
        self.change()


@dataclass(frozen=True)
class MemoryDelivery:
    """Frames of a `MemoryQueue`."""

    store: QueueStore
    numbers: Sequence[int]
    frames: Sequence[Frame]

    async def acknowledge(self) -> None:
        _reach(self.store)
        for number in self.numbers:
            self.store.frames.pop(number, None)
            self.store.held.discard(number)

    async def give_back(self) -> None:
        self.store.held.difference_update(self.numbers)
        self.store.change()

    async def extend(self) -> None:
        pass


class MemoryQueue:
    """A client of the store."""

    is_chained = True
    is_depth_exact = True

    def __init__(self, store: QueueStore) -> None:
        self.store = store

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def tail(self) -> Position | None:
        _reach(self.store)
        return self.store.tail

    async def publish(self, frame: Frame, *, after: Position | None) -> None:
        _reach(self.store)
        if after is not None and not follows(self.store.tail, after):
            raise Overtaken
        if len(self.store.frames) >= self.store.frames_max:
            raise QueueFull
        if after is not None:
            self.store.tail = position_after(frame)
        self.store.number += 1
        self.store.frames[self.store.number] = frame
        self.store.change()

    async def take(self, *, reports_max: int, wait_seconds: float) -> MemoryDelivery | None:
        _reach(self.store)
        if not self._free():
            try:
                async with asyncio.timeout(wait_seconds):
                    while not self._free():
                        await self.store.changed.wait()
                        _reach(self.store)
            except TimeoutError:
                return None
        taken: list[int] = []
        count = 0
        for number in self._free():
            if taken and count >= reports_max:
                break
            taken.append(number)
            count += self.store.frames[number].count
        self.store.held.update(taken)
        return MemoryDelivery(self.store, taken, [self.store.frames[number] for number in taken])

    async def depth(self) -> int | None:
        _reach(self.store)
        return len(self.store.frames)

    def _free(self) -> list[int]:
        return [number for number in self.store.frames if number not in self.store.held]


def _reach(store: QueueStore) -> None:
    if not store.is_reachable:
        raise QueueUnavailable("The queue is out of reach.")

"""A broker of the simulation: a queue of frames in memory, which delivers each of them at least once.

Chained, it is as NATS JetStream with a work queue: one tail, in which no hole can be, and which is forgotten with a
wiped store. Unchained, it is as SQS: whoever writes may write, and what comes out has no order. That it is a queue as
the others are is for the conformance suite of queues to show.
"""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from ordertrail.queues.queue import Frame, Overtaken, Position, QueueFull, QueueUnavailable
from tests.simulation.network import Passage

T = TypeVar("T")

ACK_WAIT_SECONDS = 30.0
FRAMES_MAX = 40
TAKE_FRAMES_MAX = 8
TIMEOUT_SECONDS = 2.0


@dataclass(slots=True)
class _Kept:
    frame: Frame
    visible_at: float = 0.0
    deliveries: int = 0


class Broker:
    """The server. `deliveries_max` is for a canary: a broker that gives a frame up."""

    def __init__(self, random: Random, now: Callable[[], float], *, is_chained: bool, frames_max: int = FRAMES_MAX):
        self.is_chained = is_chained
        self.frames: dict[int, _Kept] = {}
        self.deliveries_max: int | None = None
        self.wipes = 0
        self.on_publish: Callable[[], None] = lambda: None
        self._random = random
        self._now = now
        self.frames_max = frames_max
        self._numbers = 0
        self._tail: Position | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def wipe(self) -> None:
        """Its disk is lost, and all that was on it."""
        self.wipes += 1
        self.frames.clear()
        self._tail = None

    def tail(self) -> Position | None:
        return self._tail if self.is_chained else None

    def depth(self) -> int:
        return len(self.frames)

    def publish(self, frame: Frame, after: Position | None) -> None:
        if after is not None and self.is_chained:
            begins = after.seq == 0 and self._tail is not None and self._tail.epoch != after.epoch
            if self._tail is not None and self._tail != after and not begins:
                raise Overtaken
        if len(self.frames) >= self.frames_max:
            raise QueueFull
        self._numbers += 1
        self.frames[self._numbers] = _Kept(frame)
        if after is not None:
            assert frame.last is not None, "a chained frame has a last seq"
            self._tail = Position(frame.epoch, frame.last)
        self._wake()
        self.on_publish()

    def take(self, reports_max: int) -> list[tuple[int, Frame]]:
        """What nobody else has; it is others' again after a while."""
        now = self._now()
        visible = [number for number, kept in self.frames.items() if kept.visible_at <= now]
        if not self.is_chained:
            self._random.shuffle(visible)
        taken: list[tuple[int, Frame]] = []
        reports = 0
        for number in visible[:TAKE_FRAMES_MAX]:
            kept = self.frames[number]
            if self.deliveries_max is not None and kept.deliveries >= self.deliveries_max:
                continue
            if taken and reports + kept.frame.count > reports_max:
                break
            kept.visible_at = now + ACK_WAIT_SECONDS
            kept.deliveries += 1
            reports += kept.frame.count
            taken.append((number, kept.frame))
        return taken

    def acknowledge(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.frames.pop(number, None)

    def give_back(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if number in self.frames:
                self.frames[number].visible_at = self._now()
        self._wake()

    def extend(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if number in self.frames:
                self.frames[number].visible_at = self._now() + ACK_WAIT_SECONDS

    def next_at(self) -> float:
        """When there may be something to take."""
        most = self.deliveries_max or float("inf")
        return min((kept.visible_at for kept in self.frames.values() if kept.deliveries < most), default=float("inf"))

    def waiter(self) -> "asyncio.Future[None]":
        """Done once something has come, or has come back."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


class BrokerQueue:
    """A process's connection, as a `Queue`. `fate(call)` decides what becomes of each call."""

    is_depth_exact = True

    def __init__(self, broker: Broker, fate: Callable[[str], Passage], world: contextvars.Context) -> None:
        self._broker = broker
        self._fate = fate
        self._world = world

    @property
    def is_chained(self) -> bool:
        return self._broker.is_chained

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def tail(self) -> Position | None:
        return await self._call("tail", self._broker.tail)

    async def publish(self, frame: Frame, *, after: Position | None) -> None:
        await self._call("publish", lambda: self._broker.publish(frame, after))

    async def take(self, *, reports_max: int, wait_seconds: float) -> "BrokerDelivery | None":
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_seconds
        while True:
            taken = await self._call("take", lambda: self._broker.take(reports_max))
            if taken:
                return BrokerDelivery(self, taken)
            # The broker holds the request until there is something, or its time is over.
            waits = min(until, self._broker.next_at()) - loop.time()
            if until <= loop.time():
                return None
            waiter = self._broker.waiter()
            try:
                async with asyncio.timeout(max(waits, 0.001)):
                    await waiter
            except TimeoutError:
                pass

    async def depth(self) -> int | None:
        return await self._call("depth", self._broker.depth)

    async def acknowledge(self, numbers: Sequence[int]) -> None:
        await self._call("acknowledge", lambda: self._broker.acknowledge(numbers))

    async def quietly(self, name: str, work: Callable[[], None]) -> None:
        """What need not be known to have come about."""
        try:
            await self._call(name, work)
        except QueueUnavailable:
            return

    def give_back(self, numbers: Sequence[int]) -> Any:
        return self.quietly("give_back", lambda: self._broker.give_back(numbers))

    def extend(self, numbers: Sequence[int]) -> Any:
        return self.quietly("extend", lambda: self._broker.extend(numbers))

    async def _call(self, name: str, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        passage = self._fate(name)
        if passage.refused:
            await asyncio.sleep(passage.back_seconds)
            raise QueueUnavailable("cannot connect")
        answer: asyncio.Future[T] = loop.create_future()

        def act() -> None:
            try:
                result = work()
            except (Overtaken, QueueFull) as error:
                reply(answer.set_exception, error)
            else:
                reply(answer.set_result, result)

        def reply(announce: Callable[[Any], None], what: Any) -> None:
            if not passage.lost_answer:
                loop.call_later(passage.back_seconds, settle, announce, what, context=self._world)

        def settle(announce: Callable[[Any], None], what: Any) -> None:
            if not answer.done():
                announce(what)

        if not passage.lost_request:
            loop.call_later(passage.out_seconds, act, context=self._world)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await answer
        except TimeoutError:
            raise QueueUnavailable("no answer") from None


@dataclass(frozen=True, slots=True)
class BrokerDelivery:
    """Some frames that this processor has for a while."""

    queue: BrokerQueue
    taken: list[tuple[int, Frame]]

    @property
    def frames(self) -> Sequence[Frame]:
        return [frame for _, frame in self.taken]

    @property
    def _numbers(self) -> list[int]:
        return [number for number, _ in self.taken]

    async def acknowledge(self) -> None:
        await self.queue.acknowledge(self._numbers)

    async def give_back(self) -> None:
        await self.queue.give_back(self._numbers)

    async def extend(self) -> None:
        await self.queue.extend(self._numbers)

"""What a feed is tested with: a venue with a log and a socket, a queue that takes no hole, rows; all in a moved time.

`play` runs a test in the simulation's loop, in which time is a number: a minute takes no time, and two runs are alike.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.executions.feed import Feed
from ordertrail.queues.queue import ExecIdScope, Frame, Overtaken, Position, QueueUnavailable
from ordertrail.runtime.telemetry import metrics
from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.storage.execution_rows import Coverage, FeedLease, FeedView
from ordertrail.storage.parked_rows import ParkedThing
from ordertrail.venues.report_frames import read_frame, split_reports
from ordertrail.venues.venue import Compacted, Heartbeat, OtherEpoch, Reports, UnreadableFrame
from tests.simulation.loop import Process, SimulationLoop
from tests.support.clocks import NOON
from tests.support.executions import VENUE, report

T = TypeVar("T")

HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 6.0
Data = bytes | None


def play(work: Coroutine[Any, Any, T], *, seconds_max: float = 3600) -> T:
    """Run it to its end, in no time."""
    loop = SimulationLoop(lambda: 0.0)

    async def bounded() -> T:
        async with asyncio.timeout(seconds_max):
            return await work

    try:
        result = loop.run_until_complete(bounded())
        assert loop.exceptions == []
        return result
    finally:
        if loop.graveyard:
            loop.bury()
        else:
            loop.run_until_complete(_end_all())
        loop.close()


async def _end_all() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest)


class LoopClock:
    """The loop's time."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


# The venue


@dataclass
class FeedVenue:
    """A venue with a log of each epoch.

    `alter(frame)` is what the socket makes of each frame that it would send: messages, of which None is the end of the
    connection. `stalls`: it sends heartbeats alone.
    """

    epoch: str = "e1"
    log: list[bytes] = field(default_factory=list)
    dropped: int = 0
    frame_reports: int = 3
    alter: Callable[[bytes], list[Data]] = lambda data: [data]
    is_stalled: bool = False
    is_away: bool = False
    is_silent: bool = False
    pages_fail: int = 0
    page_reports_max: int = 1_000_000
    promised: Capabilities = field(default_factory=Capabilities)
    follows: list[tuple[int, str | None]] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    received: int = 0
    name: str = VENUE
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    generation: int = 0

    @property
    def head(self) -> int:
        return self.dropped + len(self.log)

    def add(self, count: int = 1, **changes: Any) -> None:
        """New reports."""
        for _ in range(count):
            one = report(self.head + 1, **changes)
            one["exec_id"] += f"-{self.epoch}-{self.generation}"
            self.log.append(json.dumps(one).encode())
        self.changed.set()

    def restart(self, *, epoch: str | None = None, head: int = 0) -> None:
        """Come back with so much of its log, or in a new epoch, and end every connection."""
        if epoch is not None:
            self.epoch, self.log, self.dropped = epoch, [], 0
        else:
            del self.log[head - self.dropped :]
        self.generation += 1
        self.changed.set()

    def compact(self, *, oldest: int) -> None:
        del self.log[: oldest - 1 - self.dropped]
        self.dropped = oldest - 1

    def reports(self, after: int, limit: int) -> list[bytes]:
        return self.log[max(0, after - self.dropped) : after - self.dropped + limit]

    async def capabilities(self, *, timeout_seconds: float) -> Capabilities | NoAnswer:
        await asyncio.sleep(0.001)
        return NoAnswer("connect_failed") if self.is_away else self.promised

    async def follow(
        self, *, after: int, epoch: str | None, timeout_seconds: float
    ) -> "FeedFollowing | OtherEpoch | Compacted | NoAnswer":
        await asyncio.sleep(0.001)
        self.follows.append((after, epoch))
        if self.is_away:
            return NoAnswer("connect_failed")
        return self._refusal(after, epoch) or FeedFollowing(self, after)

    async def report_page(
        self, *, after: int, limit: int, epoch: str, timeout_seconds: float
    ) -> Reports | OtherEpoch | Compacted | NoAnswer:
        await asyncio.sleep(0.001)
        self.pages.append(after)
        if self.is_away or self.pages_fail:
            self.pages_fail = max(0, self.pages_fail - 1)
            return NoAnswer("timeout")
        if refusal := self._refusal(after, epoch):
            return refusal
        if limit > self.page_reports_max:
            return NoAnswer("too_large")
        page = read_frame(as_body(self.reports(after, limit)))
        assert isinstance(page, Reports)
        return page

    def _refusal(self, after: int, epoch: str | None) -> OtherEpoch | Compacted | None:
        if epoch is not None and epoch != self.epoch:
            return OtherEpoch(self.epoch, self.head)
        return Compacted(self.dropped + 1) if after < self.dropped else None

    def __getattr__(self, call: str) -> Any:
        raise AssertionError(f"a feed does not call {call}")


class FeedFollowing:
    def __init__(self, venue: FeedVenue, after: int) -> None:
        self.epoch, self.head = venue.epoch, venue.head
        self._venue = venue
        self._after = after
        self._generation = venue.generation
        self._messages: list[Data] = []
        self.is_closed = False

    async def receive(self) -> Reports | Heartbeat | UnreadableFrame | NoAnswer:
        venue = self._venue
        silent_for = 0.0
        await asyncio.sleep(0.001)
        while True:
            if venue.is_away or venue.generation != self._generation or self.is_closed:
                return NoAnswer("connection_lost")
            if self._messages:
                message = self._messages.pop(0)
                if message is None:
                    return NoAnswer("connection_lost")
                venue.received += 1
                return read_frame(message)
            reports = [] if venue.is_stalled or venue.is_silent else venue.reports(self._after, venue.frame_reports)
            if reports:
                self._after = max(self._after, venue.dropped) + len(reports)
                self._messages = venue.alter(as_body(reports))
                continue
            venue.changed.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await venue.changed.wait()
            except TimeoutError:
                silent_for += HEARTBEAT_SECONDS
                if venue.is_silent:
                    if silent_for >= SILENCE_SECONDS:
                        return NoAnswer("timeout")
                    continue
                return Heartbeat(self.epoch, venue.head)

    async def close(self) -> None:
        self.is_closed = True


def as_body(reports: list[bytes]) -> bytes:
    return b"[" + b",".join(reports) + b"]"


# The queue


@dataclass
class FeedQueue:
    """Takes no chained frame that does not follow on its tail, and finds fault with a hole in what it took.

    `answers`: what becomes of the next frames: an exception to raise before it is taken (`QueueFull`, `Overtaken`,
    `QueueUnavailable`), or "lost": it is taken, and no answer comes.
    """

    frames: list[Frame] = field(default_factory=list)
    chained: list[Frame] = field(default_factory=list)
    position: Position | None = None
    answers: list[Exception | str | None] = field(default_factory=list)
    is_chained: bool = True
    is_depth_exact: bool = True
    is_away: bool = False
    holes_allowed: bool = False
    seconds: float = 0.001
    waiting: list[Frame] = field(default_factory=list)
    knows_depth: bool = True
    held: asyncio.Event | None = None
    faults: list[str] = field(default_factory=list)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def tail(self) -> Position | None:
        await asyncio.sleep(self.seconds)
        if self.is_away:
            raise QueueUnavailable("away")
        return self.position

    async def publish(self, frame: Frame, *, after: Position | None) -> None:
        await asyncio.sleep(self.seconds)
        if self.held is not None:
            await self.held.wait()
        if self.is_away:
            raise QueueUnavailable("away")
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if after is not None:
            self._chain(frame, after)
        self.frames.append(frame)
        self.waiting.append(frame)
        if answer == "lost":
            raise QueueUnavailable("no answer")

    def _chain(self, frame: Frame, after: Position) -> None:
        if self.is_chained and self.position is not None and after != self.position:
            begins = after.seq == 0 and after.epoch != self.position.epoch
            if not begins:
                raise Overtaken
        assert frame.first is not None and frame.last is not None
        if frame.last - frame.first + 1 != frame.count:
            self.faults.append(f"{frame.id} says what it has not")
        if after.epoch == frame.epoch and frame.first > after.seq + 1 and not self.holes_allowed:
            self.faults.append(f"a hole stands before {frame.id}, which follows on {after.seq}")
        self.position = Position(frame.epoch, frame.last)
        self.chained.append(frame)

    async def take(self, *, reports_max: int, wait_seconds: float) -> None:
        raise NotImplementedError

    async def depth(self) -> int | None:
        await asyncio.sleep(self.seconds)
        if self.is_away:
            raise QueueUnavailable("away")
        return len(self.waiting) if self.knows_depth else None

    def wipe(self) -> None:
        self.position = None
        self.waiting.clear()


# The database


@dataclass
class FeedDatabase:
    """`FeedRows` and `ParkedRows`, and what processors have made of the queue's frames."""

    applied: dict[tuple[str, int], bytes] = field(default_factory=dict)
    unnumbered: list[bytes] = field(default_factory=list)
    epochs: dict[str, ExecIdScope] = field(default_factory=dict)
    holder: str | None = None
    leased_until: float = 0.0
    is_away: bool = False
    things: list[ParkedThing] = field(default_factory=list)
    parkings: int = 0

    async def lease_feed(self, venue: str, *, holder: str, lease_seconds: float) -> FeedLease | None:
        await self._begin()
        now = asyncio.get_running_loop().time()
        if self.holder not in (None, holder) and now < self.leased_until:
            return None
        self.holder, self.leased_until = holder, now + lease_seconds
        return FeedLease(1)

    async def release_feed(self, venue: str, *, holder: str) -> None:
        await self._begin()
        if self.holder == holder:
            self.holder = None

    async def feed(self, venue: str) -> FeedView | None:
        return None

    async def begin_epoch(self, venue: str, epoch: str, scope: ExecIdScope) -> None:
        await self._begin()
        self.epochs.setdefault(epoch, scope)

    async def coverage(self, venue: str, epoch: str) -> Coverage:
        await self._begin()
        ranges: list[tuple[int, int]] = []
        for seq in sorted(seq for of, seq in self.applied if of == epoch):
            if ranges and ranges[-1][1] + 1 == seq:
                ranges[-1] = (ranges[-1][0], seq)
            else:
                ranges.append((seq, seq))
        return Coverage(tuple(ranges))

    async def newest_epoch(self, venue: str) -> str | None:
        await self._begin()
        return list(self.epochs)[-1] if self.epochs else None

    async def park(
        self, venue: str, things: list[ParkedThing], *, new_max: int, open_max: int = 0
    ) -> dict[bytes, bool]:
        await self._begin()
        self.parkings += 1
        known = {thing.fingerprint for thing in self.things}
        self.things += [thing for thing in things if thing.fingerprint not in known]
        return {thing.fingerprint: thing.fingerprint not in known for thing in things}

    def apply(self, frame: Frame) -> None:
        """As a processor does."""
        self.epochs.setdefault(frame.epoch, frame.exec_id_scope)
        for seq, raw in split_reports(frame.body):
            if seq is None:
                self.unnumbered.append(raw)
            else:
                self.applied.setdefault((frame.epoch, seq), raw)

    async def _begin(self) -> None:
        await asyncio.sleep(0.001)
        if self.is_away:
            raise StatementOutcomeUnknown("away", may_have_happened=False)

    def __getattr__(self, operation: str) -> Any:
        raise AssertionError(f"a feed does not call {operation}")


# All of it


def broken(name: str) -> float:
    """How often an invariant was broken."""
    value: float = metrics.INVARIANTS_BROKEN.labels(name)._value.get()
    return value


@dataclass
class House:
    """A venue, a queue, a database, and feeds that live and die."""

    venue: FeedVenue = field(default_factory=FeedVenue)
    queue: FeedQueue = field(default_factory=FeedQueue)
    database: FeedDatabase = field(default_factory=FeedDatabase)
    processes: list[Process] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    processing: asyncio.Task[None] | None = None
    broken_before: float = field(default_factory=lambda: broken("feed_raised"))

    def start(self, **changes: Any) -> Process:
        """A feed as a process of its own."""
        process = Process(f"feed-{len(self.processes)}")
        parts: dict[str, Any] = {"queue": self.queue, "rows": self.database, "parked": self.database} | changes
        feed = Feed(venue=self.venue, clock=LoopClock(), holder=process.name, **parts)
        self.processes.append(process)
        self.feeds.append(feed)
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(feed.run(), context=process.context)
        return process

    def kill(self, process: Process) -> None:
        loop().kill(process)

    def process_frames(self) -> None:
        """From now on a processor applies what is in the queue."""

        async def work() -> None:
            while True:
                while self.queue.waiting:
                    self.database.apply(self.queue.waiting[0])
                    self.queue.waiting.pop(0)
                await asyncio.sleep(0.05)

        self.processing = asyncio.get_running_loop().create_task(work())

    async def until(self, is_so: Callable[[], Any], *, seconds: float = 120) -> None:
        async with asyncio.timeout(seconds):
            while not is_so():  # noqa: ASYNC110 - many things change, and time costs nothing here
                await asyncio.sleep(0.01)

    async def until_published(self, *, seconds: float = 120) -> None:
        """All of the venue's log is in the queue, in its order."""
        await self.until(lambda: self.queue.position == Position(self.venue.epoch, self.venue.head), seconds=seconds)
        assert self.queue.faults == []
        assert broken("feed_raised") == self.broken_before

    async def until_applied(self, *, seconds: float = 120) -> None:
        await self.until(self.is_applied, seconds=seconds)

    def is_applied(self) -> bool:
        """What processors know of the epoch is the venue's log, to the letter."""
        venue = self.venue
        seqs = range(venue.dropped + 1, venue.head + 1)
        applied = [self.database.applied.get((venue.epoch, seq)) for seq in seqs]
        return applied == venue.log

    @property
    def chained(self) -> list[tuple[int | None, int | None]]:
        return [(frame.first, frame.last) for frame in self.queue.chained]

    @property
    def others(self) -> list[Frame]:
        """What moved no tail."""
        chained = {id(frame) for frame in self.queue.chained}
        return [frame for frame in self.queue.frames if id(frame) not in chained]


def loop() -> SimulationLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, SimulationLoop)
    return running

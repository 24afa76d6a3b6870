"""Who watches in this process: readers come, get what they want from their place on, and leave."""

import asyncio
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ordertrail.events.cursor import Cursor
from ordertrail.events.fan_out import FanOut
from ordertrail.events.older_rows import OlderRows
from ordertrail.events.reader import End, Reader, ReaderKind
from ordertrail.events.ring import Ring
from ordertrail.events.shown import Delivery, ShownEvent, Wanted, events_after
from ordertrail.events.tail import Tail
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.storage.event_rows import Event, EventLog, MarkGone

# Clients are promised one at least every ten; half of it leaves time for a process that stands still.
HEARTBEAT_SECONDS = 5.0
# Readers are told in so many groups, one after the other, so that many do not hold up everything else at once.
HEARTBEAT_GROUPS = 50
# A reader that comes back looks through all of them.
RING_EVENTS_MAX = 20_000
# How long a new reader may wait until the log was read for it.
START_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class WatchingLimits:
    """What readers may take of a process's memory."""

    readers_max: int
    pending_bytes_max: int
    ring_bytes_max: int


class Begin(enum.Enum):
    """Where a reader without a cursor begins."""

    NOW = "now"
    OLDEST = "oldest"


class Refusal(enum.Enum):
    """Why there is no room for a reader."""

    FULL = "full"
    DRAINING = "draining"


ROW_GONE = MarkGone("the row that it stands in was lost")


class Watching:
    """The readers of a process, and the one tail of them all."""

    def __init__(
        self, log: EventLog, clock: Clock, limits: WatchingLimits, *, data_of: Callable[[Event], bytes]
    ) -> None:
        ring = Ring(events_max=RING_EVENTS_MAX, bytes_max=limits.ring_bytes_max)
        self._fan_out = FanOut()
        self.tail = Tail(log, clock, ring, self._fan_out, data_of=data_of)
        self.older = OlderRows(log, clock, data_of=data_of)
        self._clock = clock
        self._limits = limits
        self._readers: dict[Reader, set[Reader]] = {}  # each with its group of heartbeats
        self._joining = 0
        self._is_draining = False
        self._groups: list[set[Reader]] = [set() for _ in range(HEARTBEAT_GROUPS)]
        self._next_group = 0

    async def join(self, kind: ReaderKind, wanted: Wanted, start: Cursor | Begin) -> Reader | MarkGone | Refusal:
        """A reader of what follows `start`, who must `leave`. Raises StatementFailed and StatementOutcomeUnknown."""
        if self._is_draining:
            return Refusal.DRAINING
        if len(self._readers) + self._joining >= self._limits.readers_max:
            return Refusal.FULL
        self._joining += 1
        self.tail.watch()
        reader: Reader | MarkGone | None = None
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                reader = await self._new_reader(kind, wanted, start)
        except TimeoutError as error:
            raise StatementOutcomeUnknown("The event log was not read in time.", may_have_happened=False) from error
        finally:
            self._joining -= 1
            if not isinstance(reader, Reader):
                self.tail.unwatch()
        if isinstance(reader, Reader):
            self._add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """It wants nothing any more."""
        if (group := self._readers.pop(reader, None)) is not None:
            group.discard(reader)
            self._fan_out.remove(reader)
            self.older.forget(reader)
            self.tail.unwatch()
            metrics.EVENT_READERS.labels(reader.kind).dec()

    async def more(self, reader: Reader, *, seconds: float | None = None) -> list[Delivery]:
        """What comes next for the reader; nothing where it has ended, a heartbeat is due, or so much time has passed.

        With what this returns the reader has all up to its `position_of`.
        """
        try:
            async with asyncio.timeout(seconds):
                while (found := self._next(reader)) is None:
                    await reader.changed()
        except TimeoutError:
            return []
        return found

    def position_of(self, reader: Reader) -> Cursor:
        """The place up to which it has been given all that it wants."""
        if reader.is_live and reader.end is None and not reader.has_pending and self.tail.head is not None:
            reader.position = Cursor(self.tail.head)
        return reader.position

    def is_at_the_end(self, reader: Reader) -> bool:
        """Whether it has been given all there is; it is brought to the end where that needs no statement."""
        return (reader.is_live or self._attach(reader)) and not reader.has_pending

    def start_draining(self) -> None:
        """End all, and take no more."""
        self._is_draining = True
        for reader in tuple(self._readers):
            reader.finish(End.DRAINING)

    async def beat(self) -> None:
        """Tell one group after the other that a heartbeat is due, until cancelled."""
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS / HEARTBEAT_GROUPS)
            self.beat_next_group()

    def beat_next_group(self) -> None:
        """Tell the group whose turn it is."""
        for reader in self._groups[self._next_group]:
            reader.beat()
        self._next_group = (self._next_group + 1) % HEARTBEAT_GROUPS

    def _add(self, reader: Reader) -> None:
        group = min(self._groups, key=len)
        self._readers[reader] = group
        if reader.kind is ReaderKind.STREAM:
            group.add(reader)
        if self._is_draining:  # since it began to join
            reader.finish(End.DRAINING)
        metrics.EVENT_READERS.labels(reader.kind).inc()

    async def _new_reader(self, kind: ReaderKind, wanted: Wanted, start: Cursor | Begin) -> Reader | MarkGone:
        while (head := self.tail.head) is None:
            await self.tail.started()
        match start:
            case Begin.NOW:
                reader = self._reader(kind, wanted, Cursor(head))
                self._attach(reader)
                return reader
            case Begin.OLDEST:
                return self._reader(kind, wanted, Cursor(await self.older.oldest()))
            case Cursor():
                reader = self._reader(kind, wanted, start)
                gone = None if self.tail.has(start) else await self._why_gone(reader)
                return reader if gone is None else gone

    def _reader(self, kind: ReaderKind, wanted: Wanted, position: Cursor) -> Reader:
        return Reader(kind, wanted, position, pending_bytes_max=self._limits.pending_bytes_max)

    async def _why_gone(self, reader: Reader) -> MarkGone | None:
        if (gone := await self.older.is_there(reader.position.mark)) is not None or not reader.position.passed:
            return gone
        # That the row before is there says nothing of the row of which some is passed.
        self.older.request_page(reader)
        try:
            while reader.older is None:
                await reader.changed()
        finally:
            self.older.forget(reader)
        if isinstance(reader.older, MarkGone):
            return reader.older
        return ROW_GONE if events_after(reader.position, reader.older) is None else None

    def _next(self, reader: Reader) -> list[Delivery] | None:
        """None: nothing yet."""
        if reader.end is None and not reader.is_live:
            found = self._next_of_older(reader)
            if found:
                return [Delivery(found)]
        if reader.end is not None:
            return []
        if reader.has_pending:
            deliveries = reader.take()
            self.position_of(reader)
            return deliveries
        if reader.is_beat_due:
            reader.is_beat_due = False
            return []
        return None

    def _next_of_older(self, reader: Reader) -> Sequence[ShownEvent]:
        """What it wants of the page that was read for it; where that is nothing, the next is requested."""
        older, reader.older = reader.older, None
        found: Sequence[ShownEvent] = ()
        if isinstance(older, MarkGone):
            reader.why_gone = older
            reader.finish(End.LOG_CHANGED)
        elif older:
            events = events_after(reader.position, older)
            if events is None:
                reader.why_gone = ROW_GONE
                reader.finish(End.LOG_CHANGED)
            else:
                reader.position = Cursor(older[-1].mark)
                found = reader.wanted.of(events)
        elif older is not None and not self._attach(reader):
            # Its place is the log's end, and the tail has not come that far.
            reader.awaits_page = True
            self.tail.call_after_next_read(reader.retry)
        # The next page is requested before this one is sent, so that readers at one place go on together.
        if reader.end is None and not reader.awaits_page and not self._attach(reader):
            self.older.request_page(reader)
        return found

    def _attach(self, reader: Reader) -> bool:
        """Whether it is brought to the end: it gets what it has missed, and then whatever is published."""
        if reader.is_live:
            return True
        missed = self.tail.after(reader.position)
        if reader.end is not None or missed is None:
            return False
        self._fan_out.add(reader)
        if wanted := reader.wanted.of(missed):
            reader.push(Delivery(wanted))
        return True

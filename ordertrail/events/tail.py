"""The one reader of the event log's end in a process: polls while anybody watches, keeps the newest rows, fans out.

It never raises and never ends: what goes wrong here ends or delays streams, and no order has anything to do with it.
"""

import asyncio
from collections.abc import Callable, Sequence

from ordertrail.events.cursor import Cursor
from ordertrail.events.fan_out import FanOut
from ordertrail.events.reader import End
from ordertrail.events.ring import Ring
from ordertrail.events.shown import ShownEvent, show_rows
from ordertrail.events.trouble import Trouble
from ordertrail.runtime.clock import Clock
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.event_rows import Event, EventLog, LogMark, LogPage, MarkGone

# Of one statement; what it has is shown to readers at one go, and keeps everything else waiting for so long.
TICK_EVENTS_MAX = 1000
POLL_SECONDS = 0.01
# From the end of one statement to the next at least, however long it took: other work in the process has its turn.
PAUSE_SECONDS_MIN = 0.0025
# Where nothing is written, polls are half as frequent each time, up to this.
IDLE_POLL_SECONDS_MAX = 0.05
RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 1.0
# A client that polls, or comes back after a moment, finds the tail still there.
LINGER_SECONDS = 30.0


class Tail:
    """`head`: the mark up to which readers have been given all; None: nobody watches, or it is not known yet."""

    def __init__(
        self, log: EventLog, clock: Clock, ring: Ring, fan_out: FanOut, *, data_of: Callable[[Event], bytes]
    ) -> None:
        self.head: LogMark | None = None
        self.horizon_seconds = 0.0
        self._log = log
        self._clock = clock
        self._ring = ring
        self._fan_out = fan_out
        self._data_of = data_of
        self._read_at = clock.monotonic()
        self._watchers = 0
        self._unwatched_since = clock.monotonic()
        self._is_watched = asyncio.Event()
        self._starting: list[asyncio.Future[LogMark]] = []
        self._next_tick: list[Callable[[], None]] = []
        self._pause_seconds = POLL_SECONDS
        self._retry_seconds = RETRY_SECONDS_MIN
        self._trouble = Trouble("the end of the event log cannot be read")

    @property
    def seconds_since_read(self) -> float:
        """How long ago the log was read last."""
        return self._clock.monotonic() - self._read_at

    def watch(self) -> None:
        """There is one reader more."""
        self._watchers += 1
        self._is_watched.set()

    def unwatch(self) -> None:
        """There is one less."""
        self._watchers -= 1
        self._unwatched_since = self._clock.monotonic()

    async def started(self) -> LogMark:
        """The head, once it is known. Raises StatementFailed and StatementOutcomeUnknown where it cannot be read."""
        if self.head is not None:
            return self.head
        starting: asyncio.Future[LogMark] = asyncio.get_running_loop().create_future()
        self._starting.append(starting)
        return await starting

    def has(self, cursor: Cursor) -> bool:
        """Whether the cursor's place is among the newest rows."""
        return (cursor.mark == self.head and cursor.passed == 0) or self._ring.has(cursor)

    def after(self, cursor: Cursor) -> Sequence[ShownEvent] | None:
        """What follows the cursor up to the head; None: its place is not among the newest rows."""
        if cursor.mark == self.head and cursor.passed == 0:
            return ()
        return self._ring.after(cursor)

    def call_after_next_read(self, call: Callable[[], None]) -> None:
        """For a reader whose place is not known here yet: another process has seen more of the log."""
        self._next_tick.append(call)

    async def run(self) -> None:
        """Read on, as long as anybody watches, until cancelled."""
        while True:
            await self._is_watched.wait()
            begun_at = self._clock.monotonic()
            pause_seconds = await self.run_once()
            spent_seconds = self._clock.monotonic() - begun_at
            await self._clock.sleep(max(min(pause_seconds, PAUSE_SECONDS_MIN), pause_seconds - spent_seconds))

    async def run_once(self) -> float:
        """Read once; how long after its beginning to do so again."""
        if not self._watchers and self._clock.monotonic() - self._unwatched_since > LINGER_SECONDS:
            self._stop()
            return 0
        try:
            pause_seconds = await self._read()
        except (StatementFailed, StatementOutcomeUnknown) as error:
            self._trouble.report(error)
            self._fail_starting(error)
        except Exception as error:  # noqa: BLE001 - a mistake in here must not end the process that places orders
            self._trouble.report(error)
            self._begin_anew()
            self._fail_starting(StatementOutcomeUnknown(str(error), may_have_happened=False))
        else:
            self._trouble.is_over()
            self._retry_seconds = RETRY_SECONDS_MIN
            return pause_seconds
        self._retry_seconds = min(2 * self._retry_seconds, RETRY_SECONDS_MAX)
        return self._retry_seconds

    async def _read(self) -> float:
        if self.head is None:
            self._begin(await self._log.newest())
        assert self.head is not None
        page = await self._log.read(self.head, events_max=TICK_EVENTS_MAX)
        self._read_at = self._clock.monotonic()
        if isinstance(page, MarkGone) or not _is_of_one_log(self.head, page):
            # All who are here have a place in a log that is no more; they come back and are told so.
            self._begin_anew()
            return RETRY_SECONDS_MIN
        self.horizon_seconds = page.horizon_seconds
        self._show(self.head, page)
        waiting, self._next_tick = self._next_tick, []
        for call in waiting:
            call()
        self._pause_seconds = POLL_SECONDS if page.rows else min(2 * self._pause_seconds, IDLE_POLL_SECONDS_MAX)
        return 0 if page.has_more else self._pause_seconds

    def _show(self, head: LogMark, page: LogPage) -> None:
        if page.rows:
            rows = show_rows(head, page.rows, self._data_of)
            self._ring.append(rows)
            self.head = rows[-1].mark
            self._fan_out.publish([event for row in rows for event in row.events])

    def _begin(self, head: LogMark) -> None:
        self.head = head
        for starting in self._starting:
            if not starting.done():
                starting.set_result(head)
        self._starting.clear()

    def _fail_starting(self, error: Exception) -> None:
        for starting in self._starting:
            if not starting.done():
                starting.set_exception(error)
        self._starting.clear()

    def _begin_anew(self) -> None:
        self.head = None
        self._ring.clear()
        self._fan_out.finish(End.LOG_CHANGED)

    def _stop(self) -> None:
        self._is_watched.clear()
        self.head = None
        self._ring.clear()


def _is_of_one_log(head: LogMark, page: LogPage) -> bool:
    return all((row.mark.database, row.mark.timeline) == (head.database, head.timeline) for row in page.rows)

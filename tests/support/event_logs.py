"""An event log in memory, whose every step a test decides, and readers of it in a test's hands."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from ordertrail.api.event_json import event_data
from ordertrail.domain.execution import Execution
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.events.cursor import Cursor
from ordertrail.events.reader import Reader, ReaderKind
from ordertrail.events.shown import ShownEvent, Wanted
from ordertrail.events.watching import Begin, Watching, WatchingLimits
from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.storage.event_rows import (
    Event,
    ExecutionEvent,
    LogMark,
    LogPage,
    LogRow,
    MarkGone,
    OrderEvent,
)
from tests.support.clocks import NOON, ManualClock

T = TypeVar("T")

DATABASE = 77
DRIVEN_SECONDS_MAX = 10
TIMELINE = 1
OLDER = MarkGone("it is older than what is kept")
ELSEWHERE = MarkGone("it is of another database")


class InMemoryEventLog:
    """`statements` counts what was asked of it; while it is `away`, all fails."""

    def __init__(self) -> None:
        self.rows: list[LogRow] = []
        self.before_first = LogMark(DATABASE, TIMELINE, 0, 0, 0)
        self.statements: list[str] = []
        self.away = False
        self.horizon_seconds = 0.0
        self._written = 0

    def append(self, *events: Event) -> LogRow:
        """A commit that can be read from now on."""
        self._written += 1
        mark = replace(self.before_first, txid=100 + self._written // 3, id=self._written, check=1000 + self._written)
        self.rows.append(LogRow(mark, events))
        return self.rows[-1]

    def drop(self, count: int) -> None:
        """The oldest rows are no longer kept."""
        for row in self.rows[:count]:
            self.before_first = row.mark
        del self.rows[:count]

    def renew(self) -> None:
        """Another database has the place of this one."""
        self.rows.clear()
        self.before_first = LogMark(self.before_first.database + 1, TIMELINE, 0, 0, 0)

    def replace_last(self, *events: Event) -> None:
        """What was written last was lost, and something else has its place."""
        self.rows.pop()
        self.append(*events)

    async def newest(self) -> LogMark:
        self._count("newest")
        return self.rows[-1].mark if self.rows else self.before_first

    async def oldest(self) -> LogMark:
        self._count("oldest")
        return self.before_first

    async def read(self, after: LogMark, *, events_max: int) -> LogPage | MarkGone:
        self._count("read")
        gone = self._why_gone(after)
        if gone is not None:
            return gone
        start = 0 if after == self.before_first else 1 + [row.mark for row in self.rows].index(after)
        rows: list[LogRow] = []
        for row in self.rows[start:]:
            if sum(len(each.events) for each in rows) >= events_max:
                break
            rows.append(row)
        return LogPage(rows, has_more=start + len(rows) < len(self.rows), horizon_seconds=self.horizon_seconds)

    async def are_there(self, marks: Sequence[LogMark]) -> list[MarkGone | None]:
        self._count("are_there")
        return [self._why_gone(mark) for mark in marks]

    def _why_gone(self, mark: LogMark) -> MarkGone | None:
        if mark.database != self.before_first.database:
            return ELSEWHERE
        return None if mark == self.before_first or any(row.mark == mark for row in self.rows) else OLDER

    def _count(self, statement: str) -> None:
        self.statements.append(statement)
        if self.away:
            raise StatementOutcomeUnknown("the database is away", may_have_happened=False)


def order_event(order_id: str, number: int = 0) -> OrderEvent:
    """A row of a trail, told from others by its number."""
    return OrderEvent(order_id, TrailRow(OrderStatus.COMPLETED, f"number-{number}", "X-1", NOON))


def execution_event(order_id: str, number: int = 0) -> ExecutionEvent:
    """An execution report, likewise."""
    execution = Execution(
        order_id=order_id,
        session=1,
        exec_id=f"E-{number}",
        epoch="e1",
        epoch_rank=1,
        seq=number,
        exec_type="trade",
        ord_status="partially_filled",
        exchange_order_id="X-1",
        last_qty=1,
        last_px=Decimal("150.25"),
        cum_qty=1,
        leaves_qty=9,
        avg_px=Decimal("150.25"),
        exec_ref_id=None,
        reject_reason=None,
        transact_time=NOON,
    )
    return ExecutionEvent(order_id, execution)


def watching_on(
    log: InMemoryEventLog,
    *,
    clock: ManualClock | None = None,
    readers_max: int = 100,
    pending_bytes_max: int = 10_000_000,
    ring_bytes_max: int = 10_000_000,
) -> Watching:
    """What reads only where a test says so."""
    limits = WatchingLimits(readers_max, pending_bytes_max, ring_bytes_max)
    return Watching(log, clock or ManualClock(), limits, data_of=event_data)


async def driven(watching: Watching, work: Awaitable[T]) -> T:
    """The result of what may need the log to be read meanwhile."""
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(DRIVEN_SECONDS_MAX):
        while not task.done():
            for _ in range(5):
                await asyncio.sleep(0)
            if not task.done():
                await watching.tail.run_once()
                await watching.older.run_once()
        return task.result()


async def joined(
    watching: Watching,
    start: Cursor | Begin = Begin.NOW,
    wanted: Wanted = Wanted(),  # noqa: B008 - a value that never changes
    kind: ReaderKind = ReaderKind.STREAM,
) -> Reader:
    """A reader for whom there is room."""
    reader = await driven(watching, watching.join(kind, wanted, start))
    assert isinstance(reader, Reader)
    return reader


async def taken(watching: Watching, reader: Reader) -> list[ShownEvent]:
    """What there is for the reader at this moment."""
    return [event for delivery in await watching.more(reader, seconds=0) for event in delivery.events]

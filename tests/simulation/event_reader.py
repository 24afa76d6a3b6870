"""A reader of the event stream beside the others of a run: it keeps what it was given with its place, and comes back.

What runs in its process is the service's own: the tail, the older rows, the cursor. What it has in the end is compared
with the tables, by code that shares nothing with it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

from typing_extensions import override

from ordertrail.domain.trail import OrderStatus
from ordertrail.events.cursor import read_cursor
from ordertrail.events.reader import Reader, ReaderKind
from ordertrail.events.shown import Delivery, Wanted
from ordertrail.events.watching import Begin, Refusal, Watching, WatchingLimits
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.event_rows import Event, ExecutionEvent, MarkGone, OrderEvent
from ordertrail.storage.postgres.event_log import PostgresEventLog
from tests.simulation.loop import SimulationLoop
from tests.simulation.network import Fates
from tests.simulation.site import Resident, SimulatedClock, Site
from tests.simulation.table_rows import Tables

LIMITS = WatchingLimits(readers_max=1, pending_bytes_max=1_000_000, ring_bytes_max=20_000)
# Each poll costs a simulation as much as a request.
POLL_SECONDS = 2.0
RETRY_SECONDS = 1.0
# Of what it is given, after so much of it the reader loses its connection and comes back with its cursor.
CUT_SHARE = 0.15
_RANK = {status.value: rank for rank, status in enumerate(OrderStatus)}


@dataclass
class KeptEvents:
    """What a reader has on its disk: events, and with them, in one write, the cursor to what follows.

    `gone`: why it was told that what follows cannot be known.
    """

    events: list[tuple[str, ...]] = field(default_factory=list)
    cursor: str | None = None
    gone: list[str] = field(default_factory=list)


class _SlowClock(SimulatedClock):
    @override
    async def sleep(self, seconds: float) -> None:
        await super().sleep(max(seconds, POLL_SECONDS))


class ReaderMember(Resident):
    """A process that serves one reader of everything; both die together, and what the reader has kept stays."""

    def __init__(self, site: Site, slot: str, fates: Fates, *, wrong_by: float, kept: KeptEvents) -> None:
        super().__init__(site, slot, fates, wrong_by=wrong_by)
        clock = _clock_of(site.loop, wrong_by, self.number)
        log = PostgresEventLog(self.session, clock)
        self._watching = Watching(log, clock, LIMITS, data_of=_key_of)
        self._kept = kept

    @override
    async def run(self) -> None:
        self.background.start("the log's end", self._watching.tail.run())
        self.background.start("older events", self._watching.older.run())
        while True:
            reader = await self._join()
            if reader is not None:
                await self._read(reader)
                self._watching.leave(reader)
            await self.clock.sleep(RETRY_SECONDS)

    async def _join(self) -> Reader | None:
        start = Begin.OLDEST if self._kept.cursor is None else read_cursor(self._kept.cursor)
        assert start is not None
        try:
            joined = await self._watching.join(ReaderKind.STREAM, Wanted(), start)
        except (StatementFailed, StatementOutcomeUnknown):
            return None
        match joined:
            case MarkGone():
                self._kept.gone.append(joined.why)
                return None
            case Refusal():
                self._kept.gone.append(f"refused: {joined}")
                return None
            case Reader():
                return joined

    async def _read(self, reader: Reader) -> None:
        """Until the connection is lost."""
        while reader.end is None:
            for delivery in await self._watching.more(reader):
                if self._take(delivery):
                    return

    def _take(self, delivery: Delivery) -> bool:
        """Keep each event with its cursor; True: the connection was lost in the middle."""
        for event in delivery.events:
            self._kept.events.append(tuple(event.data.decode().split("\t")))
            self._kept.cursor = event.id
            if self.site.random.random() < CUT_SHARE:
                self.site.counts["reader cut"] += 1
                return True
        return False


def _clock_of(loop: SimulationLoop, wrong_by: float, number: int) -> SimulatedClock:
    return _SlowClock(loop, wrong_by=wrong_by, counts_from=1000.0 * number)


def _key_of(event: Event) -> bytes:
    match event:
        case OrderEvent():
            return f"{event.order_id}\t{event.row.status}".encode()
        case ExecutionEvent():
            return f"{event.order_id}\t{event.execution.session}\t{event.execution.exec_id}".encode()


def has_all(tables: Tables, kept: KeptEvents) -> bool:
    """Whether as much was read as there is."""
    return len(kept.events) >= sum(map(len, tables.orders.values())) + sum(map(len, tables.reports.executions.values()))


def _in_order(tables: Tables, order_id: str) -> list[str]:
    """A trail as it was written, and what one statement wrote by its rank."""
    together = groupby(tables.orders[order_id], key=lambda status: tables.written_by[order_id, status])
    return [status for _, statuses in together for status in sorted(statuses, key=_RANK.__getitem__)]


def check_events(tables: Tables, kept: KeptEvents) -> Iterator[str]:
    """Every row once, each trail in the order in which it was written, and a place that stays one."""
    rows = [(order_id, status) for order_id, trail in tables.orders.items() for status in trail]
    executions = [
        (order_id, str(session), exec_id)
        for order_id, reports in tables.reports.executions.items()
        for session, exec_id in reports
    ]
    counts = Counter(kept.events)
    for row in (*rows, *executions):
        if counts[row] != 1:
            yield f"{row[0]}: its event {row[1:]} was read {counts[row]} times"
    for event in counts.keys() - {*rows, *executions}:
        yield f"{event[0]}: an event {event[1:]} was read that is no row"
    trails: dict[str, list[str]] = {}
    for event in kept.events:
        if len(event) == 2:
            trails.setdefault(event[0], []).append(event[1])
    for order_id, statuses in trails.items():
        written = _in_order(tables, order_id)
        if statuses != written:
            yield f"{order_id}: its events were read as {statuses}, and written as {written}"
    for why in kept.gone:
        yield f"a reader was sent away: {why}"

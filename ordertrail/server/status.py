"""The status of a process and its installation: for `GET /status`, from memory where the database is away.

It reads the database and the broker once at a time, bounded, and never for an order: what it costs is two statements
and one call in ten seconds, and as many a second at the most however often it is asked.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.server.queue_depth import BrokerDepth, QueueDepth
from ordertrail.server.status_document import (
    Document,
    EventsHorizon,
    ProcessState,
    SpoolState,
    status_document,
)
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.event_rows import EventLogKeeping
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.status import StatusFigures, read_figures
from ordertrail.storage.postgres.watch import DatabaseWatch
from ordertrail.storage.spool import Spool
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gateway import Gateway

_log = get_logger()

READ_SECONDS_MAX = 1.0
KEPT_SECONDS = 10.0
FRESH_SECONDS = 1.0


class Status:
    """One process's."""

    def __init__(
        self,
        database: Database,
        watch: DatabaseWatch,
        *,
        spool: Spool,
        gate: Gate,
        gateway: Gateway,
        clock: Clock,
        problems: Callable[[], list[str]],
        worker: str,
        venue: str,
        broker: BrokerDepth | None = None,
        event_log: EventLogKeeping | None = None,
    ) -> None:
        self._database = database
        self._watch = watch
        self._spool = spool
        self._gate = gate
        self._gateway = gateway
        self._clock = clock
        self._problems = problems
        self._worker = worker
        self._venue = venue
        self._broker = broker
        self._event_log = event_log
        self._horizon: EventsHorizon | None = None
        self._queue: QueueDepth | None = None
        self._figures: StatusFigures | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._log_dropped = _Rise()
        self._invariants_broken = _Rise()

    async def document(self) -> Document:
        """What is, and what to do; answers within little more than a second whatever fails."""
        await self.refresh(older_than_seconds=FRESH_SECONDS)
        spool, counters = await asyncio.to_thread(lambda: (self._spool.state(), metrics.trouble_counters()))
        return status_document(
            self._process(SpoolState(*spool, self._spool.problem), counters),
            self._figures,
            self._queue,
            self._horizon,
        )

    async def refresh(self, *, older_than_seconds: float = KEPT_SECONDS) -> None:
        """Read the figures anew if those at hand are older; one read at a time, and the others do not wait."""
        if self._reading.locked() or self._clock.monotonic() - self._read_at < older_than_seconds:
            return
        async with self._reading:
            # Before it is known how it ends: a database that hangs is asked no more often than one that answers.
            self._read_at = self._clock.monotonic()
            await asyncio.gather(self._read_database(), self._read_horizon(), self._read_broker())

    async def _read_database(self) -> None:
        if self._watch.problem is not None:
            return
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                self._figures = await read_figures(self._database)
        except (StatementFailed, StatementOutcomeUnknown, TimeoutError) as error:
            _log.warning("the status could not be read", error=str(error) or type(error).__name__)

    async def _read_horizon(self) -> None:
        """Apart from the figures: it may fail where a role may see little, and they must not."""
        self._horizon = None
        if self._event_log is None or self._watch.problem is not None:
            return
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                self._horizon = EventsHorizon(await self._event_log.horizon_holder())
        except (StatementFailed, StatementOutcomeUnknown, TimeoutError):
            # Said by those who keep the log.
            pass

    async def _read_broker(self) -> None:
        if self._broker is None:
            return
        was_in_reach = self._queue is None or self._queue.problem is None
        self._queue = await self._broker.read()
        if self._queue.frames is None:
            metrics.EXECUTION_QUEUE_FRAMES.unread()
        else:
            metrics.EXECUTION_QUEUE_FRAMES.set(self._queue.frames)
        if self._queue.problem is not None and was_in_reach:
            _log.warning("the queue's depth could not be read", error=self._queue.problem)

    def _process(self, spool: SpoolState, counters: metrics.TroubleCounters) -> ProcessState:
        now = self._clock.now()
        self._log_dropped.notice(counters.log_records_dropped or 0, now)
        self._invariants_broken.notice(sum(counters.invariants_broken.values()), now)
        trouble = self._gateway.trouble
        gate = self._gate.state()
        return ProcessState(
            now=now,
            worker=self._worker,
            problems=self._problems(),
            database_problem=self._watch.problem,
            database_since=self._watch.since,
            venue=self._venue,
            silent_since=trouble.silent_since,
            last_trouble=trouble.cause,
            last_trouble_at=trouble.at,
            is_halted=gate.is_halted,
            budgets=gate.budgets,
            spool=spool,
            log_records_dropped=counters.log_records_dropped,
            late_arrivals_counted=counters.late_arrivals,
            invariants_broken=counters.invariants_broken,
            log_dropped_at=self._log_dropped.at,
            invariants_broken_at=self._invariants_broken.at,
        )


@dataclass(slots=True)
class _Rise:
    """A counter's last rise: `at`, when it was noticed; None: it never has risen."""

    total: int = 0
    at: datetime | None = None

    def notice(self, total: int, now: datetime) -> None:
        if total > self.total:
            self.at = now
        # It falls where workers were started anew.
        self.total = total

"""The composition root: settings → the parts of a process, real by default, others by argument."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ordertrail.api.event_json import event_data
from ordertrail.api.parts import ApiParts
from ordertrail.domain.deadlines import Deadlines
from ordertrail.domain.settling import VerificationLimits
from ordertrail.events.log_upkeep import LogUpkeep
from ordertrail.events.watching import Watching, WatchingLimits
from ordertrail.executions.compare import ExecutionComparer
from ordertrail.executions.comparison_schedule import ComparisonSchedule
from ordertrail.placement.admission import Admission
from ordertrail.placement.cancel_order import Canceling
from ordertrail.placement.place_order import Placing
from ordertrail.reconciliation.fed_reports import FedReports
from ordertrail.reconciliation.reconciler import Reconciler
from ordertrail.reconciliation.schedule import Schedule
from ordertrail.reconciliation.sweep import Sweep
from ordertrail.runtime.clock import Clock, SystemClock
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings
from ordertrail.runtime.tasks import BackgroundTasks
from ordertrail.server.executions import Executions
from ordertrail.server.housekeeping import Housekeeping
from ordertrail.server.order_queue import OrderQueue
from ordertrail.server.queue_depth import broker_depth
from ordertrail.server.readiness import Readiness
from ordertrail.server.start_line import title_of
from ordertrail.server.status import Status
from ordertrail.server.switch_watch import SwitchWatch
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import Limits
from ordertrail.storage.journal import Journal
from ordertrail.storage.order_rows import Rows
from ordertrail.storage.postgres.comparisons import PostgresComparisons
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.doubts import PostgresDoubts
from ordertrail.storage.postgres.event_log import PostgresEventLog
from ordertrail.storage.postgres.execution_reads import PostgresExecutionReads
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.storage.postgres.order_queue import PostgresOrderQueue
from ordertrail.storage.postgres.orders import PostgresRows
from ordertrail.storage.postgres.parked import PostgresParked
from ordertrail.storage.postgres.reads import PostgresReads
from ordertrail.storage.postgres.switch import PostgresSwitch
from ordertrail.storage.postgres.watch import DatabaseWatch
from ordertrail.storage.spool import Spool
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.limits import CallBudgetLimits, GateLimits
from ordertrail.venues.gate.report import GateReport
from ordertrail.venues.gate.rules import BreakerRules, GateRules
from ordertrail.venues.gateway import Gateway
from ordertrail.venues.registry import make_venue
from ordertrail.venues.venue import Venue


def deadlines_of(settings: Settings) -> Deadlines:
    """An order's deadlines."""
    return Deadlines(
        send_seconds=settings.send_window_seconds,
        accept_seconds=settings.send_window_seconds + settings.exchange_timeout_seconds,
        review_seconds=settings.review_seconds,
        retry_seconds=settings.retry_window_seconds,
        queue_seconds=settings.queue_window_seconds,
    )


def gate_limits_of(settings: Settings) -> GateLimits:
    """This process's share of what the installation may do to its exchange."""
    return GateLimits(
        placing=CallBudgetLimits(settings.place_in_flight_max, settings.place_per_second),
        cancelling=CallBudgetLimits(settings.cancel_in_flight_max, settings.cancel_per_second),
        querying=CallBudgetLimits(settings.query_in_flight_max, settings.query_per_second),
    ).for_share(processes=settings.gate_processes or settings.workers)


class Service:
    """Everything that a process needs to place orders; `open` and `close` in its event loop.

    `takes_in_executions`: it feeds and processes execution reports, too. `places_queued`: it places queued orders.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        venue: Venue | None = None,
        rows: Rows | None = None,
        takes_in_executions: bool = False,
        places_queued: bool = False,
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.deadlines = deadlines_of(settings)
        url = settings.database_url.get_secret_value()
        self.database = Database(
            url,
            timeout_seconds=settings.database_timeout_seconds,
            connections_max=settings.database_connections_max,
        )
        self.watch = DatabaseWatch(self.database, url, clock=self.clock)
        self.reads = PostgresReads(self.database, list_timeout_seconds=0.75 * settings.database_timeout_seconds)
        self.execution_reads = PostgresExecutionReads(self.database)
        self.venue = venue or make_venue(
            settings.exchange_url,
            data_dir=settings.data_dir,
            clock=self.clock,
            connections_max=settings.exchange_connections_max,
        )
        self.venue_title = title_of(settings) if venue is None else venue.name
        self.spool = Spool(settings.data_dir / "spool", bytes_max=settings.spool_bytes_max)
        self.rows = rows or PostgresRows(self.database, self.deadlines)
        self.journal = Journal(
            self.rows,
            self.spool,
            self.clock,
            Limits(
                rows_max=settings.commit_rows_max,
                queue_max=settings.commit_queue_max,
                timeout_seconds=settings.database_timeout_seconds,
            ),
        )
        self.gate = Gate(
            gate_limits_of(settings),
            GateRules(placing=BreakerRules(throttles_to_back_off=3)),
            clock=self.clock,
            chance=random.random,
            metrics=GateReport(venue=self.venue.name),
        )
        self.gateway = Gateway(self.venue, self.gate, self.clock, timeout_seconds=settings.exchange_timeout_seconds)
        self.placing = Placing(self.journal, self.gateway, self.clock, self.deadlines)
        self.doubts = PostgresDoubts(self.database)
        self.parked = PostgresParked(self.database)
        self.executions = PostgresExecutions(self.database)
        self.order_queue_rows = PostgresOrderQueue(self.database, self.deadlines)
        self.order_queue = OrderQueue(
            settings,
            self.clock,
            self.order_queue_rows,
            placing=self.placing,
            gateway=self.gateway,
            doubts=self.doubts,
            name=f"{socket.gethostname()}:{os.getpid()}",
            places=places_queued,
        )
        self.schedule = self._schedule()
        self.comparer, self.comparison_schedule = self._comparison()
        self.canceling = Canceling(self.rows, self.doubts, self.schedule.wake_up)
        self.admission = Admission(
            self.journal, self.spool, self.gate, orders_in_flight_max=settings.orders_in_flight_max
        )
        self.event_log = PostgresEventLog(self.database, self.clock)
        self.log_upkeep = LogUpkeep(self.event_log, self.clock, kept_days=settings.events_kept_days)
        self.watching = Watching(
            self.event_log,
            self.clock,
            WatchingLimits(
                readers_max=settings.event_readers_max,
                pending_bytes_max=settings.event_lag_bytes_max,
                ring_bytes_max=settings.event_ring_bytes_max,
            ),
            data_of=event_data,
        )
        self.background = BackgroundTasks()
        self.readiness = Readiness(self.watch, self.spool, self.background)
        self.queue_depth = broker_depth(settings, venue=self.venue.name)
        self.status = Status(
            self.database,
            self.watch,
            spool=self.spool,
            gate=self.gate,
            gateway=self.gateway,
            clock=self.clock,
            problems=self.readiness.problems,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            venue=self.venue_title,
            broker=self.queue_depth,
            event_log=self.event_log,
        )
        self.switch_watch = SwitchWatch(PostgresSwitch(self.database), self.gate)
        self.housekeeping = Housekeeping(
            self.switch_watch,
            self.watch,
            self.spool,
            self.journal,
            gate=self.gate,
            clock=self.clock,
            status=self.status,
        )

        self.intake = (
            Executions(settings, self.clock, venue=self.venue.name, feeds_from=self.venue, processes=True)
            if takes_in_executions
            else None
        )

    def _schedule(self) -> Schedule:
        settings = self.settings
        reconciler = Reconciler(
            self.doubts,
            self.journal,
            self.gateway,
            self.clock,
            VerificationLimits(
                answer_seconds=settings.exchange_timeout_seconds,
                clock_margin_seconds=settings.clock_margin_seconds,
            ),
            name=f"{socket.gethostname()}:{os.getpid()}",
            send_seconds=settings.send_window_seconds,
            feeds=self.executions,
            queue=self.order_queue_rows,
        )
        sweep = Sweep(
            self.doubts,
            self.parked,
            self.gateway,
            venue=self.venue.name,
            rest_seconds=settings.sweep_interval_seconds,
            fed=FedReports(self.executions, self.clock, venue=self.venue.name),
        )
        return Schedule(reconciler, sweep, self.doubts, interval_seconds=settings.reconcile_interval_seconds)

    def _comparison(self) -> tuple[ExecutionComparer, ComparisonSchedule]:
        rows, venue = PostgresComparisons(self.database), self.venue.name
        comparer = ExecutionComparer(rows, self.executions, self.gateway, self.clock, venue=venue)
        return comparer, ComparisonSchedule(comparer, rows, self.doubts, self.executions, self.clock, venue=venue)

    async def open(self) -> None:
        """Start; neither an absent database nor an absent exchange stops it. CannotStart where one must not be used."""
        await self.venue.open()
        await self.database.open()
        if self.intake is not None:
            await self.intake.open()
        await self.spool.open()
        await self.watch.run_once()
        if self.watch.is_unsuitable:
            await self.close()
            raise CannotStart(self.watch.problem or "")
        if self.watch.problem is None:
            # Before any request comes: while placing is halted, none is taken.
            with suppress(StatementFailed, StatementOutcomeUnknown):
                await self.switch_watch.run_once()
        if self.queue_depth is not None:
            # Before any request comes: a broker's library takes its time to load.
            await self.queue_depth.read()
        self.background.start("housekeeping", self.housekeeping.run())
        self.background.start("the event log's end", self.watching.tail.run())
        self.background.start("older events", self.watching.older.run())
        self.background.start("heartbeats of streams", self.watching.beat())
        self.order_queue.start(self.background)
        if self.settings.reconcile_in_api:
            self.start_reconciling()
        if self.intake is not None:
            self.intake.start(self.background)

    def start_reconciling(self) -> None:
        """Reconcile on the schedule, and keep the event log, until `close`."""
        self.background.start("reconciliation", self.schedule.run())
        self.background.start("comparison of executions", self.comparison_schedule.run())
        self.background.start("upkeep of the event log", self.log_upkeep.run())

    def start_draining(self) -> None:
        """The process is about to stop: it says so, and streams, which would never end by themselves, end."""
        self.readiness.start_draining()
        self.watching.start_draining()

    async def close(self) -> None:
        """Stop, once nothing is being placed any more."""
        await self.background.stop()
        await self.journal.close()
        await self.spool.close()
        if self.queue_depth is not None:
            await self.queue_depth.close()
        if self.intake is not None:
            await self.intake.close()
        await self.venue.close()
        await self.database.close()

    @asynccontextmanager
    async def open_for_api(self) -> AsyncIterator[ApiParts]:
        """Open, until the end of the block; what the API serves meanwhile."""
        await self.open()
        try:
            yield ApiParts(
                clock=self.clock,
                admission=self.admission,
                placing=self.placing,
                order_intake=self.order_queue.intake,
                canceling=self.canceling,
                reads=self.reads,
                execution_reads=self.execution_reads,
                watching=self.watching,
                readiness_problems=self.readiness.problems,
                status=self.status.document,
                start_draining=self.start_draining,
                switch=lambda: self.switch_watch.switch,
                venue=self.venue_title,
                background=self.background,
                deadlines=self.deadlines,
                seconds_after_send_by=self.settings.seconds_after_send_by,
                body_bytes_max=self.settings.body_bytes_max,
            )
        finally:
            await asyncio.shield(self.close())

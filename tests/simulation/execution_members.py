"""The processes on the way of execution reports: feeds and processors, as `ordertrail feed` and `process` wire them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from typing_extensions import override

from ordertrail.executions.applied_reports import AppliedReports
from ordertrail.executions.applying import Applying
from ordertrail.executions.compare import CannotCompare, ExecutionComparer
from ordertrail.executions.feed import Feed, FeedLimits
from ordertrail.executions.processor import Processor, ProcessorLimits
from ordertrail.executions.sources import BrokerSource, InboxSource, Source
from ordertrail.executions.upkeep import Upkeep
from ordertrail.queues.queue import Queue
from ordertrail.storage.comparison_rows import Comparison
from ordertrail.storage.inbox_queue import InboxQueue
from ordertrail.storage.postgres.comparisons import PostgresComparisons
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.storage.postgres.parked import PostgresParked
from tests.simulation.broker import BrokerQueue
from tests.simulation.network import DatabaseWire, ExchangeWire, Fates
from tests.simulation.site import SETTINGS, Resident, SimulatedClock, Site
from tests.simulation.tables import Connection
from tests.support.gateway import gateway_to, service_gate

T = TypeVar("T")

VENUE = "simulated"
# Few, so that batches meet in the middle of a frame's orders, and a small inbox is full now and then.
REPORTS_MAX = 12
INBOX_BYTES_MAX = 1_000_000
# Seldom, for each turn costs a simulation as much as a request; what may wait is woken.
UPKEEP_SECONDS = 5.0
IDLE_SECONDS_MAX = 3.0
LEASE_SECONDS, RENEW_SECONDS = 6.0, 2.0


def queue_of(site: Site, fates: Fates, rows: Any, clock: Any) -> Queue:
    """A process's way to the queue that this run has."""
    if site.broker is not None:
        return BrokerQueue(site.broker, fates.broker, site.world)
    return InboxQueue(rows, clock, venue=VENUE, bytes_max=INBOX_BYTES_MAX)


class _Heard:
    """A feed's connections: processors hear of what was put into the inbox."""

    def __init__(self, connection: Connection, site: Site) -> None:
        self._connection = connection
        self._site = site

    async def transact(self, name: str, work: Callable[[datetime], T]) -> T:
        return await self._connection.transact(name, self._and_report(work) if name.startswith("put_") else work)

    def _and_report(self, work: Callable[[datetime], T]) -> Callable[[datetime], T]:
        def put(now: datetime) -> T:
            result = work(now)
            self._site.was_put()
            for member in self._site.members:
                if isinstance(member, ProcessorMember):
                    member.wake_up()
            return result

        return put


class _Watched:
    """A processor's connections: it must never write COMPLETED."""

    def __init__(self, connection: Connection, site: Site) -> None:
        self._connection = connection
        self._site = site

    async def transact(self, name: str, work: Callable[[datetime], T]) -> T:
        return await self._connection.transact(name, self._and_review(work) if name.startswith("apply_") else work)

    def _and_review(self, work: Callable[[datetime], T]) -> Callable[[datetime], T]:
        def apply(now: datetime) -> T:
            before = self._placed()
            result = work(now)
            self._site.placed_by_processor += sorted(self._placed() - before)
            return result

        return apply

    def _placed(self) -> set[str]:
        return {order_id for order_id, rows in self._site.database.tables.orders.items() if "COMPLETED" in rows}


class _WokenSource(InboxSource):
    @property
    @override
    def idle_seconds_max(self) -> float:
        return IDLE_SECONDS_MAX


async def compare(site: Site, fates: Fates) -> Comparison | str:
    """`ordertrail executions compare`, by an operator; or why there is nothing to compare with."""
    clock = SimulatedClock(site.loop, wrong_by=0, counts_from=0)
    wire = DatabaseWire(fates, site.now, site.world, timeout_seconds=SETTINGS.database_timeout_seconds, note=site.note)
    session: Any = site.database.session(wire)
    timeout_seconds = SETTINGS.exchange_timeout_seconds
    gate = service_gate(clock, settings=SETTINGS, chance=site.random.random)
    venue = ExchangeWire(site.exchange, fates, clock)
    gateway = gateway_to(venue, clock, gate=gate, timeout_seconds=timeout_seconds)
    rows = PostgresComparisons(session)
    try:
        comparison = await ExecutionComparer(rows, PostgresExecutions(session), gateway, clock, venue=VENUE).run_once()
    except CannotCompare as error:
        return str(error)
    newest = await rows.newest_comparison(VENUE)
    is_kept = newest is not None and replace(newest, compared_at=None) == comparison
    return comparison if is_kept else f"{comparison} was to be kept, and {newest} is"


class ProcessorMember(Resident):
    """`ordertrail process`."""

    def __init__(self, site: Site, slot: str, fates: Fates, *, wrong_by: float) -> None:
        super().__init__(site, slot, fates, wrong_by=wrong_by)
        session: Any = site.database.session(_Watched(self.connection, site))
        rows = PostgresExecutions(session)
        report = AppliedReports(VENUE)
        applying = Applying(rows, self.clock, report)
        queue = queue_of(site, fates, rows, self.clock)
        source: Source
        if site.broker is None:
            source = _WokenSource(rows, rows, applying, venue=VENUE)
        else:
            source = BrokerSource(queue, applying, self.clock)
        self.processor = Processor(source, ProcessorLimits(statements_in_flight=1, reports_max=REPORTS_MAX))
        self.upkeep = Upkeep(rows, queue, self.clock, report, venue=VENUE)

    def wake_up(self) -> None:
        """As a connection that listens; what it is told is lost with it."""
        self.site.loop.call_later(0.002, self.processor.wake_up, context=self.process.context)

    @override
    async def run(self) -> None:
        self.background.start("the processor", self.processor.run())
        while True:
            await self.upkeep.run_once()
            await self.clock.sleep(UPKEEP_SECONDS)


class FeedMember(Resident):
    """`ordertrail feed`: the owner of the venue's feed, or a standby."""

    def __init__(self, site: Site, slot: str, fates: Fates, *, wrong_by: float) -> None:
        super().__init__(site, slot, fates, wrong_by=wrong_by)
        session: Any = site.database.session(_Heard(self.connection, site))
        rows = PostgresExecutions(session)
        self.feed = Feed(
            queue_of(site, fates, rows, self.clock),
            rows,
            PostgresParked(self.session),
            self.venue,
            self.clock,
            holder=self.process.name,
            limits=FeedLimits(
                lease_seconds=LEASE_SECONDS,
                renew_seconds=RENEW_SECONDS,
                timeout_seconds=SETTINGS.exchange_timeout_seconds,
            ),
        )

    @override
    async def run(self) -> None:
        await self.feed.run()

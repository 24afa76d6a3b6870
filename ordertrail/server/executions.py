"""The parts that take in execution reports: a queue, and a feed, a processor, or both.

They stand in a process of their own, or in one of the API. Their connections to the database are theirs alone, so that
no order waits for reports.
"""

import os
import secrets
import socket

from ordertrail.executions.applied_reports import AppliedReports
from ordertrail.executions.applying import Applying
from ordertrail.executions.feed import Feed
from ordertrail.executions.processor import Processor, ProcessorLimits
from ordertrail.executions.sources import BrokerSource, InboxSource, Source
from ordertrail.executions.upkeep import Upkeep
from ordertrail.queues.queue import Queue
from ordertrail.queues.registry import make_queue
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.settings import Settings
from ordertrail.runtime.tasks import BackgroundTasks
from ordertrail.storage.execution_rows import INBOX_CHANNEL
from ordertrail.storage.inbox_queue import InboxQueue
from ordertrail.storage.postgres.channel_watch import ChannelWatch
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.execution_reads import PostgresExecutionReads
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.storage.postgres.parked import PostgresParked
from ordertrail.venues.venue import Venue

# One statement is about a thousand orders; on a disk that is busy it may take longer than an order's row may.
STATEMENT_SECONDS_MIN = 10.0
# Beside the statements of the processor: the upkeep's, and the feed's.
OTHER_CONNECTIONS = 3


class Executions:
    """One venue's. `feeds_from`: what is followed, None: there is no feed here."""

    def __init__(
        self, settings: Settings, clock: Clock, *, venue: str, feeds_from: Venue | None, processes: bool
    ) -> None:
        self.venue = venue
        self.database = Database(
            settings.database_url.get_secret_value(),
            timeout_seconds=max(STATEMENT_SECONDS_MIN, settings.database_timeout_seconds),
            connections_max=settings.execution_statements_in_flight + OTHER_CONNECTIONS,
        )
        self.rows = PostgresExecutions(self.database)
        self.queue = self._queue(settings, clock)
        self.feed = None if feeds_from is None else self._feed(feeds_from, clock)
        self.processing = Processing(settings, clock, self.rows, self.queue, venue=venue) if processes else None

    def _queue(self, settings: Settings, clock: Clock) -> Queue:
        if settings.queue_url is None:
            return InboxQueue(self.rows, clock, venue=self.venue, bytes_max=settings.queue_bytes_max)
        return make_queue(settings.queue_url, venue=self.venue, bytes_max=settings.queue_bytes_max)

    def _feed(self, venue: Venue, clock: Clock) -> Feed:
        # A process that is started anew must not be taken for the one before it, which may have had its number.
        holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        parked, reads = PostgresParked(self.database), PostgresExecutionReads(self.database)
        return Feed(self.queue, self.rows, parked, venue, clock, holder=holder, reads=reads)

    async def open(self) -> None:
        """Make ready; neither an absent database nor an absent queue stops it."""
        await self.database.open()
        await self.queue.open()

    def start(self, background: BackgroundTasks) -> None:
        """Run until the tasks' owner stops them; what is in flight then is finished first."""
        if self.feed is not None:
            background.start("feeding execution reports", self.feed.run())
        if self.processing is not None:
            self.processing.start(background)

    async def close(self) -> None:
        """Let go of connections, once the tasks have ended."""
        await self.queue.close()
        await self.database.close()


class Processing:
    """A processor, what it keeps in order, and what wakes it."""

    def __init__(self, settings: Settings, clock: Clock, rows: PostgresExecutions, queue: Queue, *, venue: str) -> None:
        self.report = AppliedReports(venue)
        self._watch: ChannelWatch | None = None
        applying = Applying(rows, clock, self.report)
        source: Source
        if isinstance(queue, InboxQueue):
            self._watch = watch = ChannelWatch(
                settings.database_url.get_secret_value(),
                channel=INBOX_CHANNEL,
                payload=venue,
                timeout_seconds=settings.database_timeout_seconds,
            )
            source = InboxSource(rows, rows, applying, venue=venue, is_woken=lambda: watch.is_listening)
        else:
            source = BrokerSource(queue, applying, clock)
        self.processor = Processor(
            source,
            ProcessorLimits(
                statements_in_flight=settings.execution_statements_in_flight,
                reports_max=settings.execution_reports_max,
            ),
        )
        self.upkeep = Upkeep(rows, queue, clock, self.report, venue=venue)

    def start(self, background: BackgroundTasks) -> None:
        """Run all of it."""
        background.start("processing execution reports", self.processor.run())
        background.start("the upkeep of execution reports", self.upkeep.run())
        if self._watch is not None:
            background.start("listening to the inbox", self._watch.run(self.processor.wake_up))

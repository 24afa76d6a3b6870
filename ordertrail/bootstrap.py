"""The composition root: settings → the parts of a process, real by default, others by argument."""

import asyncio
import contextlib

from ordertrail.clock import Clock, SystemClock
from ordertrail.domain.errors import DatabaseLost
from ordertrail.journal import Journal
from ordertrail.placement.place_order import Placing
from ordertrail.postgres.database import Database
from ordertrail.postgres.reads import OrderReads
from ordertrail.postgres.rows import PostgresRows
from ordertrail.postgres.watch import DatabaseWatch
from ordertrail.rows import Rows, Windows
from ordertrail.sending import Sender
from ordertrail.settings import Settings
from ordertrail.shared_commits import Limits
from ordertrail.spool import Spool
from ordertrail.telemetry import tally
from ordertrail.venues.registry import make_venue
from ordertrail.venues.venue import Venue

WATCH_INTERVAL_SECONDS = 1


def windows_of(settings: Settings) -> Windows:
    """An order's deadlines."""
    return Windows(
        send_seconds=settings.send_window_seconds,
        accept_seconds=settings.send_window_seconds + settings.exchange_timeout_seconds,
        review_seconds=settings.review_seconds,
        retry_seconds=settings.retry_window_seconds,
    )


class Service:
    """Everything that a process needs to place orders; `open` and `close` in its event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        venue: Venue | None = None,
        rows: Rows | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.windows = windows_of(settings)
        url = settings.database_url.get_secret_value()
        self.database = Database(
            url,
            timeout_seconds=settings.database_timeout_seconds,
            connections_max=settings.database_connections_max,
        )
        self.watch = DatabaseWatch(self.database, url)
        self.reads = OrderReads(self.database)
        self.venue = venue or make_venue(
            settings.exchange_url,
            data_dir=settings.data_dir,
            clock=self.clock,
            connections_max=settings.exchange_connections_max,
        )
        self.spool = Spool(settings.data_dir / "spool", bytes_max=settings.spool_bytes_max)
        self.journal = Journal(
            rows or PostgresRows(self.database, self.windows),
            self.spool,
            self.clock,
            Limits(
                rows_max=settings.commit_rows_max,
                queue_max=settings.commit_queue_max,
                timeout_seconds=settings.database_timeout_seconds,
            ),
        )
        self.sender = Sender(self.venue, self.clock, timeout_seconds=settings.exchange_timeout_seconds)
        self.placing = Placing(self.journal, self.sender, self.clock, self.windows)
        self._watching: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def open(self) -> None:
        """Start; neither an absent database nor an absent exchange stops it."""
        await self.venue.open()
        await self.database.open()
        await self.spool.open()
        await self.watch.run_once()
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop, once nothing is being placed any more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        await self.journal.close()
        await self.spool.close()
        await self.venue.close()
        await self.database.close()

    def turn_away(self, orders_in_flight: int) -> str | None:
        """Why a new order is turned away before its first step, as a problem type; None: it is taken."""
        if self.journal.is_full or orders_in_flight >= self.settings.orders_in_flight_max:
            return "overloaded"
        if not self.spool.has_room(orders_in_flight=orders_in_flight):
            return "spool-full"
        return None

    def problems(self) -> list[str]:
        """Why orders cannot be taken now, in sentences."""
        stopping = "This process is stopping." if self._is_stopping else None
        return [problem for problem in (stopping, self.watch.problem, self.spool.problem) if problem is not None]

    def begin_to_stop(self) -> None:
        """Say that no more requests should come; those that come are served until `close`."""
        self._is_stopping = True

    async def _watch(self) -> None:
        """Keep an eye on the database and the spool, and bring them together."""
        while True:
            await self.clock.sleep(WATCH_INTERVAL_SECONDS)
            tally.flush()
            await self.watch.run_once()
            await asyncio.to_thread(self.spool.probe)
            if self.watch.problem is None and self.spool.has_trails:
                with contextlib.suppress(DatabaseLost):
                    await self.journal.replay()

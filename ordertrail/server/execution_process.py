"""A process that feeds or processes execution reports, and nothing else: until it is told to stop."""

import asyncio
import gc
import signal

from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings
from ordertrail.runtime.tasks import BackgroundTasks
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.server.executions import Executions
from ordertrail.server.metrics_port import serving_metrics
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.watch import DatabaseWatch
from ordertrail.venues.venue import Venue

_log = get_logger()

WATCH_SECONDS = 1.0


class ExecutionProcess:
    """`follows`: the venue whose reports it feeds, None: it feeds none."""

    def __init__(self, settings: Settings, *, venue: str, follows: Venue | None, processes: bool) -> None:
        self.background = BackgroundTasks()
        self._settings = settings
        self._venue = follows
        self._clock = SystemClock()
        self._database = Database(
            settings.database_url.get_secret_value(),
            timeout_seconds=settings.database_timeout_seconds,
            connections_max=1,
        )
        self.watch = DatabaseWatch(self._database, settings.database_url.get_secret_value(), clock=self._clock)
        self.executions = Executions(settings, self._clock, venue=venue, feeds_from=follows, processes=processes)

    async def open(self) -> None:
        """Make ready, and migrate the database if it is there; CannotStart where it must not be used."""
        if self._venue is not None:
            await self._venue.open()
        await self._database.open()
        await self.executions.open()
        await self.watch.run_once()
        if self.watch.is_unsuitable:
            await self.close()
            raise CannotStart(self.watch.problem or "")

    async def close(self) -> None:
        """Finish what is in flight, and let go of everything."""
        await self.background.stop()
        await self.executions.close()
        if self._venue is not None:
            await self._venue.close()
        await self._database.close()
        metrics.flush()

    async def run_until_stopped(self, *, announce: str) -> bool:
        """Run until SIGTERM or SIGINT; whether that is what ended it."""
        gc.collect()
        gc.freeze()
        stop_requested = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop_requested.set)
        self.background.when_lost = stop_requested.set
        await self.open()
        try:
            self.executions.start(self.background)
            self.background.start("the watch of the database", self._watch_database())
            async with serving_metrics(self._settings.host, self._settings.metrics_port) as port:
                print(announce if port is None else f"{announce}, /metrics on port {port}", flush=True)
                await stop_requested.wait()
        finally:
            await self.close()
        return self.background.problem is None

    async def _watch_database(self) -> None:
        while True:
            await self._clock.sleep(WATCH_SECONDS)
            metrics.flush()
            try:
                await self.watch.run_once()
            except Exception:  # noqa: BLE001 - counted, and the next time tries again
                metrics.INVARIANTS_BROKEN.labels("watch_raised").inc()
                _log.exception("the watch failed")
            metrics.DATABASE_UP.set(self.watch.problem is None)

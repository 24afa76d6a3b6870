"""What a process keeps in order once a second: its metrics, the database, the spool, and the operator's switch."""

import asyncio

from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.server.status import Status
from ordertrail.server.switch_watch import SwitchWatch
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.journal import Journal
from ordertrail.storage.postgres.watch import DatabaseWatch
from ordertrail.storage.spool import Spool
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.report import publish

_log = get_logger()

INTERVAL_SECONDS = 1


class Housekeeping:
    """One process's; `run_once` checks everything once."""

    def __init__(
        self,
        switch_watch: SwitchWatch,
        watch: DatabaseWatch,
        spool: Spool,
        journal: Journal,
        *,
        gate: Gate,
        clock: Clock,
        status: Status,
    ) -> None:
        self._switch_watch = switch_watch
        self._watch = watch
        self._spool = spool
        self._journal = journal
        self._gate = gate
        self._clock = clock
        self._status = status

    async def run(self) -> None:
        """Run for ever; cancel to end."""
        while True:
            await self._clock.sleep(INTERVAL_SECONDS)
            try:
                await self.run_once()
            except (StatementFailed, StatementOutcomeUnknown) as error:
                _log.warning("the watch could not use the database", error=str(error))
            except Exception:  # noqa: BLE001 - counted, and the next time tries again
                metrics.INVARIANTS_BROKEN.labels("watch_raised").inc()
                _log.exception("the watch failed")

    async def run_once(self) -> None:
        """Hand over metrics, try the database and the spool's folder; where the database is there, what it decides."""
        self._publish()
        await self._watch.run_once()
        metrics.DATABASE_UP.set(self._watch.problem is None)
        await asyncio.to_thread(self._spool.probe)
        if self._watch.problem is None:
            await self._switch_watch.run_once()
            if self._spool.has_trails:
                await self._journal.replay()
        await self._status.refresh()

    def _publish(self) -> None:
        metrics.flush()
        publish(self._gate.state())
        self._journal.publish()

"""When reconciliation runs: every interval, at once when nudged, and never ended by a failure of its own."""

import asyncio
import contextlib

from ordertrail.reconciliation.reconciler import Counts, Reconciler
from ordertrail.reconciliation.sweep import Sweep, Swept
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.doubt_rows import DoubtRows
from ordertrail.storage.errors import DatabaseAnswered, DatabaseLost

_log = get_logger()


class Schedule:
    """Runs a reconciler and a sweep."""

    def __init__(self, reconciler: Reconciler, sweep: Sweep, doubts: DoubtRows, *, interval_seconds: float) -> None:
        self._reconciler = reconciler
        self._sweep = sweep
        self._doubts = doubts
        self._interval_seconds = interval_seconds
        self._nudged = asyncio.Event()
        self.swept = Swept()

    def nudge(self) -> None:
        """Something is due now: do not wait for the interval."""
        self._nudged.set()

    async def run(self) -> None:
        """Run for ever; cancel to end."""
        while True:
            self._nudged.clear()
            try:
                counts = await self.run_once()
                if counts.has_more:
                    self.nudge()
            except (DatabaseAnswered, DatabaseLost) as error:
                _log.warning("reconciliation could not use the database", error=str(error))
            except Exception:  # noqa: BLE001 - counted, and the next pass tries again
                metrics.INVARIANTS_BROKEN.labels("reconciliation_raised").inc()
                _log.exception("a reconciliation pass failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_seconds):
                    await self._nudged.wait()

    async def run_once(self) -> Counts:
        """One pass, the figures for whoever is on call, and a sweep if it is our turn."""
        counts = await self._reconciler.run_once()
        if counts.looked_at:
            _log.info(
                "reconciliation pass",
                looked_at=counts.looked_at,
                settled=counts.settled,
                completed=counts.completed,
                not_placed=counts.not_placed,
                resent=counts.resent,
                waiting=counts.waiting,
                unresolved=counts.unresolved,
            )
        doubts = await self._doubts.counts()
        metrics.DOUBTS.set(doubts.count)
        metrics.DOUBTS_UNRESOLVED.set(doubts.unresolved)
        metrics.DOUBTS_OLDEST_SECONDS.set(doubts.oldest_seconds)
        self.swept = await self._sweep.run_once()
        if self.swept.sighted or self.swept.orphans:
            _log.warning(
                "the sweep found orders",
                sighted=self.swept.sighted,
                late=self.swept.late,
                orphans=self.swept.orphans,
            )
        return counts

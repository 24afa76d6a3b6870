"""When reconciliation runs: every interval, at once when nudged, and never ended by a failure of its own."""

import asyncio
import contextlib

from ordertrail.reconciliation.pass_report import PassReport
from ordertrail.reconciliation.reconciler import Reconciler
from ordertrail.reconciliation.sweep import Sweep, Swept
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.doubt_rows import DoubtRows
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown

_log = get_logger()


class Schedule:
    """Runs a reconciler and a sweep."""

    def __init__(self, reconciler: Reconciler, sweep: Sweep, doubts: DoubtRows, *, interval_seconds: float) -> None:
        self._reconciler = reconciler
        self._sweep = sweep
        self._doubts = doubts
        self._interval_seconds = interval_seconds
        self._woken = asyncio.Event()
        self.swept = Swept()
        self._reported: str | None = None

    def wake_up(self) -> None:
        """Something is due now: do not wait for the interval."""
        self._woken.set()

    async def run(self) -> None:
        """Run for ever; cancel to end."""
        while True:
            self._woken.clear()
            try:
                report = await self.run_once()
                self._reported = None
                if report.has_more:
                    self.wake_up()
            except (StatementFailed, StatementOutcomeUnknown) as error:
                self._report(error)
            except Exception:  # noqa: BLE001 - counted, and the next pass tries again
                metrics.INVARIANTS_BROKEN.labels("reconciliation_raised").inc()
                _log.exception("a reconciliation pass failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_seconds):
                    await self._woken.wait()

    def _report(self, error: StatementFailed | StatementOutcomeUnknown) -> None:
        """Once for each trouble; that the database cannot be reached at all the process's watch says already."""
        is_reached = isinstance(error, StatementFailed) or error.may_have_happened
        if is_reached and str(error) != self._reported:
            self._reported = str(error)
            _log.warning("reconciliation could not use the database", error=str(error))

    async def run_once(self) -> PassReport:
        """One pass, the figures for the operator, and a sweep if it is our turn."""
        report = await self._reconciler.run_once()
        if report.reviewed:
            _log.info(
                "reconciliation pass",
                reviewed=report.reviewed,
                settled=report.settled,
                completed=report.completed,
                not_placed=report.not_placed,
                resent=report.resent,
                waiting=report.waiting,
                unresolved=report.unresolved,
            )
        doubts = await self._doubts.counts()
        metrics.DOUBTS.set(doubts.count)
        metrics.DOUBTS_UNRESOLVED.set(doubts.unresolved)
        metrics.DOUBTS_OLDEST_SECONDS.set(doubts.oldest_seconds)
        metrics.ORPHANS_OPEN.set(doubts.open_orphans)
        self.swept = await self._sweep.run_once()
        if self.swept.observed or self.swept.orphans:
            _log.warning(
                "the sweep found orders",
                observed=self.swept.observed,
                late=self.swept.late,
                orphans=self.swept.orphans,
            )
        return report

"""What became of execution reports, told once it is committed: counted, and what a person must know said aloud."""

from collections.abc import Sequence
from dataclasses import dataclass

from ordertrail.queues.queue import Frame
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.execution_rows import Applied, Retried

_log = get_logger()

KIND = "execution_report"
LOGGED_AT_ONCE_MAX = 10

LATE = "an order arrived at the exchange after it was settled as not placed"
OVERFILLED = "more of an order was filled than was ordered"
AFTER_END = "an order was traded after it had ended"
BUSTED = "the exchange took back a trade, or made it smaller"
CONTRADICTING = "the exchange reports an execution again and says something else"
ORPHANED = "the exchange reports an order that was never recorded here"


@dataclass(slots=True)
class Totals:
    """Reports that were applied, with repeats; those that became rows; those that were parked."""

    reports: int = 0
    rows: int = 0
    parked: int = 0


class AppliedReports:
    """One venue's, in one process; `totals` is what it came to."""

    def __init__(self, venue: str) -> None:
        self._venue = venue
        self.totals = Totals()

    def applied(self, applied: Applied, *, seconds: float) -> None:
        """Reports are committed."""
        self.totals.reports += applied.reports
        self.totals.rows += applied.inserted
        self.totals.parked += applied.parked
        metrics.EXECUTION_REPORTS.inc(applied.reports)
        metrics.EXECUTION_ROWS.inc(applied.inserted)
        metrics.EXECUTION_BATCH_SECONDS.observe(seconds)
        metrics.EXECUTION_BATCH_REPORTS.observe(applied.reports)
        if applied.waited_seconds is not None:
            metrics.EXECUTION_WAITED_SECONDS.observe(applied.waited_seconds)
        if applied.parked:
            metrics.PARKED.labels(KIND).inc(applied.parked)
        self._late(applied.late)
        for what, sentence, orders in (
            ("overfilled", OVERFILLED, applied.overfilled),
            ("after_end", AFTER_END, applied.after_end),
            ("busted", BUSTED, applied.busted),
            ("contradicting", CONTRADICTING, applied.contradicting),
        ):
            if orders:
                metrics.EXECUTION_TROUBLES.labels(what).inc(len(orders))
                self._say(sentence, orders)

    def retried(self, retried: Retried) -> None:
        """Parked reports were tried again."""
        metrics.EXECUTION_RETRIED.inc(retried.applied)
        self._late(retried.late)
        if retried.orphaned:
            metrics.ORPHANS.inc(len(retried.orphaned))
            self._say(ORPHANED, retried.orphaned)

    def parked(self, frame: Frame, *, reason: str, field: str | None, seq: int | None, is_new: bool) -> None:
        """A report that breaks the statement is kept for a person."""
        self.totals.reports += 1
        if is_new:
            self.totals.parked += 1
            metrics.PARKED.labels(KIND).inc()
            _log.error(
                "a thing that the exchange sent cannot be understood",
                venue=self._venue,
                kind=KIND,
                field=field,
                reason=reason,
                epoch=frame.epoch,
                seq=seq,
            )

    def _late(self, orders: Sequence[str]) -> None:
        if orders:
            metrics.LATE_ARRIVALS.inc(len(orders))
            self._say(LATE, orders)

    def _say(self, sentence: str, orders: Sequence[str]) -> None:
        for order_id in orders[:LOGGED_AT_ONCE_MAX]:
            _log.critical(sentence, order_id=order_id, venue=self._venue)
        if len(orders) > LOGGED_AT_ONCE_MAX:
            _log.critical(sentence, more_orders=len(orders) - LOGGED_AT_ONCE_MAX, venue=self._venue)

"""One send: deadline, venue, answer; and the question after an answer that proved nothing.

Placement and reconciliation both send through here. Whatever a venue does, an Answer comes back.
"""

from datetime import datetime

from ordertrail import failpoints
from ordertrail.clock import Clock
from ordertrail.domain.answer import (
    Accepted,
    Answer,
    Found,
    NoAnswer,
    NotSent,
    Refused,
    Unknown,
    Verification,
    judge_found,
)
from ordertrail.domain.order import Order
from ordertrail.telemetry import metrics
from ordertrail.telemetry.logs import get_logger
from ordertrail.venues.venue import Venue

_log = get_logger()

_ANSWER_COUNTERS = {
    Accepted: metrics.ANSWERS.labels("accepted"),
    Refused: metrics.ANSWERS.labels("refused"),
    NotSent: metrics.ANSWERS.labels("not_sent"),
    Unknown: metrics.ANSWERS.labels("unknown"),
}
_PLACE_SECONDS = metrics.EXCHANGE_SECONDS.labels("place")
_ASK_SECONDS = metrics.EXCHANGE_SECONDS.labels("ask")


class Sender:
    """The way to one venue."""

    def __init__(self, venue: Venue, clock: Clock, *, timeout_seconds: float) -> None:
        self._venue = venue
        self._clock = clock
        self._timeout_seconds = timeout_seconds

    async def send(self, order: Order, *, send_by: float, accept_by: datetime | None) -> Answer:
        """Send once, not after `send_by` (monotonic)."""
        start = self._clock.monotonic()
        if start >= send_by:
            return NotSent("send_window_passed")
        failpoints.reach("before_send")
        try:
            answer = await self._venue.place(
                order, send_by=send_by, timeout_seconds=self._timeout_seconds, accept_by=accept_by
            )
        except Exception:  # noqa: BLE001 - an adapter's bug must not lose an answer
            # An adapter must not raise. What it had sent by then, nobody knows.
            metrics.INVARIANTS_BROKEN.labels("venue_raised").inc()
            _log.exception("the venue's adapter raised", order_id=order.id, venue=self._venue.name)
            answer = Unknown("adapter_raised")
        failpoints.reach("after_send")
        _PLACE_SECONDS.observe(self._clock.monotonic() - start)
        _ANSWER_COUNTERS[type(answer)].inc()
        return answer

    async def ask(self, order_id: str) -> Verification:
        """Ask the venue for one order."""
        start = self._clock.monotonic()
        try:
            verification = await self._venue.ask(order_id, timeout_seconds=self._timeout_seconds)
        except Exception:  # noqa: BLE001 - an adapter's bug must not lose an answer
            metrics.INVARIANTS_BROKEN.labels("venue_raised").inc()
            _log.exception("the venue's adapter raised", order_id=order_id, venue=self._venue.name)
            verification = NoAnswer("adapter_raised")
        _ASK_SECONDS.observe(self._clock.monotonic() - start)
        metrics.VERIFICATIONS.labels(type(verification).__name__.lower()).inc()
        return verification

    async def send_and_ask(self, order: Order, *, send_by: float, accept_by: datetime | None) -> Answer:
        """Send once; after an unknown answer ask once. Found counts; absent, so soon, proves nothing."""
        answer = await self.send(order, send_by=send_by, accept_by=accept_by)
        if not isinstance(answer, Unknown):
            return answer
        failpoints.reach("before_ask")
        verification = await self.ask(order.id)
        if isinstance(verification, Found):
            return judge_found(verification.order, order)
        return answer

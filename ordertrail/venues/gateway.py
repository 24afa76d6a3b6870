"""One send: gate, deadline, venue, answer; and the question after an answer that proved nothing.

Placement and reconciliation both send through here. Whatever a venue does, an Answer comes back.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import (
    Accepted,
    CancelAnswer,
    Found,
    NoAnswer,
    NotSent,
    PlaceAnswer,
    Refused,
    Unknown,
    Verification,
    judge_found,
)
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.buffered import BufferedCounter, BufferedHistogram
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.venues.gate.denial import Denied
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.venue import ExecutionPage, OpenOrders, Venue

_log = get_logger()

_Learned = TypeVar("_Learned")

_ANSWERS: dict[type[PlaceAnswer], BufferedCounter] = {
    Accepted: BufferedCounter(metrics.ANSWERS.labels("accepted")),
    Refused: BufferedCounter(metrics.ANSWERS.labels("refused")),
    NotSent: BufferedCounter(metrics.ANSWERS.labels("not_sent")),
    Unknown: BufferedCounter(metrics.ANSWERS.labels("unknown")),
}
_PLACE_SECONDS = BufferedHistogram(metrics.EXCHANGE_SECONDS.labels("place"))
_QUERY_SECONDS = BufferedHistogram(metrics.EXCHANGE_SECONDS.labels("query"))
_CANCEL_SECONDS = BufferedHistogram(metrics.EXCHANGE_SECONDS.labels("cancel"))


class Gateway:
    """The way to one venue."""

    def __init__(self, venue: Venue, gate: Gate, clock: Clock, *, timeout_seconds: float) -> None:
        self._venue = venue
        self._gate = gate
        self._clock = clock
        self._timeout_seconds = timeout_seconds

    @property
    def venue_name(self) -> str:
        """The venue's short name."""
        return self._venue.name

    async def send(self, order: Order, *, send_by: float, accept_by: datetime | None) -> PlaceAnswer:
        """Send once, not after `send_by` (monotonic)."""
        start = self._clock.monotonic()
        budget = self._gate.placing
        permit = budget.try_enter(start) or await budget.enter(deadline=send_by)
        if isinstance(permit, Denied):
            _ANSWERS[NotSent].add()
            return NotSent(permit.cause, permit.retry_after_seconds)
        answer: PlaceAnswer | None = None
        try:
            failpoints.reach("before_send")
            answer = await self._venue.place(
                order, send_by=send_by, timeout_seconds=self._timeout_seconds, accept_by=accept_by
            )
        except Exception:  # noqa: BLE001 - an adapter's bug must not lose an answer
            # An adapter must not raise. What it had sent by then, nobody knows.
            self._adapter_raised(order.id)
            answer = Unknown("adapter_raised")
        finally:
            now = self._clock.monotonic()
            permit.leave(answer, now)
        failpoints.reach("after_send")
        _PLACE_SECONDS.observe(now - start)
        _ANSWERS[type(answer)].add()
        return answer

    async def query(self, order_id: str) -> Verification:
        """Ask the venue for one order."""
        budget = self._gate.querying
        start = self._clock.monotonic()
        deadline = start + self._timeout_seconds
        permit = budget.try_enter(start) or await budget.enter(deadline=deadline)
        if isinstance(permit, Denied):
            return NoAnswer(permit.cause)
        verification: Verification | None = None
        try:
            verification = await self._venue.query(order_id, timeout_seconds=deadline - self._clock.monotonic())
        except Exception:  # noqa: BLE001 - an adapter's bug must not lose an answer
            self._adapter_raised(order_id)
            verification = NoAnswer("adapter_raised")
        finally:
            now = self._clock.monotonic()
            permit.leave(verification, now)
        _QUERY_SECONDS.observe(now - start)
        metrics.VERIFICATIONS.labels(type(verification).__name__.lower()).inc()
        return verification

    async def cancel(self, order_id: str) -> CancelAnswer:
        """Ask the venue to cancel one order; harmless if repeated."""
        budget = self._gate.cancelling
        start = self._clock.monotonic()
        deadline = start + self._timeout_seconds
        permit = budget.try_enter(start) or await budget.enter(deadline=deadline)
        if isinstance(permit, Denied):
            return NoAnswer(permit.cause)
        answer: CancelAnswer | None = None
        try:
            answer = await self._venue.cancel(order_id, timeout_seconds=deadline - self._clock.monotonic())
        except Exception:  # noqa: BLE001 - an adapter's bug must not lose an answer
            self._adapter_raised(order_id)
            answer = NoAnswer("adapter_raised")
        finally:
            now = self._clock.monotonic()
            permit.leave(answer, now)
        _CANCEL_SECONDS.observe(now - start)
        return answer

    async def capabilities(self) -> Capabilities | NoAnswer:
        """What the venue promises now."""
        return await self._learn(self._venue.capabilities)

    async def open_orders(self) -> OpenOrders | NoAnswer:
        """Every order open at the venue."""
        return await self._learn(self._venue.open_orders)

    async def executions(self, *, after: int, limit: int) -> ExecutionPage | NoAnswer:
        """The venue's execution reports after a position."""
        return await self._learn(partial(self._venue.executions, after=after, limit=limit))

    async def _learn(self, call: Callable[..., Awaitable[_Learned | NoAnswer]]) -> _Learned | NoAnswer:
        """A question about no order in particular, through the gate's lane for asking."""
        budget = self._gate.querying
        start = self._clock.monotonic()
        deadline = start + self._timeout_seconds
        permit = budget.try_enter(start) or await budget.enter(deadline=deadline)
        if isinstance(permit, Denied):
            return NoAnswer(permit.cause)
        answer: _Learned | NoAnswer | None = None
        try:
            answer = await call(timeout_seconds=deadline - self._clock.monotonic())
        except Exception:  # noqa: BLE001 - an adapter's bug must not end a pass
            self._adapter_raised(None)
            answer = NoAnswer("adapter_raised")
        finally:
            permit.leave(answer, self._clock.monotonic())
        return answer

    def denial_cause(self) -> str | None:
        """Why placing would be answered at once without a send; None: it would be sent."""
        denied = self._gate.placing.denial(self._clock.monotonic())
        return None if denied is None else denied.cause

    def _adapter_raised(self, order_id: str | None) -> None:
        metrics.INVARIANTS_BROKEN.labels("venue_raised").inc()
        _log.exception("the venue's adapter raised", order_id=order_id, venue=self._venue.name)

    async def send_and_query(
        self, order: Order, *, send_by: float, accept_by: datetime | None, is_only_send: bool = True
    ) -> PlaceAnswer:
        """Send once; after an unknown answer ask once. Found counts; absent, so soon, proves nothing.

        Not `is_only_send`: another one may have arrived as well, and an order that is found rejected may be that one's.
        """
        answer = await self.send(order, send_by=send_by, accept_by=accept_by)
        if not isinstance(answer, Unknown):
            return answer
        failpoints.reach("before_query")
        verification = await self.query(order.id)
        failpoints.reach("after_query")
        if not isinstance(verification, Found):
            return answer
        judged = judge_found(verification.order, order)
        return judged if is_only_send or not isinstance(judged, Refused) else answer

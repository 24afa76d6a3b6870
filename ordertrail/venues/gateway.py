"""One send: gate, deadline, venue, answer; and the question after an answer that proved nothing.

Placement and reconciliation both send through here. Whatever a venue does, an Answer comes back.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar, TypeVarTuple

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.reason import Cause
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
from ordertrail.venues.gate.call_budget import CallBudget
from ordertrail.venues.gate.denial import Denied
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.venue_trouble import MAY_BE_TROUBLE, VenueTrouble
from ordertrail.venues.venue import ExecutionPage, OpenOrders, Venue

_log = get_logger()

_Answered = TypeVar("_Answered")
_Raised = TypeVar("_Raised")
_Arguments = TypeVarTuple("_Arguments")

_ANSWERS: dict[type[PlaceAnswer], BufferedCounter] = {
    Accepted: BufferedCounter(metrics.ANSWERS.labels("accepted")),
    Refused: BufferedCounter(metrics.ANSWERS.labels("refused")),
    NotSent: BufferedCounter(metrics.ANSWERS.labels("not_sent")),
    Unknown: BufferedCounter(metrics.ANSWERS.labels("unknown")),
}


@dataclass(frozen=True, slots=True)
class _Kind(Generic[_Raised]):
    """One kind of call: the answer that stands for an adapter that raised, and where its time is counted."""

    raised: _Raised
    seconds: BufferedHistogram | None = None


# An adapter must not raise. What it had sent by then is not known.
_PLACE = _Kind(Unknown(Cause.ADAPTER_RAISED), BufferedHistogram(metrics.EXCHANGE_SECONDS.labels("place")))
_QUERY = _Kind(NoAnswer(Cause.ADAPTER_RAISED), BufferedHistogram(metrics.EXCHANGE_SECONDS.labels("query")))
_CANCEL = _Kind(NoAnswer(Cause.ADAPTER_RAISED), BufferedHistogram(metrics.EXCHANGE_SECONDS.labels("cancel")))
_LEARN = _Kind(NoAnswer(Cause.ADAPTER_RAISED))


class Gateway:
    """The way to one venue."""

    def __init__(self, venue: Venue, gate: Gate, clock: Clock, *, timeout_seconds: float) -> None:
        self._venue = venue
        self._gate = gate
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self.trouble = VenueTrouble()

    @property
    def venue_name(self) -> str:
        """The venue's short name."""
        return self._venue.name

    async def send_and_query(
        self,
        order: Order,
        *,
        send_by: float,
        accept_by: datetime | None,
        is_only_send: bool = True,
        is_resend: bool = False,
    ) -> PlaceAnswer:
        """Send once, not after `send_by` (monotonic); after an unknown answer query once.

        Found counts; absent, so soon, proves nothing. Not `is_only_send`: another one may have arrived as well, and an
        order that is found rejected may be that one's. A resend leaves the gate's probes to fresh orders.
        """
        # Every order goes this way, so `_through` is called with what it needs, and not with a function made for it.
        answer: PlaceAnswer | Denied = await self._through(
            _PLACE,
            self._gate.placing,
            send_by,
            self._place,
            order,
            send_by,
            accept_by,
            order_id=order.id,
            instrument=order.instrument,
            is_resend=is_resend,
        )
        if isinstance(answer, Denied):
            answer = NotSent(answer.cause, answer.retry_after_seconds)
        else:
            failpoints.reach("after_send")
        _ANSWERS[type(answer)].add()
        return await self._query_after(answer, order, is_only_send) if isinstance(answer, Unknown) else answer

    async def _query_after(self, answer: Unknown, order: Order, is_only_send: bool) -> PlaceAnswer:
        failpoints.reach("before_query")
        verification = await self.query(order.id, instrument=order.instrument)
        failpoints.reach("after_query")
        if not isinstance(verification, Found):
            return answer
        judged = judge_found(verification.order, order)
        return judged if is_only_send or not isinstance(judged, Refused) else answer

    async def query(self, order_id: str, *, instrument: str | None = None) -> Verification:
        """Query the venue for one order; with its instrument, where that is known, an error is not held against all."""
        verification = await self._within_timeout(
            _QUERY, self._gate.querying, order_id, instrument, partial(self._venue.query, order_id)
        )
        if isinstance(verification, Denied):
            return NoAnswer(verification.cause)
        metrics.VERIFICATIONS.labels(type(verification).__name__.lower()).inc()
        return verification

    async def cancel(self, order_id: str, *, instrument: str | None = None) -> CancelAnswer:
        """Have the venue cancel one order; harmless if repeated. The instrument is as for a query."""
        call = partial(self._venue.cancel, order_id)
        answer = await self._within_timeout(_CANCEL, self._gate.cancelling, order_id, instrument, call)
        return NoAnswer(answer.cause) if isinstance(answer, Denied) else answer

    async def capabilities(self) -> Capabilities | NoAnswer:
        """What the venue promises now."""
        return await self._learn(self._venue.capabilities)

    async def open_orders(self) -> OpenOrders | NoAnswer:
        """Every order open at the venue."""
        return await self._learn(self._venue.open_orders)

    async def executions(self, *, after: int, limit: int) -> ExecutionPage | NoAnswer:
        """The venue's execution reports after a position."""
        return await self._learn(partial(self._venue.executions, after=after, limit=limit))

    async def _learn(self, call: Callable[..., Awaitable[_Answered]]) -> _Answered | NoAnswer:
        """A query about no order in particular, through the gate's budget for queries."""
        answer = await self._within_timeout(_LEARN, self._gate.querying, None, None, call)
        return NoAnswer(answer.cause) if isinstance(answer, Denied) else answer

    def _place(self, order: Order, send_by: float, accept_by: datetime | None) -> Awaitable[PlaceAnswer]:
        failpoints.reach("before_send")
        return self._venue.place(order, send_by=send_by, timeout_seconds=self._timeout_seconds, accept_by=accept_by)

    async def _within_timeout(
        self,
        kind: _Kind[NoAnswer],
        budget: CallBudget,
        order_id: str | None,
        instrument: str | None,
        call: Callable[..., Awaitable[_Answered]],
    ) -> _Answered | NoAnswer | Denied:
        """Make a call that has what its wait at the gate leaves of the timeout."""
        clock = self._clock
        deadline = clock.monotonic() + self._timeout_seconds

        def in_time() -> Awaitable[_Answered]:
            return call(timeout_seconds=deadline - clock.monotonic())

        return await self._through(kind, budget, deadline, in_time, order_id=order_id, instrument=instrument)

    async def _through(
        self,
        kind: _Kind[_Raised],
        budget: CallBudget,
        deadline: float,
        call: Callable[[*_Arguments], Awaitable[_Answered]],
        *arguments: *_Arguments,
        order_id: str | None,
        instrument: str | None,
        is_resend: bool = False,
    ) -> _Answered | _Raised | Denied:
        """Make a call once the gate lets it pass, and leave the gate again whatever the venue does."""
        start = self._clock.monotonic()
        permit = budget.try_enter(start, instrument, is_resend=is_resend)
        if permit is None:
            permit = await budget.enter(deadline=deadline, instrument=instrument, is_resend=is_resend)
        if isinstance(permit, Denied):
            return permit
        answer: _Answered | _Raised | None = None
        try:
            answer = await call(*arguments)
        except Exception:  # noqa: BLE001 - an adapter's bug must not lose an answer, nor end a pass
            metrics.INVARIANTS_BROKEN.labels("venue_raised").inc()
            _log.exception("the venue's adapter raised", order_id=order_id, venue=self._venue.name)
            answer = kind.raised
        finally:
            now = self._clock.monotonic()
            permit.leave(answer, now, order_id)
        if type(answer) in MAY_BE_TROUBLE or self.trouble.silent_since is not None:
            self.trouble.learn(answer, self._clock)
        if kind.seconds is not None:
            kind.seconds.observe(now - start)
        return answer

    def denial_cause(self, order: Order) -> str | None:
        """Why a resend of the order would be answered at once without a send; None: it would be sent."""
        denied = self._gate.placing.denial(self._clock.monotonic(), order.instrument, is_resend=True)
        return None if denied is None else denied.cause

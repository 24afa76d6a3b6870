"""One send: gate, deadline, venue, answer; and the question after an answer that proved nothing.

Placement and reconciliation both send through here. Whatever a venue does, an Answer comes back.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
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
from ordertrail.venues.adapter_error import adapter_raised
from ordertrail.venues.gate.call_budget import CallBudget, Permit
from ordertrail.venues.gate.denial import Denied
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.venue_trouble import MAY_BE_TROUBLE, VenueTrouble
from ordertrail.venues.venue import Compacted, ExecutionPage, OpenOrders, OtherEpoch, Reports, Venue

_log = get_logger()

_Answered = TypeVar("_Answered")
_Raised = TypeVar("_Raised")
_Arguments = TypeVarTuple("_Arguments")

# Orders whose answer could not be read are logged once each; so many of them are remembered.
REPORTED_MAX = 10_000
_READ_IN_VAIN = frozenset({Cause.UNREADABLE, Cause.TOO_LARGE, Cause.ANOTHER_ORDER})

_ANSWERS: dict[type[PlaceAnswer], BufferedCounter] = {
    Accepted: BufferedCounter(metrics.ANSWERS.labels("accepted")),
    Refused: BufferedCounter(metrics.ANSWERS.labels("refused")),
    NotSent: BufferedCounter(metrics.ANSWERS.labels("not_sent")),
    Unknown: BufferedCounter(metrics.ANSWERS.labels("unknown")),
}


@dataclass(frozen=True, slots=True)
class _Kind(Generic[_Raised]):
    """One kind of call: the answers that stand for an adapter that raised, and where its time is counted.

    `not_begun`: it raised before the call was begun, so that nothing of it can have left.
    """

    not_begun: _Raised
    raised: _Raised
    seconds: BufferedHistogram | None = None


# An adapter must not raise. What it had sent by then is not known.
_PLACE: _Kind[NotSent | Unknown] = _Kind(
    NotSent(Cause.ADAPTER_RAISED),
    Unknown(Cause.ADAPTER_RAISED),
    BufferedHistogram(metrics.EXCHANGE_SECONDS.labels("place")),
)
_RAISED = NoAnswer(Cause.ADAPTER_RAISED)
_QUERY = _Kind(_RAISED, _RAISED, BufferedHistogram(metrics.EXCHANGE_SECONDS.labels("query")))
_CANCEL = _Kind(_RAISED, _RAISED, BufferedHistogram(metrics.EXCHANGE_SECONDS.labels("cancel")))
_LEARN = _Kind(_RAISED, _RAISED)


class Gateway:
    """The way to one venue."""

    def __init__(self, venue: Venue, gate: Gate, clock: Clock, *, timeout_seconds: float) -> None:
        self._venue = venue
        self._gate = gate
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self.trouble = VenueTrouble()
        self._reported: OrderedDict[tuple[str, str | None], None] = OrderedDict()

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
        permit: Permit | None = None,
    ) -> PlaceAnswer:
        """Send once, not after `send_by` (monotonic); after an unknown answer query once. `permit`: a reserved one.

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
            reserved=permit,
        )
        if isinstance(answer, Denied):
            answer = NotSent(answer.cause, answer.retry_after_seconds)
        else:
            failpoints.reach("after_send")
        counter = _ANSWERS.get(type(answer))
        if counter is None:  # what it is proves nothing
            adapter_raised(self._venue.name, order.id, TypeError(type(answer).__name__))
            answer, counter = Unknown(Cause.ADAPTER_RAISED), _ANSWERS[Unknown]
        counter.add()
        if not isinstance(answer, Unknown):
            return answer
        self._report("place", order.id, answer)
        return await self._query_after(answer, order, is_only_send)

    def reserve(self, *, sends_max: int) -> list[Permit]:
        """Permits for sends that could pass the gate at once, of orders that are not known yet."""
        return self._gate.placing.reserve(self._clock.monotonic(), calls_max=sends_max)

    def give_back(self, permits: Iterable[Permit]) -> None:
        """Reserved sends that are not made."""
        self._gate.placing.give_back(permits, self._clock.monotonic())

    def room_in_seconds(self) -> float:
        """How long until a send may be reserved, as far as one can see."""
        return self._gate.placing.room_in_seconds(self._clock.monotonic())

    def stopped_instruments(self) -> tuple[list[str], list[str]]:
        """Instruments of which nothing may be sent now, and those of which one order may, as a probe."""
        return self._gate.placing.stopped_instruments(self._clock.monotonic())

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
        self._report("query", order_id, verification)
        return verification

    async def cancel(self, order_id: str, *, instrument: str | None = None) -> CancelAnswer:
        """Have the venue cancel one order; harmless if repeated. The instrument is as for a query."""
        call = partial(self._venue.cancel, order_id)
        answer = await self._within_timeout(_CANCEL, self._gate.cancelling, order_id, instrument, call)
        if isinstance(answer, Denied):
            return NoAnswer(answer.cause)
        self._report("cancel", order_id, answer)
        return answer

    async def capabilities(self) -> Capabilities | NoAnswer:
        """What the venue promises now."""
        return await self._learn("capabilities", self._venue.capabilities)

    async def open_orders(self) -> OpenOrders | NoAnswer:
        """Every order open at the venue."""
        return await self._learn("open_orders", self._venue.open_orders)

    async def executions(self, *, after: int, limit: int) -> ExecutionPage | NoAnswer:
        """The venue's execution reports after a position."""
        return await self._learn("executions", partial(self._venue.executions, after=after, limit=limit))

    async def report_page(self, *, after: int, limit: int, epoch: str) -> Reports | OtherEpoch | Compacted | NoAnswer:
        """The venue's execution reports after a position of an epoch, as they are."""
        call = partial(self._venue.report_page, after=after, limit=limit, epoch=epoch)
        return await self._learn("report_page", call)

    async def _learn(self, name: str, call: Callable[..., Awaitable[_Answered]]) -> _Answered | NoAnswer:
        """A query about no order in particular, through the gate's budget for queries."""
        answer = await self._within_timeout(_LEARN, self._gate.querying, None, None, call)
        if isinstance(answer, Denied):
            return NoAnswer(answer.cause)
        if not isinstance(answer, NoAnswer):
            self._reported.pop((name, None), None)
        self._report(name, None, answer)
        return answer

    def _report(self, call: str, order_id: str | None, answer: object) -> None:
        """An answer that came and could not be read: counted, and logged once for each order or list."""
        if not isinstance(answer, Unknown | NoAnswer) or answer.cause not in _READ_IN_VAIN:
            return
        metrics.EXCHANGE_UNREADABLE.labels(call).inc()
        if (call, order_id) in self._reported:
            return
        self._reported[call, order_id] = None
        if len(self._reported) > REPORTED_MAX:
            self._reported.popitem(last=False)
        _log.warning(
            "an answer of the exchange cannot be read",
            order_id=order_id,
            venue=self._venue.name,
            call=call,
            cause=answer.cause,
            detail=answer.detail,
        )

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
        reserved: Permit | None = None,
    ) -> _Answered | _Raised | Denied:
        """Make a call once the gate lets it pass, and leave the gate again whatever the venue does."""
        start = self._clock.monotonic()
        permit: Permit | Denied | None
        if reserved is not None and instrument is not None:
            budget.assign(reserved, start, instrument)
            permit = reserved
        else:
            permit = budget.try_enter(start, instrument, is_resend=is_resend)
        if permit is None:
            permit = await budget.enter(deadline=deadline, instrument=instrument, is_resend=is_resend)
        if isinstance(permit, Denied):
            return permit
        answer: _Answered | _Raised | None = None
        has_begun = False
        try:
            calling = call(*arguments)
            has_begun = True
            answer = await calling
        except Exception as error:  # noqa: BLE001 - an adapter's bug must not lose an answer, nor end a pass
            adapter_raised(self._venue.name, order_id, error)
            answer = kind.raised if has_begun else kind.not_begun
        finally:
            now = self._clock.monotonic()
            self._leave(permit, answer, now, order_id)
        if kind.seconds is not None:
            kind.seconds.observe(now - start)
        return answer

    def _leave(self, permit: Permit, answer: object, now: float, order_id: str | None) -> None:
        """What the gate makes of an answer cannot take the answer away."""
        try:
            permit.leave(answer, now, order_id)
            if type(answer) in MAY_BE_TROUBLE or self.trouble.silent_since is not None:
                self.trouble.learn(answer, self._clock)
        except Exception:  # noqa: BLE001 - a bug of the gate's
            metrics.INVARIANTS_BROKEN.labels("gate_raised").inc()
            _log.exception("the gate raised", venue=self._venue.name)

    def denial_cause(self, order: Order) -> str | None:
        """Why a resend of the order would be answered at once without a send; None: it would be sent."""
        denied = self._gate.placing.denial(self._clock.monotonic(), order.instrument, is_resend=True)
        return None if denied is None else denied.cause

"""One order under review: its rows, a query, a decision, what it calls for, and a verdict.

What if we die here: before a claim is committed nothing was sent; after it the order is in doubt by that very claim,
and the next reviewer queries and waits before anything is sent again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.order_in_doubt import OrderInDoubt, SendAnswer, send_answer_of
from ordertrail.domain.reason import ABSENT, ACCEPTED_AND_ABSENT, HIDDEN_FROM_CANCEL, RESENT, Observation
from ordertrail.domain.settling import (
    Append,
    Cancel,
    Resend,
    Settle,
    Step,
    VerificationLimits,
    Wait,
    after_query,
    before_query,
)
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.domain.venue_answer import (
    Absent,
    Accepted,
    CancelAccepted,
    CancelTooLate,
    NoAnswer,
    NotSent,
    PlaceAnswer,
    Verification,
    reason_of,
)
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.doubt_rows import AnsweredSend, ClaimedSend, Lease, Unreadable, Verdict, WantedSend
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import Batcher
from ordertrail.storage.journal import Journal
from ordertrail.storage.order_rows import NewTrailRow
from ordertrail.venues.gateway import Gateway

_log = get_logger()

# Reports that do not come within so many reviews may be lost somewhere, and a query says what they would.
REVIEWS_WITHOUT_QUERY_MAX = 3


class ReviewEvent(Enum):
    """Something that a review did or met, as far as a pass counts it."""

    RESENT = auto()
    RESEND_ACCEPTED = auto()
    CANCELED = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What came of a review; no verdict: nothing was applied, the lease is gone or the database failed."""

    events: tuple[ReviewEvent, ...]
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class VenueTerms:
    """What the venue promises, where it could be asked; `forgotten_until`: it may not know what was before.

    `is_fed`: its execution reports come by themselves.
    """

    capabilities: Capabilities | None
    forgotten_until: datetime | None
    is_fed: bool = False


@dataclass(frozen=True, slots=True)
class ReviewContext:
    """What the reviews of a pass have in common.

    `query` queries the venue for one order; `pause_seconds` is how long an order waits that was reviewed so often.
    """

    terms: VenueTerms
    verification_limits: VerificationLimits
    query: Callable[[Order], Awaitable[Verification]]
    pause_seconds: Callable[[int], float]
    gateway: Gateway
    journal: Journal
    claims: Batcher[WantedSend, ClaimedSend | None]
    answers: Batcher[AnsweredSend, None]
    verdicts: Batcher[Verdict, bool]
    clock: Clock


class Review:
    """One order under review: what its rows and the venue say is followed by what it calls for, and by a verdict.

    What if we die here: before a claim is committed nothing was sent; after it the order is in doubt by that very
    claim, and the next reviewer queries and waits before anything is sent again.
    """

    def __init__(self, context: ReviewContext, lease: Lease, found: OrderInDoubt | Unreadable | None) -> None:
        self._context = context
        self._lease = lease
        self._found = found
        self._events: list[ReviewEvent] = []

    async def run(self) -> Reviewed:
        """Come to a verdict and apply it; an order that spoils its review, or a database that fails, is a value too."""
        try:
            verdict = await self._verdict()
            failpoints.reach("before_apply")
            is_applied = await self._context.verdicts.submit(verdict)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            # Nothing was applied: the order is reviewed again once its lease has passed.
            self._events.append(ReviewEvent.FAILED)
            _log.warning("a review could not use the database", order_id=self._lease.order_id, error=str(error))
            return Reviewed(tuple(self._events), None)
        except Exception:  # noqa: BLE001 - a mistake of ours; the order is reviewed again, and all see that there is one
            self._events.append(ReviewEvent.FAILED)
            metrics.INVARIANTS_BROKEN.labels("review_raised").inc()
            _log.exception("a review raised", order_id=self._lease.order_id)
            return Reviewed(tuple(self._events), None)
        return Reviewed(tuple(self._events), verdict if is_applied else None)

    async def _verdict(self) -> Verdict:
        match self._found:
            case None:
                return Verdict(self._lease, (), is_settled=True, next_seconds=0, observation=Observation.NO_SUCH_ORDER)
            case Unreadable(why=why):
                self._events.append(ReviewEvent.FAILED)
                metrics.INVARIANTS_BROKEN.labels("order_unreadable").inc()
                _log.error("an order's rows cannot be read", order_id=self._lease.order_id, error=why)
                return self._later(Observation.UNREADABLE.about(why))
            case OrderInDoubt() as doubt:
                return await self._verdict_on(doubt)

    async def _verdict_on(self, doubt: OrderInDoubt) -> Verdict:
        try:
            match before_query(doubt):
                case Settle(rows=rows):
                    return self._settled(rows, Observation.SETTLED_BY_ROWS)
                case Cancel(rows=rows):
                    return await self._cancel(doubt, rows)
                case Wait(why=why):
                    return self._later(why)
                case None:
                    _, step = await self._query(doubt)
                    return await self._carry_out(doubt, step)
        except (StatementFailed, StatementOutcomeUnknown):
            raise
        except Exception as error:  # noqa: BLE001 - one poison order must not stop the others
            self._events.append(ReviewEvent.FAILED)
            metrics.INVARIANTS_BROKEN.labels("order_not_reconcilable").inc()
            _log.exception("an order could not be reviewed", order_id=self._lease.order_id)
            return self._later(Observation.ERROR.about(str(error).replace("\x00", "")))

    async def _query(self, doubt: OrderInDoubt) -> tuple[Verification, Step]:
        verification = await self._context.query(doubt.order)
        terms = self._context.terms
        step = after_query(
            doubt,
            verification,
            terms.capabilities,
            self._context.verification_limits,
            forgotten_until=terms.forgotten_until,
        )
        return verification, step

    async def _carry_out(self, doubt: OrderInDoubt, step: Step) -> Verdict:
        match step:
            case Settle(rows=rows):
                return self._settled(rows, Observation.SETTLED)
            case Append(rows=rows):
                return self._later(rows[-1].reason or "", rows)
            case Wait(why=why, until=until):
                if until is None:
                    return self._later(why)
                seconds = max((until - doubt.now).total_seconds(), 0)
                return Verdict(self._lease, (), is_settled=False, next_seconds=seconds, observation=why)
            case Resend(send_by_max=send_by_max):
                return await self._resend(doubt, send_by_max)
            case Cancel(rows=rows):
                return await self._cancel(doubt, rows)

    async def _resend(self, doubt: OrderInDoubt, send_by_max: datetime | None) -> Verdict:
        context, order = self._context, doubt.order
        denied = context.gateway.denial_cause(order)
        if denied is not None:
            return self._later(Observation.NOT_RESENT.about(denied))
        start = context.clock.monotonic()
        claim = await context.claims.submit(WantedSend(self._lease, send_by_max))
        if claim is None:
            return self._later(Observation.NOT_RESENT.about("leased by another, canceled, halted or too late"))
        failpoints.reach("after_claim")
        self._events.append(ReviewEvent.RESENT)
        answer = await context.gateway.send_and_query(
            order,
            send_by=start + claim.seconds_left,
            accept_by=claim.accept_by,
            is_only_send=not doubt.may_have_arrived,
            is_resend=True,
        )
        failpoints.reach("after_resend")
        kind, reason = _recorded(answer)
        exchange_order_id = answer.exchange_order_id if isinstance(answer, Accepted) else None
        if isinstance(answer, Accepted):
            # Evidence of acceptance is recorded whether the lease still counts or not, and before the claim is closed.
            await context.journal.step(NewTrailRow(order.id, OrderStatus.COMPLETED, RESENT.text, exchange_order_id))
            metrics.RECONCILED.labels(OrderStatus.COMPLETED).inc()
        await context.answers.submit(AnsweredSend(order.id, claim.number, kind, reason, exchange_order_id))
        failpoints.reach("after_answer")
        _log.info("order resent", order_id=order.id, number=claim.number, answer=kind, reason=reason)
        if isinstance(answer, Accepted):
            self._events.append(ReviewEvent.RESEND_ACCEPTED)
            return self._settled((), Observation.RESENT_AND_ACCEPTED)
        at_least = answer.retry_after_seconds if isinstance(answer, NotSent) else None
        return self._later(Observation.RESENT.about(reason), at_least=at_least or 0)

    async def _cancel(self, doubt: OrderInDoubt, rows: tuple[TrailRow, ...]) -> Verdict:
        answer = await self._context.gateway.cancel(doubt.order.id, instrument=doubt.order.instrument)
        is_taken = isinstance(answer, CancelAccepted)
        under_way = Observation.CANCEL_ACCEPTED if is_taken else Observation.CANCEL_TOO_LATE
        match answer:
            case NoAnswer():
                return self._later(Observation.CANCEL_NOT_ANSWERED.about(answer.text), rows)
            case Absent():
                return await self._nothing_to_cancel(doubt, rows)
            case CancelAccepted() | CancelTooLate():
                self._events.append(ReviewEvent.CANCELED)
        if self._will_be_reported(doubt):
            return self._later(under_way, rows)
        # How it ended is the exchange's to say.
        verification, step = await self._query(doubt)
        if isinstance(step, Settle):
            return self._settled(step.rows, Observation.CANCELED)
        if isinstance(step, Cancel) and isinstance(verification, Absent):
            # It has taken the cancel, or said that it is too late, and shows open orders alone: this is none any more.
            return self._settled(step.rows, Observation.CANCELED_AND_GONE)
        if isinstance(step, Cancel) and step.is_hidden:
            if isinstance(answer, CancelAccepted):
                # What it shows was open at no time, so the accepted one is what it has canceled.
                return self._settled(step.rows, Observation.CANCELED_AND_HIDDEN)
            # Too late for the one that is shown; of the accepted one that says nothing, and no query reaches it.
            is_recorded = OrderStatus.UNRESOLVED in doubt.statuses
            unresolved = () if is_recorded else (TrailRow(OrderStatus.UNRESOLVED, HIDDEN_FROM_CANCEL.text),)
            return self._later(HIDDEN_FROM_CANCEL.text, (*step.rows, *unresolved))
        return self._later(under_way, rows)

    async def _nothing_to_cancel(self, doubt: OrderInDoubt, rows: tuple[TrailRow, ...]) -> Verdict:
        """The exchange does not know the order that is to be canceled."""
        not_canceled = Observation.CANCEL_NOT_ANSWERED.about(ABSENT.text)
        if doubt.word is None:
            # A query in this review has shown it, or has shown nothing.
            return self._later(not_canceled, rows)
        verification, step = await self._query(doubt)
        if isinstance(step, Settle):
            return self._settled(step.rows, Observation.SETTLED)
        capabilities = self._context.terms.capabilities
        if not isinstance(verification, Absent) or capabilities is None or capabilities.need_not_show_orders:
            return self._later(not_canceled, rows)
        # By its reports it is open, and the exchange has forgotten it: no cancel will ever reach it.
        is_recorded = OrderStatus.UNRESOLVED in doubt.statuses
        unresolved = () if is_recorded else (TrailRow(OrderStatus.UNRESOLVED, ACCEPTED_AND_ABSENT.text),)
        return self._later(ACCEPTED_AND_ABSENT.text, (*rows, *unresolved))

    def _will_be_reported(self, doubt: OrderInDoubt) -> bool:
        """Whether a report says how a cancel ended, so that no query is needed; but where it has not come for long."""
        is_early = self._lease.tries < REVIEWS_WITHOUT_QUERY_MAX
        return self._context.terms.is_fed and doubt.word is not None and is_early

    def _settled(self, rows: tuple[TrailRow, ...], observation: str) -> Verdict:
        if rows:
            observation = f"{rows[-1].status} {rows[-1].reason}"
        return Verdict(self._lease, rows, is_settled=True, next_seconds=0, observation=observation)

    def _later(self, observation: str, rows: tuple[TrailRow, ...] = (), *, at_least: float = 0) -> Verdict:
        seconds = max(self._context.pause_seconds(self._lease.tries), at_least)
        return Verdict(self._lease, rows, is_settled=False, next_seconds=seconds, observation=observation[:200])


def _recorded(answer: PlaceAnswer) -> tuple[SendAnswer, str]:
    reason = reason_of(answer)
    return send_answer_of(reason), reason.text

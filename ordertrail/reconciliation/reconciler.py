"""The reconciler: finds orders that are not settled, asks the exchange, and writes down what is proved.

Any number of replicas may run it at once. What if we die here: before a claim is committed nothing was sent; after
it the order is in doubt by that very claim, and whoever takes it next asks and waits before anything is sent again.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order_in_doubt import OrderInDoubt, SendAnswer, send_answer_of
from ordertrail.domain.reason import HIDDEN_FROM_CANCEL, RESENT
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
from ordertrail.storage.doubt_rows import AnsweredSend, ClaimedSend, DoubtRows, Lease, Unreadable, Verdict, WantedSend
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import Batcher, Limits
from ordertrail.storage.journal import Journal
from ordertrail.storage.order_rows import NewTrailRow
from ordertrail.venues.gateway import Gateway

_log = get_logger()


@dataclass(frozen=True, slots=True)
class PassLimits:
    """How much a pass does and how soon an order is looked at again.

    An order's pause doubles from `pause_seconds` to `pause_seconds_max`, with jitter so that a thousand orders in
    doubt do not ask at once. A pass ends after `pass_seconds` whatever is left, for others wait for it to end.
    """

    batches_max: int = 200
    reviews_at_once: int = 256
    make_due_max: int = 5000
    pass_seconds: float = 20
    database_seconds: float = 10
    pause_seconds: float = 1
    pause_seconds_max: float = 30


@dataclass(slots=True)
class PassReport:
    """What a pass did."""

    batches: int = 0
    reviewed: int = 0
    settled: int = 0
    completed: int = 0
    not_placed: int = 0
    unresolved: int = 0
    resent: int = 0
    canceled: int = 0
    answered: int = 0
    unanswered: int = 0
    waiting: int = 0
    errors: int = 0
    has_more: bool = False
    observations: list[tuple[str, str]] = field(default_factory=list)


class Reconciler:
    """One replica; `run_once` is a pass."""

    def __init__(
        self,
        doubts: DoubtRows,
        journal: Journal,
        gateway: Gateway,
        clock: Clock,
        verification_limits: VerificationLimits,
        *,
        name: str,
        send_seconds: float,
        pass_limits: PassLimits | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._doubts = doubts
        self._journal = journal
        self._gateway = gateway
        self._clock = clock
        self._verification_limits = verification_limits
        self._name = name
        self._send_seconds = send_seconds
        self._pass_limits = pass_limits or PassLimits()
        self._chance = chance or random.Random()  # noqa: S311 - jitter, no secret
        # Longer than a look can take: a question, a send with its own question, a cancel with another, each after a
        # wait at the gate that is bounded by the same time.
        self._lease_seconds = 8 * verification_limits.answer_seconds + send_seconds + self._pass_limits.database_seconds
        limits = Limits(rows_max=512, queue_max=10_000, timeout_seconds=self._pass_limits.database_seconds)
        self._claims = Batcher("claims", self._claim, clock, limits)
        self._answers = Batcher("answers", doubts.record_answers, clock, limits)
        self._verdicts = Batcher("verdicts", doubts.apply, clock, limits)
        self._was_silent = False
        self._was_out_of_reach = False

    async def run_once(self) -> PassReport:
        """Take in what is due, then look at doubts that are due until none is left or the time is up."""
        report = PassReport()
        while enqueued := await self._doubts.enqueue_due_batches(batches_max=self._pass_limits.batches_max):
            report.batches += enqueued
            if enqueued < self._pass_limits.batches_max:
                break
        venue = await self._query_terms()
        reviews: list[asyncio.Task[None]] = []
        try:
            await self._review_all(venue, report, reviews)
        finally:
            for review in reviews:
                review.cancel()
            await asyncio.gather(*reviews, return_exceptions=True)
            for batcher in (self._claims, self._answers, self._verdicts):
                await batcher.close()
        if report.unanswered and not report.answered:
            self._was_silent = True
        return report

    async def _query_terms(self) -> "VenueTerms":
        """What the venue promises now. One that is within reach again makes every pause pointless."""
        answer = await self._gateway.capabilities()
        if isinstance(answer, NoAnswer):
            self._was_out_of_reach = True
            return VenueTerms(None, None)
        if self._was_out_of_reach:
            self._was_out_of_reach = False
            await self._make_all_due()
        return VenueTerms(answer, await self._doubts.note_epoch(self._gateway.venue_name, answer.epoch))

    async def _review_all(self, venue: "VenueTerms", report: PassReport, reviews: list[asyncio.Task[None]]) -> None:
        """Keep so many looks under way; a slow one holds up no other."""
        deadline = self._clock.monotonic() + self._pass_limits.pass_seconds
        has_room = asyncio.Event()

        def ended(review: asyncio.Task[None]) -> None:
            reviews.remove(review)
            if len(reviews) * 2 <= self._pass_limits.reviews_at_once:
                has_room.set()

        may_lease = True
        while may_lease:
            room = self._pass_limits.reviews_at_once - len(reviews)
            leases = await self._doubts.lease(doubts_max=room, lease_seconds=self._lease_seconds)
            failpoints.reach("after_lease")
            loaded = await self._doubts.load([each.order_id for each in leases]) if leases else {}
            report.reviewed += len(leases)
            has_room.clear()
            for each in leases:
                review = asyncio.create_task(self._review(each, loaded.get(each.order_id), venue, report))
                reviews.append(review)
                review.add_done_callback(ended)
            if len(reviews) * 2 > self._pass_limits.reviews_at_once:
                await has_room.wait()
            # A venue that answers nothing is not asked about everything: that would hold up what needs no answer.
            is_silent = report.unanswered >= self._pass_limits.reviews_at_once and not report.answered
            may_lease = len(leases) == room and not is_silent
            if may_lease and self._clock.monotonic() >= deadline:
                report.has_more = True
                break
        while reviews:
            await asyncio.wait(reviews)

    async def _review(
        self, lease: Lease, doubt: OrderInDoubt | Unreadable | None, venue: "VenueTerms", report: PassReport
    ) -> None:
        try:
            verdict = await self._verdict(lease, doubt, venue, report)
            failpoints.reach("before_apply")
            if await self._verdicts.submit(verdict):
                self._count(verdict, report)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            # Nothing was concluded: once its lease has passed, somebody looks again.
            report.errors += 1
            _log.warning("a look could not use the database", order_id=lease.order_id, error=str(error))

    async def _verdict(
        self, lease: Lease, doubt: OrderInDoubt | Unreadable | None, venue: "VenueTerms", report: PassReport
    ) -> Verdict:
        if doubt is None:
            return Verdict(lease, (), is_settled=True, next_seconds=0, observation="no such order")
        if isinstance(doubt, Unreadable):
            report.errors += 1
            metrics.INVARIANTS_BROKEN.labels("order_unreadable").inc()
            _log.error("an order's rows cannot be read", order_id=lease.order_id, error=doubt.why)
            return self._later(lease, f"unreadable: {doubt.why}")
        try:
            return await self._review_order(lease, doubt, venue, report)
        except (StatementFailed, StatementOutcomeUnknown):
            raise
        except Exception as error:  # noqa: BLE001 - one poison order must not stop the others
            report.errors += 1
            metrics.INVARIANTS_BROKEN.labels("order_not_reconcilable").inc()
            _log.exception("an order could not be looked after", order_id=lease.order_id)
            return self._later(lease, f"error: {error}".replace("\x00", ""))

    async def _make_all_due(self) -> None:
        """Make every pause end now; many at a time, never all in one statement."""
        count = 0
        while woken := await self._doubts.make_due(doubts_max=self._pass_limits.make_due_max):
            count += woken
        _log.info("the exchange answers again", doubts=count)

    async def _review_order(
        self, lease: Lease, doubt: OrderInDoubt, venue: "VenueTerms", report: PassReport
    ) -> Verdict:
        settled = before_query(doubt)
        if settled is not None:
            return _settled(lease, settled.rows, "settled by its rows")
        _, step = await self._query(doubt, venue, report)
        return await self._carry_out(lease, doubt, step, venue, report)

    async def _query(self, doubt: OrderInDoubt, venue: "VenueTerms", report: PassReport) -> tuple[Verification, Step]:
        verification = await self._gateway.query(doubt.order.id)
        if isinstance(verification, NoAnswer):
            report.unanswered += 1
        else:
            report.answered += 1
            if self._was_silent:
                self._was_silent = False
                await self._make_all_due()
        step = after_query(
            doubt, verification, venue.capabilities, self._verification_limits, forgotten_until=venue.forgotten_until
        )
        return verification, step

    async def _carry_out(
        self, lease: Lease, doubt: OrderInDoubt, step: Step, venue: "VenueTerms", report: PassReport
    ) -> Verdict:
        match step:
            case Settle(rows=rows):
                return _settled(lease, rows, "settled")
            case Append(rows=rows):
                return self._later(lease, rows[-1].reason or "", rows)
            case Wait(why=why, until=until):
                if until is None:
                    return self._later(lease, why)
                seconds = max((until - doubt.now).total_seconds(), 0)
                return Verdict(lease, (), is_settled=False, next_seconds=seconds, observation=why)
            case Resend(send_by_max=send_by_max):
                return await self._resend(lease, doubt, send_by_max, report)
            case Cancel(rows=rows):
                return await self._cancel(lease, doubt, rows, venue, report)

    async def _resend(
        self, lease: Lease, doubt: OrderInDoubt, send_by_max: datetime | None, report: PassReport
    ) -> Verdict:
        order = doubt.order
        denied = self._gateway.denial_cause()
        if denied is not None:
            return self._later(lease, f"not resent: {denied}")
        start = self._clock.monotonic()
        claim = await self._claims.submit(WantedSend(lease, send_by_max))
        if claim is None:
            return self._later(lease, "not resent: taken, canceled, halted or too late")
        failpoints.reach("after_claim")
        report.resent += 1
        answer = await self._gateway.send_and_query(
            order,
            send_by=start + claim.seconds_left,
            accept_by=claim.accept_by,
            is_only_send=not doubt.may_have_arrived,
        )
        failpoints.reach("after_resend")
        kind, reason = _recorded(answer)
        exchange_order_id = answer.exchange_order_id if isinstance(answer, Accepted) else None
        if isinstance(answer, Accepted):
            # Evidence of acceptance is recorded whoever holds the order by now, and before the claim is closed.
            await self._journal.step(NewTrailRow(order.id, OrderStatus.COMPLETED, RESENT.text, exchange_order_id))
            metrics.RECONCILED.labels(OrderStatus.COMPLETED).inc()
        await self._answers.submit(AnsweredSend(order.id, claim.number, kind, reason, exchange_order_id))
        failpoints.reach("after_answer")
        _log.info("order resent", order_id=order.id, number=claim.number, answer=kind, reason=reason)
        if isinstance(answer, Accepted):
            report.completed += 1
            return _settled(lease, (), "resent and accepted")
        at_least = answer.retry_after_seconds if isinstance(answer, NotSent) else None
        return self._later(lease, f"resent: {reason}", at_least=at_least or 0)

    async def _claim(self, wanted: Sequence[WantedSend]) -> Sequence[ClaimedSend | None]:
        return await self._doubts.claim_sends(
            wanted,
            claimed_by=self._name,
            send_seconds=self._send_seconds,
            answer_seconds=self._verification_limits.answer_seconds,
        )

    async def _cancel(
        self, lease: Lease, doubt: OrderInDoubt, rows: tuple[TrailRow, ...], venue: "VenueTerms", report: PassReport
    ) -> Verdict:
        answer = await self._gateway.cancel(doubt.order.id)
        if not isinstance(answer, CancelAccepted | CancelTooLate):
            return self._later(lease, f"cancel: {type(answer).__name__}", rows)
        report.canceled += 1
        # How it ended is the exchange's to say.
        verification, step = await self._query(doubt, venue, report)
        if isinstance(step, Settle):
            return _settled(lease, step.rows, "canceled")
        if isinstance(step, Cancel) and isinstance(verification, Absent):
            # It has taken the cancel, or said that it is too late, and shows open orders alone: this is none any more.
            return _settled(lease, step.rows, "canceled, and not shown any more")
        if isinstance(step, Cancel) and step.is_hidden:
            if isinstance(answer, CancelAccepted):
                # What it shows was open at no time, so the accepted one is what it has canceled.
                return _settled(lease, step.rows, "canceled, and hidden by a send that was refused")
            # Too late for the one that is shown; of the accepted one that says nothing, and no question reaches it.
            is_told = OrderStatus.UNRESOLVED in doubt.statuses
            told = () if is_told else (TrailRow(OrderStatus.UNRESOLVED, HIDDEN_FROM_CANCEL.text),)
            return self._later(lease, HIDDEN_FROM_CANCEL.text, (*step.rows, *told))
        return self._later(lease, type(answer).__name__, rows)

    def _later(
        self, lease: Lease, observation: str, rows: tuple[TrailRow, ...] = (), *, at_least: float = 0
    ) -> Verdict:
        pause = min(self._pass_limits.pause_seconds * 2 ** min(lease.tries, 16), self._pass_limits.pause_seconds_max)
        seconds = max(pause * self._chance.uniform(0.5, 1), at_least)
        return Verdict(lease, rows, is_settled=False, next_seconds=seconds, observation=observation[:200])

    def _count(self, verdict: Verdict, report: PassReport) -> None:
        statuses = {row.status for row in verdict.rows}
        report.settled += verdict.is_settled
        report.waiting += not verdict.is_settled
        report.completed += OrderStatus.COMPLETED in statuses
        report.not_placed += OrderStatus.NOT_PLACED in statuses
        report.unresolved += OrderStatus.UNRESOLVED in statuses
        report.observations.append((verdict.lease.order_id, verdict.observation))
        for status in statuses:
            metrics.RECONCILED.labels(status).inc()
        if OrderStatus.UNRESOLVED in statuses:
            _log.error("an order is unresolved", order_id=verdict.lease.order_id, reason=verdict.observation)


@dataclass(frozen=True, slots=True)
class VenueTerms:
    """What the venue promises, where it could be asked; `forgotten_until`: it may not know what was before."""

    capabilities: Capabilities | None
    forgotten_until: datetime | None


def _settled(lease: Lease, rows: tuple[TrailRow, ...], observation: str) -> Verdict:
    if rows:
        observation = f"{rows[-1].status} {rows[-1].reason}"
    return Verdict(lease, rows, is_settled=True, next_seconds=0, observation=observation)


def _recorded(answer: PlaceAnswer) -> tuple[SendAnswer, str]:
    reason = reason_of(answer)
    return send_answer_of(reason), reason.text

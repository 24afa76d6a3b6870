"""The reconciler: finds orders that are not settled, asks the exchange, and writes down what is proved.

Any number of replicas may run it at once. What if we die here: before a claim is committed nothing was sent; after
it the order is in doubt by that very claim, and whoever takes it next asks and waits before anything is sent again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from functools import partial
from typing import Any

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


class ReviewEvent(Enum):
    """Something that a review did or met, as far as a pass counts it."""

    RESENT = auto()
    RESEND_ACCEPTED = auto()
    CANCELED = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What came of a review; no verdict: nothing was concluded, for another holds the order, or the database failed."""

    events: tuple[ReviewEvent, ...]
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class VenueTerms:
    """What the venue promises, where it could be asked; `forgotten_until`: it may not know what was before."""

    capabilities: Capabilities | None
    forgotten_until: datetime | None


@dataclass(frozen=True, slots=True)
class ReviewContext:
    """What the reviews of a pass have in common.

    `query` queries the venue for one order; `pause_seconds` is how long an order waits that was reviewed so often.
    """

    terms: VenueTerms
    verification_limits: VerificationLimits
    query: Callable[[str], Awaitable[Verification]]
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
    claim, and whoever takes it next asks and waits before anything is sent again.
    """

    def __init__(self, context: ReviewContext, lease: Lease, found: OrderInDoubt | Unreadable | None) -> None:
        self._context = context
        self._taken = lease
        self._found = found
        self._events: list[ReviewEvent] = []

    async def run(self) -> Reviewed:
        """Come to a verdict and conclude; an order that spoils its review, or a database that fails, is a value too."""
        try:
            verdict = await self._verdict()
            failpoints.reach("before_apply")
            is_concluded = await self._context.verdicts.submit(verdict)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            # Nothing was concluded: the order is reviewed again once its lease has passed.
            self._events.append(ReviewEvent.FAILED)
            _log.warning("a look could not use the database", order_id=self._taken.order_id, error=str(error))
            return Reviewed(tuple(self._events), None)
        return Reviewed(tuple(self._events), verdict if is_concluded else None)

    async def _verdict(self) -> Verdict:
        match self._found:
            case None:
                return Verdict(self._taken, (), is_settled=True, next_seconds=0, observation="no such order")
            case Unreadable(why=why):
                self._events.append(ReviewEvent.FAILED)
                metrics.INVARIANTS_BROKEN.labels("order_unreadable").inc()
                _log.error("an order's rows cannot be read", order_id=self._taken.order_id, error=why)
                return self._later(f"unreadable: {why}")
            case OrderInDoubt() as doubt:
                return await self._verdict_on(doubt)

    async def _verdict_on(self, doubt: OrderInDoubt) -> Verdict:
        try:
            settled = before_query(doubt)
            if settled is not None:
                return self._settled(settled.rows, "settled by its rows")
            _, step = await self._query(doubt)
            return await self._carry_out(doubt, step)
        except (StatementFailed, StatementOutcomeUnknown):
            raise
        except Exception as error:  # noqa: BLE001 - one poison order must not stop the others
            self._events.append(ReviewEvent.FAILED)
            metrics.INVARIANTS_BROKEN.labels("order_not_reconcilable").inc()
            _log.exception("an order could not be looked after", order_id=self._taken.order_id)
            return self._later(f"error: {error}".replace("\x00", ""))

    async def _query(self, doubt: OrderInDoubt) -> tuple[Verification, Step]:
        verification = await self._context.query(doubt.order.id)
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
                return self._settled(rows, "settled")
            case Append(rows=rows):
                return self._later(rows[-1].reason or "", rows)
            case Wait(why=why, until=until):
                if until is None:
                    return self._later(why)
                seconds = max((until - doubt.now).total_seconds(), 0)
                return Verdict(self._taken, (), is_settled=False, next_seconds=seconds, observation=why)
            case Resend(send_by_max=send_by_max):
                return await self._resend(doubt, send_by_max)
            case Cancel(rows=rows):
                return await self._cancel(doubt, rows)

    async def _resend(self, doubt: OrderInDoubt, send_by_max: datetime | None) -> Verdict:
        context, order = self._context, doubt.order
        denied = context.gateway.denial_cause()
        if denied is not None:
            return self._later(f"not resent: {denied}")
        start = context.clock.monotonic()
        claim = await context.claims.submit(WantedSend(self._taken, send_by_max))
        if claim is None:
            return self._later("not resent: taken, canceled, halted or too late")
        failpoints.reach("after_claim")
        self._events.append(ReviewEvent.RESENT)
        answer = await context.gateway.send_and_query(
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
            await context.journal.step(NewTrailRow(order.id, OrderStatus.COMPLETED, RESENT.text, exchange_order_id))
            metrics.RECONCILED.labels(OrderStatus.COMPLETED).inc()
        await context.answers.submit(AnsweredSend(order.id, claim.number, kind, reason, exchange_order_id))
        failpoints.reach("after_answer")
        _log.info("order resent", order_id=order.id, number=claim.number, answer=kind, reason=reason)
        if isinstance(answer, Accepted):
            self._events.append(ReviewEvent.RESEND_ACCEPTED)
            return self._settled((), "resent and accepted")
        at_least = answer.retry_after_seconds if isinstance(answer, NotSent) else None
        return self._later(f"resent: {reason}", at_least=at_least or 0)

    async def _cancel(self, doubt: OrderInDoubt, rows: tuple[TrailRow, ...]) -> Verdict:
        answer = await self._context.gateway.cancel(doubt.order.id)
        if not isinstance(answer, CancelAccepted | CancelTooLate):
            return self._later(f"cancel: {type(answer).__name__}", rows)
        self._events.append(ReviewEvent.CANCELED)
        # How it ended is the exchange's to say.
        verification, step = await self._query(doubt)
        if isinstance(step, Settle):
            return self._settled(step.rows, "canceled")
        if isinstance(step, Cancel) and isinstance(verification, Absent):
            # It has taken the cancel, or said that it is too late, and shows open orders alone: this is none any more.
            return self._settled(step.rows, "canceled, and not shown any more")
        if isinstance(step, Cancel) and step.is_hidden:
            if isinstance(answer, CancelAccepted):
                # What it shows was open at no time, so the accepted one is what it has canceled.
                return self._settled(step.rows, "canceled, and hidden by a send that was refused")
            # Too late for the one that is shown; of the accepted one that says nothing, and no question reaches it.
            is_told = OrderStatus.UNRESOLVED in doubt.statuses
            told = () if is_told else (TrailRow(OrderStatus.UNRESOLVED, HIDDEN_FROM_CANCEL.text),)
            return self._later(HIDDEN_FROM_CANCEL.text, (*step.rows, *told))
        return self._later(type(answer).__name__, rows)

    def _settled(self, rows: tuple[TrailRow, ...], observation: str) -> Verdict:
        if rows:
            observation = f"{rows[-1].status} {rows[-1].reason}"
        return Verdict(self._taken, rows, is_settled=True, next_seconds=0, observation=observation)

    def _later(self, observation: str, rows: tuple[TrailRow, ...] = (), *, at_least: float = 0) -> Verdict:
        seconds = max(self._context.pause_seconds(self._taken.tries), at_least)
        return Verdict(self._taken, rows, is_settled=False, next_seconds=seconds, observation=observation[:200])


@dataclass(frozen=True, slots=True)
class PassLimits:
    """How much a pass does and how soon an order is reviewed again.

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

    def is_silent(self, *, queries: int) -> bool:
        """Whether the venue has left so many queries unanswered, and has answered none."""
        return self.unanswered >= queries and not self.answered

    def add_query(self, verification: Verification) -> None:
        """Count a query as soon as its answer is there: the pass goes by it."""
        if isinstance(verification, NoAnswer):
            self.unanswered += 1
        else:
            self.answered += 1

    def add(self, reviewed: Reviewed) -> None:
        """Count a review that has ended."""
        for event in reviewed.events:
            match event:
                case ReviewEvent.RESENT:
                    self.resent += 1
                case ReviewEvent.RESEND_ACCEPTED:
                    self.completed += 1
                case ReviewEvent.CANCELED:
                    self.canceled += 1
                case ReviewEvent.FAILED:
                    self.errors += 1
        if reviewed.verdict is not None:
            self._add_verdict(reviewed.verdict)

    def _add_verdict(self, verdict: Verdict) -> None:
        statuses = {row.status for row in verdict.rows}
        self.settled += verdict.is_settled
        self.waiting += not verdict.is_settled
        self.completed += OrderStatus.COMPLETED in statuses
        self.not_placed += OrderStatus.NOT_PLACED in statuses
        self.unresolved += OrderStatus.UNRESOLVED in statuses
        self.observations.append((verdict.lease.order_id, verdict.observation))


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
        limits: PassLimits | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._doubts = doubts
        self._journal = journal
        self._gateway = gateway
        self._clock = clock
        self._verification_limits = verification_limits
        self._name = name
        self._send_seconds = send_seconds
        self._limits = limits or PassLimits()
        self._chance = chance or random.Random()  # noqa: S311 - jitter, no secret
        # Longer than a review can take: a query, a send with its own query, a cancel with another, each after a
        # wait at the gate that is bounded by the same time.
        self._lease_seconds = 8 * verification_limits.answer_seconds + send_seconds + self._limits.database_seconds
        commits = Limits(rows_max=512, queue_max=10_000, timeout_seconds=self._limits.database_seconds)
        self._claims = Batcher("claims", self._claim, clock, commits)
        self._answers = Batcher("answers", doubts.record_answers, clock, commits)
        self._verdicts = Batcher("verdicts", doubts.apply, clock, commits)
        self._was_silent = False
        self._was_out_of_reach = False

    async def run_once(self) -> PassReport:
        """Take in what is due, then review doubts that are due until none is left or the time is up."""
        report = PassReport()
        await self._take_in(report)
        context = self._context(await self._query_terms(), report)
        under_way = _UnderWay(self._limits.reviews_at_once)
        try:
            await self._review_all(context, report, under_way)
        finally:
            await under_way.give_up()
            for batcher in (self._claims, self._answers, self._verdicts):
                await batcher.close()
        if report.is_silent(queries=1):
            self._was_silent = True
        return report

    async def _take_in(self, report: PassReport) -> None:
        while enqueued := await self._doubts.enqueue_due_batches(batches_max=self._limits.batches_max):
            report.batches += enqueued
            if enqueued < self._limits.batches_max:
                break

    async def _query_terms(self) -> VenueTerms:
        """What the venue promises now. One that is within reach again makes every pause pointless."""
        answer = await self._gateway.capabilities()
        if isinstance(answer, NoAnswer):
            self._was_out_of_reach = True
            return VenueTerms(None, None)
        if self._was_out_of_reach:
            self._was_out_of_reach = False
            await self._make_all_due()
        return VenueTerms(answer, await self._doubts.note_epoch(self._gateway.venue_name, answer.epoch))

    def _context(self, terms: VenueTerms, report: PassReport) -> ReviewContext:
        return ReviewContext(
            terms=terms,
            verification_limits=self._verification_limits,
            query=partial(self._query, report),
            pause_seconds=self._pause_seconds,
            gateway=self._gateway,
            journal=self._journal,
            claims=self._claims,
            answers=self._answers,
            verdicts=self._verdicts,
            clock=self._clock,
        )

    async def _review_all(self, context: ReviewContext, report: PassReport, under_way: "_UnderWay") -> None:
        deadline = self._clock.monotonic() + self._limits.pass_seconds
        may_lease = True
        while may_lease:
            room = under_way.room
            leases = await self._doubts.lease(doubts_max=room, lease_seconds=self._lease_seconds)
            failpoints.reach("after_lease")
            loaded = await self._doubts.load([each.order_id for each in leases]) if leases else {}
            report.reviewed += len(leases)
            for each in leases:
                under_way.begin(self._review(Review(context, each, loaded.get(each.order_id)), report))
            await under_way.wait_for_room()
            # A venue that answers nothing is not asked about everything: that would hold up what needs no answer.
            may_lease = len(leases) == room and not report.is_silent(queries=self._limits.reviews_at_once)
            if may_lease and self._clock.monotonic() >= deadline:
                report.has_more = True
                break
        await under_way.wait_for_all()

    async def _review(self, review: Review, report: PassReport) -> None:
        reviewed = await review.run()
        report.add(reviewed)
        if reviewed.verdict is not None:
            _publish(reviewed.verdict)

    async def _query(self, report: PassReport, order_id: str) -> Verification:
        verification = await self._gateway.query(order_id)
        report.add_query(verification)
        if self._was_silent and not isinstance(verification, NoAnswer):
            self._was_silent = False
            await self._make_all_due()
        return verification

    async def _make_all_due(self) -> None:
        """Make every pause end now; many at a time, never all in one statement."""
        count = 0
        while woken := await self._doubts.make_due(doubts_max=self._limits.make_due_max):
            count += woken
        _log.info("the exchange answers again", doubts=count)

    async def _claim(self, wanted: Sequence[WantedSend]) -> Sequence[ClaimedSend | None]:
        return await self._doubts.claim_sends(
            wanted,
            claimed_by=self._name,
            send_seconds=self._send_seconds,
            answer_seconds=self._verification_limits.answer_seconds,
        )

    def _pause_seconds(self, tries: int) -> float:
        pause: float = min(self._limits.pause_seconds * 2 ** min(tries, 16), self._limits.pause_seconds_max)
        return pause * self._chance.uniform(0.5, 1)


class _UnderWay:
    """The reviews that have not ended, so many at once at the most; a slow one holds up no other."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._tasks: list[asyncio.Task[None]] = []
        self._has_room = asyncio.Event()

    @property
    def room(self) -> int:
        """How many may begin now."""
        return self._at_once - len(self._tasks)

    def begin(self, review: Coroutine[Any, Any, None]) -> None:
        """Have a review run beside the others."""
        task = asyncio.create_task(review)
        self._tasks.append(task)
        task.add_done_callback(self._ended)

    async def wait_for_room(self) -> None:
        """Wait until there is room for half of all: more are worth a question to the database."""
        self._has_room.clear()
        if self._is_mostly_taken:
            await self._has_room.wait()

    async def wait_for_all(self) -> None:
        """Wait until all have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def give_up(self) -> None:
        """Cancel what is left, and wait until it has let go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _is_mostly_taken(self) -> bool:
        return len(self._tasks) * 2 > self._at_once

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.remove(task)
        if not self._is_mostly_taken:
            self._has_room.set()


def _publish(verdict: Verdict) -> None:
    statuses = {row.status for row in verdict.rows}
    for status in statuses:
        metrics.RECONCILED.labels(status).inc()
    if OrderStatus.UNRESOLVED in statuses:
        _log.error("an order is unresolved", order_id=verdict.lease.order_id, reason=verdict.observation)


def _recorded(answer: PlaceAnswer) -> tuple[SendAnswer, str]:
    reason = reason_of(answer)
    return send_answer_of(reason), reason.text

"""The reconciler: finds orders that are not settled, and has each of them reviewed.

Any number of replicas may run it at once: a lease keeps the others off an order, and ends by itself.
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ordertrail.domain.order import Order
from ordertrail.domain.settling import (
    VerificationLimits,
)
from ordertrail.domain.trail import OrderStatus
from ordertrail.domain.venue_answer import (
    NoAnswer,
    Verification,
)
from ordertrail.reconciliation.pass_report import PassReport
from ordertrail.reconciliation.review import Review, ReviewContext, VenueTerms
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.doubt_rows import ClaimedSend, DoubtRows, Verdict, WantedSend
from ordertrail.storage.execution_rows import FeedRows
from ordertrail.storage.group_commit import Batcher, Limits
from ordertrail.storage.journal import Journal
from ordertrail.storage.order_queue_rows import OrderQueueRows
from ordertrail.storage.queue_expiry import expire_queued
from ordertrail.venues.gateway import Gateway

_log = get_logger()


@dataclass(frozen=True, slots=True)
class PassLimits:
    """How much a pass does and how soon an order is reviewed again.

    An order's pause doubles from `pause_seconds` to `pause_seconds_max`, with jitter so that a thousand orders in
    doubt are not queried at once. A pass ends after `pass_seconds` whatever is left, for others wait for it to end.
    """

    batches_max: int = 200
    reviews_at_once: int = 256
    make_due_max: int = 5000
    pass_seconds: float = 20
    database_seconds: float = 10
    pause_seconds: float = 1
    pause_seconds_max: float = 30


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
        feeds: FeedRows | None = None,
        queue: OrderQueueRows | None = None,
    ) -> None:
        self._doubts = doubts
        self._feeds = feeds
        self._queue = queue
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
        """Enqueue what is due, then review doubts that are due until none is left or the time is up."""
        report = PassReport()
        if self._queue is not None:
            # Workers do so too, where there are any.
            await expire_queued(self._queue)
        await self._enqueue_due_batches(report)
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

    async def _enqueue_due_batches(self, report: PassReport) -> None:
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
        venue = self._gateway.venue_name
        forgotten_until = await self._doubts.note_epoch(venue, answer.epoch)
        feed = None if self._feeds is None else await self._feeds.feed(venue)
        return VenueTerms(answer, forgotten_until, is_fed=feed is not None and feed.is_owned)

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
            # A venue that answers nothing is not queried about everything: that would hold up what needs no answer.
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

    async def _query(self, report: PassReport, order: Order) -> Verification:
        verification = await self._gateway.query(order.id, instrument=order.instrument)
        report.add_query(verification)
        if self._was_silent and not isinstance(verification, NoAnswer):
            self._was_silent = False
            await self._make_all_due()
        return verification

    async def _make_all_due(self) -> None:
        """Make every pause end now; many at a time, never all in one statement."""
        count = 0
        while made_due := await self._doubts.make_due(doubts_max=self._limits.make_due_max):
            count += made_due
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
        """Wait until there is room for half of all: more are worth a statement."""
        self._has_room.clear()
        if self._is_mostly_full:
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
    def _is_mostly_full(self) -> bool:
        return len(self._tasks) * 2 > self._at_once

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.remove(task)
        if not self._is_mostly_full:
            self._has_room.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            metrics.INVARIANTS_BROKEN.labels("review_raised").inc()
            _log.error("a review ended without a result", exc_info=error)


def _publish(verdict: Verdict) -> None:
    statuses = {row.status for row in verdict.rows}
    for status in statuses:
        metrics.RECONCILED.labels(status).inc()
    if OrderStatus.UNRESOLVED in statuses:
        _log.error("an order is unresolved", order_id=verdict.lease.order_id, reason=verdict.observation)

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
from ordertrail.domain.order_in_doubt import Doubt, SendAnswer
from ordertrail.domain.settling import Append, Cancel, Resend, Rules, Settle, Step, Wait, after_asking, before_asking
from ordertrail.domain.trail import NOT_SENT, REFUSED, UNKNOWN, OrderStatus, TrailRow
from ordertrail.domain.venue_answer import (
    Absent,
    Accepted,
    Answer,
    CancelAccepted,
    CancelTooLate,
    NoAnswer,
    NotSent,
    Refused,
    Verification,
)
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.doubt_rows import AnsweredSend, ClaimedSend, DoubtRows, Taken, Unreadable, Verdict, WantedSend
from ordertrail.storage.errors import DatabaseAnswered, DatabaseLost
from ordertrail.storage.group_commit import Limits, SharedCommits
from ordertrail.storage.journal import Journal
from ordertrail.storage.order_rows import StepRow
from ordertrail.venues.gateway import Sender

_log = get_logger()

RESENT = "resent"
HIDDEN = "hidden_from_cancel"


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a pass does and how soon an order is looked at again.

    An order's pause doubles from `pause_seconds` to `pause_seconds_max`, with jitter so that a thousand orders in
    doubt do not ask at once. A pass ends after `pass_seconds` whatever is left, for others wait for it to end.
    """

    batches_max: int = 200
    looks_at_once: int = 256
    wake_max: int = 5000
    pass_seconds: float = 20
    database_seconds: float = 10
    pause_seconds: float = 1
    pause_seconds_max: float = 30


@dataclass(slots=True)
class Counts:
    """What a pass did."""

    batches: int = 0
    looked_at: int = 0
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
    seen: list[tuple[str, str]] = field(default_factory=list)


class Reconciler:
    """One replica; `run_once` is a pass."""

    def __init__(
        self,
        doubts: DoubtRows,
        journal: Journal,
        sender: Sender,
        clock: Clock,
        rules: Rules,
        *,
        name: str,
        send_seconds: float,
        pace: Pace | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._doubts = doubts
        self._journal = journal
        self._sender = sender
        self._clock = clock
        self._rules = rules
        self._name = name
        self._send_seconds = send_seconds
        self._pace = pace or Pace()
        self._chance = chance or random.Random()  # noqa: S311 - jitter, no secret
        # Longer than a look can take: a question, a send with its own question, a cancel with another, each after a
        # wait at the gate that is bounded by the same time.
        self._lease_seconds = 8 * rules.answer_seconds + send_seconds + self._pace.database_seconds
        limits = Limits(rows_max=512, queue_max=10_000, timeout_seconds=self._pace.database_seconds)
        self._claims = SharedCommits("claims", self._claim, clock, limits)
        self._answers = SharedCommits("answers", doubts.record_answers, clock, limits)
        self._verdicts = SharedCommits("verdicts", doubts.conclude, clock, limits)
        self._was_silent = False
        self._was_out_of_reach = False

    async def run_once(self) -> Counts:
        """Take in what is due, then look at doubts that are due until none is left or the time is up."""
        counts = Counts()
        while taken_in := await self._doubts.take_in(batches_max=self._pace.batches_max):
            counts.batches += taken_in
            if taken_in < self._pace.batches_max:
                break
        venue = await self._ask_for_promises()
        looks: list[asyncio.Task[None]] = []
        try:
            await self._look_at_all(venue, counts, looks)
        finally:
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)
            for lane in (self._claims, self._answers, self._verdicts):
                await lane.close()
        if counts.unanswered and not counts.answered:
            self._was_silent = True
        return counts

    async def _ask_for_promises(self) -> "_Promises":
        """What the venue promises now. One that is within reach again makes every pause pointless."""
        answer = await self._sender.capabilities()
        if isinstance(answer, NoAnswer):
            self._was_out_of_reach = True
            return _Promises(None, None)
        if self._was_out_of_reach:
            self._was_out_of_reach = False
            await self._wake()
        return _Promises(answer, await self._doubts.note_epoch(self._sender.venue_name, answer.epoch))

    async def _look_at_all(self, venue: "_Promises", counts: Counts, looks: list[asyncio.Task[None]]) -> None:
        """Keep so many looks under way; a slow one holds up no other."""
        deadline = self._clock.monotonic() + self._pace.pass_seconds
        has_room = asyncio.Event()

        def ended(look: asyncio.Task[None]) -> None:
            looks.remove(look)
            if len(looks) * 2 <= self._pace.looks_at_once:
                has_room.set()

        may_take = True
        while may_take:
            room = self._pace.looks_at_once - len(looks)
            taken = await self._doubts.take(doubts_max=room, lease_seconds=self._lease_seconds)
            failpoints.reach("after_take")
            loaded = await self._doubts.load([each.order_id for each in taken]) if taken else {}
            counts.looked_at += len(taken)
            has_room.clear()
            for each in taken:
                look = asyncio.create_task(self._look_at(each, loaded.get(each.order_id), venue, counts))
                looks.append(look)
                look.add_done_callback(ended)
            if len(looks) * 2 > self._pace.looks_at_once:
                await has_room.wait()
            # A venue that answers nothing is not asked about everything: that would hold up what needs no answer.
            is_silent = counts.unanswered >= self._pace.looks_at_once and not counts.answered
            may_take = len(taken) == room and not is_silent
            if may_take and self._clock.monotonic() >= deadline:
                counts.has_more = True
                break
        while looks:
            await asyncio.wait(looks)

    async def _look_at(
        self, taken: Taken, doubt: Doubt | Unreadable | None, venue: "_Promises", counts: Counts
    ) -> None:
        try:
            verdict = await self._verdict(taken, doubt, venue, counts)
            failpoints.reach("before_conclude")
            if await self._verdicts.submit(verdict):
                self._count(verdict, counts)
        except (DatabaseAnswered, DatabaseLost) as error:
            # Nothing was concluded: once its lease has passed, somebody looks again.
            counts.errors += 1
            _log.warning("a look could not use the database", order_id=taken.order_id, error=str(error))

    async def _verdict(
        self, taken: Taken, doubt: Doubt | Unreadable | None, venue: "_Promises", counts: Counts
    ) -> Verdict:
        if doubt is None:
            return Verdict(taken, (), is_settled=True, next_seconds=0, seen="no such order")
        if isinstance(doubt, Unreadable):
            counts.errors += 1
            metrics.INVARIANTS_BROKEN.labels("order_unreadable").inc()
            _log.error("an order's rows cannot be read", order_id=taken.order_id, error=doubt.why)
            return self._later(taken, f"unreadable: {doubt.why}")
        try:
            return await self._look(taken, doubt, venue, counts)
        except (DatabaseAnswered, DatabaseLost):
            raise
        except Exception as error:  # noqa: BLE001 - one poison order must not stop the others
            counts.errors += 1
            metrics.INVARIANTS_BROKEN.labels("order_not_reconcilable").inc()
            _log.exception("an order could not be looked after", order_id=taken.order_id)
            return self._later(taken, f"error: {error}".replace("\x00", ""))

    async def _wake(self) -> None:
        """Make every pause end now; many at a time, never all in one statement."""
        count = 0
        while woken := await self._doubts.wake(doubts_max=self._pace.wake_max):
            count += woken
        _log.info("the exchange answers again", doubts=count)

    async def _look(self, taken: Taken, doubt: Doubt, venue: "_Promises", counts: Counts) -> Verdict:
        settled = before_asking(doubt)
        if settled is not None:
            return _settled(taken, settled.rows, "settled by its rows")
        _, step = await self._ask(doubt, venue, counts)
        return await self._carry_out(taken, doubt, step, venue, counts)

    async def _ask(self, doubt: Doubt, venue: "_Promises", counts: Counts) -> tuple[Verification, Step]:
        verification = await self._sender.ask(doubt.order.id)
        if isinstance(verification, NoAnswer):
            counts.unanswered += 1
        else:
            counts.answered += 1
            if self._was_silent:
                self._was_silent = False
                await self._wake()
        step = after_asking(doubt, verification, venue.capabilities, self._rules, forgotten_until=venue.forgotten_until)
        return verification, step

    async def _carry_out(self, taken: Taken, doubt: Doubt, step: Step, venue: "_Promises", counts: Counts) -> Verdict:
        match step:
            case Settle(rows=rows):
                return _settled(taken, rows, "settled")
            case Append(rows=rows):
                return self._later(taken, rows[-1].reason or "", rows)
            case Wait(why=why, until=until):
                if until is None:
                    return self._later(taken, why)
                seconds = max((until - doubt.now).total_seconds(), 0)
                return Verdict(taken, (), is_settled=False, next_seconds=seconds, seen=why)
            case Resend(send_by_max=send_by_max):
                return await self._resend(taken, doubt, send_by_max, counts)
            case Cancel(rows=rows):
                return await self._cancel(taken, doubt, rows, venue, counts)

    async def _resend(self, taken: Taken, doubt: Doubt, send_by_max: datetime | None, counts: Counts) -> Verdict:
        order = doubt.order
        closed = self._sender.closed()
        if closed is not None:
            return self._later(taken, f"not resent: {closed}")
        start = self._clock.monotonic()
        claim = await self._claims.submit(WantedSend(taken, send_by_max))
        if claim is None:
            return self._later(taken, "not resent: taken, canceled, halted or too late")
        failpoints.reach("after_claim")
        counts.resent += 1
        answer = await self._sender.send_and_ask(
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
            await self._journal.step(StepRow(order.id, OrderStatus.COMPLETED, RESENT, exchange_order_id))
            metrics.RECONCILED.labels(OrderStatus.COMPLETED).inc()
        await self._answers.submit(AnsweredSend(order.id, claim.number, kind, reason, exchange_order_id))
        failpoints.reach("after_answer")
        _log.info("order resent", order_id=order.id, number=claim.number, answer=kind, reason=reason)
        if isinstance(answer, Accepted):
            counts.completed += 1
            return _settled(taken, (), "resent and accepted")
        at_least = answer.retry_after_seconds if isinstance(answer, NotSent) else None
        return self._later(taken, f"resent: {reason}", at_least=at_least or 0)

    async def _claim(self, wanted: Sequence[WantedSend]) -> Sequence[ClaimedSend | None]:
        return await self._doubts.claim_sends(
            wanted,
            claimed_by=self._name,
            send_seconds=self._send_seconds,
            answer_seconds=self._rules.answer_seconds,
        )

    async def _cancel(
        self, taken: Taken, doubt: Doubt, rows: tuple[TrailRow, ...], venue: "_Promises", counts: Counts
    ) -> Verdict:
        answer = await self._sender.cancel(doubt.order.id)
        if not isinstance(answer, CancelAccepted | CancelTooLate):
            return self._later(taken, f"cancel: {type(answer).__name__}", rows)
        counts.canceled += 1
        # How it ended is the exchange's to say.
        verification, step = await self._ask(doubt, venue, counts)
        if isinstance(step, Settle):
            return _settled(taken, step.rows, "canceled")
        if isinstance(step, Cancel) and isinstance(verification, Absent):
            # It has taken the cancel, or said that it is too late, and shows open orders alone: this is none any more.
            return _settled(taken, step.rows, "canceled, and not shown any more")
        if isinstance(step, Cancel) and step.is_hidden:
            if isinstance(answer, CancelAccepted):
                # What it shows was open at no time, so the accepted one is what it has canceled.
                return _settled(taken, step.rows, "canceled, and hidden by a send that was refused")
            # Too late for the one that is shown; of the accepted one that says nothing, and no question reaches it.
            is_told = OrderStatus.UNRESOLVED in doubt.statuses
            told = () if is_told else (TrailRow(OrderStatus.UNRESOLVED, HIDDEN),)
            return self._later(taken, HIDDEN, (*step.rows, *told))
        return self._later(taken, type(answer).__name__, rows)

    def _later(self, taken: Taken, seen: str, rows: tuple[TrailRow, ...] = (), *, at_least: float = 0) -> Verdict:
        pause = min(self._pace.pause_seconds * 2 ** min(taken.tries, 16), self._pace.pause_seconds_max)
        seconds = max(pause * self._chance.uniform(0.5, 1), at_least)
        return Verdict(taken, rows, is_settled=False, next_seconds=seconds, seen=seen[:200])

    def _count(self, verdict: Verdict, counts: Counts) -> None:
        statuses = {row.status for row in verdict.rows}
        counts.settled += verdict.is_settled
        counts.waiting += not verdict.is_settled
        counts.completed += OrderStatus.COMPLETED in statuses
        counts.not_placed += OrderStatus.NOT_PLACED in statuses
        counts.unresolved += OrderStatus.UNRESOLVED in statuses
        counts.seen.append((verdict.taken.order_id, verdict.seen))
        for status in statuses:
            metrics.RECONCILED.labels(status).inc()
        if OrderStatus.UNRESOLVED in statuses:
            _log.error("an order is unresolved", order_id=verdict.taken.order_id, reason=verdict.seen)


@dataclass(frozen=True, slots=True)
class _Promises:
    """What the venue promises, where it could be asked; `forgotten_until`: it may not know what was before."""

    capabilities: Capabilities | None
    forgotten_until: datetime | None


def _settled(taken: Taken, rows: tuple[TrailRow, ...], seen: str) -> Verdict:
    if rows:
        seen = f"{rows[-1].status} {rows[-1].reason}"
    return Verdict(taken, rows, is_settled=True, next_seconds=0, seen=seen)


def _recorded(answer: Answer) -> tuple[SendAnswer, str]:
    match answer:
        case Accepted():
            return SendAnswer.ACCEPTED, "accepted"
        case Refused(code=code):
            return SendAnswer.REFUSED, REFUSED + code
        case NotSent(cause=cause):
            return SendAnswer.NOT_SENT, NOT_SENT + cause
        case _:
            return SendAnswer.UNKNOWN, UNKNOWN + answer.cause

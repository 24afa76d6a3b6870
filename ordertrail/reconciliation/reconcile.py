"""The reconciler: finds orders that are not settled, asks the exchange, and writes down what is proved.

Any number of replicas may run it at once. What if we die here: before a claim is committed nothing was sent; after
it the order is in doubt by that very claim, and whoever takes it next asks and waits before anything is sent again.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from ordertrail import failpoints
from ordertrail.clock import Clock
from ordertrail.domain.answer import Accepted, Answer, CancelAccepted, CancelTooLate, NoAnswer, NotSent, Refused
from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.settling import (
    Append,
    Cancel,
    Doubt,
    Resend,
    Rules,
    SendAnswer,
    Settle,
    Step,
    Wait,
    after_asking,
    before_asking,
)
from ordertrail.domain.trail import NOT_SENT, REFUSED, UNKNOWN, OrderStatus, TrailRow
from ordertrail.doubts import DoubtRows, Taken, Verdict
from ordertrail.journal import Journal
from ordertrail.rows import StepRow
from ordertrail.sending import Sender
from ordertrail.telemetry import metrics
from ordertrail.telemetry.logs import get_logger

_log = get_logger()

RESENT = "resent"


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a pass does and how soon an order is looked at again.

    An order's pause doubles from `pause_seconds` to `pause_seconds_max`, with jitter so that a thousand orders in
    doubt do not ask at once.
    """

    batches_max: int = 200
    doubts_max: int = 500
    asks_at_once: int = 64
    lease_seconds: float = 60
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
    seen: list[str] = field(default_factory=list)

    def add(self, other: "Counts") -> None:
        """Sum up."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


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
        self._venue_was_silent = False

    async def run_once(self) -> Counts:
        """Take in what is due, then look at every doubt that is due until none is left."""
        counts = Counts()
        while taken_in := await self._doubts.take_in(batches_max=self._pace.batches_max):
            counts.batches += taken_in
            if taken_in < self._pace.batches_max:
                break
        capabilities = await self._capabilities()
        while taken := await self._doubts.take(
            doubts_max=self._pace.doubts_max, lease_seconds=self._pace.lease_seconds
        ):
            failpoints.reach("after_take")
            counts.add(await self._look_at(taken, capabilities))
            if len(taken) < self._pace.doubts_max:
                break
        return counts

    async def _capabilities(self) -> Capabilities | None:
        answer = await self._sender.capabilities()
        return None if isinstance(answer, NoAnswer) else answer

    async def _look_at(self, taken: Sequence[Taken], capabilities: Capabilities | None) -> Counts:
        counts = Counts(looked_at=len(taken))
        doubts = await self._doubts.load([each.order_id for each in taken])
        slots = asyncio.Semaphore(self._pace.asks_at_once)

        async def look(each: Taken) -> Verdict | None:
            doubt = doubts.get(each.order_id)
            if doubt is None:
                return Verdict(each, (), is_settled=True, next_seconds=0, seen="no such order")
            async with slots:
                try:
                    return await self._look(each, doubt, capabilities, counts)
                except Exception as error:  # noqa: BLE001 - one poison order must not stop the others
                    counts.errors += 1
                    _log.exception("an order could not be looked after", order_id=each.order_id)
                    return self._later(each, f"error: {error}")

        verdicts = [v for v in await asyncio.gather(*(look(each) for each in taken)) if v is not None]
        failpoints.reach("before_conclude")
        if verdicts:
            await self._doubts.conclude(verdicts)
        self._count(verdicts, counts)
        await self._note_reach(counts)
        return counts

    async def _look(self, taken: Taken, doubt: Doubt, capabilities: Capabilities | None, counts: Counts) -> Verdict:
        settled = before_asking(doubt)
        if settled is not None:
            return _settled(taken, settled.rows, "settled by its rows")
        verification = await self._sender.ask(doubt.order.id)
        if isinstance(verification, NoAnswer):
            counts.unanswered += 1
        else:
            counts.answered += 1
        step = after_asking(doubt, verification, capabilities, self._rules)
        return await self._carry_out(taken, doubt, step, counts)

    async def _carry_out(self, taken: Taken, doubt: Doubt, step: Step, counts: Counts) -> Verdict:
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
            case Resend():
                return await self._resend(taken, doubt, counts)
            case Cancel(rows=rows):
                return await self._cancel(taken, doubt, rows, counts)

    async def _resend(self, taken: Taken, doubt: Doubt, counts: Counts) -> Verdict:
        order = doubt.order
        closed = self._sender.closed()
        if closed is not None:
            return self._later(taken, f"not resent: {closed}")
        start = self._clock.monotonic()
        claim = await self._doubts.claim_send(
            taken,
            claimed_by=self._name,
            send_seconds=self._send_seconds,
            answer_seconds=self._rules.answer_seconds,
        )
        if claim is None:
            return self._later(taken, "not resent: taken, canceled, halted or too late")
        failpoints.reach("after_claim")
        counts.resent += 1
        answer = await self._sender.send_and_ask(order, send_by=start + claim.seconds_left, accept_by=claim.accept_by)
        failpoints.reach("after_resend")
        kind, reason = _recorded(answer)
        exchange_order_id = answer.exchange_order_id if isinstance(answer, Accepted) else None
        await self._doubts.record_answer(order.id, claim.number, kind, reason, exchange_order_id)
        failpoints.reach("after_answer")
        _log.info("order resent", order_id=order.id, number=claim.number, answer=kind, reason=reason)
        if isinstance(answer, Accepted):
            # Evidence of acceptance is recorded whoever holds the order by now.
            await self._journal.step(StepRow(order.id, OrderStatus.COMPLETED, RESENT, answer.exchange_order_id))
            return _settled(taken, (), "resent and accepted", completed=True)
        return self._later(taken, f"resent: {reason}")

    async def _cancel(self, taken: Taken, doubt: Doubt, rows: tuple[TrailRow, ...], counts: Counts) -> Verdict:
        answer = await self._sender.cancel(doubt.order.id)
        if isinstance(answer, CancelAccepted | CancelTooLate):
            counts.canceled += 1
            # How it ended is the exchange's to say: the next question tells, and needs no pause.
            return Verdict(taken, rows, is_settled=False, next_seconds=0.1, seen=type(answer).__name__)
        return self._later(taken, f"cancel: {type(answer).__name__}", rows)

    def _later(self, taken: Taken, seen: str, rows: tuple[TrailRow, ...] = ()) -> Verdict:
        pause = min(self._pace.pause_seconds * 2 ** min(taken.tries, 16), self._pace.pause_seconds_max)
        seconds = pause * self._chance.uniform(0.5, 1)
        return Verdict(taken, rows, is_settled=False, next_seconds=seconds, seen=seen[:200])

    async def _note_reach(self, counts: Counts) -> None:
        """A venue that answers again, after a look in which it answered nothing, makes every pause pointless."""
        if counts.answered and self._venue_was_silent:
            _log.info("the exchange answers again", doubts=await self._doubts.wake())
        if counts.answered or counts.unanswered:
            self._venue_was_silent = not counts.answered

    def _count(self, verdicts: Sequence[Verdict], counts: Counts) -> None:
        for verdict in verdicts:
            statuses = {row.status for row in verdict.rows}
            counts.settled += verdict.is_settled
            counts.waiting += not verdict.is_settled
            counts.completed += OrderStatus.COMPLETED in statuses or verdict.seen.startswith("resent and")
            counts.not_placed += OrderStatus.NOT_PLACED in statuses
            counts.unresolved += OrderStatus.UNRESOLVED in statuses
            counts.seen.append(f"{verdict.taken.order_id} {verdict.seen}")
            for status in statuses:
                metrics.RECONCILED.labels(status).inc()
            if OrderStatus.UNRESOLVED in statuses:
                _log.error("an order is unresolved", order_id=verdict.taken.order_id, reason=verdict.seen)


def _settled(taken: Taken, rows: tuple[TrailRow, ...], seen: str, *, completed: bool = False) -> Verdict:
    if rows and not completed:
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

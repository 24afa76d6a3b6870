"""Placing one order: commit INITIATED, send, commit what came of it.

What if we die between two steps: before the first commit nothing has happened. After it the order's INITIATED row
stands alone, and a reconciler queries the exchange once the send's deadlines have passed. No byte is sent before
that commit is confirmed, so no order is at the exchange without its row.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from ordertrail.domain.deadlines import Deadlines
from ordertrail.domain.order import Order
from ordertrail.domain.reason import NOT_RECORDED, Cause
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, Outcome, TrailRow, fold_outcome, fold_status
from ordertrail.domain.venue_answer import Accepted, NotSent, PlaceAnswer, Refused, Unknown, reason_of
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger, last_record
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.journal import Journal
from ordertrail.storage.order_queue_rows import ClaimedOrder
from ordertrail.storage.order_rows import KeyTaken, NewTrailRow, SentLater
from ordertrail.venues.gate.call_budget import Permit
from ordertrail.venues.gateway import Gateway

_log = get_logger()

STATEMENT_ERRORS = (StatementFailed, StatementOutcomeUnknown)


@dataclass(frozen=True, slots=True)
class Placed:
    """Both rows are committed."""

    order: Order
    created_at: datetime
    exchange_order_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A step failed. `rows` are the trail as far as we know it, with those that could not be written."""

    order: Order
    rows: tuple[TrailRow, ...]
    place_by: datetime | None
    retry_after_seconds: float | None = None
    may_be_recorded: bool = False

    @property
    def status(self) -> OrderStatus:
        """The present status, by these rows."""
        return fold_status(self.rows)

    @property
    def outcome(self) -> Outcome:
        """What we can honestly say.

        Where INITIATED may have been committed without the row that forbids sending, a reconciler may yet send it; so
        may it the order that the client's key had all the time.
        """
        if self.may_be_recorded:
            return Outcome.UNKNOWN
        return fold_outcome(self.rows, may_send_again=self.place_by is not None)


@dataclass(frozen=True, slots=True)
class Repeated:
    """The caller's key belongs to an order already; None: it cannot be read just now."""

    order_id: str
    stored: StoredOrder | None


@dataclass(frozen=True, slots=True)
class Queued:
    """INITIATED is committed, and the order waits for a worker."""

    order: Order
    created_at: datetime


Placement = Placed | Failed | Repeated | Queued


class Placing:
    """Places orders; one for all requests of a process."""

    def __init__(self, journal: Journal, gateway: Gateway, clock: Clock, deadlines: Deadlines) -> None:
        self._journal = journal
        self._gateway = gateway
        self._clock = clock
        self._deadlines = deadlines

    async def place(self, order: Order) -> Placement:
        """Take a valid order through the three steps; must run to its end once begun."""
        # Earlier than the row's send_by, which the database reckons from the moment it writes the row.
        start = self._clock.monotonic()
        send_by = start + self._deadlines.send_seconds
        failpoints.reach("before_initiated")
        try:
            recorded = await self._journal.initiated(order)
        except STATEMENT_ERRORS as error:
            return await self._not_recorded(order, error, start=start)
        if isinstance(recorded, KeyTaken):
            return await self.repeat(recorded.order_id)
        failpoints.reach("after_initiated")
        created_at = recorded.created_at
        if recorded.is_halted:
            # This process may not have heard of it yet.
            answer: PlaceAnswer = NotSent(Cause.HALTED)
        else:
            answer = await self._gateway.send_and_query(
                order,
                send_by=send_by,
                accept_by=created_at + timedelta(seconds=self._deadlines.accept_seconds),
            )
        return await self._record(order, created_at, answer, start=start)

    async def enqueue(self, order: Order) -> Queued | Failed | Repeated:
        """Record a valid order for the workers; must run to its end once begun.

        What if we die here: before the commit nothing has happened, after it the order is in the queue.
        """
        start = self._clock.monotonic()
        failpoints.reach("before_queued")
        try:
            recorded = await self._journal.queued(order)
        except STATEMENT_ERRORS as error:
            return await self._not_recorded(order, error, start=start)
        if isinstance(recorded, KeyTaken):
            return await self.repeat(recorded.order_id)
        failpoints.reach("after_queued")
        return Queued(order, recorded.created_at)

    async def send_claimed(
        self, claimed: ClaimedOrder, *, start: float, permit: Permit
    ) -> tuple[Placed | Failed | Repeated, PlaceAnswer]:
        """Send an order whose claim is committed, and record what came of it; must run to its end once begun.

        `start` is monotonic, from before the claim: earlier than the moment from which its deadlines are reckoned.
        """
        answer = await self._gateway.send_and_query(
            claimed.order, send_by=start + claimed.seconds_left, accept_by=claimed.accept_by, permit=permit
        )
        return await self._record(claimed.order, claimed.created_at, answer, start=start), answer

    async def _record(
        self, order: Order, created_at: datetime, answer: PlaceAnswer, *, start: float
    ) -> Placed | Failed | Repeated:
        """Step 3, or the row that says why there is none."""
        if not isinstance(answer, Accepted):
            failed = await self._not_placed(order, created_at, answer)
            if self._clock.monotonic() - start < self._deadlines.review_seconds:
                return failed
            # We stood still for so long that reconciliation may have sent it: what became of our send is not the whole.
            return await self.repeat(order.id)
        failpoints.reach("before_completed")
        try:
            await self._journal.completed(order.id, answer.exchange_order_id)
        except STATEMENT_ERRORS as error:
            return await self._placed_but_not_recorded(order, created_at, answer, error)
        failpoints.reach("after_completed")
        return Placed(order, created_at, answer.exchange_order_id)

    async def find(self, key: str) -> Repeated | None:
        """The present truth about the order that has this key; None: no order has it. Never sends.

        Raises StatementFailed and StatementOutcomeUnknown where that cannot be read.
        """
        owner = await self._journal.owner_of(key)
        return None if owner is None else await self.repeat(owner)

    async def repeat(self, order_id: str) -> Repeated:
        """The present truth about the order that has the caller's key; never sends."""
        try:
            return Repeated(order_id, await self._journal.read(order_id))
        except STATEMENT_ERRORS:
            return Repeated(order_id, None)

    async def _not_recorded(
        self, order: Order, error: StatementFailed | StatementOutcomeUnknown, *, start: float
    ) -> Failed | Repeated:
        """Step 1 failed: nothing was sent, and the row to be written says so."""
        _log.error("INITIATED could not be written", order_id=order.id, error=str(error))
        failed_at = self._clock.now()
        began_at = failed_at - timedelta(seconds=self._clock.monotonic() - start)
        rows = (
            TrailRow(OrderStatus.INITIATED, created_at=began_at),
            TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, NOT_RECORDED.text, created_at=failed_at),
        )
        may_be_recorded = isinstance(error, StatementOutcomeUnknown) and error.may_have_happened
        failpoints.reach("before_never_sent")
        try:
            never_sent = await self._journal.never_sent(order)
            failpoints.reach("after_never_sent")
        except STATEMENT_ERRORS as second:
            may_be_recorded |= isinstance(second, StatementOutcomeUnknown) and second.may_have_happened
            # The key, which could not be read, may have an order already; that one may be placed.
            may_be_recorded |= order.client_order_id is not None
            await self._unrecorded(order, rows, second)
            return Failed(order, rows, None, may_be_recorded=may_be_recorded)
        if isinstance(never_sent, KeyTaken):
            return await self.repeat(never_sent.order_id)
        if isinstance(never_sent, SentLater):
            return await self.repeat(order.id)
        return Failed(order, rows, self._deadlines.place_by(order, never_sent.created_at))

    async def _not_placed(self, order: Order, created_at: datetime, answer: Refused | NotSent | Unknown) -> Failed:
        """Step 2 failed: the answer is recorded."""
        status, reason = _failing_row(answer)
        return await self._record_failure(
            order,
            created_at,
            TrailRow(status, reason),
            TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, reason),
            retry_after_seconds=answer.retry_after_seconds if isinstance(answer, NotSent) else None,
        )

    async def _placed_but_not_recorded(
        self, order: Order, created_at: datetime, answer: Accepted, error: StatementFailed | StatementOutcomeUnknown
    ) -> Failed:
        """Step 3 failed. COMPLETED is left to the reconciler, which queries the exchange."""
        _log.error("COMPLETED could not be written", order_id=order.id, error=str(error))
        row = TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, reason_of(answer).text, answer.exchange_order_id)
        return await self._record_failure(order, created_at, row)

    async def _record_failure(
        self,
        order: Order,
        created_at: datetime,
        *choices: TrailRow,
        retry_after_seconds: float | None = None,
    ) -> Failed:
        """Write the first of `choices` that the database takes."""
        failed_at = self._clock.now()
        initiated = TrailRow(OrderStatus.INITIATED, created_at=created_at)
        place_by = self._deadlines.place_by(order, created_at)
        row = choices[-1]
        for row in choices:
            failpoints.reach("before_failure")
            try:
                await self._journal.step(NewTrailRow(order.id, row.status, row.reason, row.exchange_order_id))
                failpoints.reach("after_failure")
                break
            except STATEMENT_ERRORS as error:
                _log.error(
                    "a failing row could not be written",
                    order_id=order.id,
                    status=row.status,
                    error=str(error),
                )
        else:
            await self._unrecorded(order, (initiated, replace(row, created_at=failed_at)), None)
        return Failed(order, (initiated, row), place_by, retry_after_seconds)

    async def _unrecorded(self, order: Order, rows: tuple[TrailRow, ...], error: Exception | None) -> None:
        """The database takes no row of this: the spool does, and what not even the spool takes, the log."""
        failpoints.reach("before_spool")
        if await self._journal.spooled(order, rows):
            failpoints.reach("after_spool")
            return
        metrics.UNRECORDED.inc()
        last_record(
            "the trail could not be written",
            order_id=order.id,
            rows=[(row.status, row.reason, row.exchange_order_id) for row in rows],
            error=str(error),
        )


def _failing_row(answer: Refused | NotSent | Unknown) -> tuple[OrderStatus, str]:
    reason = reason_of(answer).text
    match answer:
        case Refused() | NotSent():
            return OrderStatus.EXCHANGE_CREATION_FAILED, reason
        case Unknown():
            return OrderStatus.EXCHANGE_OUTCOME_UNKNOWN, reason
    assert_never(answer)


__all__ = ["Failed", "PlaceAnswer", "Placed", "Placement", "Placing", "Queued", "Repeated"]

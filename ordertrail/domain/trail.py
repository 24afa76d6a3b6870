"""The trail of an order: what its rows say, whatever order they came in.

A row is evidence and is never changed. The present status and the outcome are folds over the set of rows, so
late, repeated and replayed rows lead to the same answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import assert_never

from ordertrail.domain.reason import ACCEPTED, NOT_RECORDED, Cause, Reason, ReasonKind, not_sent, parse


class OrderStatus(StrEnum):
    """In rising order of precedence; PostgreSQL's enum is declared in the same order, so `max` folds there too."""

    INITIATED = "INITIATED"
    EXCHANGE_CREATION_FAILED = "EXCHANGE_CREATION_FAILED"
    DATABASE_PERSISTENCE_FAILED = "DATABASE_PERSISTENCE_FAILED"
    EXCHANGE_OUTCOME_UNKNOWN = "EXCHANGE_OUTCOME_UNKNOWN"
    UNRESOLVED = "UNRESOLVED"
    NOT_PLACED = "NOT_PLACED"
    COMPLETED = "COMPLETED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    CANCELED = "CANCELED"
    FILLED = "FILLED"


PRECEDENCE = {status: rank for rank, status in enumerate(OrderStatus)}
PLACED_STATUSES = frozenset(s for s in OrderStatus if PRECEDENCE[s] >= PRECEDENCE[OrderStatus.COMPLETED])
REPORTED_STATUSES = PLACED_STATUSES - {OrderStatus.COMPLETED}
TERMINAL_AT_EXCHANGE = frozenset({OrderStatus.REJECTED, OrderStatus.EXPIRED, OrderStatus.CANCELED, OrderStatus.FILLED})


class Outcome(StrEnum):
    """What we can honestly say of an order's placement."""

    PLACED = "placed"
    NOT_PLACED = "not_placed"
    PENDING = "pending"
    UNKNOWN = "unknown"


class Certainty(StrEnum):
    """How well it is known that an order is not placed."""

    PROVED = "proved"
    PRESUMED = "presumed"


class Proof(Enum):
    """What the rows of an order prove of its placement."""

    PLACED = auto()
    """The exchange has accepted it."""
    SETTLED = auto()
    """It is settled as not placed."""
    IN_DOUBT = auto()
    """It may have reached the exchange."""
    NEVER = auto()
    """It was refused, or its first row could not be written: it is not there, and is never sent again."""
    NOT_SENT = auto()
    """It is not there, and may be sent again."""
    NOTHING = auto()
    """It was recorded; what became of it stands nowhere."""


class WhyNotPlaced(Enum):
    """Why an order is not placed, by the row that says most of it."""

    REFUSED = auto()
    """The exchange has refused it."""
    THROTTLED = auto()
    """It was not sent, or the exchange did nothing with it, because there were too many."""
    CIRCUIT_OPEN = auto()
    """It was not sent, because the exchange has failed too often of late."""
    HALTED = auto()
    """It was not sent, because the operator has halted placing."""
    NOT_SENT = auto()
    """It was not sent for another reason."""
    SETTLED = auto()
    """It is settled as not there, and not by a refusal."""
    NOT_RECORDED = auto()
    """A row could not be written, and no other row says what became of it."""
    IN_DOUBT = auto()
    """It may have reached the exchange, or nothing is known of it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an order stands by its rows. `why`: why no row of the exchange's says that it is placed; None: one does.

    `reason`: what the row says that settles it, else the one of the doubt there is, else the one of the failed send.
    """

    proof: Proof
    why: WhyNotPlaced | None
    reason: Reason | None = None

    @property
    def certainty(self) -> Certainty:
        """How well it is known, where the outcome is not_placed; a person's word is no proof."""
        is_settled = self.proof is Proof.SETTLED
        is_proved = not is_settled or (self.reason is not None and self.reason.kind is ReasonKind.PROVED)
        return Certainty.PROVED if is_proved else Certainty.PRESUMED

    def outcome(self, *, may_send_again: bool, has_open_claim: bool, is_queued: bool = False) -> Outcome:
        """What can be said of its placement.

        `may_send_again`: the order has a `place_by` and further sends are not forbidden. It is not compared with
        a clock: until a row says NOT_PLACED, a reconciler may be about to send.
        `has_open_claim`: a worker or a reconciler may be sending it right now, or did and died.
        `is_queued`: nobody has begun to send it, and a worker may.
        """
        match self.proof:
            case Proof.PLACED:
                return Outcome.PLACED
            case Proof.SETTLED:
                return Outcome.NOT_PLACED
            case _ if has_open_claim:
                return Outcome.UNKNOWN
            case Proof.NEVER:
                return Outcome.NOT_PLACED
            case Proof.NOT_SENT:
                return Outcome.PENDING if may_send_again else Outcome.NOT_PLACED
            case Proof.NOTHING if is_queued:
                return Outcome.PENDING
            case Proof.IN_DOUBT | Proof.NOTHING:
                return Outcome.UNKNOWN
        assert_never(self.proof)


_NO_REASON = parse("")
_Reasons = Sequence[tuple[OrderStatus, Reason]]
_PLACED = Standing(Proof.PLACED, None)
_IN_DOUBT = frozenset({OrderStatus.UNRESOLVED, OrderStatus.EXCHANGE_OUTCOME_UNKNOWN})
_SAYING_MOST = (
    OrderStatus.UNRESOLVED,
    OrderStatus.EXCHANGE_OUTCOME_UNKNOWN,
    OrderStatus.EXCHANGE_CREATION_FAILED,
    OrderStatus.DATABASE_PERSISTENCE_FAILED,
)
_WHY_NOT_SENT = {
    not_sent(Cause.THROTTLED): WhyNotPlaced.THROTTLED,
    not_sent(Cause.CIRCUIT_OPEN): WhyNotPlaced.CIRCUIT_OPEN,
    not_sent(Cause.HALTED): WhyNotPlaced.HALTED,
}


@dataclass(frozen=True, slots=True)
class TrailRow:
    """One row of `orders`: a status that was reached, when (UTC), and on what evidence.

    `recorded_at`: when it was written, where that was later: it went through the spool, and `created_at` is the time of
    its step by its process's clock. Else both are the database's.
    """

    status: OrderStatus
    reason: str | None = None
    exchange_order_id: str | None = None
    created_at: datetime | None = None
    recorded_at: datetime | None = None

    @property
    def parsed_reason(self) -> Reason:
        """Its reason; a foreign one without a letter where it has none."""
        return parse(self.reason) if self.reason else _NO_REASON


def fold_status(rows: Iterable[TrailRow]) -> OrderStatus:
    """The present status: the one of highest precedence. An order without rows is a broken invariant."""
    return max((row.status for row in rows), key=PRECEDENCE.__getitem__)


def fold(rows: Iterable[TrailRow]) -> Standing:
    """Where the order stands, from the set of rows."""
    rows = tuple(rows)
    statuses = {row.status for row in rows}
    if statuses & PLACED_STATUSES:
        return _PLACED
    reasons = [(row.status, row.parsed_reason) for row in rows]
    why = _why_not_placed(statuses, reasons)
    return Standing(_proof(statuses, reasons), why, _decisive_reason(reasons))


def fold_outcome(
    rows: Iterable[TrailRow], *, may_send_again: bool, has_open_claim: bool = False, is_queued: bool = False
) -> Outcome:
    """Placed, not placed, pending or unknown, from the set of rows; see `Standing.outcome`."""
    return fold(rows).outcome(may_send_again=may_send_again, has_open_claim=has_open_claim, is_queued=is_queued)


def fold_exchange_order_id(rows: Iterable[TrailRow]) -> str | None:
    """The exchange's id, from whichever row carries it; the one of highest precedence where several do."""
    ranked = sorted(rows, key=lambda row: PRECEDENCE[row.status], reverse=True)
    return next((row.exchange_order_id for row in ranked if row.exchange_order_id), None)


def _proof(statuses: set[OrderStatus], reasons: _Reasons) -> Proof:
    unwritten = [reason for status, reason in reasons if status is OrderStatus.DATABASE_PERSISTENCE_FAILED]
    if ACCEPTED in unwritten:
        return Proof.PLACED
    if OrderStatus.NOT_PLACED in statuses:
        return Proof.SETTLED
    kinds = {reason.kind for _, reason in reasons}
    if statuses & _IN_DOUBT or ReasonKind.UNKNOWN in kinds:
        return Proof.IN_DOUBT
    if NOT_RECORDED in unwritten or ReasonKind.REFUSED in kinds:
        return Proof.NEVER
    return Proof.NOT_SENT if ReasonKind.NOT_SENT in kinds else Proof.NOTHING


def _why_not_placed(statuses: set[OrderStatus], reasons: _Reasons) -> WhyNotPlaced:
    """By the row that settles it, else by the doubt there is, else by the failed send."""
    if statuses - {OrderStatus.INITIATED} == {OrderStatus.DATABASE_PERSISTENCE_FAILED}:
        return WhyNotPlaced.NOT_RECORDED
    if OrderStatus.NOT_PLACED in statuses:
        decisive = OrderStatus.NOT_PLACED
    elif OrderStatus.EXCHANGE_CREATION_FAILED in statuses and not statuses & _IN_DOUBT:
        decisive = OrderStatus.EXCHANGE_CREATION_FAILED
    else:
        return WhyNotPlaced.IN_DOUBT
    reason = next(reason.innermost for status, reason in reasons if status is decisive)
    if reason.kind is ReasonKind.REFUSED:
        return WhyNotPlaced.REFUSED
    if decisive is OrderStatus.NOT_PLACED:
        return WhyNotPlaced.SETTLED
    return _WHY_NOT_SENT.get(reason, WhyNotPlaced.NOT_SENT)


def _decisive_reason(reasons: _Reasons) -> Reason | None:
    """What the row says that says most; what settles an order speaks for itself alone, even where it says nothing."""
    by_status = {status: None if reason is _NO_REASON else reason for status, reason in reasons}
    if OrderStatus.NOT_PLACED in by_status:
        return by_status[OrderStatus.NOT_PLACED]
    return next((reason for status in _SAYING_MOST if (reason := by_status.get(status)) is not None), None)

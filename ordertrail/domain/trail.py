"""The trail of an order: what its rows say, whatever order they came in.

A row is evidence and is never changed. The present status and the outcome are folds over the set of rows, so
late, repeated and replayed rows lead to the same answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ordertrail.domain.reason import ACCEPTED, NOT_RECORDED, Reason, ReasonKind, parse


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
TERMINAL_AT_EXCHANGE = frozenset({OrderStatus.REJECTED, OrderStatus.EXPIRED, OrderStatus.CANCELED, OrderStatus.FILLED})


class Outcome(StrEnum):
    """What we can honestly say of an order's placement."""

    PLACED = "placed"
    NOT_PLACED = "not_placed"
    PENDING = "pending"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TrailRow:
    """One row of `orders`: a status that was reached, when (database clock, UTC), and on what evidence."""

    status: OrderStatus
    reason: str | None = None
    exchange_order_id: str | None = None
    created_at: datetime | None = None

    @property
    def parsed_reason(self) -> Reason:
        """Its reason; foreign and empty where it has none."""
        return parse(self.reason or "")


def fold_status(rows: Iterable[TrailRow]) -> OrderStatus:
    """The present status: the one of highest precedence. An order without rows is a broken invariant."""
    return max((row.status for row in rows), key=PRECEDENCE.__getitem__)


def fold_outcome(rows: Iterable[TrailRow], *, may_send_again: bool, has_open_claim: bool = False) -> Outcome:
    """Placed, not placed, pending or unknown, from the set of rows.

    `may_send_again`: the order has a `place_by` and nobody has forbidden further sends. It is not compared with
    a clock: until a row says NOT_PLACED, somebody may be about to send.
    `has_open_claim`: somebody may be sending it right now, or did and died.
    """
    rows = list(rows)
    statuses = {row.status for row in rows}
    persistence_failed = [row.parsed_reason for row in rows if row.status is OrderStatus.DATABASE_PERSISTENCE_FAILED]
    if statuses & PLACED_STATUSES or ACCEPTED in persistence_failed:
        return Outcome.PLACED
    if OrderStatus.NOT_PLACED in statuses:
        return Outcome.NOT_PLACED
    if statuses & {OrderStatus.UNRESOLVED, OrderStatus.EXCHANGE_OUTCOME_UNKNOWN} or has_open_claim:
        return Outcome.UNKNOWN
    kinds = {row.parsed_reason.kind for row in rows}
    if ReasonKind.UNKNOWN in kinds:
        return Outcome.UNKNOWN
    if NOT_RECORDED in persistence_failed or ReasonKind.REFUSED in kinds:
        return Outcome.NOT_PLACED
    if ReasonKind.NOT_SENT in kinds:
        return Outcome.PENDING if may_send_again else Outcome.NOT_PLACED
    return Outcome.UNKNOWN


def fold_exchange_order_id(rows: Iterable[TrailRow]) -> str | None:
    """The exchange's id, from whichever row carries it; the one of highest precedence where several do."""
    ranked = sorted(rows, key=lambda row: PRECEDENCE[row.status], reverse=True)
    return next((row.exchange_order_id for row in ranked if row.exchange_order_id), None)

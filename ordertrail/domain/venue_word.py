"""The venue's word about an order, as far as settling and canceling go by it: what its execution reports come to.

The latest report decides whether an order is open, never the folded status: a trade may be taken back, and an order
that was filled be open again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ordertrail.domain.execution import REJECTED
from ordertrail.domain.reason import ReasonKind
from ordertrail.domain.trail import PLACED_STATUSES, PRECEDENCE, TERMINAL_AT_EXCHANGE, OrderStatus, TrailRow

_ENDS = {
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "expired": OrderStatus.EXPIRED,
    "rejected": OrderStatus.REJECTED,
}


@dataclass(frozen=True, slots=True)
class VenueWord:
    """What the reports of an order say together.

    `ord_status`: the venue's, by the latest. `proves_acceptance`: whether any of them is another than `rejected`, which
    alone is a refusal. `exchange_order_id`: of the latest that has one.
    """

    ord_status: str
    proves_acceptance: bool
    exchange_order_id: str | None


def end_of(rows: Iterable[TrailRow], word: VenueWord | None) -> OrderStatus | None:
    """How an order ended at the exchange; None: it is open there, or may be.

    Without a word of the venue, its rows say it: they were verified. A person's row ends it whatever was reported
    before: it is written where the venue can say no more.
    """
    rows = tuple(rows)
    by_operator = end_by_operator(rows)
    if by_operator is not None:
        return by_operator
    ended = {row.status for row in rows if row.status in TERMINAL_AT_EXCHANGE}
    is_refusal = word is not None and word.ord_status == REJECTED and not word.proves_acceptance
    if word is not None and not (is_refusal and not any(row.status in PLACED_STATUSES for row in rows)):
        return _ENDS.get(word.ord_status)
    return max(ended, key=PRECEDENCE.__getitem__, default=None)


def end_by_operator(rows: Iterable[TrailRow]) -> OrderStatus | None:
    """How it ended at the exchange by a person's word; None: by no such word."""
    ended = (
        row.status
        for row in rows
        if row.status in TERMINAL_AT_EXCHANGE and row.parsed_reason.kind is ReasonKind.OPERATOR
    )
    return max(ended, key=PRECEDENCE.__getitem__, default=None)

"""An order that is not settled: its rows, its sends, and what follows from them alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ordertrail.domain.order import Order
from ordertrail.domain.reason import EXECUTION, NOT_RECORDED, Reason, ReasonKind
from ordertrail.domain.trail import PLACED_STATUSES, REPORTED_STATUSES, OrderStatus, TrailRow, fold_exchange_order_id
from ordertrail.domain.venue_word import VenueWord, end_of


class SendAnswer(StrEnum):
    """What is recorded of a send. None recorded: it may be under way, or its sender died."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


_BY_KIND = {
    ReasonKind.ACCEPTED: SendAnswer.ACCEPTED,
    ReasonKind.REFUSED: SendAnswer.REFUSED,
    ReasonKind.NOT_SENT: SendAnswer.NOT_SENT,
    ReasonKind.UNKNOWN: SendAnswer.UNKNOWN,
}
_BY_STRENGTH = (SendAnswer.ACCEPTED, SendAnswer.REFUSED, SendAnswer.UNKNOWN, SendAnswer.NOT_SENT)
_FIRST_SEND_STATUSES = (
    OrderStatus.EXCHANGE_CREATION_FAILED,
    OrderStatus.DATABASE_PERSISTENCE_FAILED,
    OrderStatus.EXCHANGE_OUTCOME_UNKNOWN,
)


@dataclass(frozen=True, slots=True)
class Send:
    """One send of an order: the first, or a claimed one."""

    send_by: datetime
    accept_by: datetime | None
    answer: SendAnswer | None
    reason: str = ""
    exchange_order_id: str | None = None

    @property
    def may_have_arrived(self) -> bool:
        """Whether the exchange may have got it."""
        return self.answer in (None, SendAnswer.UNKNOWN)


@dataclass(frozen=True, slots=True)
class OrderInDoubt:
    """An order that is not settled, as one transaction saw it; `now` is the database's clock.

    `created_at`: the earliest moment at which it may have been recorded; of an order that went through the spool, which
    is never sent again, by a process's clock.
    `observed_exchange_order_id`: the exchange order id under which the exchange's own reports or lists have shown it.
    `word`: what its execution reports come to; None: there is none. `is_queued`: nobody has begun to send it, and what
    becomes of it is for a worker to do. Of an order that was queued the first of the sends is a claimed one, too.
    """

    order: Order
    created_at: datetime
    rows: tuple[TrailRow, ...]
    sends: tuple[Send, ...]
    now: datetime
    is_cancel_wanted: bool = False
    observed_exchange_order_id: str | None = None
    word: VenueWord | None = None
    is_queued: bool = False

    @property
    def statuses(self) -> frozenset[OrderStatus]:
        """The statuses that its rows have."""
        return frozenset(row.status for row in self.rows)

    @property
    def was_accepted(self) -> bool:
        """Whether the exchange has ever said that it accepted it."""
        return (
            self.is_shown
            or bool(self.statuses & PLACED_STATUSES)
            or any(send.answer is SendAnswer.ACCEPTED for send in self.sends)
        )

    @property
    def is_reported(self) -> bool:
        """Whether an execution report proves the acceptance: it is kept, or a row says how it left the order."""
        if self.word is not None and self.word.proves_acceptance:
            return True
        return any(row.status in REPORTED_STATUSES and row.parsed_reason == EXECUTION for row in self.rows)

    @property
    def is_shown(self) -> bool:
        """Whether the exchange has shown the order unasked, in its reports or its lists."""
        return self.is_reported or self.observed_exchange_order_id is not None

    @property
    def is_over(self) -> bool:
        """Whether it has ended at the exchange, by the venue's latest word."""
        return end_of(self.rows, self.word) is not None

    @property
    def is_final(self) -> bool:
        """Whether some row or answer forbids every further send: refused, or never to be sent at all."""
        return any(send.answer is SendAnswer.REFUSED for send in self.sends) or any(
            row.parsed_reason == NOT_RECORDED for row in self.rows
        )

    @property
    def exchange_order_id(self) -> str | None:
        """The exchange's id, from whatever has recorded it."""
        recorded = (send.exchange_order_id for send in self.sends)
        return (
            self.observed_exchange_order_id
            or (self.word and self.word.exchange_order_id)
            or fold_exchange_order_id(self.rows)
            or next(filter(None, recorded), None)
        )

    @property
    def may_have_arrived(self) -> bool:
        """Whether any send may have arrived."""
        return any(send.may_have_arrived for send in self.sends)


def first_send(rows: Sequence[TrailRow], *, send_by: datetime, accept_by: datetime | None) -> Send:
    """The send of the request that brought the order, from what its rows say of it, in whatever order they came."""
    recorded = [
        (send_answer_of(row.parsed_reason), row.parsed_reason.text, row.exchange_order_id)
        for row in rows
        if row.status in _FIRST_SEND_STATUSES
    ]
    if not recorded:
        return Send(send_by, accept_by, None)
    answer, reason, exchange_order_id = min(recorded, key=lambda each: _BY_STRENGTH.index(each[0]))
    return Send(send_by, accept_by, answer, reason, exchange_order_id)


def first_send_of_queued(rows: Sequence[TrailRow], claim: Send) -> Send:
    """The send of the worker that took the order out of the queue, from its rows and from what it recorded of it."""
    by_rows = first_send(rows, send_by=claim.send_by, accept_by=claim.accept_by)
    return claim if by_rows.answer is None else by_rows


def send_answer_of(reason: Reason) -> SendAnswer:
    """The answer of which this is the reason."""
    assert reason.kind in _BY_KIND, reason.text
    return _BY_KIND[reason.kind]

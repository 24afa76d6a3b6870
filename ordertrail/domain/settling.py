"""What to do with an order that is not settled: a pure decision from its rows, its sends, and what the venue said.

Nothing is guessed. No answer changes nothing; absence counts only after everything that may still arrive has
arrived; a send after one that may have arrived needs a venue on which it cannot make a second order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ordertrail.domain.answer import Absent, Found, NoAnswer, Verification
from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.trail import (
    ACCEPTED,
    NOT_RECORDED,
    NOT_SENT,
    PLACED_STATUSES,
    REFUSED,
    TERMINAL_AT_EXCHANGE,
    UNKNOWN,
    OrderStatus,
    TrailRow,
)

PROVED = "proved:"
PRESUMED = "presumed:"
VERIFIED = "verified"

_AT_EXCHANGE = {
    "new": OrderStatus.COMPLETED,
    "partially_filled": OrderStatus.PARTIALLY_FILLED,
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "expired": OrderStatus.EXPIRED,
}


class SendAnswer(StrEnum):
    """What is recorded of a send. None recorded: it may be under way, or its sender died."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Send:
    """One send of an order: the first, or a claimed one."""

    send_by: datetime
    accept_by: datetime | None
    answer: SendAnswer | None
    reason: str = ""

    @property
    def may_have_arrived(self) -> bool:
        """Whether the exchange may have got it."""
        return self.answer in (None, SendAnswer.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Doubt:
    """An order that is not settled, as one transaction saw it; `now` is the database's clock."""

    order: Order
    created_at: datetime
    rows: tuple[TrailRow, ...]
    sends: tuple[Send, ...]
    now: datetime
    is_cancel_wanted: bool = False

    @property
    def statuses(self) -> frozenset[OrderStatus]:
        """The statuses that its rows have."""
        return frozenset(row.status for row in self.rows)

    @property
    def was_accepted(self) -> bool:
        """Whether the exchange has ever said that it accepted it."""
        return bool(self.statuses & PLACED_STATUSES) or any(
            row.status is OrderStatus.DATABASE_PERSISTENCE_FAILED and row.reason == ACCEPTED for row in self.rows
        )

    @property
    def may_have_arrived(self) -> bool:
        """Whether any send may have arrived."""
        return any(send.may_have_arrived for send in self.sends)


@dataclass(frozen=True, slots=True)
class Rules:
    """`answer_seconds`: how long after its `send_by` a send may take to reach the venue or fail.

    `clock_margin_seconds`: how far the venue's clock and ours may differ.
    """

    answer_seconds: float
    clock_margin_seconds: float


@dataclass(frozen=True, slots=True)
class Settle:
    """Append `rows` and look after the order no more."""

    rows: tuple[TrailRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Append:
    """Append `rows` that are not there, keep looking after the order, and go on asking."""

    rows: tuple[TrailRow, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing changes; look again at `until`, or after the usual pause."""

    why: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Resend:
    """Claim another send, and send."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the exchange to cancel it; `rows` are appended first."""

    rows: tuple[TrailRow, ...] = ()


Step = Settle | Append | Wait | Resend | Cancel


def first_send(rows: Sequence[TrailRow], *, send_by: datetime, accept_by: datetime | None) -> Send:
    """The send of the request that brought the order, from what its rows say of it."""
    for row in rows:
        reason = row.reason or ""
        if row.status is OrderStatus.EXCHANGE_OUTCOME_UNKNOWN:
            return Send(send_by, accept_by, SendAnswer.UNKNOWN, reason)
        if row.status in (OrderStatus.EXCHANGE_CREATION_FAILED, OrderStatus.DATABASE_PERSISTENCE_FAILED):
            return Send(send_by, accept_by, _answer_in(reason), reason)
    return Send(send_by, accept_by, None)


def before_asking(doubt: Doubt) -> Settle | None:
    """Settle what the rows alone settle; None: ask the venue."""
    statuses = doubt.statuses
    if OrderStatus.NOT_PLACED in statuses and not statuses & PLACED_STATUSES:
        return Settle()
    if statuses & TERMINAL_AT_EXCHANGE:
        return Settle()
    if statuses & PLACED_STATUSES and not doubt.is_cancel_wanted:
        return Settle()
    if doubt.was_accepted or doubt.may_have_arrived:
        return None
    # Every send is proved not to have placed it.
    if any(row.reason == NOT_RECORDED for row in doubt.rows):
        return Settle()
    if any(send.answer is SendAnswer.REFUSED for send in doubt.sends):
        return Settle(_not_placed(doubt, PROVED + _last_reason(doubt)))
    if not _may_send(doubt):
        return Settle(_not_placed(doubt, PROVED + _last_reason(doubt)))
    return None


def after_asking(doubt: Doubt, verification: Verification, capabilities: Capabilities | None, rules: Rules) -> Step:
    """The next step; `doubt` was read before the question was asked, so that its sends are older than the answer.

    `capabilities` None: the venue has not been able to say; nothing is sent on the strength of that.
    """
    if isinstance(verification, NoAnswer):
        return Wait(f"no answer: {verification.cause}")
    if isinstance(verification, Found):
        return _found(doubt, verification)
    assert isinstance(verification, Absent)
    return _absent(doubt, capabilities, rules)


def _found(doubt: Doubt, found: Found) -> Step:
    at_exchange = found.order
    if not at_exchange.equals(doubt.order):
        return Append((TrailRow(OrderStatus.UNRESOLVED, "differs_at_exchange", at_exchange.exchange_order_id),))
    exchange_order_id = at_exchange.exchange_order_id
    completed = TrailRow(OrderStatus.COMPLETED, VERIFIED, exchange_order_id)
    if at_exchange.ord_status == "rejected":
        reason = REFUSED + (at_exchange.reject_reason or "unspecified")
        if doubt.was_accepted:
            return Settle((completed, TrailRow(OrderStatus.REJECTED, VERIFIED + ":" + reason, exchange_order_id)))
        return Settle((TrailRow(OrderStatus.NOT_PLACED, PROVED + reason, exchange_order_id),))
    status = _AT_EXCHANGE.get(at_exchange.ord_status)
    if status is None:
        return Wait(f"unknown ord_status {at_exchange.ord_status!r}")
    rows: tuple[TrailRow, ...] = (completed,)
    if status is not OrderStatus.COMPLETED:
        rows += (TrailRow(status, VERIFIED, exchange_order_id),)
    if doubt.is_cancel_wanted and status not in TERMINAL_AT_EXCHANGE:
        return Cancel(rows)
    return Settle(rows)


def _absent(doubt: Doubt, capabilities: Capabilities | None, rules: Rules) -> Step:
    if doubt.was_accepted:
        # It said yes, and now it knows nothing of it: one of the two is wrong, and we cannot tell which.
        return Append((TrailRow(OrderStatus.UNRESOLVED, "accepted_and_absent"),))
    if not doubt.may_have_arrived:
        return Resend() if capabilities is not None else Wait("the venue's capabilities are not known")
    if capabilities is None:
        return Wait("the venue's capabilities are not known")
    counts_from = absence_counts_from(doubt, capabilities, rules)
    if counts_from is None:
        return Append((TrailRow(OrderStatus.UNRESOLVED, "absence_cannot_be_proved"),))
    if doubt.now < counts_from:
        return Wait("absence does not count yet", counts_from)
    if _may_send(doubt) and may_resend(doubt, capabilities, rules):
        return Resend()
    strength = PROVED if capabilities.honours_accept_by and _all_have_accept_by(doubt) else PRESUMED
    return Settle(_not_placed(doubt, strength + "absent"))


def absence_counts_from(doubt: Doubt, capabilities: Capabilities, rules: Rules) -> datetime | None:
    """From when on the venue's "I do not know it" says something; None: never.

    Counted from the last send that may have arrived: until then it may be under way, may still be accepted, or may
    be accepted and not visible.
    """
    latest: datetime | None = None
    for send in doubt.sends:
        if not send.may_have_arrived:
            continue
        if capabilities.honours_accept_by and send.accept_by is not None:
            last_accepted = send.accept_by
            seconds = capabilities.visible_within_seconds
        else:
            last_accepted = send.send_by + timedelta(seconds=rules.answer_seconds)
            seconds = capabilities.accepts_within_seconds + capabilities.visible_within_seconds
        if seconds == float("inf"):
            return None
        moment = last_accepted + timedelta(seconds=seconds + rules.clock_margin_seconds)
        latest = moment if latest is None else max(latest, moment)
    return latest


def may_resend(doubt: Doubt, capabilities: Capabilities, rules: Rules) -> bool:
    """Whether a send after one that may have arrived cannot make a second order, by the venue's own promises.

    "While open" counts as never: an order that was filled at once may be placed again under its id.
    """
    if capabilities.honours_accept_by and _all_have_accept_by(doubt):
        return True
    unique = capabilities.client_order_id_unique
    if unique == "forever":
        return True
    if isinstance(unique, int | float):
        # The first may have been accepted as early as it was sent; the resend as late as it may take.
        first = min(send.send_by for send in doubt.sends) - timedelta(seconds=rules.answer_seconds)
        first = min(first, doubt.created_at)
        takes = 2 * rules.answer_seconds + capabilities.accepts_within_seconds + rules.clock_margin_seconds
        return takes < unique and doubt.now + timedelta(seconds=takes) < first + timedelta(seconds=unique)
    return False


def _may_send(doubt: Doubt) -> bool:
    place_by = doubt.order.place_by
    return place_by is not None and doubt.now < place_by and not doubt.is_cancel_wanted


def _all_have_accept_by(doubt: Doubt) -> bool:
    return all(send.accept_by is not None for send in doubt.sends if send.may_have_arrived)


def _not_placed(doubt: Doubt, reason: str) -> tuple[TrailRow, ...]:
    """NOT_PLACED, unless the rows say so already by themselves and for ever."""
    final = any(
        row.status in (OrderStatus.EXCHANGE_CREATION_FAILED, OrderStatus.DATABASE_PERSISTENCE_FAILED)
        and (row.reason or "").startswith(REFUSED)
        for row in doubt.rows
    )
    never_retried = doubt.order.place_by is None and len(doubt.sends) == 1 and not doubt.is_cancel_wanted
    if (final or never_retried) and not doubt.may_have_arrived:
        return ()
    return (TrailRow(OrderStatus.NOT_PLACED, reason),)


def _last_reason(doubt: Doubt) -> str:
    reasons = [send.reason for send in doubt.sends if send.reason]
    return reasons[-1] if reasons else NOT_SENT + "never"


def _answer_in(reason: str) -> SendAnswer:
    if reason == ACCEPTED:
        return SendAnswer.ACCEPTED
    if reason.startswith(REFUSED):
        return SendAnswer.REFUSED
    if reason.startswith(NOT_SENT):
        return SendAnswer.NOT_SENT
    assert reason.startswith(UNKNOWN), reason
    return SendAnswer.UNKNOWN

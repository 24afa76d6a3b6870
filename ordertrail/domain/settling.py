"""What to do with an order that is not settled: a pure decision from its rows, its sends, and what the venue said.

Nothing is guessed. No answer changes nothing; absence counts only after everything that may still arrive has
arrived; a send after one that may have arrived needs a venue on which it cannot make a second order.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ordertrail.domain.capabilities import FOR_EVER_SECONDS, Capabilities
from ordertrail.domain.execution import REJECTED
from ordertrail.domain.order_in_doubt import OrderInDoubt
from ordertrail.domain.reason import (
    ABSENCE_CANNOT_BE_PROVED,
    ABSENT,
    ACCEPTED,
    ACCEPTED_AND_ABSENT,
    DIFFERS_AT_EXCHANGE,
    EXCHANGE_FORGOT,
    EXECUTION,
    REFUSED_ONE_OF_SEVERAL,
    UNSPECIFIED,
    VERIFIED,
    Cause,
    Observation,
    Reason,
    not_sent,
    parse,
    presumed,
    proved,
    refused,
    verified,
)
from ordertrail.domain.trail import (
    TERMINAL_AT_EXCHANGE,
    OrderStatus,
    Outcome,
    TrailRow,
    fold_outcome,
)
from ordertrail.domain.venue_answer import Absent, Found, NoAnswer, Verification

_CAPABILITIES_UNKNOWN = Observation.CAPABILITIES_UNKNOWN

_AT_EXCHANGE = {
    "new": OrderStatus.COMPLETED,
    "partially_filled": OrderStatus.PARTIALLY_FILLED,
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "expired": OrderStatus.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class VerificationLimits:
    """`answer_seconds`: how long after its `send_by` a send may take to reach the venue or fail.

    `clock_margin_seconds`: how far the venue's clock and ours may differ.
    """

    answer_seconds: float
    clock_margin_seconds: float


@dataclass(frozen=True, slots=True)
class Settle:
    """Append `rows`; the order needs no further review."""

    rows: tuple[TrailRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Append:
    """Append `rows` that are not there, keep reviewing the order, and go on querying."""

    rows: tuple[TrailRow, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing changes; review again at `until`, or after the usual pause."""

    why: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Resend:
    """Claim another send, and send; it must start before `send_by_max`, where there is one."""

    send_by_max: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the exchange to cancel it; `rows` are appended whatever comes of that.

    `is_hidden`: the query by its id shows another of its sends, so that a cancel by its id may not reach it.
    """

    rows: tuple[TrailRow, ...] = ()
    is_hidden: bool = False


Step = Settle | Append | Wait | Resend | Cancel


def before_query(doubt: OrderInDoubt) -> Settle | Cancel | Wait | None:
    """What its rows and the venue's reports decide alone; None: query the venue."""
    if is_settled_by_rows(doubt):
        return Settle(_reported_rejected(doubt))
    if doubt.is_queued:
        return Wait(Observation.QUEUED)
    if doubt.is_reported:
        return _reported(doubt)
    if doubt.was_accepted or doubt.may_have_arrived:
        return None
    return _settle_never_arrived(doubt)


def is_settled_by_rows(doubt: OrderInDoubt) -> bool:
    """Whether the rows alone end it, at any time: it is recorded as placed, and over or not to be canceled; or it is
    not placed.

    What the exchange reported of it is no record of its acceptance: COMPLETED is.
    """
    statuses = doubt.statuses
    if OrderStatus.COMPLETED in statuses:
        return doubt.is_over or not doubt.is_cancel_wanted
    return OrderStatus.NOT_PLACED in statuses and not doubt.was_accepted


def _reported(doubt: OrderInDoubt) -> Settle | Cancel | None:
    """Accepted by the venue's reports, which say too whether it is open; no query is needed."""
    rows = _reported_rejected(doubt)
    if OrderStatus.COMPLETED not in doubt.statuses:
        rows = (TrailRow(OrderStatus.COMPLETED, EXECUTION.text, doubt.exchange_order_id), *rows)
    if doubt.is_over or not doubt.is_cancel_wanted:
        return Settle(rows)
    # Only its rows speak of it: they may be old, and a query tells what it is now.
    return None if doubt.word is None else Cancel(rows)


def _reported_rejected(doubt: OrderInDoubt) -> tuple[TrailRow, ...]:
    """REJECTED of an accepted order whose report came before its acceptance was known here."""
    is_rejected = doubt.was_accepted and doubt.word is not None and doubt.word.ord_status == REJECTED
    if not is_rejected or OrderStatus.REJECTED in doubt.statuses:
        return ()
    return (TrailRow(OrderStatus.REJECTED, EXECUTION.text, doubt.exchange_order_id),)


def after_query(
    doubt: OrderInDoubt,
    verification: Verification,
    capabilities: Capabilities | None,
    limits: VerificationLimits,
    *,
    forgotten_until: datetime | None = None,
) -> Step:
    """The next step; `doubt` was read before the query was sent, so that its sends are older than the answer.

    `capabilities` None: the venue has not been able to say; nothing is sent on the strength of that.
    `forgotten_until`: the venue has begun a new epoch, which we learned then; what it does not know of the time
    before, it may have forgotten.
    """
    match verification:
        case NoAnswer():
            return Wait(Observation.NO_ANSWER.about(verification.text))
        case Found():
            return _found(doubt, verification, capabilities)
        case Absent():
            if doubt.was_accepted:
                return _accepted_and_absent(doubt, capabilities, limits)
            return _absent(doubt, capabilities, limits, forgotten_until)


def _found(doubt: OrderInDoubt, found: Found, capabilities: Capabilities | None) -> Step:
    at_exchange = found.order
    if not at_exchange.equals(doubt.order):
        return _unresolved(doubt, DIFFERS_AT_EXCHANGE, at_exchange.exchange_order_id)
    exchange_order_id = at_exchange.exchange_order_id
    if at_exchange.ord_status == REJECTED:
        reason = refused(at_exchange.reject_reason or UNSPECIFIED)
        if doubt.was_accepted and not _is_the_accepted(doubt, exchange_order_id, capabilities):
            return _known_accepted(doubt, is_hidden=True)
        if _may_hide_another(doubt, capabilities):
            return Wait(_CAPABILITIES_UNKNOWN) if capabilities is None else _unresolved(doubt, REFUSED_ONE_OF_SEVERAL)
        if doubt.was_accepted:
            accepted_id = exchange_order_id or doubt.exchange_order_id
            return Settle(
                (
                    TrailRow(OrderStatus.COMPLETED, VERIFIED.text, accepted_id),
                    TrailRow(OrderStatus.REJECTED, verified(reason).text, accepted_id),
                )
            )
        return Settle((TrailRow(OrderStatus.NOT_PLACED, proved(reason).text, exchange_order_id),))
    status = _AT_EXCHANGE.get(at_exchange.ord_status)
    if status is None:
        return Wait(Observation.UNKNOWN_ORD_STATUS.about(repr(at_exchange.ord_status)))
    rows: tuple[TrailRow, ...] = (TrailRow(OrderStatus.COMPLETED, VERIFIED.text, exchange_order_id),)
    if status is not OrderStatus.COMPLETED:
        rows += (TrailRow(status, VERIFIED.text, exchange_order_id),)
    if doubt.is_cancel_wanted and status not in TERMINAL_AT_EXCHANGE:
        return Cancel(rows)
    return Settle(rows)


def _is_the_accepted(doubt: OrderInDoubt, exchange_order_id: str | None, capabilities: Capabilities | None) -> bool:
    """Whether the rejected order that is shown is the one that was accepted, and not another send of the order.

    One that is shown without an id may be another's, unless it can be no other's: there was one send, or ids are
    unique for ever.
    """
    if doubt.exchange_order_id is None or exchange_order_id is not None:
        return doubt.exchange_order_id in (None, exchange_order_id)
    is_unique = capabilities is not None and capabilities.client_order_id_unique == "forever"
    return is_unique or len(doubt.sends) == 1


def _known_accepted(doubt: OrderInDoubt, *, is_hidden: bool = False) -> Settle | Cancel:
    """Accepted, whatever the query by its id shows now."""
    reason = EXECUTION if doubt.is_shown else ACCEPTED
    rows = (TrailRow(OrderStatus.COMPLETED, reason.text, doubt.exchange_order_id),)
    return Cancel(rows, is_hidden) if doubt.is_cancel_wanted else Settle(rows)


def _may_hide_another(doubt: OrderInDoubt, capabilities: Capabilities | None) -> bool:
    """Whether the rejected order that is shown may be one send's, and another send's be accepted.

    Where a used id is free again, the query shows the newest order that has it: of two sends of which both
    arrive, the later send first, that is the earlier one, which came too late and was refused.
    """
    is_unique = capabilities is not None and capabilities.client_order_id_unique == "forever"
    return not is_unique and sum(send.may_have_arrived for send in doubt.sends) > 1


def _accepted_and_absent(doubt: OrderInDoubt, capabilities: Capabilities | None, limits: VerificationLimits) -> Step:
    """It said yes, and now it does not know the order: it shows it late, only while open, or contradicts itself."""
    if capabilities is None:
        return Wait(_CAPABILITIES_UNKNOWN)
    if doubt.is_shown or capabilities.need_not_show_orders:
        # Its own reports prove the acceptance; and where it never has to show an order, its answer does.
        return _known_accepted(doubt)
    seconds = limits.answer_seconds + capabilities.visible_within_seconds + limits.clock_margin_seconds
    shown_by = max((send.send_by for send in doubt.sends), default=doubt.created_at) + timedelta(seconds=seconds)
    if doubt.now < shown_by:
        return Wait(Observation.NOT_SHOWN_YET, shown_by)
    return _unresolved(doubt, ACCEPTED_AND_ABSENT, doubt.exchange_order_id)


def _absent(
    doubt: OrderInDoubt, capabilities: Capabilities | None, limits: VerificationLimits, forgotten_until: datetime | None
) -> Step:
    if OrderStatus.NOT_PLACED in doubt.statuses:
        return Settle()
    if not doubt.may_have_arrived:
        settled = _settle_never_arrived(doubt)
        if settled is not None:
            return settled
        return Wait(_CAPABILITIES_UNKNOWN) if capabilities is None else Resend()
    if capabilities is None:
        return Wait(_CAPABILITIES_UNKNOWN)
    if forgotten_until is not None and doubt.created_at < forgotten_until:
        return _unresolved(doubt, EXCHANGE_FORGOT)
    counts_from = absence_counts_from(doubt, capabilities, limits)
    if counts_from is None:
        return _unresolved(doubt, ABSENCE_CANNOT_BE_PROVED)
    if doubt.now < counts_from:
        return Wait(Observation.ABSENCE_TOO_SOON, counts_from)
    resend = _safe_resend(doubt, capabilities, limits) if _may_send(doubt) else None
    if resend is not None:
        return resend
    strength = proved if capabilities.honours_accept_by and _all_have_accept_by(doubt) else presumed
    return Settle(_not_placed(doubt, strength(ABSENT)))


def _settle_never_arrived(doubt: OrderInDoubt) -> Settle | None:
    """Every send is proved not to have placed it: settled, unless it may be sent again."""
    if _may_send(doubt):
        return None
    return Settle(_not_placed(doubt, proved(_last_reason(doubt))))


def _unresolved(doubt: OrderInDoubt, why: Reason, exchange_order_id: str | None = None) -> Append | Wait:
    if OrderStatus.UNRESOLVED in doubt.statuses:
        return Wait(why.text)
    return Append((TrailRow(OrderStatus.UNRESOLVED, why.text, exchange_order_id),))


def absence_counts_from(doubt: OrderInDoubt, capabilities: Capabilities, limits: VerificationLimits) -> datetime | None:
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
            last_accepted = send.send_by + timedelta(seconds=limits.answer_seconds)
            seconds = capabilities.accepts_within_seconds + capabilities.visible_within_seconds
        if seconds > FOR_EVER_SECONDS:
            return None
        moment = last_accepted + timedelta(seconds=seconds + limits.clock_margin_seconds)
        latest = moment if latest is None else max(latest, moment)
    return latest


def _safe_resend(doubt: OrderInDoubt, capabilities: Capabilities, limits: VerificationLimits) -> Resend | None:
    """A send after one that may have arrived and is absent, if by the venue's own promises it makes no second order.

    "While open" counts as never: an order that was filled at once may be placed again under its id.
    """
    if capabilities.honours_accept_by and _all_have_accept_by(doubt):
        return Resend()
    unique = capabilities.client_order_id_unique
    if unique == "forever":
        return Resend()
    if isinstance(unique, str):
        return None
    if unique > FOR_EVER_SECONDS:
        return Resend()
    # The first may have been accepted as early as it was recorded, the resend as late as it may take.
    takes = limits.answer_seconds + capabilities.accepts_within_seconds + limits.clock_margin_seconds
    send_by_max = doubt.created_at + timedelta(seconds=unique - takes)
    return Resend(send_by_max) if doubt.now < send_by_max else None


def _may_send(doubt: OrderInDoubt) -> bool:
    place_by = doubt.order.place_by
    return place_by is not None and doubt.now < place_by and not doubt.is_cancel_wanted and not doubt.is_final


def _all_have_accept_by(doubt: OrderInDoubt) -> bool:
    return all(send.accept_by is not None for send in doubt.sends if send.may_have_arrived)


def _not_placed(doubt: OrderInDoubt, reason: Reason) -> tuple[TrailRow, ...]:
    """NOT_PLACED, unless the rows say so already by themselves and for ever."""
    never_retried = doubt.order.place_by is None and len(doubt.sends) == 1 and not doubt.is_cancel_wanted
    outcome = fold_outcome(doubt.rows, may_send_again=not never_retried, has_open_claim=doubt.may_have_arrived)
    if outcome is Outcome.NOT_PLACED:
        return ()
    return (TrailRow(OrderStatus.NOT_PLACED, reason.text),)


def _last_reason(doubt: OrderInDoubt) -> Reason:
    reasons = [parse(send.reason) for send in doubt.sends if send.reason]
    return reasons[-1] if reasons else not_sent(Cause.NEVER)

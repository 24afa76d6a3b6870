"""Between our words and the simulated exchange's, without a detour over bytes."""

from datetime import datetime
from decimal import Decimal
from typing import assert_never

from ordertrail.domain.capabilities import UNBOUNDED, Capabilities
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.reason import Cause, http_cause
from ordertrail.domain.venue_answer import (
    Accepted,
    NotSent,
    PlaceAnswer,
    Refused,
    Scope,
    Unknown,
    VenueOrder,
    judge_found,
)
from ordertrail.venues.venue import RAW_BYTES_MAX, ThingKind, UnreadableElement
from simulated_exchange import results
from simulated_exchange.capabilities import Profile
from simulated_exchange.orders import NewOrder
from simulated_exchange.wire import OrderView, time_us


def new_order(order: Order, accept_by: datetime | None) -> NewOrder:
    """Our order as the exchange takes it."""
    return NewOrder(
        order.id,
        order.type.value,
        order.side.value,
        order.instrument,
        order.limit_price,
        order.quantity,
        None if accept_by is None else time_us(accept_by),
    )


def answer_of(result: results.PlaceResult, order: Order) -> PlaceAnswer:
    """What came of a send. `NoAnswer` is for the caller to wait out; what is left of it is unknown."""
    match result:
        case results.Accepted():
            return Accepted(result.exchange_order_id)
        case results.Duplicate():
            found = venue_order(result.order)
            return Unknown(Cause.UNREADABLE) if found is None else judge_found(found, order)
        case results.Rejected():
            return Refused(result.reject_reason, result.text)
        case results.Throttled():
            return NotSent(Cause.THROTTLED, float(result.retry_after_seconds), Scope(result.scope or Scope.ALL))
        case results.Closed():
            return NotSent(Cause.CLOSED, scope=Scope(result.scope or Scope.ALL))
        case results.ServerError():
            return Unknown(http_cause(500))
        case results.Unreadable():
            return Unknown(Cause.UNREADABLE)
        case results.ConnectionReset():
            return Unknown(Cause.CONNECTION_LOST)
        case results.Silence():
            return Unknown(Cause.TIMEOUT)
        case never:
            assert_never(never)


def venue_order(view: OrderView) -> VenueOrder | None:
    """The order as we write it; None for one that was ordered in words no order of ours has."""
    try:
        order_type, side = OrderType(view.type or ""), Side(view.side or "")
    except ValueError:
        return None
    if view.instrument is None or view.quantity is None:
        return None
    return VenueOrder(
        exchange_order_id=view.exchange_order_id,
        client_order_id=view.client_order_id,
        type=order_type,
        side=side,
        instrument=view.instrument,
        limit_price=None if view.limit_price is None else Decimal(view.limit_price),
        quantity=view.quantity,
        ord_status=view.ord_status,
        cum_qty=view.cum_qty,
        leaves_qty=view.leaves_qty,
        avg_px=None if view.avg_px is None else Decimal(view.avg_px),
        reject_reason=view.reject_reason,
    )


def unreadable(view: OrderView) -> UnreadableElement:
    """An order that is none of ours, as it is shown: ordered in words that the protocol has not."""
    names = ("type", "side", "instrument", "quantity")
    field = next((name for name in names if getattr(view, name) is None), "type")
    return UnreadableElement(
        ThingKind.OPEN_ORDER,
        field,
        "is none of the protocol's",
        repr(view).encode()[:RAW_BYTES_MAX],
        client_order_id=view.client_order_id if view.client_order_id.isascii() else None,
        exchange_order_id=view.exchange_order_id,
    )


def capabilities_of(epoch: str, profile: Profile) -> Capabilities:
    """Its promises. Where closed orders cannot be queried, absence proves nothing however long one waits."""
    visible = profile.visible_within_seconds if profile.ask_covers == "all" else None
    accepts = profile.accepts_within_seconds
    return Capabilities(
        epoch=epoch,
        client_order_id_unique=profile.client_order_id_unique,
        visible_within_seconds=UNBOUNDED if visible is None else visible,
        accepts_within_seconds=UNBOUNDED if accepts is None else accepts,
        honours_accept_by=profile.honours_accept_by,
        exec_id_unique=profile.exec_id_unique,
    )

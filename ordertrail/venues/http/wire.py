"""The protocol, both ways and pure: an order to a request's body, a reply to what it proves.

A reply is evidence only if all that we rely on can be read. So texts are bounded before they can reach a row,
and a word that we do not know makes the whole reply prove nothing.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Annotated, Literal, NamedTuple

import msgspec

from ordertrail.domain.capabilities import PROMISES_NOTHING, UNBOUNDED, Capabilities
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.reason import UNSPECIFIED, Cause, http_cause
from ordertrail.domain.venue_answer import (
    Absent,
    Accepted,
    CancelAccepted,
    CancelAnswer,
    CancelTooLate,
    Found,
    NoAnswer,
    NotSent,
    PlaceAnswer,
    Refused,
    Scope,
    Unknown,
    VenueOrder,
    Verification,
    judge_found,
)
from ordertrail.venues.venue import Execution, ExecutionPage, OpenOrders

RETRY_AFTER_SECONDS_MAX = 3600.0
REFUSAL_TEXT_LENGTH_MAX = 500

_Id = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,255}\Z")]
_Price = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}(\.[0-9]{1,12})?\Z")]
_Quantity = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
_OrdStatus = Literal["new", "partially_filled", "filled", "canceled", "expired", "rejected"]
_ExecType = Literal["new", "trade", "canceled", "expired", "rejected"]
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BEFORE_THE_BOOK = {429: Cause.THROTTLED, 503: Cause.CLOSED}


class Reply(NamedTuple):
    """A complete HTTP response, as far as the protocol uses it."""

    status: int
    body: bytes
    retry_after: str | None = None


class _NewOrder(msgspec.Struct, omit_defaults=True):
    client_order_id: str
    type: OrderType
    side: Side
    instrument: str
    limit_price: str | None
    quantity: int
    accept_by: datetime | None = None


class _Placed(msgspec.Struct):
    exchange_order_id: _Id
    client_order_id: str
    # An order may be accepted and, by the time of the answer, be traded or canceled; but not rejected.
    ord_status: Literal["new", "partially_filled", "filled", "canceled", "expired"]


class _OrderView(msgspec.Struct):
    exchange_order_id: _Id
    client_order_id: str
    type: OrderType
    side: Side
    instrument: str
    limit_price: _Price | None
    quantity: _Quantity
    ord_status: _OrdStatus
    cum_qty: _Quantity
    leaves_qty: _Quantity
    avg_px: _Price | None
    reject_reason: str | None


class _Duplicate(msgspec.Struct):
    error: Literal["duplicate_client_order_id"]
    order: _OrderView


class _Rejected(msgspec.Struct):
    error: Literal["rejected"]
    reject_reason: str
    text: str = ""


class _NotExecuted(msgspec.Struct):
    executed: Literal["no"]
    # A word that we do not know narrows nothing, and takes nothing from the proof.
    scope: object = None


class _UnknownOrder(msgspec.Struct):
    error: Literal["unknown_order"]


class _OpenOrders(msgspec.Struct):
    orders: list[_OrderView]
    as_of: _AwareTime | None = None


class _Execution(msgspec.Struct):
    seq: _Quantity
    exec_id: _Id
    exec_type: _ExecType
    client_order_id: str
    exchange_order_id: _Id


class _Executions(msgspec.Struct):
    epoch: _Id
    executions: list[_Execution]
    head: _Quantity


class _Capabilities(msgspec.Struct):
    """What is left out is not promised; null is a time without bound."""

    epoch: str = PROMISES_NOTHING.epoch
    client_order_id_unique: Literal["forever", "while_open", "never"] | _Seconds = "never"
    visible_within_seconds: _Seconds | None = None
    accepts_within_seconds: _Seconds | None = None
    honours_accept_by: bool = False
    ask_covers: Literal["all", "open_only"] = "all"


_encoder = msgspec.json.Encoder()
_placed = msgspec.json.Decoder(_Placed)
_order_view = msgspec.json.Decoder(_OrderView)
_duplicate = msgspec.json.Decoder(_Duplicate)
_rejected = msgspec.json.Decoder(_Rejected)
_not_executed = msgspec.json.Decoder(_NotExecuted)
_unknown_order = msgspec.json.Decoder(_UnknownOrder)
_open_orders = msgspec.json.Decoder(_OpenOrders)
_executions = msgspec.json.Decoder(_Executions)
_capabilities = msgspec.json.Decoder(_Capabilities)
# msgspec's errors are ValueErrors; so is UnicodeDecodeError.
_CANNOT_READ = (ValueError, RecursionError)


def write_order(order: Order, accept_by: datetime | None) -> bytes:
    """The body of `POST /v1/orders`; prices are decimal strings without exponent."""
    price = None if order.limit_price is None else format(order.limit_price, "f")
    return _encoder.encode(
        _NewOrder(order.id, order.type, order.side, order.instrument, price, order.quantity, accept_by)
    )


def read_placed(reply: Reply, order: Order, *, now: datetime) -> PlaceAnswer:
    """What the reply to `POST /v1/orders` proves of this send; `now` (wall clock) reads a Retry-After date."""
    try:
        match reply.status:
            case 201:
                return _accepted(_placed.decode(reply.body), order)
            case 409:
                return judge_found(_venue_order(_duplicate.decode(reply.body).order), order)
            case 422:
                rejected = _rejected.decode(reply.body)
                return Refused(_code(rejected.reject_reason), _sentence(rejected.text))
            case 429 | 503:
                scope = Scope.INSTRUMENT if _not_executed.decode(reply.body).scope == "instrument" else Scope.ALL
                return NotSent(_BEFORE_THE_BOOK[reply.status], _retry_after_seconds(reply.retry_after, now), scope)
            case _:
                return Unknown(_cause(reply.status))
    except _CANNOT_READ:
        return Unknown(Cause.UNREADABLE if reply.status == 201 else _cause(reply.status))


def read_order(reply: Reply, order_id: str) -> Verification:
    """What the reply to `GET /v1/orders/{client_order_id}` says."""
    try:
        match reply.status:
            case 200:
                found = _venue_order(_order_view.decode(reply.body))
                return Found(found) if found.client_order_id == order_id else NoAnswer(Cause.ANOTHER_ORDER)
            case 404:
                _unknown_order.decode(reply.body)
                return Absent()
            case _:
                return NoAnswer(_cause(reply.status))
    except _CANNOT_READ:
        return NoAnswer(Cause.UNREADABLE if reply.status == 200 else _cause(reply.status))


def read_canceled(reply: Reply) -> CancelAnswer:
    """What the reply to `DELETE /v1/orders/{client_order_id}` says."""
    match reply.status:
        case 202:
            return CancelAccepted()
        case 409:
            return CancelTooLate()
        case 404:
            try:
                _unknown_order.decode(reply.body)
            except _CANNOT_READ:
                return NoAnswer(_cause(reply.status))
            return Absent()
        case _:
            return NoAnswer(_cause(reply.status))


def read_open_orders(reply: Reply) -> OpenOrders | NoAnswer:
    """Every open order, or nothing: a list with one order that cannot be read is not the whole list."""
    if reply.status != 200:
        return NoAnswer(_cause(reply.status))
    try:
        read = _open_orders.decode(reply.body)
        return OpenOrders(tuple(map(_venue_order, read.orders)), read.as_of)
    except _CANNOT_READ:
        return NoAnswer(Cause.UNREADABLE)


def read_executions(reply: Reply, *, after: int, limit: int) -> ExecutionPage | NoAnswer:
    """Reports after a position; what is out of order, before it, or more than was wanted is unreadable."""
    if reply.status != 200:
        return NoAnswer(_cause(reply.status))
    try:
        read = _executions.decode(reply.body)
    except _CANNOT_READ:
        return NoAnswer(Cause.UNREADABLE)
    position = after
    for execution in read.executions:
        if execution.seq <= position:
            return NoAnswer(Cause.UNREADABLE)
        position = execution.seq
    if len(read.executions) > limit or (read.executions and position > read.head):
        return NoAnswer(Cause.UNREADABLE)
    return ExecutionPage(
        read.epoch,
        tuple(
            Execution(e.seq, e.exec_id, e.exec_type, e.client_order_id, e.exchange_order_id) for e in read.executions
        ),
        read.head,
    )


def read_capabilities(reply: Reply) -> Capabilities | NoAnswer:
    """The venue's promises; a venue without this page promises nothing."""
    if reply.status == 404:
        return PROMISES_NOTHING
    if reply.status != 200:
        return NoAnswer(_cause(reply.status))
    try:
        read = _capabilities.decode(reply.body)
    except _CANNOT_READ:
        return NoAnswer(Cause.UNREADABLE)
    # Where closed orders cannot be queried, absence proves nothing however long one waits.
    visible = read.visible_within_seconds if read.ask_covers == "all" else None
    return Capabilities(
        epoch=read.epoch,
        client_order_id_unique=read.client_order_id_unique,
        visible_within_seconds=UNBOUNDED if visible is None else visible,
        accepts_within_seconds=UNBOUNDED if read.accepts_within_seconds is None else read.accepts_within_seconds,
        honours_accept_by=read.honours_accept_by,
    )


def _accepted(placed: _Placed, order: Order) -> PlaceAnswer:
    if placed.client_order_id != order.id:
        return Unknown(Cause.ANOTHER_ORDER)
    return Accepted(placed.exchange_order_id)


def _venue_order(view: _OrderView) -> VenueOrder:
    return VenueOrder(
        exchange_order_id=view.exchange_order_id,
        client_order_id=view.client_order_id,
        type=view.type,
        side=view.side,
        instrument=view.instrument,
        limit_price=None if view.limit_price is None else Decimal(view.limit_price),
        quantity=view.quantity,
        ord_status=view.ord_status,
        cum_qty=view.cum_qty,
        leaves_qty=view.leaves_qty,
        avg_px=None if view.avg_px is None else Decimal(view.avg_px),
        reject_reason=None if view.reject_reason is None else _code(view.reject_reason),
    )


def _code(text: str) -> str:
    """The venue's word, if it is one that can stand in a row's reason."""
    return text if _CODE.fullmatch(text) else UNSPECIFIED


def _sentence(text: str) -> str:
    """The venue's text for people, without what no database or terminal should be given."""
    return "".join(filter(str.isprintable, text[:REFUSAL_TEXT_LENGTH_MAX]))


def _cause(status: int) -> str:
    return Cause.REDIRECT if 300 <= status < 400 else http_cause(status)


def _retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """RFC 9110, 10.2.3: seconds or a date. What is neither is left out; what is far off is cut short."""
    if header is None:
        return None
    if header.isascii() and header.isdigit():
        return min(float(header[:9]), RETRY_AFTER_SECONDS_MAX)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)

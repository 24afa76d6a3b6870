"""The protocol, both ways and pure: an order to a request's body, a reply to what it proves.

A reply is evidence only if all that we rely on can be read: texts and numbers are bounded before they can reach a row,
and a word that we do not know, or a key that stands twice, makes the whole reply prove nothing. Of a list each element
is read by itself; one that cannot be understood is set aside, and the list proves no absence any more.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

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
from ordertrail.venues.http.json_list import Elements, LazyList, Slices, read_list
from ordertrail.venues.http.unreadable import CANNOT_READ, decode_once, explain, sentence
from ordertrail.venues.venue import RAW_BYTES_MAX, Execution, ExecutionPage, OpenOrders, ThingKind, UnreadableElement

RETRY_AFTER_SECONDS_MAX = 3600.0
RETRY_AFTER_LENGTH_MAX = 64
REFUSAL_TEXT_LENGTH_MAX = 500

_ID = re.compile(r"[!-~]{1,255}")
_Id = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,255}\Z")]
_Price = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}(\.[0-9]{1,12})?\Z")]
_Quantity = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Epoch = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{0,255}\Z")]
_Instrument = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,64}\Z")]
_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
_OrdStatus = Literal["new", "partially_filled", "filled", "canceled", "expired", "rejected"]
_ExecType = Literal["new", "trade", "canceled", "expired", "rejected", "trade_cancel", "trade_correct"]
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BEFORE_THE_BOOK = {429: Cause.THROTTLED, 503: Cause.CLOSED}


class Reply(NamedTuple):
    """A complete HTTP response, as far as the protocol uses it."""

    status: int
    body: bytes | bytearray
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
    exchange_order_id: _Id | None
    client_order_id: _Id
    type: OrderType
    side: Side
    instrument: _Instrument
    limit_price: _Price | None
    quantity: _Quantity
    ord_status: _OrdStatus
    cum_qty: _Quantity
    leaves_qty: _Quantity
    avg_px: _Price | None
    reject_reason: str | None

    def __post_init__(self) -> None:
        _check_id(self.exchange_order_id, is_rejected=self.ord_status == "rejected")


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


# Of a list's document, what stands beside its elements.
_Emptied = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=0)]


class _OpenOrders(msgspec.Struct):
    orders: _Emptied
    as_of: _AwareTime | None = None


class _Execution(msgspec.Struct):
    seq: _Quantity
    exec_id: _Id
    exec_type: _ExecType
    client_order_id: _Id
    exchange_order_id: _Id | None

    def __post_init__(self) -> None:
        _check_id(self.exchange_order_id, is_rejected=self.exec_type == "rejected")


class _Executions(msgspec.Struct):
    epoch: _Id
    executions: _Emptied
    head: _Quantity


class _Capabilities(msgspec.Struct):
    """What is left out is not promised; null is a time without bound."""

    epoch: _Epoch = PROMISES_NOTHING.epoch
    client_order_id_unique: Literal["forever", "while_open", "never"] | _Seconds = "never"
    visible_within_seconds: _Seconds | None = None
    accepts_within_seconds: _Seconds | None = None
    honours_accept_by: bool = False
    ask_covers: Literal["all", "open_only"] = "all"
    replays_executions: bool = True
    exec_id_unique: Literal["order", "epoch"] = "order"


_encoder = msgspec.json.Encoder()
_placed = msgspec.json.Decoder(_Placed)
_order_view = msgspec.json.Decoder(_OrderView)
_duplicate = msgspec.json.Decoder(_Duplicate)
_rejected = msgspec.json.Decoder(_Rejected)
_not_executed = msgspec.json.Decoder(_NotExecuted)
_unknown_order = msgspec.json.Decoder(_UnknownOrder)
_open_orders = msgspec.json.Decoder(_OpenOrders)
_execution = msgspec.json.Decoder(_Execution)
_executions = msgspec.json.Decoder(_Executions)
_capabilities = msgspec.json.Decoder(_Capabilities)

_Decoded = TypeVar("_Decoded")


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
                return _accepted(_read(_placed, reply), order)
            case 409:
                return judge_found(_venue_order(_read(_duplicate, reply).order), order)
            case 422:
                rejected = _read(_rejected, reply)
                return Refused(_code(rejected.reject_reason), _sentence(rejected.text))
            case 429 | 503:
                scope = Scope.INSTRUMENT if _read(_not_executed, reply).scope == "instrument" else Scope.ALL
                return NotSent(_BEFORE_THE_BOOK[reply.status], _retry_after_seconds(reply.retry_after, now), scope)
            case _:
                return Unknown(_cause(reply.status))
    except CANNOT_READ as error:
        return Unknown(Cause.UNREADABLE if reply.status == 201 else _cause(reply.status), sentence(error))


def read_order(reply: Reply, order_id: str) -> Verification:
    """What the reply to `GET /v1/orders/{client_order_id}` says."""
    try:
        match reply.status:
            case 200:
                found = _venue_order(_read(_order_view, reply))
                return Found(found) if found.client_order_id == order_id else NoAnswer(Cause.ANOTHER_ORDER)
            case 404:
                _read(_unknown_order, reply)
                return Absent()
            case _:
                return NoAnswer(_cause(reply.status))
    except CANNOT_READ as error:
        return NoAnswer(Cause.UNREADABLE if reply.status == 200 else _cause(reply.status), sentence(error))


def read_canceled(reply: Reply) -> CancelAnswer:
    """What the reply to `DELETE /v1/orders/{client_order_id}` says."""
    match reply.status:
        case 202:
            return CancelAccepted()
        case 409:
            return CancelTooLate()
        case 404:
            try:
                _read(_unknown_order, reply)
            except CANNOT_READ as error:
                return NoAnswer(_cause(reply.status), sentence(error))
            return Absent()
        case _:
            return NoAnswer(_cause(reply.status))


def read_open_orders(reply: Reply) -> Slices[OpenOrders | NoAnswer]:
    """The open orders that can be read, and beside them those that cannot; a list that is cut is no answer."""
    if reply.status != 200:
        return NoAnswer(_cause(reply.status))
    orders = LazyList(reply.body, _read_open_order)
    try:
        read = yield from read_list(reply.body, "orders", _read_open_order, _parked(ThingKind.OPEN_ORDER), orders.keep)
        beside = decode_once(_open_orders, read.envelope)
    except CANNOT_READ as error:
        return NoAnswer(Cause.UNREADABLE, sentence(error))
    return OpenOrders(orders, beside.as_of, _unreadable(read), read.dropped)


def read_executions(reply: Reply, *, after: int, limit: int) -> Slices[ExecutionPage | NoAnswer]:
    """Reports after a position; more than were wanted, or a page that leads nowhere, is no answer."""
    if reply.status != 200:
        return NoAnswer(_cause(reply.status))
    try:
        read = yield from read_list(reply.body, "executions", _read_execution, _parked(ThingKind.EXECUTION))
        beside = decode_once(_executions, read.envelope)
    except CANNOT_READ as error:
        return NoAnswer(Cause.UNREADABLE, sentence(error))
    if len(read.items) + read.dropped > limit:
        return NoAnswer(Cause.UNREADABLE, f"executions: more than {limit}")
    return _page(read, beside.epoch, after, beside.head)


def read_capabilities(reply: Reply) -> Capabilities | NoAnswer:
    """The venue's promises; a venue without this page promises nothing."""
    if reply.status == 404:
        return PROMISES_NOTHING
    if reply.status != 200:
        return NoAnswer(_cause(reply.status))
    try:
        read = _read(_capabilities, reply)
    except CANNOT_READ as error:
        return NoAnswer(Cause.UNREADABLE, sentence(error))
    # Where closed orders cannot be queried, absence proves nothing however long one waits.
    visible = read.visible_within_seconds if read.ask_covers == "all" else None
    return Capabilities(
        epoch=read.epoch,
        client_order_id_unique=read.client_order_id_unique,
        visible_within_seconds=UNBOUNDED if visible is None else visible,
        accepts_within_seconds=UNBOUNDED if read.accepts_within_seconds is None else read.accepts_within_seconds,
        honours_accept_by=read.honours_accept_by,
        replays_executions=read.replays_executions,
        exec_id_unique=read.exec_id_unique,
    )


def _read(decoder: "msgspec.json.Decoder[_Decoded]", reply: Reply) -> _Decoded:
    return decode_once(decoder, bytes(reply.body))


def _check_id(exchange_order_id: str | None, *, is_rejected: bool) -> None:
    """What is at the exchange has an id there; only what it has refused need have none."""
    if exchange_order_id is None and not is_rejected:
        raise ValueError("Object missing required field `exchange_order_id`")


def _read_open_order(raw: bytes) -> VenueOrder:
    return _venue_order(decode_once(_order_view, raw))


def _read_execution(raw: bytes) -> Execution:
    e = decode_once(_execution, raw)
    return Execution(e.seq, e.exec_id, e.exec_type, e.client_order_id, e.exchange_order_id)


def _parked(kind: ThingKind) -> Any:
    def park(raw: bytes, read: object, error: Exception) -> UnreadableElement:
        fields = read if isinstance(read, dict) else {}
        field, why = explain(error)
        seq = fields.get("seq")
        return UnreadableElement(
            kind,
            field,
            why,
            raw[:RAW_BYTES_MAX],
            seq=seq if type(seq) is int and 0 <= seq < 2**63 else None,
            client_order_id=_id(fields.get("client_order_id")),
            exchange_order_id=_id(fields.get("exchange_order_id")),
        )

    return park


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _unreadable(read: Elements[Any, UnreadableElement]) -> tuple[UnreadableElement, ...]:
    return tuple(item for item in read.items if isinstance(item, UnreadableElement))


def _page(read: Elements[Execution, UnreadableElement], epoch: str, after: int, head: int) -> ExecutionPage | NoAnswer:
    """What stands in its order in the page, and the rest set aside.

    The page comes to the last position that is in order. Behind it each element of which no position can be read has
    at least the next one, so that by passing them none of their neighbours is passed; and the next page is another.
    """
    in_order = set(_longest_rise([item.seq for item in read.items], after, head))
    reached, executions, unreadable = after, [], []
    for index, item in enumerate(read.items):
        if index in in_order:
            assert item.seq is not None
            reached = item.seq
        elif item.seq is None:
            reached = min(reached + 1, head)
        if isinstance(item, Execution) and index in in_order:
            executions.append(item)
        else:
            unreadable.append(item if isinstance(item, UnreadableElement) else _out_of_order(item))
    if read.items and reached <= after:
        return NoAnswer(Cause.UNREADABLE, f"seq: none is between {after} and the head")
    return ExecutionPage(epoch, tuple(executions), head, tuple(unreadable), reached)


def _out_of_order(execution: Execution) -> UnreadableElement:
    return UnreadableElement(
        ThingKind.EXECUTION,
        "seq",
        "is not in its order",
        _encoder.encode(execution)[:RAW_BYTES_MAX],
        seq=execution.seq,
        client_order_id=execution.client_order_id,
        exchange_order_id=execution.exchange_order_id,
    )


def _longest_rise(seqs: Sequence[int | None], after: int, head: int) -> list[int]:
    """Where most of the positions stand in order, each after the one before; of equally many, those that end lowest.

    One position that is wrong, however large, must not make all that follow look wrong.
    """
    lasts: list[int] = []  # the lowest position with which a rise of this length ends
    places: list[int] = []  # where that one stands
    before: dict[int, int] = {}
    for place, seq in enumerate(seqs):
        if seq is None or not after < seq <= head:
            continue
        length = bisect_left(lasts, seq)
        if length:
            before[place] = places[length - 1]
        lasts[length : length + 1] = [seq]
        places[length : length + 1] = [place]
    rise = places[-1:]
    while rise and rise[-1] in before:
        rise.append(before[rise[-1]])
    return rise[::-1]


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
    if header is None or len(header) > RETRY_AFTER_LENGTH_MAX:
        return None
    if header.isascii() and header.isdigit():
        return min(float(header[:9]), RETRY_AFTER_SECONDS_MAX)
    try:
        at = parsedate_to_datetime(header)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return min(max((at - now).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)
    except Exception:  # noqa: BLE001 - a date raises what its parts raise; none of it may spoil the proof beside it
        return None

"""What may happen at the exchange on demand, beside faults: the bodies of `POST /v1/faults/…`, as values."""

from decimal import Decimal
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec

from simulated_exchange.orders import QUANTITY_MAX, is_client_order_id, ticks_of

ORDERS_MAX, FRAME_MAX, RATE_MAX = 100_000, 10_000, 1_000_000
Quantity = Annotated[int, msgspec.Meta(ge=0, le=QUANTITY_MAX)]
Traded = Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
Position = Annotated[int, msgspec.Meta(ge=0)]
AnyOccurrence = TypeVar("AnyOccurrence", bound=msgspec.Struct)


class Amendment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bust or a correction of the trade that `exec_id` reported, or of what an earlier correction made of it.

    `last_qty`, `last_px`: of a correction; left out, they stay. `reinstate`: whether a filled order is open again.
    """

    exec_id: str
    exec_type: Literal["trade_cancel", "trade_correct"]
    last_qty: Quantity | None = None
    last_px: str | None = None
    reinstate: bool = False

    def __post_init__(self) -> None:
        if self.exec_type == "trade_cancel" and (self.last_qty is not None or self.last_px is not None):
            raise ValueError("last_qty and last_px are a correction's")
        _check_price(self.last_px)


class StrayTrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A trade of an order, in whatever state it is."""

    client_order_id: str
    last_qty: Traded
    last_px: str

    def __post_init__(self) -> None:
        _check_price(self.last_px)


class Expiry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An open order expires."""

    client_order_id: str


class EpochChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new epoch, with reports from 1 on.

    `replay`: those that there were are numbered anew. `forget`: the orders are forgotten too. `head`: no new epoch;
    this one goes back to that report, and the orders stay as they are.
    """

    replay: bool = False
    forget: bool = False
    head: Position | None = None

    def __post_init__(self) -> None:
        if (self.head is not None) + self.replay + self.forget > 1:
            raise ValueError("head, replay and forget exclude each other")


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A flood of reports: each order in turn trades 1, with nobody, until it is filled and another takes its place.

    `client_order_ids`: these orders instead, those that are open and those that are made of ids that are free; none
    takes their place. `prefix`, `instrument`, `quantity`: of the orders that are made. `reports`: the end, if it comes
    before `seconds` have passed. `frame`: how many reports are in one frame.
    """

    reports_per_second: Annotated[float, msgspec.Meta(gt=0, le=RATE_MAX)]
    seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)]
    orders: Annotated[int, msgspec.Meta(ge=1, le=ORDERS_MAX)] = 1_000
    frame: Annotated[int, msgspec.Meta(ge=1, le=FRAME_MAX)] = 200
    reports: Annotated[int, msgspec.Meta(ge=1)] | None = None
    client_order_ids: Annotated[tuple[str, ...], msgspec.Meta(max_length=ORDERS_MAX)] = ()
    prefix: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    instrument: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{12}$")] = "LOAD00000000"
    quantity: Traded = 1_000_000

    def __post_init__(self) -> None:
        names = self.client_order_ids + (() if self.prefix is None else (f"{self.prefix}1",))
        if not all(map(is_client_order_id, names)):
            raise ValueError("an id must be 1 to 255 visible ASCII characters")


Occurrence: TypeAlias = Amendment | StrayTrade | Expiry | EpochChange | Load


def parse_occurrence(body: bytes, kind: type[AnyOccurrence]) -> AnyOccurrence:
    """The body of a call; ValueError with a sentence. An empty one is an empty object."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"The body cannot be used: {problem}.") from problem


def price_ticks(text: str) -> int:
    """The price in hundredths; it has been checked."""
    ticks = ticks_of(Decimal(text))
    assert ticks is not None
    return ticks


def _check_price(text: str | None) -> None:
    if text is None:
        return
    try:
        is_price = ticks_of(Decimal(text)) is not None
    except ArithmeticError:
        is_price = False
    if not is_price:
        raise ValueError("last_px must be a positive decimal string with at most 2 decimals and 15 digits")

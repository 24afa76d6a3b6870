"""Orders as they come, as the exchange keeps them, and what it reports about them."""

import re
from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple

import msgspec

from simulated_exchange.order_book import TICKS_PER_UNIT, BookOrder

OrdStatus = Literal["new", "partially_filled", "filled", "canceled", "expired", "rejected"]
ExecType = Literal["new", "trade", "canceled", "expired", "rejected", "trade_cancel", "trade_correct"]

PRICE_TICKS_MAX = 10**15 - 1
QUANTITY_MAX = 2**31 - 1
_CENT = Decimal(1) / TICKS_PER_UNIT
_INSTRUMENT = re.compile("[A-Z0-9]{12}")
_CLIENT_ORDER_ID = re.compile("[!-~]{1,255}")  # visible ASCII
_OPEN = frozenset(("new", "partially_filled"))


class Refusal(NamedTuple):
    """Why an order is rejected: a word for machines, a sentence for people."""

    reject_reason: str
    text: str


class NewOrder(msgspec.Struct, frozen=True, gc=False):
    """An order as it arrives. What could not be read is None, and the door passes a `Refusal` beside it.

    `accept_by_us`: microseconds since 1970, UTC; not accepted by then, the order is refused.
    """

    client_order_id: str
    type: str | None
    side: str | None
    instrument: str | None
    limit_price: Decimal | None
    quantity: int | None
    accept_by_us: int | None = None


class Order(BookOrder, eq=False, gc=False):
    """An order the exchange has taken in; `notional_ticks` sums quantity times price over its trades."""

    client_order_id: str
    exchange_order_id: str
    type: str | None
    side: str | None
    instrument: str | None
    quantity: int | None
    transacted_at_us: int
    ord_status: OrdStatus = "new"
    cum_qty: int = 0
    notional_ticks: int = 0
    reject_reason: str | None = None
    has_id: bool = True

    @property
    def shown_id(self) -> str | None:
        """Its id at the exchange, where others are told one."""
        return self.exchange_order_id if self.has_id else None

    @property
    def is_open(self) -> bool:
        return self.ord_status in _OPEN


class KeptOrder(Order, eq=False, gc=False, array_like=True):
    """An order as a compacted log has it: short, for there are as many as there ever were orders."""


class Report(msgspec.Struct, frozen=True, gc=False):
    """An execution report, small: what can be derived (exec_id, average, texts) is derived on reading."""

    seq: int
    exec_type: ExecType
    ord_status: OrdStatus
    client_order_id: str
    exchange_order_id: str | None
    last_qty: int
    last_ticks: int | None
    cum_qty: int
    leaves_qty: int
    notional_ticks: int
    transacted_at_us: int
    reject_reason: str | None = None
    exec_ref_id: str | None = None
    exec_id_suffix: str = ""

    @property
    def exec_id(self) -> str:
        return f"E{self.seq}{self.exec_id_suffix}"


def is_client_order_id(text: object) -> bool:
    """1 to 255 visible ASCII characters."""
    return isinstance(text, str) and _CLIENT_ORDER_ID.fullmatch(text) is not None


def ticks_of(price: Decimal) -> int | None:
    """The price in hundredths; None if it has more decimals, is not positive, or is out of range."""
    try:
        rounded = price.quantize(_CENT)
        if rounded != price:  # an exact comparison, also where a product would have been rounded
            return None
    except InvalidOperation:
        return None
    ticks = int(rounded * TICKS_PER_UNIT)
    return ticks if 0 < ticks <= PRICE_TICKS_MAX else None


def refusal_of(order: NewOrder) -> Refusal | None:  # one for each reason
    """Why an exchange would not take this order at all; None if it would."""
    if order.type == "limit":
        if order.limit_price is None or ticks_of(order.limit_price) is None:
            return Refusal("invalid_price", "limit_price must be positive, with at most 2 decimals and 15 digits.")
    elif order.type == "market":
        if order.limit_price is not None:
            return Refusal("invalid_price", "A market order has no limit_price.")
    else:
        return Refusal("invalid_type", "type must be market or limit.")
    if order.side not in {"buy", "sell"}:
        return Refusal("invalid_side", "side must be buy or sell.")
    if order.instrument is None or _INSTRUMENT.fullmatch(order.instrument) is None:
        return Refusal("invalid_instrument", "instrument must be 12 characters of A-Z and 0-9.")
    if order.quantity is None or not 0 < order.quantity <= QUANTITY_MAX:
        return Refusal("invalid_quantity", f"quantity must be a whole number from 1 to {QUANTITY_MAX}.")
    return None

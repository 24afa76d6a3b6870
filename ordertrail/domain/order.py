"""An order as its owner wants it, and the bounds within which we carry it without changing it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

INSTRUMENT_LENGTH = 12
PRICE_DECIMALS_MAX = 2
PRICE_DIGITS_MAX = 15  # every decimal of 15 digits survives the way through a double and back
QUANTITY_MAX = 2**31 - 1  # the column is PostgreSQL's integer
CLIENT_ORDER_ID_LENGTH_MAX = 255


class OrderType(StrEnum):
    """At any price, or at a limit."""

    MARKET = "market"
    LIMIT = "limit"


class Side(StrEnum):
    """Which way."""

    BUY = "buy"
    SELL = "sell"


@dataclass(frozen=True, slots=True)
class Order:
    """One order. `id` is ours and the exchange's `client_order_id`; `client_order_id` is the caller's key.

    `place_by`: until when we may send it again after a send that did not place it; None: only the first send.
    """

    id: str
    type: OrderType
    side: Side
    instrument: str
    limit_price: Decimal | None
    quantity: int
    client_order_id: str | None = None
    place_by: datetime | None = None

    def is_same_request(self, other: "Order") -> bool:
        """Equal orders, whatever bytes they came in; `id` and `place_by` are not part of what was ordered."""
        return (
            self.type == other.type
            and self.side == other.side
            and self.instrument == other.instrument
            and self.limit_price == other.limit_price
            and self.quantity == other.quantity
        )


def price_problem(price: Decimal) -> str | None:
    """Why this limit price cannot be carried exactly, as a sentence; None if it can."""
    if not price.is_finite():
        return "must be a finite number"
    if price <= 0:
        return "must be greater than 0"
    _, digits, exponent = price.as_tuple()
    assert isinstance(exponent, int)
    # Reckoned without writing the number out: 1e999999 is a short text and a long number. And without arithmetic,
    # which rounds: for `normalize`, 1e-9999999 is 0.
    count = len(digits)
    while exponent < 0 and digits[count - 1] == 0:
        count -= 1
        exponent += 1
    if -exponent > PRICE_DECIMALS_MAX:
        return f"must have at most {PRICE_DECIMALS_MAX} decimals"
    if count + max(exponent, 0) > PRICE_DIGITS_MAX:
        return f"must have at most {PRICE_DIGITS_MAX} digits"
    return None

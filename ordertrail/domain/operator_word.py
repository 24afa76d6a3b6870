"""What a person may say of an order that reconciliation cannot settle, and which rows their word comes to.

A word is taken for whatever `ordertrail doubts` counts as unresolved, so that each such order can be ended: as not
placed only where nothing shows that the exchange accepted it, else by how it ended there.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from ordertrail.domain.order import QUANTITY_MAX
from ordertrail.domain.order_in_doubt import OrderInDoubt
from ordertrail.domain.settling import is_settled_by_rows
from ordertrail.domain.trail import OrderStatus


class OperatorWord(StrEnum):
    """What is true at the exchange, by the word of a person."""

    PLACED = "placed"
    NOT_PLACED = "not-placed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    FILLED = "filled"


@dataclass(frozen=True, slots=True)
class FillByHand:
    """How much of the order was filled, all trades together, at which average price."""

    quantity: int
    price: Decimal


PRICE_DECIMALS_MAX = 8
_PRICE_MAX = Decimal(10) ** 15


def read_fill(quantity: int, price: Decimal) -> FillByHand | None:
    """A fill in the operator's words; None unless both are greater than 0, and such as an exchange may have."""
    if not 0 < quantity <= QUANTITY_MAX or not price.is_finite() or not 0 < price < _PRICE_MAX:
        return None
    exponent = price.normalize().as_tuple().exponent
    return FillByHand(quantity, price) if isinstance(exponent, int) and exponent >= -PRICE_DECIMALS_MAX else None


_STATUSES = {
    OperatorWord.PLACED: (OrderStatus.COMPLETED,),
    OperatorWord.NOT_PLACED: (OrderStatus.NOT_PLACED,),
    OperatorWord.CANCELED: (OrderStatus.COMPLETED, OrderStatus.CANCELED),
    OperatorWord.EXPIRED: (OrderStatus.COMPLETED, OrderStatus.EXPIRED),
    OperatorWord.FILLED: (OrderStatus.COMPLETED, OrderStatus.FILLED),
}


def statuses_of(word: OperatorWord, *, is_partly_filled: bool = False) -> tuple[OrderStatus, ...]:
    """The statuses whose rows the word appends, where they are not there: how it ended proves that it was accepted."""
    return _STATUSES[word] + ((OrderStatus.PARTIALLY_FILLED,) if is_partly_filled else ())


def is_unresolved(doubt: OrderInDoubt) -> bool:
    """Whether an order in doubt waits for a person: it is marked so, and its rows do not settle it by themselves."""
    return OrderStatus.UNRESOLVED in doubt.statuses and not is_settled_by_rows(doubt)


def words_for(doubt: OrderInDoubt) -> frozenset[OperatorWord]:
    """The words that settle it, unless it is being sent just now; none where it is not unresolved."""
    if not is_unresolved(doubt):
        return frozenset()
    words = {OperatorWord.CANCELED, OperatorWord.EXPIRED, OperatorWord.FILLED}
    if not doubt.was_accepted:
        words.add(OperatorWord.NOT_PLACED)
    if OrderStatus.COMPLETED not in doubt.statuses:
        words.add(OperatorWord.PLACED)
    return frozenset(words)

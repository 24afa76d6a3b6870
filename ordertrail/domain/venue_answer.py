"""What an exchange's answer proves: the four answers to an order, and the three to a query.

Refused and not sent need proof. Whatever is not mapped to one of them is unknown.
An answer proves only its own attempt.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import assert_never

from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.reason import ACCEPTED, UNSPECIFIED, Cause, Reason, not_sent, refused, unknown


@dataclass(frozen=True, slots=True)
class Accepted:
    """The exchange has it, by its own word."""

    exchange_order_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Proof that it is not there and never will be. `code` is the venue's reject reason."""

    code: str
    text: str = ""


class Scope(StrEnum):
    """Of what the exchange's word speaks beyond this order."""

    ALL = "all"
    """Of all orders; so does a word that does not say."""
    INSTRUMENT = "instrument"
    """Of those in this instrument."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the order left, or the exchange's word that it did nothing with it."""

    cause: str
    retry_after_seconds: float | None = None
    scope: Scope = Scope.ALL


@dataclass(frozen=True, slots=True)
class Unknown:
    """Sent, and no answer that proves anything. `detail` is for people: what could not be read of the answer."""

    cause: str
    detail: str = field(default="", compare=False)


PlaceAnswer = Accepted | Refused | NotSent | Unknown


def reason_of(answer: PlaceAnswer) -> Reason:
    """What is recorded of it."""
    match answer:
        case Accepted():
            return ACCEPTED
        case Refused(code=code):
            return refused(code)
        case NotSent(cause=cause):
            return not_sent(cause)
        case Unknown(cause=cause):
            return unknown(cause)
    assert_never(answer)


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as the exchange knows it; `client_order_id` is our order id, quantities are whole units.

    `exchange_order_id` is None only for a rejected one.
    """

    exchange_order_id: str | None
    client_order_id: str
    type: OrderType
    side: Side
    instrument: str
    limit_price: Decimal | None
    quantity: int
    ord_status: str
    cum_qty: int
    leaves_qty: int
    avg_px: Decimal | None
    reject_reason: str | None

    def equals(self, order: Order) -> bool:
        """Whether this is our order in every field that makes it one."""
        return (
            self.client_order_id == order.id
            and self.type == order.type
            and self.side == order.side
            and self.instrument == order.instrument
            and self.limit_price == order.limit_price
            and self.quantity == order.quantity
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The exchange knows the id."""

    order: VenueOrder


@dataclass(frozen=True, slots=True)
class Absent:
    """The exchange says that it does not know the id; what that proves depends on its capabilities and on time."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing was learned. `detail` is for people: what could not be read of the answer."""

    cause: str
    detail: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """Cause and detail in one."""
        return f"{self.cause}: {self.detail}" if self.detail else self.cause


Verification = Found | Absent | NoAnswer


@dataclass(frozen=True, slots=True)
class CancelAccepted:
    """The exchange will cancel it, or has."""


@dataclass(frozen=True, slots=True)
class CancelTooLate:
    """The order is terminal at the exchange; a query shows how."""


CancelAnswer = CancelAccepted | CancelTooLate | Absent | NoAnswer


def judge_found(found: VenueOrder, order: Order) -> PlaceAnswer:
    """What a found order says of the attempt before the query: ours and live, ours and rejected, or not ours."""
    if not found.equals(order):
        return Unknown(Cause.DIFFERS_AT_EXCHANGE)
    if found.ord_status == "rejected":
        return Refused(found.reject_reason or UNSPECIFIED)
    assert found.exchange_order_id is not None
    return Accepted(found.exchange_order_id)

"""The body of a request to place an order, read as far as it can be read.

What is wrong with a field is no error of reading: the order is rejected under its id and can be queried.
"""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, NamedTuple

import msgspec

from simulated_exchange.orders import NewOrder, Refusal, is_client_order_id
from simulated_exchange.results import Rejected
from simulated_exchange.wire import time_us

_DECIMAL = re.compile(r"-?[0-9]{1,32}(\.[0-9]{1,32})?")
_INTEGER_MAX = 2**63 - 1
_decoder = msgspec.json.Decoder(dict[str, object], float_hook=Decimal)
_TimeWithOffset = Annotated[datetime, msgspec.Meta(tz=True)]

NOT_AN_OBJECT = Rejected("invalid_body", "The body must be a JSON object.")
NO_ID = Rejected("invalid_client_order_id", "client_order_id must be 1 to 255 visible ASCII characters.")


class ReadOrder(NamedTuple):
    """The order, and why it must be rejected if a field of it could not be read."""

    order: NewOrder
    refusal: Refusal | None


def read_order(body: bytes) -> ReadOrder | Rejected:
    """`Rejected` where there is not even an id to record that under. Unknown fields are ignored."""
    try:
        fields = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NOT_AN_OBJECT
    client_order_id = fields.get("client_order_id")
    if not isinstance(client_order_id, str) or not is_client_order_id(client_order_id):
        return NO_ID
    refusal = None
    limit_price, accept_by_us = None, None
    if fields.get("limit_price") is not None:
        limit_price = _price(fields["limit_price"])
        if limit_price is None:
            refusal = Refusal("invalid_price", "limit_price must be a decimal string or a number.")
    if fields.get("accept_by") is not None:
        accept_by_us = _time(fields["accept_by"])
        if accept_by_us is None:
            refusal = Refusal("invalid_accept_by", "accept_by must be an RFC 3339 time with an offset.")
    order = NewOrder(
        client_order_id=client_order_id,
        type=_text(fields.get("type")),
        side=_text(fields.get("side")),
        instrument=_text(fields.get("instrument")),
        limit_price=limit_price,
        quantity=_quantity(fields.get("quantity")),
        accept_by_us=accept_by_us,
    )
    return ReadOrder(order, refusal)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _price(value: object) -> Decimal | None:
    if isinstance(value, str):
        return Decimal(value) if _DECIMAL.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return Decimal(value)


def _quantity(value: object) -> int | None:
    """A whole number by value, so 10.0 too; the size is compared first, for 1e999999 is a short text."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if not -_INTEGER_MAX <= value <= _INTEGER_MAX:
        return None
    return int(value) if value == int(value) else None


def _time(value: object) -> int | None:
    try:
        return time_us(msgspec.convert(value, _TimeWithOffset)) if isinstance(value, str) else None
    except (msgspec.ValidationError, OverflowError):
        return None

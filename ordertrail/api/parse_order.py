"""The body of `POST /orders` → an order, or everything that is wrong with it at once.

Numbers are read as they are written: a price never passes through a binary fraction before it is checked.
"""

import json
import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from ordertrail.api.field_formats import (
    CLIENT_ORDER_ID,
    CLIENT_ORDER_ID_RULE,
    INSTRUMENT,
    INSTRUMENT_RULE,
    RFC_3339,
    RFC_3339_RULE,
    utc_moment,
)
from ordertrail.domain.errors import FieldProblem, InvalidOrder
from ordertrail.domain.order import QUANTITY_MAX, Order, OrderType, Side, price_problem
from ordertrail.runtime.clock import Clock

FIELDS = frozenset({"type", "side", "instrument", "limit_price", "quantity", "client_order_id", "place_by"})

UNKNOWN_FIELDS_NAMED_MAX = 10

_CENT = Decimal("0.01")
_EXPONENT_MAX = 1_000_000
_DECIMAL = re.compile(r"\d{1,32}(\.\d{1,32})?", re.ASCII)
_TYPES = {str(kind): kind for kind in OrderType}
_SIDES = {str(side): side for side in Side}


class _Repeated(ValueError):
    """A key stands twice in one object; what was meant cannot be known."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        keys: set[str] = set()
        for key, _ in pairs:
            if key in keys:
                raise _Repeated(key)
            keys.add(key)
    return fields


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _number(text: str) -> Decimal:
    """A JSON number as it is written. An exponent that no Decimal can hold is as far out of bounds as any."""
    try:
        return Decimal(text)
    except InvalidOperation:
        mantissa, _, exponent = text.lower().partition("e")
        return Decimal(f"{mantissa}e{'-' if exponent.startswith('-') else ''}{_EXPONENT_MAX}")


# Whole numbers too: `int` refuses more than 4,300 digits in words of its own.
_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_number, parse_int=_number, parse_constant=_refuse_constant
)


def parse_order(body: bytes, *, order_id: str, key: str | None, clock: Clock) -> Order:
    """Read an order; `key` is the Idempotency-Key header. Raises InvalidOrder with every problem found."""
    return _parse_plain(body, order_id, key) or _parse_thoroughly(body, order_id, key, clock)


def _parse_thoroughly(body: bytes, order_id: str, key: str | None, clock: Clock) -> Order:
    fields = _fields(body)
    problems: list[FieldProblem] = []

    def problem(pointer: str, detail: str) -> None:
        problems.append(FieldProblem(pointer, detail))

    if not fields.keys() <= FIELDS:
        _unknown_fields(sorted(fields.keys() - FIELDS), problem)

    kind = _choice(fields.get("type"), _TYPES, "/type", problem)
    side = _choice(fields.get("side"), _SIDES, "/side", problem)
    instrument = fields.get("instrument")
    if not isinstance(instrument, str) or not INSTRUMENT.fullmatch(instrument):
        problem("/instrument", INSTRUMENT_RULE)
    price = _price(fields, kind, problem)
    quantity = _quantity(fields.get("quantity"), problem)
    client_order_id = _client_order_id(fields.get("client_order_id"), key, problem)
    place_by = _place_by(fields.get("place_by"), problem)
    is_valid_otherwise = not problems
    if place_by is not None and place_by <= clock.now():
        problem("/place_by", "must be in the future")

    if not is_valid_otherwise:
        raise InvalidOrder(problems)
    assert kind is not None and side is not None and isinstance(instrument, str) and quantity is not None
    order = Order(order_id, kind, side, instrument, price, quantity, client_order_id, place_by)
    if problems:
        raise InvalidOrder(problems, expired=order)
    return order


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    """The order that nearly all are: five fields, none of them unusual."""

    type: OrderType
    side: Side
    instrument: str
    quantity: int
    limit_price: msgspec.Raw = msgspec.Raw(b"null")


_decode_plain = msgspec.json.Decoder(_Plain).decode
_PLAIN_PRICE = re.compile(rb"\d{1,13}(\.\d{1,2})?")
_QUOTES = 2 * (len(_Plain.__struct_fields__) + 3)


def _parse_plain(body: bytes, order_id: str, key: str | None) -> Order | None:
    """Read an order in which nothing is unusual, in a third of the time; None: read it the thorough way.

    It takes nothing that the thorough way refuses, and reads what it takes alike: a property test proves it.
    """
    if b"\\" in body:
        return None
    try:
        plain = _decode_plain(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    price: Decimal | None = None
    raw = bytes(plain.limit_price)
    # Without escapes, three texts and as many names as there are fields have so many quotes: more are repeated keys.
    if body.count(b'"') != (_QUOTES - 2 if raw == b"null" else _QUOTES):
        return None
    if plain.type is OrderType.LIMIT:
        if not _PLAIN_PRICE.fullmatch(raw):
            return None
        price = Decimal(raw.decode()).quantize(_CENT)
        if not price:
            return None
    elif raw != b"null":
        return None
    if not 0 < plain.quantity <= QUANTITY_MAX or not INSTRUMENT.fullmatch(plain.instrument):
        return None
    if key is not None and not CLIENT_ORDER_ID.fullmatch(key):
        return None
    return Order(order_id, plain.type, plain.side, plain.instrument, price, plain.quantity, key)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = _decoder.decode(body.decode("utf-8"))
    except _Repeated as error:
        raise InvalidOrder([FieldProblem("", f"the key {str(error)[:64]!r} stands in it twice")]) from None
    except RecursionError:
        raise InvalidOrder([FieldProblem("", "is nested too deeply")]) from None
    except ValueError as error:
        raise InvalidOrder([FieldProblem("", f"is not JSON: {str(error)[:200]}")]) from None
    if not isinstance(fields, dict):
        raise InvalidOrder([FieldProblem("", "must be a JSON object")])
    return fields


def _unknown_fields(names: list[str], problem: Any) -> None:
    for name in names[:UNKNOWN_FIELDS_NAMED_MAX]:
        # JSON can escape half a character, which no answer in UTF-8 can repeat.
        shown = name[:64].encode("utf-8", "backslashreplace").decode()
        problem("/" + shown.replace("~", "~0").replace("/", "~1"), "is not a field of an order")
    if len(names) > UNKNOWN_FIELDS_NAMED_MAX:
        problem("", f"has {len(names) - UNKNOWN_FIELDS_NAMED_MAX} more fields that are none of an order")


def _choice(value: Any, choices: dict[str, Any], pointer: str, problem: Any) -> Any:
    choice = choices.get(value) if isinstance(value, str) else None
    if choice is None:
        problem(pointer, "must be " + " or ".join(f'"{name}"' for name in choices))
    return choice


def _price(fields: dict[str, Any], kind: OrderType | None, problem: Any) -> Decimal | None:
    value = fields.get("limit_price")
    if kind is OrderType.MARKET:
        if value is not None:
            problem("/limit_price", "must not be given for a market order")
        return None
    if value is None:
        if kind is OrderType.LIMIT:
            problem("/limit_price", "is needed for a limit order")
        return None
    if not isinstance(value, Decimal) and not (isinstance(value, str) and _DECIMAL.fullmatch(value)):
        problem("/limit_price", "must be a number, or a string of digits with at most one point")
        return None
    price = Decimal(value)
    detail = price_problem(price)
    if detail is not None:
        problem("/limit_price", detail)
        return None
    # Exact, for more decimals than these were zeros; they could be thousands.
    return price.quantize(_CENT)


def _quantity(value: Any, problem: Any) -> int | None:
    if not isinstance(value, Decimal):
        problem("/quantity", "must be a whole JSON number")
        return None
    # Compared before it is converted: 1e999999 is a short text and a long number.
    if not 0 < value <= QUANTITY_MAX:
        problem("/quantity", f"must be greater than 0 and at most {QUANTITY_MAX}")
        return None
    if value != int(value):
        problem("/quantity", "must be a whole number")
        return None
    return int(value)


def _client_order_id(value: Any, key: str | None, problem: Any) -> str | None:
    if key is not None and not CLIENT_ORDER_ID.fullmatch(key):
        problem("/headers/Idempotency-Key", CLIENT_ORDER_ID_RULE)
        return None
    if value is None:
        return key
    if not isinstance(value, str) or not CLIENT_ORDER_ID.fullmatch(value):
        problem("/client_order_id", CLIENT_ORDER_ID_RULE)
        return None
    if key is not None and key != value:
        problem("/client_order_id", "differs from the Idempotency-Key header; they are two spellings of one key")
        return None
    return value


def _place_by(value: Any, problem: Any) -> datetime | None:
    if value is None:
        return None
    moment = utc_moment(value) if isinstance(value, str) and RFC_3339.fullmatch(value) else None
    if moment is None:
        problem("/place_by", RFC_3339_RULE)
    return moment

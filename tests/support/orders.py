"""Orders for tests: the seed's own, with whatever a test changes about it."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import uuid_utils

from ordertrail.domain.order import Order, OrderType, Side

SEED_ORDER: dict[str, Any] = {
    "type": "limit",
    "side": "buy",
    "instrument": "AAPL12345678",
    "limit_price": 150.00,
    "quantity": 10,
}
MARKET_ORDER: dict[str, Any] = {"type": "market", "side": "sell", "instrument": "AAPL12345678", "quantity": 10}
LATER = datetime(2099, 1, 1, tzinfo=UTC)


def new_id() -> str:
    return str(uuid_utils.uuid7())


def an_order(**changes: Any) -> Order:
    fields: dict[str, Any] = {
        "id": new_id(),
        "type": OrderType.LIMIT,
        "side": Side.BUY,
        "instrument": "AAPL12345678",
        "limit_price": Decimal("150.00"),
        "quantity": 10,
    }
    return Order(**(fields | changes))


def a_market_order(**changes: Any) -> Order:
    return an_order(**({"type": OrderType.MARKET, "limit_price": None} | changes))


def request_body(**changes: Any) -> bytes:
    """The seed's request with changes, as JSON."""
    return json.dumps(SEED_ORDER | changes).encode()


def request_body_without(field: str) -> bytes:
    return json.dumps({name: value for name, value in SEED_ORDER.items() if name != field}).encode()


def body_with(field: str, literal: str) -> bytes:
    """The seed's request in which one field's value is this text, JSON or not."""
    texts = {name: json.dumps(value) for name, value in SEED_ORDER.items()} | {field: literal}
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in texts.items()) + "}").encode("utf-8", "surrogatepass")

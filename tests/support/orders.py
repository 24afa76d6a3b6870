"""Orders for tests: the seed's own, with whatever a test changes about it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import uuid_utils

from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.venue_answer import VenueOrder

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


def venue_order(order: Order, **changes: Any) -> VenueOrder:
    """The order as the exchange has it: new, and as it was sent, but for the changes."""
    as_sent = VenueOrder(
        exchange_order_id="X-1",
        client_order_id=order.id,
        type=order.type,
        side=order.side,
        instrument=order.instrument,
        limit_price=order.limit_price,
        quantity=order.quantity,
        ord_status="new",
        cum_qty=0,
        leaves_qty=order.quantity,
        avg_px=None,
        reject_reason=None,
    )
    return replace(as_sent, **changes)


def placed_order_json(**changes: Any) -> dict[str, Any]:
    """The seed's order as it is answered once it is placed: all of its fields, and no others."""
    return {
        "id": "order-1",
        "created_at": "2026-11-22T09:30:00.000000Z",
        **SEED_ORDER,
        "status": "COMPLETED",
        "outcome": "placed",
        "client_order_id": None,
        "exchange_order_id": "X-1",
        "place_by": None,
    } | changes


def request_body(**changes: Any) -> bytes:
    """The seed's request with changes, as JSON."""
    return json.dumps(SEED_ORDER | changes).encode()


def request_body_without(field: str) -> bytes:
    return json.dumps({name: value for name, value in SEED_ORDER.items() if name != field}).encode()


def body_with(field: str, literal: str) -> bytes:
    """The seed's request in which one field's value is this text, JSON or not."""
    texts = {name: json.dumps(value) for name, value in SEED_ORDER.items()} | {field: literal}
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in texts.items()) + "}").encode("utf-8", "surrogatepass")

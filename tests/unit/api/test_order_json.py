from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.api.order_json import order_json, rfc_3339, trail_json
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow
from tests.support.orders import placed_order_json

CREATED_AT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
LATER = CREATED_AT + timedelta(microseconds=8)


def stored(price: Decimal | None = Decimal("150.00"), *rows: TrailRow) -> StoredOrder:
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    order = Order("an-id", kind, Side.BUY, "AAPL12345678", price, 10, "key", None)
    initiated = TrailRow(OrderStatus.INITIATED, created_at=CREATED_AT)
    return StoredOrder(order, CREATED_AT, None, (initiated, *rows), LATER)


def test_an_order_has_its_fields_its_folds_and_its_ids() -> None:
    order = order_json(stored(Decimal(150), TrailRow(OrderStatus.COMPLETED, None, "X-1", LATER)))

    assert order == placed_order_json(id="an-id", client_order_id="key")


@pytest.mark.parametrize(
    ("reason", "certainty"),
    [("proved:absent", "proved"), ("presumed:absent", "presumed"), ("operator:joe: asked", "presumed")],
)
def test_an_order_that_is_not_placed_says_how_certain_that_is(reason: str, certainty: str) -> None:
    order = order_json(stored(Decimal(150), TrailRow(OrderStatus.NOT_PLACED, reason, None, LATER)))

    assert (order["outcome"], order["certainty"]) == ("not_placed", certainty)


def test_a_market_order_has_no_price() -> None:
    assert order_json(stored(None))["limit_price"] is None


def test_the_trail_keeps_the_order_of_its_rows() -> None:
    rows = [TrailRow(OrderStatus.COMPLETED, created_at=LATER), TrailRow(OrderStatus.UNRESOLVED, created_at=LATER)]

    assert [row["status"] for row in trail_json(stored(None, *rows))] == ["INITIATED", "COMPLETED", "UNRESOLVED"]


@given(st.integers(1, 10**15 - 1))
def test_a_price_within_the_bounds_keeps_its_value_as_a_json_number(cents: int) -> None:
    price = Decimal(cents) / 100

    text = msgspec.json.encode(order_json(stored(price))["limit_price"])

    assert Decimal(text.decode()) == price


def test_times_are_reported_in_utc_with_six_digits() -> None:
    elsewhere = CREATED_AT.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert rfc_3339(elsewhere) == "2026-11-22T09:30:00.000000Z"

"""What makes two requests the same order."""

from decimal import Decimal
from typing import Any

import pytest

from ordertrail.domain.order import OrderType, Side
from tests.support.orders import LATER, a_market_order, an_order


def test_equal_orders_are_the_same_request_whatever_their_ids_and_place_by() -> None:
    first = an_order(limit_price=Decimal(150), place_by=None)
    second = an_order(limit_price=Decimal("1.5E+2"), place_by=LATER)

    assert first.id != second.id
    assert first.is_same_request(second)
    assert second.is_same_request(first)


@pytest.mark.parametrize(
    "change",
    [
        {"type": OrderType.MARKET, "limit_price": None},
        {"side": Side.SELL},
        {"instrument": "AAPL12345679"},
        {"limit_price": Decimal("150.01")},
        {"quantity": 11},
    ],
    ids=str,
)
def test_another_field_is_another_order(change: dict[str, Any]) -> None:
    assert not an_order().is_same_request(an_order(**change))


def test_market_orders_compare_without_a_price() -> None:
    assert a_market_order().is_same_request(a_market_order())

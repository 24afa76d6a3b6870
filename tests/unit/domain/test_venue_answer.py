"""What an order that was found at the exchange proves of the attempt that asked."""

from decimal import Decimal
from typing import Any

import pytest

from ordertrail.domain.order import OrderType, Side
from ordertrail.domain.venue_answer import (
    Accepted,
    NotSent,
    PlaceAnswer,
    Refused,
    Unknown,
    judge_found,
    reason_of,
)
from tests.support.orders import an_order, venue_order


@pytest.mark.parametrize("ord_status", ["new", "partially_filled", "filled", "canceled", "expired"])
def test_found_and_equal_is_accepted_whatever_became_of_it(ord_status: str) -> None:
    order = an_order()

    answer = judge_found(venue_order(order, ord_status=ord_status, limit_price=Decimal(150)), order)

    assert answer == Accepted("X-1")


def test_found_as_rejected_is_refused_with_its_reason() -> None:
    order = an_order()

    answer = judge_found(venue_order(order, ord_status="rejected", reject_reason="price_band"), order)

    assert answer == Refused("price_band")


def test_found_as_rejected_without_a_reason_is_refused_all_the_same() -> None:
    order = an_order()

    assert judge_found(venue_order(order, ord_status="rejected"), order) == Refused("unspecified")


@pytest.mark.parametrize(
    "change",
    [
        {"client_order_id": "another"},
        {"type": OrderType.MARKET},
        {"side": Side.SELL},
        {"instrument": "AAPL12345679"},
        {"limit_price": Decimal("150.01")},
        {"limit_price": None},
        {"quantity": 11},
        {"quantity": 11, "ord_status": "rejected", "reject_reason": "quantity"},
    ],
    ids=str,
)
def test_found_but_different_proves_nothing(change: dict[str, Any]) -> None:
    order = an_order()

    assert judge_found(venue_order(order, **change), order) == Unknown("differs_at_exchange")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Accepted("X-1"), "accepted"),
        (Refused("price_band", "Too far from the market."), "refused:price_band"),
        (NotSent("throttled", 7), "not_sent:throttled"),
        (Unknown("timeout"), "unknown:timeout"),
    ],
)
def test_each_answer_has_the_reason_that_is_recorded_of_it(answer: PlaceAnswer, text: str) -> None:
    assert reason_of(answer).text == text

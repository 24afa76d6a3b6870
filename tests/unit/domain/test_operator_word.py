"""What a person may say of an order, and what they say was filled."""

from decimal import Decimal

import pytest

from ordertrail.domain.operator_word import FillByHand, OperatorWord, read_fill, statuses_of
from ordertrail.domain.order import QUANTITY_MAX
from ordertrail.domain.trail import TERMINAL_AT_EXCHANGE, OrderStatus


@pytest.mark.parametrize("price", ["0.00000001", "150.25", "999999999999999", "1E+3", "1.500000000000"])
def test_fill_has_a_price_that_an_exchange_may_have(price: str) -> None:
    assert read_fill(1, Decimal(price)) == FillByHand(1, Decimal(price))


@pytest.mark.parametrize("price", ["0", "-1", "nan", "snan", "inf", "1E+15", "0.000000001", "1E+999999"])
def test_no_other_price_is_one(price: str) -> None:
    assert read_fill(1, Decimal(price)) is None


@pytest.mark.parametrize("quantity", [0, -1, QUANTITY_MAX + 1])
def test_fill_is_of_something_that_an_order_can_have(quantity: int) -> None:
    assert read_fill(quantity, Decimal(1)) is None
    assert read_fill(QUANTITY_MAX, Decimal(1)) is not None


@pytest.mark.parametrize("word", OperatorWord)
def test_how_an_order_ended_proves_that_it_was_accepted(word: OperatorWord) -> None:
    statuses = statuses_of(word)

    is_over = bool(set(statuses) & TERMINAL_AT_EXCHANGE)
    assert is_over == (word not in (OperatorWord.PLACED, OperatorWord.NOT_PLACED))
    assert (OrderStatus.COMPLETED in statuses) == (word is not OperatorWord.NOT_PLACED)
    assert OrderStatus.PARTIALLY_FILLED in statuses_of(word, is_partly_filled=True)

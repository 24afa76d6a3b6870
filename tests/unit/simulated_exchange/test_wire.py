from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulated_exchange.orders import PRICE_TICKS_MAX, ticks_of
from simulated_exchange.wire import average_text, price_text, text_us, time_text, time_us


@given(st.integers(1, PRICE_TICKS_MAX))
def test_price_survives_the_way_there_and_back(ticks: int) -> None:
    text = price_text(ticks)

    assert text is not None
    assert ticks_of(Decimal(text)) == ticks


@given(st.integers(0, 2**52).map(lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)))
def test_time_survives_the_way_there_and_back(at: datetime) -> None:
    text = time_text(time_us(at))

    assert datetime.fromisoformat(text) == at
    assert text.endswith("Z")
    assert len(text) == len("2026-01-01T12:00:00.000000Z")
    assert text_us(text) == time_us(at)


@given(st.integers(1, PRICE_TICKS_MAX), st.integers(1, 10**9))
def test_average_is_rounded_half_up(notional_ticks: int, quantity: int) -> None:
    text = average_text(notional_ticks, quantity)

    exact = Decimal(notional_ticks) / quantity / 100
    assert text is not None
    assert Decimal(text) == exact.quantize(Decimal("1e-8"), ROUND_HALF_UP)


@pytest.mark.parametrize(
    ("notional_ticks", "quantity", "text"), [(0, 0, None), (1000, 1, "10.00"), (1001, 2, "5.005"), (1, 3, "0.00333333")]
)
def test_average_has_at_least_two_decimals(notional_ticks: int, quantity: int, text: str | None) -> None:
    assert average_text(notional_ticks, quantity) == text

"""The bounds of a price: what we take comes back unchanged, and what we cannot carry is refused in bounded time."""

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ordertrail.domain.order import price_problem
from ordertrail.storage.postgres.orders import price_from_column

DECIMALS = "must have at most 2 decimals"
DIGITS = "must have at most 15 digits"
POSITIVE = "must be greater than 0"


@pytest.mark.parametrize(
    "text",
    [
        *("0.01", "0.1", "1", "150", "150.00", "150.010", "1E+1", "1.5E+2", "15000E-2"),
        *("9999999999999.99", "999999999999999", "1E+14", "1000000000000000E-2"),
        *("150." + "0" * 27, "150." + "0" * 28, "150." + "0" * 5000, "0" * 40 + "150"),
    ],
)
def test_price_within_the_bounds_is_taken(text: str) -> None:
    assert price_problem(Decimal(text)) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0", POSITIVE),
        ("0.00", POSITIVE),
        ("0E+999999", POSITIVE),
        ("-0", POSITIVE),
        ("-0.01", POSITIVE),
        ("-1E+999999", POSITIVE),
        ("0.001", DECIMALS),
        ("150.001", DECIMALS),
        ("0.01" + "0" * 30 + "1", DECIMALS),
        ("1E-3", DECIMALS),
        ("1E-400", DECIMALS),
        ("1E-999999", DECIMALS),
        ("1E-1000027", DECIMALS),
        ("1E-9999999", DECIMALS),
        ("1E-999999999999999999", DECIMALS),
        ("1000000000000000", DIGITS),
        ("1E+15", DIGITS),
        ("1E+999999", DIGITS),
        ("1E+999999999999999999", DIGITS),
        ("10000000000000.01", DIGITS),
        ("9" * 5000, DIGITS),
        ("NaN", "must be a finite number"),
        ("sNaN", "must be a finite number"),
        ("Infinity", "must be a finite number"),
        ("-Infinity", "must be a finite number"),
    ],
)
def test_price_outside_the_bounds_is_refused(text: str, problem: str) -> None:
    assert price_problem(Decimal(text)) == problem


@given(st.integers(1, 10**15 - 1), st.integers(0, 2), st.integers(0, 40))
@example(10**15 - 1, 2, 0)
@example(10**15 - 1, 0, 40)
@example(1, 2, 0)
def test_price_within_the_bounds_comes_back_from_the_column_unchanged(digits: int, decimals: int, zeros: int) -> None:
    price = Decimal(digits).scaleb(-decimals)
    written = Decimal(f"{price:f}" + ("." if decimals == 0 else "") + "0" * zeros)

    assert price_problem(written) is None
    assert price_from_column(float(written)) == price


@given(st.decimals(allow_nan=True, allow_infinity=True))
@example(Decimal("1E-2000000"))
def test_price_that_is_taken_is_never_changed_by_the_column(price: Decimal) -> None:
    if price_problem(price) is None:
        assert price_from_column(float(price)) == price

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulated_exchange.reading import ReadOrder, read_order
from simulated_exchange.results import Rejected
from tests.unit.simulated_exchange.making import NOON_US

BODY = {"client_order_id": "a", "type": "limit", "side": "buy", "instrument": "US0378331005", "quantity": 10}


def read(text: str) -> ReadOrder:
    result = read_order(text.encode())
    assert isinstance(result, ReadOrder)
    return result


def with_field(name: str, json_text: str) -> ReadOrder:
    return read(json.dumps(BODY)[:-1] + f', "{name}": {json_text}}}')


@pytest.mark.parametrize(
    ("json_text", "price"),
    [
        ('"10.50"', "10.50"),
        ("10.5", "10.5"),
        ("10", "10"),
        ("1e2", "1e2"),
        ("9999999999999.99", "9999999999999.99"),
        ("10.0000000000000000000000000001", "10.0000000000000000000000000001"),
    ],
)
def test_price_is_read_exactly(json_text: str, price: str) -> None:
    order, refusal = with_field("limit_price", json_text)

    assert order.limit_price == Decimal(price)
    assert refusal is None


@pytest.mark.parametrize(
    "json_text", ['"ten"', '"1e2"', '" 1"', '"1_0"', '"NaN"', '"\u0661"', "true", "[]", "{}", '""']
)
def test_what_is_no_price_is_refused_by_name(json_text: str) -> None:
    _, refusal = with_field("limit_price", json_text)

    assert refusal is not None
    assert refusal.reject_reason == "invalid_price"


@pytest.mark.parametrize(
    ("json_text", "quantity"),
    [("10", 10), ("10.0", 10), ("1e1", 10), ("10.5", None), ('"10"', None), ("true", None), ("1e999999", None)],
)
def test_quantity_is_a_whole_number_by_value(json_text: str, quantity: int | None) -> None:
    order, _ = with_field("quantity", json_text)

    assert order.quantity == quantity


@pytest.mark.parametrize("text", ["2026-01-01T12:00:00Z", "2026-01-01T13:00:00.000000+01:00"])
def test_accept_by_is_a_time_with_an_offset(text: str) -> None:
    order, refusal = with_field("accept_by", f'"{text}"')

    assert order.accept_by_us == NOON_US
    assert refusal is None


@pytest.mark.parametrize("json_text", ['"2026-01-01T12:00:00"', '"soon"', "1767268800", '"2026-13-01T12:00:00Z"'])
def test_what_is_no_such_time_is_refused_by_name(json_text: str) -> None:
    _, refusal = with_field("accept_by", json_text)

    assert refusal is not None
    assert refusal.reject_reason == "invalid_accept_by"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"client_order_id": "a"', b"1", b"[" * 10_000])
def test_what_is_no_object_is_rejected(body: bytes) -> None:
    result = read_order(body)

    assert isinstance(result, Rejected)
    assert result.reject_reason == "invalid_body"


@pytest.mark.parametrize("json_text", ["1", "null", '""', '"a b"', '"' + "a" * 256 + '"'])
def test_what_has_no_id_is_rejected(json_text: str) -> None:
    result = read_order(f'{{"client_order_id": {json_text}}}'.encode())

    assert isinstance(result, Rejected)
    assert result.reject_reason == "invalid_client_order_id"


texts = st.text("aZ09.:-+eé", max_size=8)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*BODY, "limit_price", "accept_by"], any_json)))
def test_any_object_is_read_or_rejected(fields: dict[str, Any]) -> None:
    assert isinstance(read_order(json.dumps(fields).encode()), ReadOrder | Rejected)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_rejected(body: bytes) -> None:
    assert isinstance(read_order(body), ReadOrder | Rejected)

"""Whatever stands in a field of an order: it is an order, or all that is wrong with it is said; never an exception."""

import json

import pytest

from ordertrail.api.parse_order import FIELDS, parse_order
from ordertrail.domain.errors import InvalidOrder
from ordertrail.domain.order import Order
from tests.support.clocks import ManualClock
from tests.support.hostile_values import spoiled

ORDER = {
    "type": b'"limit"',
    "side": b'"buy"',
    "instrument": b'"AAPL12345678"',
    "limit_price": b"150.25",
    "quantity": b"10",
    "client_order_id": b'"k-1"',
    "place_by": b'"2099-01-01T00:00:00Z"',
}
CASES = {f"{name}: {what}": body for name in ORDER for what, body in spoiled(ORDER, name)}
PLAIN = {name: text for name, text in ORDER.items() if name not in {"client_order_id", "place_by"}}
CASES |= {f"{name} of a plain order: {what}": body for name in PLAIN for what, body in spoiled(PLAIN, name)}
# What may be left out, or has a meaning that is no less good.
IS_AN_ORDER = {
    "limit_price: a whole number",
    "limit_price: a fraction",
    "quantity: a whole number",
    "client_order_id: absent",
    "client_order_id: null",
    "client_order_id: an unknown word",
    "place_by: absent",
    "place_by: null",
    "limit_price of a plain order: a whole number",
    "limit_price of a plain order: a fraction",
    "quantity of a plain order: a whole number",
}


def parsed(body: bytes) -> Order:
    return parse_order(body, order_id="order-1", key=None, clock=ManualClock(0.0))


def test_every_field_is_spoiled() -> None:
    assert ORDER.keys() == FIELDS
    assert len(CASES) >= 350


@pytest.mark.parametrize("case", CASES)
def test_hostile_field_is_a_problem_that_can_be_answered(case: str) -> None:
    if case in IS_AN_ORDER:
        assert isinstance(parsed(CASES[case]), Order)
        return
    with pytest.raises(InvalidOrder) as invalid:
        parsed(CASES[case])
    # The answer can be answered: JSON in UTF-8, and no longer than it need be.
    answered = json.dumps([[problem.pointer, problem.detail] for problem in invalid.value.problems], ensure_ascii=False)
    assert 0 < len(answered.encode()) < 4096

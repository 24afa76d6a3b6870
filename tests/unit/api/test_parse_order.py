"""The body of `POST /orders` → an order: what is taken, and what is refused with which field and sentence."""

# ruff: noqa: RUF001 - digits that only look like ours are what is tested

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ordertrail.api.parse_order import FIELDS, parse_order
from ordertrail.api.problems import problem_body
from ordertrail.domain.errors import FieldProblem, InvalidOrder
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.storage.postgres.orders import price_from_column
from tests.support.clocks import ManualClock
from tests.support.invalid_orders import INVALID, Invalid
from tests.support.orders import MARKET_ORDER, SEED_ORDER, body_with, request_body

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def parse(body: bytes, *, key: str | None = None) -> Order:
    return parse_order(body, order_id="the-id", key=key, clock=ManualClock(wall=NOW))


def problems_of(body: bytes, *, key: str | None = None) -> list[tuple[str, str]]:
    with pytest.raises(InvalidOrder) as caught:
        parse(body, key=key)
    return [(problem.pointer, problem.detail) for problem in caught.value.problems]


def test_the_seed_s_request_is_its_order() -> None:
    order = parse(request_body())

    assert order == Order(
        "the-id", OrderType.LIMIT, Side.BUY, "AAPL12345678", Decimal("150.00"), 10, client_order_id=None, place_by=None
    )


def test_a_market_order_has_no_price() -> None:
    order = parse(json.dumps(MARKET_ORDER).encode())

    assert (order.type, order.side, order.limit_price) == (OrderType.MARKET, Side.SELL, None)


@pytest.mark.parametrize("field", ["limit_price", "client_order_id", "place_by"])
def test_null_is_as_if_the_field_were_left_out(field: str) -> None:
    order = parse(json.dumps(MARKET_ORDER | {field: None}).encode())

    assert (order.limit_price, order.client_order_id, order.place_by) == (None, None, None)


@pytest.mark.parametrize(
    ("literal", "quantity"),
    [
        *(("1", 1), ("10", 10), ("10.0", 10), ("1e1", 10), ("1E+1", 10), ("100e-1", 10), ("2147483647", 2147483647)),
        *(("2147483647.00", 2147483647), ("0.1e1", 1), ("10." + "0" * 20_000, 10)),
    ],
)
def test_quantity_is_a_whole_number_by_value(literal: str, quantity: int) -> None:
    found = parse(body_with("quantity", literal)).quantity

    assert found == quantity
    assert type(found) is int


@pytest.mark.parametrize(
    ("literal", "price"),
    [
        ('"150.00"', "150"),
        ('"150"', "150"),
        ('"0150.10"', "150.1"),
        ('"150.' + "0" * 32 + '"', "150"),
        ("150", "150"),
        ("150.010", "150.01"),
        ("0.01", "0.01"),
        ("0.010e0", "0.01"),
        ("1e-2", "0.01"),
        ("1e1", "10"),
        ("1.5E+2", "150"),
        ("9999999999999.99", "9999999999999.99"),
        ("999999999999999", "999999999999999"),
        ("1e14", "100000000000000"),
        ("150." + "0" * 60_000, "150"),
    ],
)
def test_limit_price_is_taken_as_it_was_written(literal: str, price: str) -> None:
    assert parse(body_with("limit_price", literal)).limit_price == Decimal(price)


@pytest.mark.parametrize("literal", ["150", "1.5e2", '"150.0"', "150." + "0" * 60_000, "0.01", "1e14"])
def test_limit_price_has_one_short_form_however_it_was_written(literal: str) -> None:
    price = parse(body_with("limit_price", literal)).limit_price

    assert price is not None
    assert price.as_tuple().exponent == -2
    assert len(str(price)) <= 18


@given(st.integers(1, 10**15 - 1), st.integers(0, 2), st.booleans())
def test_no_price_in_bounds_changes_between_the_request_and_the_response(
    digits: int, decimals: int, is_string: bool
) -> None:
    written = f"{Decimal(digits).scaleb(-decimals):f}"

    order = parse(body_with("limit_price", f'"{written}"' if is_string else written))

    assert order.limit_price is not None
    column = float(order.limit_price)
    assert price_from_column(column) == order.limit_price == Decimal(written)
    assert json.loads(msgspec.json.encode(column), parse_float=Decimal, parse_int=Decimal) == Decimal(written)


@pytest.mark.parametrize("case", INVALID, ids=str)
def test_invalid_order_is_refused_with_field_and_reason(case: Invalid) -> None:
    start = time.monotonic()

    problems = problems_of(case.body)

    assert case.pointer in [pointer for pointer, _ in problems]
    assert any(case.detail in detail for pointer, detail in problems if pointer == case.pointer), problems
    assert time.monotonic() - start < 1


def test_everything_wrong_is_reported_at_once() -> None:
    body = b'{"type": "stop", "side": 1, "instrument": "", "quantity": 0, "limit_price": -1, "colour": "red"}'

    pointers = [pointer for pointer, _ in problems_of(body)]

    assert pointers == ["/colour", "/type", "/side", "/instrument", "/limit_price", "/quantity"]


def test_pointer_of_an_unknown_field_is_escaped_as_rfc_6901_says() -> None:
    assert problems_of(request_body(**{"a/b~c": 1})) == [("/a~1b~0c", "is not a field of an order")]


def test_a_name_that_no_utf_8_can_carry_still_gets_an_answer() -> None:
    [(pointer, detail)] = problems_of(request_body(**{"\ud800": 1}))

    assert b"is not a field" in problem_body("invalid-request", errors=[{"pointer": pointer, "detail": detail}])


def test_an_answer_names_a_few_unknown_fields_and_not_thousands() -> None:
    problems = problems_of(request_body(**{f"x{number:04}": number for number in range(5000)}))

    assert len(problems) <= 20
    assert problems[0] == ("/x0000", "is not a field of an order")
    assert any("more" in detail for _, detail in problems)


@pytest.mark.parametrize("key", ["!", "~", "a" * 255, "7b9f-1"])
def test_key_may_stand_in_the_header_the_body_or_both(key: str) -> None:
    in_header = parse(request_body(), key=key)
    in_body = parse(request_body(client_order_id=key))
    in_both = parse(request_body(client_order_id=key), key=key)

    assert in_header.client_order_id == in_body.client_order_id == in_both.client_order_id == key


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "caf\xe9", "\x7f", "a\n", "a\t"])
def test_key_outside_its_bounds_is_refused_wherever_it_stands(key: str) -> None:
    sentence = "must be 1 to 255 visible ASCII characters"

    assert problems_of(request_body(), key=key) == [("/headers/Idempotency-Key", sentence)]
    assert problems_of(request_body(client_order_id=key)) == [("/client_order_id", sentence)]


@pytest.mark.parametrize("key", ["one", "ONE ", "One"])
def test_two_different_keys_are_refused(key: str) -> None:
    [(pointer, _)] = problems_of(request_body(client_order_id="ONE"), key=key)

    assert pointer in ("/client_order_id", "/headers/Idempotency-Key")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T09:30:00.000001Z", NOW + timedelta(microseconds=1)),
        ("2026-11-22t10:30:01+01:00", NOW + timedelta(seconds=1)),
        ("2026-11-22T09:30:01z", NOW + timedelta(seconds=1)),
        ("2026-11-22T09:30:01-00:00", NOW + timedelta(seconds=1)),
        ("2026-11-23T09:29:01+23:59", NOW + timedelta(seconds=1)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
    ],
)
def test_place_by_is_a_moment_in_the_future(text: str, moment: datetime) -> None:
    assert parse(request_body(place_by=text)).place_by == moment


@pytest.mark.parametrize("text", ["2026-11-22T09:30:00Z", "2026-11-22T10:30:00+01:00", "0001-01-01T00:00:00Z"])
def test_place_by_that_has_passed_is_refused(text: str) -> None:
    assert problems_of(request_body(place_by=text)) == [("/place_by", "must be in the future")]


@pytest.mark.parametrize(
    "value",
    [
        *("2099-01-01T00:00:00", "2099-01-01", "2099-01-01 00:00:00Z", "tomorrow", "", 4070908800, True, [], {}),
        *("20990101T000000Z", "2099-W01-1T00:00:00Z", "2099-13-01T00:00:00Z", "2099-02-30T00:00:00Z"),
        *("2099-01-01T25:00:00Z", "2099-01-01T00:60:00Z", "2099-01-01T00:00:61Z", "2099-01-01T00:00:00+24:00"),
        *("9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01", "0000-01-01T00:00:00Z"),
        *("10000-01-01T00:00:00Z", "２０９９-01-01T00:00:00Z", "2099-01-01T00:00:00Z ", "2099-01-01T00:00:00Z\n"),
        *("2099-01-01T00:00:00.Z", "2099-01-01T00:00:00,5Z", "2099-01-01T00:00:00+1:00", "2099-01-01T00:00:00UTC"),
    ],
)
def test_place_by_that_is_no_time_with_an_offset_is_refused(value: object) -> None:
    assert problems_of(request_body(place_by=value)) == [("/place_by", "must be a time as in RFC 3339, with an offset")]


@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbf{}")
@example(b"[" * 60_000)
def test_any_bytes_are_an_order_or_invalid(body: bytes) -> None:
    parse_or_explain(body)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)) | st.text(), ANY_JSON, max_size=9))
def test_any_json_is_an_order_or_invalid(fields: dict[str, Any]) -> None:
    parse_or_explain(json.dumps(SEED_ORDER | fields).encode("utf-8", "surrogatepass"))


@given(
    st.sampled_from(["limit_price", "quantity"]),
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,25})?", fullmatch=True),
)
@example("limit_price", "1e-9999999")
@example("limit_price", "1e1000000000000000000")
@example("quantity", "1e-1000000000000000000")
@example("quantity", "0e99999999999999999999")
def test_any_number_is_taken_exactly_or_refused_at_its_field(field: str, literal: str) -> None:
    taken = parse_or_explain(body_with(field, literal))

    if isinstance(taken, Order):
        assert getattr(taken, field) == Decimal(literal)
    else:
        assert [problem.pointer for problem in taken] == ["/" + field]


def parse_or_explain(body: bytes) -> Order | list[FieldProblem]:
    """The order, or the problems, which are some and can be told."""
    try:
        return parse(body)
    except InvalidOrder as error:
        problems = error.problems
    assert problems
    reported = [{"pointer": problem.pointer, "detail": problem.detail} for problem in problems]
    assert problem_body("invalid-request", detail="; ".join(problem.detail for problem in problems), errors=reported)
    return problems

from datetime import UTC, datetime

import pytest

from ordertrail.api.cursor import write_cursor
from ordertrail.api.list_query import InvalidQuery, ListQuery, parse_list_query, refuse_parameters
from ordertrail.domain.order import Side
from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.storage.order_reads import OrderFilter

BOUNDARY = datetime(2026, 11, 22, 9, 30, 0, 123456, tzinfo=UTC)


def pointers(*pairs: tuple[str, str]) -> list[str]:
    with pytest.raises(InvalidQuery) as caught:
        parse_list_query(pairs)
    return [problem.pointer for problem in caught.value.problems]


def test_no_parameters_list_the_newest_hundred() -> None:
    assert parse_list_query([]) == ListQuery(OrderFilter(), 100, None)


def test_every_filter_is_read() -> None:
    query = parse_list_query(
        [
            ("status", "FILLED"),
            ("outcome", "placed"),
            ("instrument", "AAPL12345678"),
            ("side", "sell"),
            ("client_order_id", "a/key~1"),
            ("created_after", "2026-11-22T11:30:00.123456+02:00"),
            ("created_before", "2026-11-22t09:30:00.123456z"),
            ("limit", "500"),
        ]
    )

    wanted = OrderFilter(
        (OrderStatus.FILLED,), Outcome.PLACED, "AAPL12345678", Side.SELL, "a/key~1", BOUNDARY, BOUNDARY
    )
    assert query == ListQuery(wanted, 500, None)


def test_a_status_may_be_repeated_and_the_order_says_nothing() -> None:
    query = parse_list_query([("status", "FILLED"), ("status", "COMPLETED"), ("status", "FILLED")])

    assert query.wanted.statuses == (OrderStatus.COMPLETED, OrderStatus.FILLED)


def test_times_finer_than_the_column_are_rounded_so_that_no_comparison_changes() -> None:
    finer = "2026-11-22T09:30:00.123456001Z"

    wanted = parse_list_query([("created_after", finer), ("created_before", finer)]).wanted

    assert wanted.created_after == BOUNDARY
    assert wanted.created_before == BOUNDARY.replace(microsecond=123457)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "501"),
        ("limit", "-1"),
        ("limit", "1.0"),
        ("limit", " 1"),
        ("limit", ""),
        ("limit", "٣"),
        ("limit", "9" * 5000),
        ("status", "completed"),
        ("status", ""),
        ("outcome", "PLACED"),
        ("side", "hold"),
        ("instrument", "AAPL"),
        ("instrument", "AAPL1234567\0"),
        ("instrument", "AAPL12345678\n"),
        ("client_order_id", ""),
        ("client_order_id", "\0"),
        ("client_order_id", "schlüssel"),
        ("client_order_id", "k" * 256),
        ("created_after", "2026-11-22"),
        ("created_after", "2026-11-22T09:30:00"),
        ("created_after", "2026-11-22T09:30:00 02:00"),
        ("created_after", "2026-02-30T09:30:00Z"),
        ("created_after", "2026-11-22T09:30:60Z"),
        ("created_after", "0001-01-01T00:00:00+23:59"),
        ("created_before", "9999-12-31T23:59:59.9999999Z"),
        ("created_before", "9999-12-31T23:59:59-00:01"),
        ("cursor", ""),
        ("cursor", "not a cursor"),
        ("cursor", "\0"),
    ],
)
def test_a_bad_value_is_pointed_at(name: str, value: str) -> None:
    assert pointers((name, value)) == [f"/query/{name}"]


def test_everything_wrong_is_reported_at_once() -> None:
    assert pointers(("limit", "0"), ("side", "up"), ("statsu", "FILLED")) == [
        "/query/statsu",
        "/query/limit",
        "/query/side",
    ]


def test_a_repeated_parameter_is_refused_even_when_equal() -> None:
    assert pointers(("side", "buy"), ("side", "buy")) == ["/query/side"]


def test_a_long_unknown_name_is_shown_in_part_and_escaped() -> None:
    assert pointers(("~/" + "x" * 5000, "")) == ["/query/~0~1" + "x" * 62]


def test_a_cursor_of_other_filters_is_pointed_at() -> None:
    cursor = write_cursor("an id", OrderFilter())

    assert parse_list_query([("cursor", cursor)]).before_id == "an id"
    assert pointers(("cursor", cursor), ("side", "buy")) == ["/query/cursor"]


def test_what_takes_no_parameters_refuses_any() -> None:
    refuse_parameters([])
    with pytest.raises(InvalidQuery):
        refuse_parameters([("expand", "trail")])

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulated_exchange.capabilities import PROFILES, Profile
from simulated_exchange.exchange import Exchange
from simulated_exchange.faults import Faults, QueryFaults
from simulated_exchange.orders import NewOrder, Refusal
from simulated_exchange.results import Accepted, Canceled, Duplicate, Rejected, TooLate, UnknownOrder
from simulated_exchange.wire import OrderView
from tests.support.clocks import ManualClock
from tests.unit.simulated_exchange.making import INSTRUMENT, NOON_US, exchange, limit, market


def shown(subject: Exchange, client_order_id: str) -> OrderView:
    view = subject.query(client_order_id)
    assert view is not None
    return view


def test_resting_order_is_new() -> None:
    subject = exchange()

    result = subject.place(limit("a"))

    assert result == Accepted("e-1", "a", "new", NOON_US)
    assert shown(subject, "a") == OrderView(
        "e-1", "a", "limit", "buy", INSTRUMENT, "10.00", 10, "new", 0, 10, None, None
    )


def test_crossing_orders_trade_and_both_report() -> None:
    subject = exchange()
    subject.place(limit("a", "sell", "10.00", 10))
    subject.place(limit("b", "sell", "10.05", 10))

    subject.place(limit("c", "buy", "11.00", 15))

    reports = subject.executions(2, 100).executions
    assert [(r.seq, r.client_order_id, r.exec_type, r.ord_status, r.last_qty, r.last_px) for r in reports] == [
        (3, "c", "new", "new", 0, None),
        (4, "c", "trade", "partially_filled", 10, "10.00"),
        (5, "a", "trade", "filled", 10, "10.00"),
        (6, "c", "trade", "filled", 5, "10.05"),
        (7, "b", "trade", "partially_filled", 5, "10.05"),
    ]
    assert [(r.cum_qty, r.leaves_qty) for r in reports] == [(0, 15), (10, 5), (10, 0), (15, 0), (5, 5)]
    assert shown(subject, "c").avg_px == "10.01666667"


def test_market_order_is_canceled_for_what_it_cannot_fill() -> None:
    subject = exchange()
    subject.place(limit("a", "sell", "10.00", 4))

    result = subject.place(market("b", "buy", 10))

    assert isinstance(result, Accepted)
    assert result.ord_status == "canceled"
    assert (shown(subject, "b").cum_qty, shown(subject, "b").leaves_qty) == (4, 0)
    assert [r.exec_type for r in subject.executions(3, 9).executions] == ["trade", "canceled"]


@pytest.mark.parametrize(
    ("changes", "reject_reason"),
    [
        ({"type": "stop"}, "invalid_type"),
        ({"type": None}, "invalid_type"),
        ({"side": "hold"}, "invalid_side"),
        ({"instrument": "US037833100"}, "invalid_instrument"),
        ({"instrument": "us0378331005"}, "invalid_instrument"),
        ({"quantity": 0}, "invalid_quantity"),
        ({"quantity": 2**31}, "invalid_quantity"),
        ({"quantity": None}, "invalid_quantity"),
        ({"limit_price": None}, "invalid_price"),
        ({"limit_price": Decimal("10.001")}, "invalid_price"),
        ({"limit_price": Decimal(0)}, "invalid_price"),
        ({"limit_price": Decimal(-1)}, "invalid_price"),
        ({"limit_price": Decimal("NaN")}, "invalid_price"),
        ({"limit_price": Decimal("1e999999")}, "invalid_price"),
        ({"limit_price": Decimal("1.00000000000000000000000000000000000001")}, "invalid_price"),
        ({"limit_price": Decimal("10000000000000.00")}, "invalid_price"),
        ({"type": "market"}, "invalid_price"),
    ],
)
def test_invalid_order_is_rejected_and_keeps_its_id(changes: dict[str, Any], reject_reason: str) -> None:
    subject = exchange()
    order = limit("a")
    invalid = NewOrder(**{field: getattr(order, field) for field in order.__struct_fields__} | changes)

    result = subject.place(invalid)

    assert isinstance(result, Rejected)
    assert result.reject_reason == reject_reason
    assert (shown(subject, "a").ord_status, shown(subject, "a").reject_reason) == ("rejected", reject_reason)
    assert isinstance(subject.place(limit("a")), Duplicate)
    assert [r.exec_type for r in subject.executions(0, 9).executions] == ["rejected"]


def test_the_highest_price_is_taken_and_kept_exactly() -> None:
    subject = exchange()

    result = subject.place(limit("a", price="9999999999999.99"))

    assert isinstance(result, Accepted)
    assert shown(subject, "a").limit_price == "9999999999999.99"


@pytest.mark.parametrize("client_order_id", ["", "a" * 256, "a b", "ä", "a\n"])
def test_what_is_no_id_is_rejected_without_a_trace(client_order_id: str) -> None:
    subject = exchange()

    result = subject.place(limit(client_order_id))

    assert isinstance(result, Rejected)
    assert subject.executions(0, 9).head == 0


def test_id_is_checked_before_all_else() -> None:
    subject = exchange()
    subject.place(limit("a"))

    result = subject.place(limit("a", quantity=0), Refusal("any", "Any."))

    assert isinstance(result, Duplicate)
    assert result.order.quantity == 10


def test_forever_means_closed_orders_too() -> None:
    subject = exchange()
    subject.place(limit("a"))
    subject.cancel("a")

    assert isinstance(subject.place(limit("a")), Duplicate)


def test_while_open_takes_a_repeated_id_once_the_first_is_closed() -> None:
    subject = exchange(profile=PROFILES["while_open"])
    subject.place(limit("a"))
    while_open = subject.place(limit("a"))
    subject.cancel("a")

    once_closed = subject.place(limit("a", quantity=7))

    assert isinstance(while_open, Duplicate)
    assert isinstance(once_closed, Accepted)
    assert shown(subject, "a").quantity == 7


def test_never_takes_every_repeated_id_and_shows_the_newest() -> None:
    subject = exchange(profile=PROFILES["promises_nothing"])
    subject.place(limit("a", quantity=1))

    result = subject.place(limit("a", quantity=2))

    assert isinstance(result, Accepted)
    assert shown(subject, "a").quantity == 2
    assert [order.quantity for order in subject.open_orders().orders] == [1, 2]


def test_seconds_refuse_a_repeated_id_for_that_long() -> None:
    clock = ManualClock()
    subject = exchange(clock, Profile(client_order_id_unique=600.0))
    subject.place(limit("a"))
    clock.move(599.9)
    within = subject.place(limit("a"))
    clock.move(0.1)

    after = subject.place(limit("a"))

    assert isinstance(within, Duplicate)
    assert isinstance(after, Accepted)


def test_order_after_its_accept_by_is_refused() -> None:
    clock = ManualClock()
    subject = exchange(clock)
    in_time = subject.place(limit("a", accept_by_us=clock.now_us()))

    too_late = subject.place(limit("b", accept_by_us=clock.now_us() - 1))

    assert isinstance(in_time, Accepted)
    assert isinstance(too_late, Rejected)
    assert too_late.reject_reason == "accept_by_passed"


def test_accept_by_is_ignored_where_it_is_not_honoured() -> None:
    clock = ManualClock()
    subject = exchange(clock, Profile(honours_accept_by=False))

    assert isinstance(subject.place(limit("a", accept_by_us=clock.now_us() - 1)), Accepted)


def test_new_order_is_hidden_for_as_long_as_set_and_no_longer() -> None:
    clock = ManualClock()
    faults = Faults(ask=QueryFaults(hide_seconds=2.0))
    subject = exchange(clock, Profile(visible_within_seconds=2.0), faults)
    subject.place(limit("a"))
    clock.move(1.9)
    hidden = subject.query("a")
    clock.move(0.1)

    assert hidden is None
    assert shown(subject, "a").ord_status == "new"


def test_faults_may_not_break_the_promise_of_visibility() -> None:
    subject = exchange()

    with pytest.raises(ValueError, match=r"hide_seconds \(2\) would break"):
        subject.set_faults(Faults(ask=QueryFaults(hide_seconds=2.0)))
    subject.set_capabilities(Profile(visible_within_seconds=2.0))
    subject.set_faults(Faults(ask=QueryFaults(hide_seconds=2.0)))
    with pytest.raises(ValueError, match="would break"):
        subject.set_capabilities(Profile(visible_within_seconds=1.0))

    assert subject.capabilities().visible_within_seconds == 2.0


def test_open_only_shows_open_orders_alone() -> None:
    subject = exchange(profile=PROFILES["open_only"])
    subject.place(limit("a"))
    before = subject.query("a")
    subject.cancel("a")

    assert before is not None
    assert subject.query("a") is None


def test_canceled_order_is_out_of_the_book_and_too_late_to_cancel_again() -> None:
    subject = exchange()
    subject.place(limit("a", "sell"))

    first, second, unknown = subject.cancel("a"), subject.cancel("a"), subject.cancel("b")

    assert isinstance(first, Canceled)
    assert isinstance(second, TooLate)
    assert isinstance(unknown, UnknownOrder)
    assert subject.open_orders().orders == ()
    subject.place(limit("c", "buy"))
    assert shown(subject, "c").ord_status == "new"


def test_executions_come_in_pages_without_holes() -> None:
    subject = exchange()
    for number in range(5):
        subject.place(limit(f"a{number}"))

    page = subject.executions(1, 3)

    assert [report.seq for report in page.executions] == [2, 3, 4]
    assert page.head == 5
    assert page.epoch == "e"
    assert subject.executions(5, 3).executions == ()


def test_time_never_runs_backwards() -> None:
    clock = ManualClock()
    subject = exchange(clock)
    subject.place(limit("a"))
    clock.move(-5)

    result = subject.place(limit("b"))

    assert isinstance(result, Accepted)
    assert result.transacted_at_us == NOON_US


command = st.tuples(
    st.sampled_from("abcdef"), st.sampled_from(["buy", "sell"]), st.none() | st.integers(9, 12), st.integers(0, 20)
)


@given(st.lists(command | st.sampled_from("abcdef"), max_size=40), st.sampled_from(sorted(PROFILES)))
def test_quantities_add_up_whatever_happens(steps: list[Any], profile: str) -> None:
    subject = exchange(profile=PROFILES[profile])
    for step in steps:
        if isinstance(step, str):
            subject.cancel(step)
        else:
            name, side, price, quantity = step
            order = market(name, side, quantity) if price is None else limit(name, side, str(price), quantity)
            subject.place(order)

    reports = subject.executions(0, 1000).executions
    traded: dict[str | None, int] = {}
    for report in reports:
        traded[report.exchange_order_id] = traded.get(report.exchange_order_id, 0) + report.last_qty
        assert report.cum_qty == traded[report.exchange_order_id]
    assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
    for view in subject.open_orders().orders:
        assert view.cum_qty + view.leaves_qty == view.quantity
        assert view.leaves_qty > 0
    last = {report.exchange_order_id: report for report in reports}
    still_open = {key for key, report in last.items() if report.ord_status in {"new", "partially_filled"}}
    assert still_open == {view.exchange_order_id for view in subject.open_orders().orders}


def test_rejected_order_may_have_no_id_of_the_exchanges() -> None:
    subject = exchange(profile=Profile(rejected_orders_have_ids=False))

    subject.place(limit("a", quantity=0))

    [report] = subject.executions(0, 10).executions
    found = subject.query("a")
    assert found is not None
    assert (report.exchange_order_id, found.exchange_order_id) == (None, None)
    assert (report.exec_type, report.reject_reason) == ("rejected", "invalid_quantity")

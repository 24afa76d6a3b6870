"""An order with its executions: whether it is live, what is left of it, and whether all of it is here."""

from datetime import UTC, datetime, timedelta

import pytest

from ordertrail.domain.execution import Execution, fold_executions
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.stored_order import ExecutedOrder, StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow
from tests.support.execution_sets import execution

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
COMPLETED = TrailRow(OrderStatus.COMPLETED, None, "X-1")
UNKNOWN = TrailRow(OrderStatus.EXCHANGE_OUTCOME_UNKNOWN, "unknown:timeout")
NOT_SENT = TrailRow(OrderStatus.EXCHANGE_CREATION_FAILED, "not_sent:closed")
REFUSED = TrailRow(OrderStatus.EXCHANGE_CREATION_FAILED, "refused:NO_MONEY")
NOT_PLACED = TrailRow(OrderStatus.NOT_PLACED, "presumed:absent")
ACCEPTED = TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, "accepted", "X-1")


def executed(*rows: TrailRow, executions: tuple[Execution, ...] = (), quantity: int = 100) -> ExecutedOrder:
    order = Order(
        "an-id", OrderType.MARKET, Side.BUY, "AAPL12345678", None, quantity, None, NOW + timedelta(seconds=60)
    )
    stored = StoredOrder(order, NOW, NOW, (TrailRow(OrderStatus.INITIATED, created_at=NOW), *rows), NOW)
    return ExecutedOrder(stored, fold_executions(executions, quantity=quantity), executions, None)


@pytest.mark.parametrize(
    ("rows", "is_live", "leaves_qty"),
    [
        ([COMPLETED], True, 100),
        ([ACCEPTED], True, 100),
        ([], None, 100),
        ([UNKNOWN], None, 100),
        ([TrailRow(OrderStatus.UNRESOLVED)], None, 100),
        ([NOT_SENT], False, 100),
        ([REFUSED], False, 0),
        ([UNKNOWN, NOT_PLACED], False, 0),
        ([COMPLETED, TrailRow(OrderStatus.PARTIALLY_FILLED, "verified")], True, 100),
        ([COMPLETED, TrailRow(OrderStatus.FILLED, "verified")], False, 0),
        ([COMPLETED, TrailRow(OrderStatus.CANCELED, "verified")], False, 0),
        ([COMPLETED, TrailRow(OrderStatus.EXPIRED, "verified")], False, 0),
        ([COMPLETED, TrailRow(OrderStatus.REJECTED, "verified")], False, 0),
    ],
    ids=str,
)
def test_where_nothing_was_reported_the_trail_says_whether_it_is_live(
    rows: list[TrailRow], is_live: bool | None, leaves_qty: int
) -> None:
    order = executed(*rows)

    assert (order.is_live, order.leaves_qty) == (is_live, leaves_qty)


def test_the_venue_s_latest_word_is_above_the_folded_status() -> None:
    filled = execution("E1", ord_status="filled", last_qty=100, cum_qty=100)
    bust = execution("E2", "trade_cancel", seq=2, ord_status="new", exec_ref_id="E1", last_qty=0, cum_qty=0)
    rows = (COMPLETED, TrailRow(OrderStatus.FILLED, "execution"))

    over, reopened = executed(*rows, executions=(filled,)), executed(*rows, executions=(filled, bust))

    assert (over.is_live, over.leaves_qty) == (False, 0)
    assert (reopened.is_live, reopened.leaves_qty) == (True, 100)


@pytest.mark.parametrize("rows", [[], [UNKNOWN, NOT_PLACED]], ids=["in doubt", "settled as not placed"])
def test_a_report_is_above_what_was_settled_without_it(rows: list[TrailRow]) -> None:
    order = executed(*rows, executions=(execution("E1", "new", ord_status="new", last_qty=0, last_px=None, cum_qty=0),))

    assert (order.is_live, order.leaves_qty) == (True, 100)


def test_a_refusal_that_was_reported_is_over() -> None:
    rejected = execution("E1", "rejected", ord_status="rejected", last_qty=0, last_px=None, cum_qty=0)

    order = executed(REFUSED, executions=(rejected,))

    assert (order.is_live, order.leaves_qty, order.executions_complete) == (False, 0, True)


def test_a_person_s_word_that_it_is_over_stands() -> None:
    rows = (COMPLETED, TrailRow(OrderStatus.CANCELED, "operator:ada: by telephone"))

    order = executed(*rows, executions=(execution("E1"),))

    assert (order.is_live, order.leaves_qty, order.progress.cum_qty) == (False, 0, 10)


@pytest.mark.parametrize(
    ("rows", "executions", "is_complete"),
    [
        ([COMPLETED], (), True),
        ([UNKNOWN], (), True),
        ([COMPLETED, TrailRow(OrderStatus.PARTIALLY_FILLED, "verified")], (), False),
        ([COMPLETED, TrailRow(OrderStatus.CANCELED, "verified")], (), False),
        ([COMPLETED, TrailRow(OrderStatus.PARTIALLY_FILLED, "execution")], (execution("E1"),), True),
        ([COMPLETED], (execution("E1", cum_qty=20),), False),
    ],
)
def test_complete_is_what_the_venue_has_reported(
    rows: list[TrailRow], executions: tuple[Execution, ...], is_complete: bool
) -> None:
    assert executed(*rows, executions=executions).executions_complete is is_complete

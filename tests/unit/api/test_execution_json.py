from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.api.execution_json import executed_order_json, execution_json, position_json, price_text
from ordertrail.api.order_json import order_json, trail_json
from ordertrail.domain.execution import TRADE_CANCEL, fold_executions
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.stored_order import ExecutedOrder, StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.execution_reads import InstrumentPosition
from tests.support.execution_sets import START, execution

CREATED_AT = datetime(2026, 11, 27, 9, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("price", "text"),
    [
        ("150", "150.00"),
        ("150.5", "150.50"),
        ("150.2500", "150.25"),
        ("150.12500000", "150.125"),
        ("33.33333333", "33.33333333"),
        ("0", "0.00"),
        ("1E+3", "1000.00"),
        ("1E-8", "0.00000001"),
        ("-0.5", "-0.50"),
        ("12345678901234567890.123456789", "12345678901234567890.123456789"),
    ],
)
def test_a_price_has_two_decimals_or_as_many_as_it_needs(price: str, text: str) -> None:
    assert price_text(Decimal(price)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_price_is_its_exact_value(price: Decimal) -> None:
    text = price_text(price)

    assert text is not None and Decimal(text) == price


def test_no_price_is_null() -> None:
    assert price_text(None) is None


def test_an_execution_has_the_venue_s_own_words() -> None:
    bust = execution("E2", TRADE_CANCEL, seq=7, exec_ref_id="E1", last_qty=0, last_px=None, transact_time=START)

    assert execution_json(bust) == {
        "exec_id": "E2",
        "session": 1,
        "epoch": "first",
        "seq": 7,
        "exec_type": "trade_cancel",
        "exec_ref_id": "E1",
        "ord_status": "partially_filled",
        "last_qty": 0,
        "last_px": None,
        "cum_qty": 10,
        "leaves_qty": 90,
        "avg_px": "150.25",
        "transact_time": "2026-11-27T09:30:00.000000Z",
    }


def test_an_order_is_shown_with_what_was_executed_of_it() -> None:
    order = Order("an-id", OrderType.LIMIT, Side.BUY, "AAPL12345678", Decimal(150), 100, None, None)
    rows = (TrailRow(OrderStatus.INITIATED, created_at=CREATED_AT), TrailRow(OrderStatus.COMPLETED, None, "X-1"))
    stored = StoredOrder(order, CREATED_AT, None, rows, CREATED_AT)
    trades = (execution("E1"), execution("E2", seq=2, last_px=Decimal("150.5"), cum_qty=20))
    executed = ExecutedOrder(
        stored, fold_executions(trades, quantity=100), trades, cancel_requested_at=CREATED_AT + timedelta(seconds=1)
    )

    assert executed_order_json(executed, venue="http://exchange:9000") == order_json(stored) | {
        "venue": "http://exchange:9000",
        "cum_qty": 20,
        "leaves_qty": 80,
        "avg_px": "150.375",
        "is_live": True,
        "busted": False,
        "overfilled": False,
        "executions_complete": True,
        "cancel_requested_at": "2026-11-27T09:29:01.000000Z",
        "trail": trail_json(stored),
        "executions": [execution_json(trade) for trade in trades],
    }


def test_a_position_is_net_of_what_was_sold() -> None:
    assert position_json(InstrumentPosition("AAPL12345678", 10, Decimal("150.25"), 30, None)) == {
        "instrument": "AAPL12345678",
        "buy_qty": 10,
        "buy_avg_px": "150.25",
        "sell_qty": 30,
        "sell_avg_px": None,
        "net_qty": -20,
    }

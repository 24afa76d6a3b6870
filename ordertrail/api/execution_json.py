"""Executions, and what they come to, as JSON."""

from decimal import Decimal
from typing import Any

from ordertrail.api.order_json import order_json, rfc_3339, trail_json
from ordertrail.domain.execution import Execution
from ordertrail.domain.stored_order import ExecutedOrder
from ordertrail.storage.execution_reads import InstrumentPosition

PRICE_DECIMALS_MIN = 2


def executed_order_json(order: ExecutedOrder, *, venue: str) -> dict[str, Any]:
    """The order with its venue, what was executed of it, its trail and its newest executions."""
    progress = order.progress
    requested_at = order.cancel_requested_at
    return {
        **order_json(order.stored),
        "venue": venue,
        "cum_qty": progress.cum_qty,
        "leaves_qty": order.leaves_qty,
        "avg_px": price_text(progress.avg_px),
        "is_live": order.is_live,
        "busted": progress.busted,
        "overfilled": progress.overfilled,
        "executions_complete": order.executions_complete,
        "cancel_requested_at": None if requested_at is None else rfc_3339(requested_at),
        "trail": trail_json(order.stored),
        "executions": [execution_json(execution) for execution in order.executions],
    }


def execution_json(execution: Execution) -> dict[str, Any]:
    """One report; the last quantities and the average are the venue's own words about the order."""
    return {
        "exec_id": execution.exec_id,
        "session": execution.session,
        "epoch": execution.epoch,
        "seq": execution.seq,
        "exec_type": execution.exec_type,
        "exec_ref_id": execution.exec_ref_id,
        "ord_status": execution.ord_status,
        "last_qty": execution.last_qty,
        "last_px": price_text(execution.last_px),
        "cum_qty": execution.cum_qty,
        "leaves_qty": execution.leaves_qty,
        "avg_px": price_text(execution.avg_px),
        "transact_time": rfc_3339(execution.transact_time),
    }


def position_json(position: InstrumentPosition) -> dict[str, Any]:
    """What was bought and sold of one instrument."""
    return {
        "instrument": position.instrument,
        "buy_qty": position.buy_qty,
        "buy_avg_px": price_text(position.buy_avg_px),
        "sell_qty": position.sell_qty,
        "sell_avg_px": price_text(position.sell_avg_px),
        "net_qty": position.net_qty,
    }


def price_text(price: Decimal | None) -> str | None:
    """With at least two decimals, no further zeros at its end, and never an exponent."""
    if price is None:
        return None
    whole, _, decimals = f"{price:f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(PRICE_DECIMALS_MIN, '0')}"

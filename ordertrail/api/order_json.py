"""An order as JSON: the same names, in the same order, in every answer that has one."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import Outcome, TrailRow


def order_json(stored: StoredOrder) -> dict[str, Any]:
    """The order and its folds, without its trail."""
    order = stored.order
    outcome = stored.outcome
    certainty = stored.certainty if outcome is Outcome.NOT_PLACED else None
    return {
        "id": order.id,
        "created_at": rfc_3339(stored.created_at),
        "type": order.type.value,
        "side": order.side.value,
        "instrument": order.instrument,
        # Exact: within the bounds of `price_problem` the shortest text of the double is the decimal that came.
        "limit_price": None if order.limit_price is None else float(order.limit_price),
        "quantity": order.quantity,
        "status": stored.status.value,
        "outcome": outcome.value,
        **({} if certainty is None else {"certainty": certainty.value}),
        "client_order_id": order.client_order_id,
        "exchange_order_id": stored.exchange_order_id,
        "place_by": None if order.place_by is None else rfc_3339(order.place_by),
    }


def trail_json(stored: StoredOrder) -> list[dict[str, Any]]:
    """The rows of the order, oldest first."""
    return [trail_row_json(row) for row in stored.rows]


@lru_cache(maxsize=1024)  # the orders of a batch were recorded at one moment
def rfc_3339(moment: datetime) -> str:
    """In UTC and with all six digits, so that texts sort as times do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def trail_row_json(row: TrailRow) -> dict[str, Any]:
    """One row."""
    return {
        "status": row.status.value,
        "created_at": None if row.created_at is None else rfc_3339(row.created_at),
        "recorded_at": None if row.recorded_at is None else rfc_3339(row.recorded_at),
        "reason": row.reason,
        "exchange_order_id": row.exchange_order_id,
    }

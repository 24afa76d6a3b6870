"""The exchange's documents, recorded once in tests/payloads: what both sides of the wire are tested with.

Ids, epochs and times are the recording's own: order `order-1` is the exchange's `X-1`, in epoch `e`, at noon of
2026-01-01. That the simulated exchange still sends them is tested in tests/edges/test_simulated_exchange_http.py.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from ordertrail.domain.order import Order, OrderType, Side

FOLDER = Path(__file__).parents[1] / "payloads"
# The order that the documents speak of.
RECORDED_ORDER = Order("order-1", OrderType.LIMIT, Side.BUY, "US0378331005", Decimal("10.50"), 10)
RECORDED_MARKS = {
    "exchange_order_id": "X-1",
    "epoch": "e",
    "transact_time": "2026-01-01T12:00:00.000000Z",
    "as_of": "2026-01-01T12:00:00.000000Z",
}


def payload(name: str) -> dict[str, Any]:
    """A document by the name of its file."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return document


def as_recorded(document: Any) -> Any:
    """A document of another run, with the ids, epochs and times of the recording."""
    if isinstance(document, list):
        return [as_recorded(each) for each in document]
    if not isinstance(document, dict):
        return document
    return {name: RECORDED_MARKS.get(name, as_recorded(value)) for name, value in document.items()}

"""An event as a line: for a person, or for a program."""

import json
from typing import Any

from ordertrail.cli.tables import printable

ORDER, EXECUTION = "order", "execution"


def json_line(event_id: str | None, event_type: str, data: dict[str, Any]) -> str:
    """`{id, type, data}` as the API sent it; in ASCII, so that no terminal is done anything to."""
    return json.dumps({"id": event_id, "type": event_type, "data": data})


def line_for_person(event_type: str, data: dict[str, Any]) -> str:
    """Time, order, what happened; what is not there is left out, whatever came instead."""
    parts = _execution_parts(data) if event_type == EXECUTION else _order_parts(data)
    return printable("  ".join(part for part in parts if part))


def _order_parts(data: dict[str, Any]) -> list[str]:
    return [
        _text(data, "created_at"),
        _text(data, "order_id"),
        _text(data, "status"),
        _text(data, "reason"),
        _text(data, "exchange_order_id", "at the exchange "),
        _text(data, "recorded_at", "recorded "),
    ]


def _execution_parts(data: dict[str, Any]) -> list[str]:
    quantity = _text(data, "last_qty") + _text(data, "last_px", "@") if data.get("last_px") is not None else ""
    return [
        _text(data, "transact_time"),
        _text(data, "order_id"),
        " ".join(part for part in (_text(data, "exec_type"), quantity) if part),
        _text(data, "ord_status"),
        _text(data, "exec_id", "execution ") + _text(data, "exec_ref_id", " of "),
    ]


def _text(data: dict[str, Any], name: str, before: str = "") -> str:
    value = data.get(name)
    return "" if value is None else f"{before}{value}"

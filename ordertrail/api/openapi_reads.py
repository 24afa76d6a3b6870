"""What the OpenAPI says of the reads, whose answers and parameters no framework derives: we write and read them."""

from typing import Any

from ordertrail.api.list_query import LIMIT_DEFAULT, LIMIT_MAX
from ordertrail.api.openapi import (
    EXAMPLE_ORDER,
    MOMENT_PATTERN,
    ORDER,
    OUTCOMES,
    RETRY_AFTER,
    STATUSES,
    problem_response,
)
from ordertrail.domain.reason import EXECUTION as EXECUTION_REASON

_NULLABLE_STRING = {"type": ["string", "null"]}
_MOMENT = {"type": "string", "format": "date-time", "pattern": MOMENT_PATTERN}

_EXAMPLE_TRAIL = [
    {
        "status": "INITIATED",
        "created_at": "2026-11-22T09:30:00.123456Z",
        "recorded_at": None,
        "reason": None,
        "exchange_order_id": None,
    },
    {
        "status": "COMPLETED",
        "created_at": "2026-11-22T09:30:00.131072Z",
        "recorded_at": None,
        "reason": None,
        "exchange_order_id": "X-1",
    },
]
EXAMPLE_TRAIL_ROW = _EXAMPLE_TRAIL[1]
_EXAMPLE = EXAMPLE_ORDER | {"client_order_id": None}
_EXAMPLE_EXECUTIONS = [
    {
        "exec_id": "E-71",
        "session": 1,
        "epoch": "2026-11-22",
        "seq": 71,
        "exec_type": "new",
        "exec_ref_id": None,
        "ord_status": "new",
        "last_qty": 0,
        "last_px": None,
        "cum_qty": 0,
        "leaves_qty": 10,
        "avg_px": None,
        "transact_time": "2026-11-22T09:30:00.130000Z",
    },
    {
        "exec_id": "E-74",
        "session": 1,
        "epoch": "2026-11-22",
        "seq": 74,
        "exec_type": "trade",
        "exec_ref_id": None,
        "ord_status": "partially_filled",
        "last_qty": 4,
        "last_px": "150.25",
        "cum_qty": 4,
        "leaves_qty": 6,
        "avg_px": "150.25",
        "transact_time": "2026-11-22T09:30:07.500000Z",
    },
]
EXAMPLE_EXECUTION = _EXAMPLE_EXECUTIONS[1]
_EXAMPLE_SINGLE = {
    **_EXAMPLE,
    "status": "PARTIALLY_FILLED",
    "venue": "http://exchange:9000",
    "cum_qty": 4,
    "leaves_qty": 6,
    "avg_px": "150.25",
    "is_live": True,
    "busted": False,
    "overfilled": False,
    "executions_complete": True,
    "cancel_requested_at": None,
    "trail": [
        *_EXAMPLE_TRAIL,
        {
            "status": "PARTIALLY_FILLED",
            "created_at": "2026-11-22T09:30:07.504096Z",
            "recorded_at": None,
            "reason": EXECUTION_REASON.text,
            "exchange_order_id": "X-1",
        },
    ],
    "executions": _EXAMPLE_EXECUTIONS,
}

_QUANTITY = {"type": "integer"}
_PRICE = {
    "description": "A decimal, as text: at least two decimals, and no further zeros at its end.",
    "type": ["string", "null"],
    "pattern": r"^-?[0-9]+\.[0-9]{2,}$",
}

_NEXT_CURSOR = {"description": "Goes on where this page ends; null: it is the last.", **_NULLABLE_STRING}

TRAIL_ROW: dict[str, Any] = {
    "type": "object",
    "required": ["status", "created_at", "recorded_at", "reason", "exchange_order_id"],
    "properties": {
        "status": {"type": "string", "enum": STATUSES},
        "created_at": {"type": ["string", "null"], "format": "date-time"},
        "recorded_at": {
            "description": "When it was written, where that was later: the database was away when it happened.",
            "type": ["string", "null"],
            "format": "date-time",
        },
        "reason": _NULLABLE_STRING,
        "exchange_order_id": _NULLABLE_STRING,
    },
}
TRAIL = {
    "type": "array",
    "description": "The rows of the order, oldest first. A row is never changed.",
    "items": TRAIL_ROW,
}


def _object(**properties: object) -> dict[str, Any]:
    """With all of them required."""
    return {"type": "object", "required": list(properties), "properties": properties}


EXECUTION = _object(
    exec_id={"type": "string", "description": "The exchange's; unique for the order within a session."},
    session={"type": "integer", "description": "Within which the exchange's exec ids are unique for an order."},
    epoch={"type": "string", "description": "Within which the exchange's seqs count."},
    seq={"type": ["integer", "null"], "description": "Null where the exchange has none."},
    exec_type={
        "type": "string",
        "description": "new, trade, canceled, expired, rejected, trade_cancel, trade_correct; or another word of the "
        "exchange's that moves no quantity.",
    },
    exec_ref_id={"description": "Of a bust or a correction: the execution that it is about.", **_NULLABLE_STRING},
    ord_status={"type": "string"},
    last_qty=_QUANTITY,
    last_px=_PRICE,
    cum_qty=_QUANTITY,
    leaves_qty=_QUANTITY,
    avg_px=_PRICE,
    transact_time={"type": "string", "format": "date-time"},
)

_EXECUTIONS = {
    "type": "array",
    "description": "What the exchange reported of the order, in its own words, oldest first.",
    "items": EXECUTION,
}

_SINGLE_ORDER = {
    "allOf": [
        ORDER,
        _object(
            venue={"type": "string", "description": "The exchange that this process places and queries it at."},
            cum_qty={"description": "How much is filled: trades, as they were corrected or taken back.", **_QUANTITY},
            leaves_qty={"description": "How much may still be filled; 0 once the order is over.", **_QUANTITY},
            avg_px={"type": _PRICE["type"], "pattern": _PRICE["pattern"], "description": "Null: nothing is filled."},
            is_live={
                "type": ["boolean", "null"],
                "description": "Whether the order is open at the exchange, by its latest word; a bust may reopen one "
                "that was filled. Null: it may have reached the exchange, and nobody knows.",
            },
            busted={"type": "boolean", "description": "A trade was taken back, or made smaller."},
            overfilled={"type": "boolean", "description": "More is filled than was ordered."},
            executions_complete={
                "type": "boolean",
                "description": "The sum of the executions is the exchange's own, by its latest word.",
            },
            cancel_requested_at={"type": ["string", "null"], "format": "date-time"},
            trail=TRAIL,
            executions={**_EXECUTIONS, "description": "The newest 100 of its executions, oldest first."},
        ),
    ]
}

_EXECUTIONS_PAGE = _object(executions=_EXECUTIONS, next_cursor=_NEXT_CURSOR)

_POSITIONS_PAGE = _object(
    positions={
        "type": "array",
        "items": _object(
            instrument={"type": "string"},
            buy_qty=_QUANTITY,
            buy_avg_px=_PRICE,
            sell_qty=_QUANTITY,
            sell_avg_px=_PRICE,
            net_qty={"description": "Bought less sold.", **_QUANTITY},
        ),
    },
    executions_as_of={
        "type": ["string", "null"],
        "format": "date-time",
        "description": "When the newest execution that is counted was recorded.",
    },
    next_cursor=_NEXT_CURSOR,
)

_PAGE = {
    "type": "object",
    "required": ["orders", "next_cursor"],
    "properties": {
        "orders": {"type": "array", "items": ORDER},
        "next_cursor": _NEXT_CURSOR,
    },
}


def _answer(description: str, schema: dict[str, Any], example: object) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _parameter(name: str, description: str, **schema: object) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_UNAVAILABLE = problem_response("database-unavailable", "overloaded", "shutting-down", headers=RETRY_AFTER)
_NOT_FOUND = problem_response("order-not-found")
_INVALID = problem_response("invalid-request")

_LIMIT = _parameter(
    "limit", "How many at the most.", type="integer", minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT
)
_CURSOR = _parameter("cursor", "The `next_cursor` of the page before.", type="string")

LIST_ORDERS: dict[str, Any] = {
    "summary": "List orders, newest first",
    "description": "Filters combine: an order must fit all of them. Orders that come while you page stand before "
    "your first page, so no page shifts. Only the key, the page's position and orders that failed or ended otherwise "
    "than filled are indexed. By another status a page that has to read too many orders ends early, perhaps empty, and "
    "`next_cursor` goes on; other lists are then given up as `too-slow`: narrow their time.",
    "tags": ["orders"],
    "operation_id": "list_orders",
    "response_model": None,
    "responses": {
        200: _answer("A page of orders.", _PAGE, {"orders": [_EXAMPLE], "next_cursor": None}),
        422: _INVALID,
        503: problem_response("database-unavailable", "too-slow", "overloaded", "shutting-down", headers=RETRY_AFTER),
    },
    "openapi_extra": {
        "parameters": [
            _LIMIT,
            _parameter("cursor", "The `next_cursor` of the page before; the filters must be the same.", type="string"),
            _parameter(
                "status",
                "The present status; repeated: any of them.",
                type="array",
                items={"type": "string", "enum": STATUSES},
                minItems=1,
            ),
            _parameter("outcome", "The present outcome.", type="string", enum=OUTCOMES),
            _parameter("instrument", "The instrument.", type="string", pattern="^[A-Z0-9]{12}$"),
            _parameter("side", "The side.", type="string", enum=["buy", "sell"]),
            _parameter("client_order_id", "The caller's key.", type="string", pattern="^[!-~]{1,255}$"),
            _parameter("created_after", "Recorded after this moment; RFC 3339 with an offset.", **_MOMENT),
            _parameter("created_before", "Recorded before this moment; RFC 3339 with an offset.", **_MOMENT),
        ],
    },
}

READ_ORDER: dict[str, Any] = {
    "summary": "Read an order, with its trail and its executions",
    "description": "With `Prefer: wait=SECONDS` (at most 30) it answers once the outcome is `placed` or `not_placed`, "
    "else as it is then.",
    "tags": ["orders"],
    "operation_id": "read_order",
    "response_model": None,
    "responses": {
        200: {
            **_answer("The order.", _SINGLE_ORDER, _EXAMPLE_SINGLE),
            "headers": {
                "Preference-Applied": {
                    "description": "How long it would have waited at the most.",
                    "schema": {"type": "string"},
                    "required": False,
                }
            },
        },
        404: _NOT_FOUND,
        422: _INVALID,
        503: _UNAVAILABLE,
    },
    "openapi_extra": {
        "parameters": [
            {
                "name": "Prefer",
                "in": "header",
                "required": False,
                "description": "`wait=SECONDS`: wait until it is known whether the order is placed.",
                "schema": {"type": "string"},
            }
        ]
    },
}

READ_TRAIL: dict[str, Any] = {
    "summary": "Read an order's trail",
    "tags": ["orders"],
    "operation_id": "read_trail",
    "response_model": None,
    "responses": {
        200: _answer(
            "The trail.",
            {"type": "object", "required": ["trail"], "properties": {"trail": TRAIL}},
            {"trail": _EXAMPLE_TRAIL},
        ),
        404: _NOT_FOUND,
        422: _INVALID,
        503: _UNAVAILABLE,
    },
}

LIST_EXECUTIONS: dict[str, Any] = {
    "summary": "List an order's executions, oldest first",
    "description": "In the order of the exchange's own words. What it reports late stands where it belongs, so a page "
    "that was read before may have grown since.",
    "tags": ["orders"],
    "operation_id": "list_executions",
    "response_model": None,
    "responses": {
        200: _answer(
            "A page of executions.", _EXECUTIONS_PAGE, {"executions": _EXAMPLE_EXECUTIONS, "next_cursor": None}
        ),
        404: _NOT_FOUND,
        422: _INVALID,
        503: _UNAVAILABLE,
    },
    "openapi_extra": {"parameters": [_LIMIT, _CURSOR]},
}

LIST_POSITIONS: dict[str, Any] = {
    "summary": "List what was bought and sold, by instrument",
    "description": "Sums over all executions, as they were corrected or taken back; exact.",
    "tags": ["positions"],
    "operation_id": "list_positions",
    "response_model": None,
    "responses": {
        200: _answer(
            "A page of positions.",
            _POSITIONS_PAGE,
            {
                "positions": [
                    {
                        "instrument": "AAPL12345678",
                        "buy_qty": 4,
                        "buy_avg_px": "150.25",
                        "sell_qty": 0,
                        "sell_avg_px": None,
                        "net_qty": 4,
                    }
                ],
                "executions_as_of": "2026-11-22T09:30:07.504096Z",
                "next_cursor": None,
            },
        ),
        422: _INVALID,
        503: _UNAVAILABLE,
    },
    "openapi_extra": {"parameters": [_LIMIT, _CURSOR]},
}

READS = (LIST_ORDERS, READ_ORDER, READ_TRAIL, LIST_EXECUTIONS, LIST_POSITIONS)

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
_EXAMPLE = EXAMPLE_ORDER | {"client_order_id": None}
_EXAMPLE_SINGLE = {**_EXAMPLE, "venue": "http://exchange:9000", "trail": _EXAMPLE_TRAIL, "executions": []}

TRAIL = {
    "type": "array",
    "description": "The rows of the order, oldest first. A row is never changed.",
    "items": {
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
    },
}

_SINGLE_ORDER = {
    "allOf": [
        ORDER,
        {
            "type": "object",
            "required": ["venue", "trail", "executions"],
            "properties": {
                "venue": {"type": "string", "description": "The exchange that this process places and queries it at."},
                "trail": TRAIL,
                "executions": {"type": "array", "items": {"type": "object"}},
            },
        },
    ]
}

_PAGE = {
    "type": "object",
    "required": ["orders", "next_cursor"],
    "properties": {
        "orders": {"type": "array", "items": ORDER},
        "next_cursor": {"description": "Goes on where this page ends; null: it is the last.", **_NULLABLE_STRING},
    },
}


def _answer(description: str, schema: dict[str, Any], example: object) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _parameter(name: str, description: str, **schema: object) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_UNAVAILABLE = problem_response("database-unavailable", "overloaded", "shutting-down", headers=RETRY_AFTER)
_NOT_FOUND = problem_response("order-not-found")
_INVALID = problem_response("invalid-request")

LIST_ORDERS: dict[str, Any] = {
    "summary": "List orders, newest first",
    "description": "Filters combine: an order must fit all of them. Orders that come while you page stand before "
    "your first page, so no page shifts. Only the key and the page's position are indexed, and so is what went wrong; "
    "a list that has to read too many orders for those it shows is given up as `too-slow`: narrow its time.",
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
            _parameter(
                "limit", "How many at the most.", type="integer", minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT
            ),
            _parameter("cursor", "The `next_cursor` of the page before; the filters must be the same.", type="string"),
            _parameter("status", "The present status.", type="string", enum=STATUSES),
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
    "tags": ["orders"],
    "operation_id": "read_order",
    "response_model": None,
    "responses": {
        200: _answer("The order.", _SINGLE_ORDER, _EXAMPLE_SINGLE),
        404: _NOT_FOUND,
        422: _INVALID,
        503: _UNAVAILABLE,
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

"""What the OpenAPI says of `POST /orders`, which no framework derives because it is answered before the router."""

from typing import Any

from ordertrail.api.problems import ORDER_FAILED, PROBLEMS, ProblemType

DESCRIPTION = """
Ordertrail takes orders, records every step of each as a row that is never changed, and places them at an exchange.

Give every order a key (`Idempotency-Key` or `client_order_id`). Then, after a timeout, a dropped connection, a 409 or
a 5xx, send the same request again with the same key, after `Retry-After`: that can never make a second order, and the
answer turns to 201 when the truth turns out so.
"""

_EXAMPLE = {
    "type": "limit",
    "side": "buy",
    "instrument": "AAPL12345678",
    "limit_price": 150.00,
    "quantity": 10,
}
_ID = "01980b3e-7c1e-7d0a-9a51-2f5f0c9be001"
EXAMPLE_ORDER = {
    "id": _ID,
    "created_at": "2026-11-22T09:30:00.123456Z",
    **_EXAMPLE,
    "status": "COMPLETED",
    "outcome": "placed",
    "client_order_id": "my-order-1",
    "exchange_order_id": "X-1",
    "place_by": "2026-11-22T09:31:00.123456Z",
}

STATUSES = [
    "INITIATED",
    "EXCHANGE_CREATION_FAILED",
    "DATABASE_PERSISTENCE_FAILED",
    "EXCHANGE_OUTCOME_UNKNOWN",
    "UNRESOLVED",
    "NOT_PLACED",
    "COMPLETED",
    "PARTIALLY_FILLED",
    "REJECTED",
    "EXPIRED",
    "CANCELED",
    "FILLED",
]
OUTCOMES = ["placed", "not_placed", "pending", "unknown"]
_NULLABLE_STRING = {"type": ["string", "null"]}
_TIME = {"type": "string", "format": "date-time"}
_NULLABLE_TIME = {"type": ["string", "null"], "format": "date-time"}

_ORDER_REQUEST = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "side", "instrument", "quantity"],
    "properties": {
        "type": {"type": "string", "enum": ["market", "limit"]},
        "side": {"type": "string", "enum": ["buy", "sell"]},
        "instrument": {"type": "string", "pattern": "^[A-Z0-9]{12}$"},
        "limit_price": {
            "description": "Needed for limit, forbidden for market; at most 2 decimals and 15 digits, greater than 0.",
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.01, "maximum": 9999999999999.99},
                {"type": "string", "pattern": r"^(?=.*[1-9])\d{1,13}(\.\d{1,2})?$"},
                {"type": "null"},
            ],
        },
        "quantity": {"type": "integer", "minimum": 1, "maximum": 2147483647},
        "client_order_id": {
            "description": "The caller's key for this order; another spelling of the header Idempotency-Key.",
            "type": ["string", "null"],
            "pattern": "^[!-~]{1,255}$",
        },
        "place_by": {
            "description": "Until when the order may be sent again if it was not placed; RFC 3339, in the future. "
            "Without it a limit order is retried for a time and a market order is not.",
            **_NULLABLE_TIME,
        },
    },
    "allOf": [
        {
            "if": {"properties": {"type": {"const": "limit"}}},
            "then": {"required": ["limit_price"], "properties": {"limit_price": {"not": {"type": "null"}}}},
            "else": {"properties": {"limit_price": {"type": "null"}}},
        }
    ],
}

ORDER: dict[str, Any] = {
    "type": "object",
    "required": list(EXAMPLE_ORDER),
    "properties": {
        "id": {"type": "string"},
        "created_at": _TIME,
        "type": {"type": "string", "enum": ["market", "limit"]},
        "side": {"type": "string", "enum": ["buy", "sell"]},
        "instrument": {"type": "string"},
        "limit_price": {"type": ["number", "null"]},
        "quantity": {"type": "integer"},
        "status": {"type": "string", "enum": STATUSES},
        "outcome": {"type": "string", "enum": OUTCOMES},
        "client_order_id": _NULLABLE_STRING,
        "exchange_order_id": _NULLABLE_STRING,
        "place_by": _NULLABLE_TIME,
    },
}

TRAIL_ROW = {
    "status": "COMPLETED",
    "created_at": "2026-11-22T09:30:00.129456Z",
    "reason": None,
    "exchange_order_id": "X-1",
}

TRAIL = {
    "type": "array",
    "items": {
        "type": "object",
        "required": list(TRAIL_ROW),
        "properties": {
            "status": {"type": "string", "enum": STATUSES},
            "created_at": _TIME,
            "reason": _NULLABLE_STRING,
            "exchange_order_id": _NULLABLE_STRING,
        },
    },
}

PROBLEM = {
    "type": "object",
    "description": "RFC 9457; consumers key on `type` and ignore members they do not know.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}

_FAILED_ORDER = {
    "allOf": [
        PROBLEM,
        {
            "type": "object",
            "required": ["message", "order_id", "order_status", "outcome", "retryable", "place_by"],
            "properties": {
                "message": {"type": "string", "const": ORDER_FAILED},
                "order_id": {"type": "string"},
                "order_status": {"type": "string", "enum": STATUSES},
                "outcome": {"type": "string", "enum": OUTCOMES},
                "retryable": {"type": "boolean"},
                "place_by": _NULLABLE_TIME,
                "client_order_id": _NULLABLE_STRING,
                "exchange_order_id": _NULLABLE_STRING,
                "trace_id": {"type": "string"},
            },
        },
    ]
}

_LOCATION = {"Location": {"description": "The order.", "schema": {"type": "string"}}}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}

_FAILED_TYPES = (
    "exchange-refused",
    "exchange-unavailable",
    "exchange-throttled",
    "circuit-open",
    "outcome-unknown",
    "not-recorded",
    "internal-error",
)


def problem_response(*names: str, **more: Any) -> dict[str, Any]:
    """The OpenAPI response for one HTTP status, with an example for each of its problem types."""
    kinds = {name: PROBLEMS[name] for name in names}
    return {
        "description": " / ".join(kind.title for kind in kinds.values()),
        "content": {
            "application/problem+json": {
                "schema": more.pop("schema", PROBLEM),
                "examples": {name: {"value": _example(name, kind)} for name, kind in kinds.items()},
            }
        },
        **more,
    }


def _example(name: str, kind: ProblemType) -> dict[str, Any]:
    example: dict[str, Any] = {
        "type": f"/problems/{name}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.meaning,
    }
    if name == "invalid-request":
        example["errors"] = [{"pointer": "/quantity", "detail": "must be greater than 0 and at most 2147483647"}]
    if name in _FAILED_TYPES:
        refused = name == "exchange-refused"
        example |= {
            "message": ORDER_FAILED,
            "order_id": _ID,
            "order_status": "EXCHANGE_OUTCOME_UNKNOWN" if name == "outcome-unknown" else "EXCHANGE_CREATION_FAILED",
            "outcome": "not_placed" if refused else "unknown" if name == "outcome-unknown" else "pending",
            "retryable": not refused,
            "place_by": EXAMPLE_ORDER["place_by"],
        }
    return example


PLACE_ORDER: dict[str, Any] = {
    "summary": "Place an order",
    "description": "Records the order, sends it to the exchange, records what came of it, and answers. "
    "With a key it may be repeated at will: one key, one order, for ever.",
    "tags": ["orders"],
    "operation_id": "place_order",
    "status_code": 201,
    "response_model": None,
    "responses": {
        201: {
            "description": "Placed: the exchange has accepted it and both rows are committed.",
            "headers": _LOCATION,
            "content": {"application/json": {"schema": ORDER, "example": EXAMPLE_ORDER}},
        },
        408: problem_response("request-timeout"),
        409: problem_response("request-in-progress", headers=_LOCATION | _RETRY_AFTER),
        413: problem_response("payload-too-large"),
        415: problem_response("unsupported-media-type"),
        422: problem_response("invalid-request", "key-reused"),
        500: problem_response(*_FAILED_TYPES, schema=_FAILED_ORDER, headers=_LOCATION | _RETRY_AFTER),
        503: problem_response("overloaded", "spool-full", "halted", "shutting-down", headers=_RETRY_AFTER),
    },
    "openapi_extra": {
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The caller's key for this order: 1 to 255 visible ASCII characters.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _ORDER_REQUEST,
                    "examples": {
                        "limit": {"value": _EXAMPLE},
                        "market": {
                            "value": {
                                "type": "market",
                                "side": "sell",
                                "instrument": "AAPL12345678",
                                "quantity": 10,
                            }
                        },
                    },
                }
            },
        },
    },
}

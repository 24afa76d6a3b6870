"""What the OpenAPI says of orders, and of every operation: no framework derives it, for we read and write it all."""

from collections.abc import Iterable
from typing import Any

from ordertrail.api.advice import MEANINGS, Advice, advice_of
from ordertrail.api.problems import ORDER_FAILED, PROBLEMS
from ordertrail.domain.trail import Certainty, Outcome

DESCRIPTION = """
Ordertrail takes orders, records every step of each as a row that is never changed, and places them at an exchange.

Give every order a key (`Idempotency-Key` or `client_order_id`). Then, after a timeout, a dropped connection, a 409 or
a 5xx, send the same request again with the same key, after `Retry-After`: that can never make a second order, and the
answer turns to 201 when the truth turns out so. Each problem of `POST /orders` says in `advice` what may be done next.
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
CERTAINTIES = ["proved", "presumed"]
_NULLABLE_STRING = {"type": ["string", "null"]}
# RFC 3339 as we read it: its years begin with 1, no minute has 61 seconds, and nothing is finer than nanoseconds.
# Patterns name their digits, for in some languages \d is any script's.
MOMENT_PATTERN = (
    r"^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-5][0-9])$"
)
# Greater than 0, at most 2 decimals and 15 digits, beside any zeros that say nothing.
_PRICE_PATTERN = (
    r"^(?=.*[1-9])(?=[0-9]{1,32}(\.[0-9]{1,32})?$)"
    r"0*([0-9]{1,15}(\.0+)?|[0-9]{1,14}\.[0-9]0*|[0-9]{1,13}\.[0-9]{2}0*)$"
)
_CERTAINTY = {
    "description": "Only with the outcome not_placed: whether it is proved that the exchange has not got the order.",
    "type": "string",
    "enum": CERTAINTIES,
}
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
                # No multipleOf: validators that divide in binary find that 19.99 is no multiple of 0.01.
                {"type": "number", "exclusiveMinimum": 0, "maximum": 999999999999999},
                {"type": "string", "pattern": _PRICE_PATTERN},
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
            "pattern": MOMENT_PATTERN,
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
        "certainty": _CERTAINTY,
        "client_order_id": _NULLABLE_STRING,
        "exchange_order_id": _NULLABLE_STRING,
        "place_by": _NULLABLE_TIME,
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

_ADVICE = {
    "description": "What may be done next; it never makes two orders.\n\n"
    + "\n".join(f"- `{advice}`: {meaning}" for advice, meaning in MEANINGS.items()),
    "type": "string",
    "enum": [advice.value for advice in Advice],
}

_PLACING_PROBLEM = {
    "allOf": [PROBLEM, {"type": "object", "required": ["advice"], "properties": {"advice": _ADVICE}}],
}

_FAILED_ORDER = {
    "allOf": [
        _PLACING_PROBLEM,
        {
            "type": "object",
            "required": ["message", "order_id", "order_status", "outcome", "retryable", "place_by"],
            "properties": {
                "message": {"type": "string", "const": ORDER_FAILED},
                "order_id": {"type": "string"},
                "order_status": {"type": "string", "enum": STATUSES},
                "outcome": {"type": "string", "enum": OUTCOMES},
                "certainty": _CERTAINTY,
                "retryable": {"type": "boolean"},
                "place_by": _NULLABLE_TIME,
                "client_order_id": _NULLABLE_STRING,
                "exchange_order_id": _NULLABLE_STRING,
                "trace_id": {"type": "string"},
            },
            "if": {"properties": {"outcome": {"const": "not_placed"}}},
            "then": {"required": ["certainty"]},
            "else": {"properties": {"certainty": False}},
        },
    ]
}

_LOCATION = {"Location": {"description": "The order.", "required": True, "schema": {"type": "string"}}}
_MAYBE_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "required": True, "schema": {"type": "integer"}}}

_FAILED_TYPES = (
    "exchange-refused",
    "exchange-unavailable",
    "exchange-throttled",
    "circuit-open",
    "outcome-unknown",
    "not-recorded",
    "not-placed",
    "internal-error",
)


def problem_response(*names: str, **more: Any) -> dict[str, Any]:
    """The OpenAPI response for one HTTP status, with an example for each of its problem types."""
    return _response_of({name: _example(name) for name in names}, {"schema": PROBLEM, **more})


def _placing_problem_response(*names: str, **more: Any) -> dict[str, Any]:
    """The same for `POST /orders`, where every problem says what may be done next; the examples' orders have keys."""
    examples = {name: {**_example(name), **_failed_order(name)} for name in names}
    for name, example in examples.items():
        example.setdefault("advice", advice_of(name, has_key=True))
    return _response_of(examples, {"schema": _PLACING_PROBLEM, **more})


def _response_of(examples: dict[str, dict[str, Any]], more: dict[str, Any]) -> dict[str, Any]:
    schema = more.pop("schema")
    return {
        "description": " / ".join(example["title"] for example in examples.values()),
        "content": {
            "application/problem+json": {
                "schema": schema,
                "examples": {name: {"value": example} for name, example in examples.items()},
            }
        },
        **more,
    }


def _example(name: str) -> dict[str, Any]:
    kind = PROBLEMS[name]
    example: dict[str, Any] = {
        "type": f"/problems/{name}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.meaning,
    }
    if name == "invalid-request":
        example["errors"] = [{"pointer": "/quantity", "detail": "must be greater than 0 and at most 2147483647"}]
    return example


_EXAMPLE_OUTCOMES = {
    "exchange-refused": Outcome.NOT_PLACED,
    "not-placed": Outcome.NOT_PLACED,
    "outcome-unknown": Outcome.UNKNOWN,
    "internal-error": Outcome.UNKNOWN,
}
_EXAMPLE_STATUSES = {
    "outcome-unknown": "EXCHANGE_OUTCOME_UNKNOWN",
    "not-recorded": "DATABASE_PERSISTENCE_FAILED",
    "not-placed": "NOT_PLACED",
    "internal-error": "INITIATED",
}


def _failed_order(name: str) -> dict[str, Any]:
    if name not in _FAILED_TYPES:
        return {}
    outcome = _EXAMPLE_OUTCOMES.get(name, Outcome.PENDING)
    certainty = Certainty.PROVED if outcome is Outcome.NOT_PLACED else None
    return {
        "message": ORDER_FAILED,
        "order_id": _ID,
        "order_status": _EXAMPLE_STATUSES.get(name, "EXCHANGE_CREATION_FAILED"),
        "outcome": outcome,
        **({} if certainty is None else {"certainty": certainty}),
        "retryable": certainty is None,
        "advice": advice_of(name, has_key=True, outcome=outcome, certainty=certainty),
        "place_by": EXAMPLE_ORDER["place_by"],
    }


def _links(order_id: str) -> dict[str, Any]:
    operations = ("read_order", "read_trail", "cancel_order")
    return {name: {"operationId": name, "parameters": {"order_id": order_id}} for name in operations}


# What the connection's limits answer to any request, and what any bug of ours becomes.
EVERYWHERE: dict[int | str, dict[str, Any]] = {
    400: problem_response("malformed-request"),
    408: problem_response("request-timeout"),
    413: problem_response("payload-too-large"),
    431: problem_response("headers-too-large"),
    500: problem_response("internal-error"),
    503: problem_response("overloaded", "shutting-down", headers=RETRY_AFTER),
}

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
            "links": _links("$response.body#/id"),
        },
        202: {
            "description": "Recorded, and on its way: a worker sends it, or nobody does. Only with `respond-async`.",
            "headers": _LOCATION
            | {
                "Preference-Applied": {
                    "description": "Which preference was followed.",
                    "schema": {"type": "string", "const": "respond-async"},
                }
            },
            "content": {
                "application/json": {
                    "schema": ORDER,
                    "example": EXAMPLE_ORDER | {"status": "INITIATED", "outcome": "pending", "exchange_order_id": None},
                }
            },
            "links": _links("$response.body#/id"),
        },
        400: _placing_problem_response("malformed-request"),
        408: _placing_problem_response("request-timeout"),
        409: _placing_problem_response("request-in-progress", headers=_LOCATION | RETRY_AFTER),
        413: _placing_problem_response("payload-too-large"),
        415: _placing_problem_response("unsupported-media-type"),
        422: _placing_problem_response("invalid-request", "key-reused"),
        431: _placing_problem_response("headers-too-large"),
        500: _placing_problem_response(
            *_FAILED_TYPES,
            schema=_FAILED_ORDER,
            headers=_LOCATION | _MAYBE_RETRY_AFTER,
            links=_links("$response.body#/order_id"),
        ),
        503: _placing_problem_response(
            "overloaded",
            "spool-full",
            "queue-full",
            "halted",
            "shutting-down",
            "database-unavailable",
            headers=RETRY_AFTER,
        ),
    },
    "openapi_extra": {
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The caller's key for this order: 1 to 255 visible ASCII characters.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            },
            {
                "name": "Prefer",
                "in": "header",
                "required": False,
                "description": "`respond-async`: answer 202 once the order is recorded; a worker sends it. With "
                "`wait=SECONDS` beside it (at most 30): the answer of a request that waits, if it comes within that.",
                "schema": {"type": "string", "examples": ["respond-async", "respond-async, wait=5"]},
            },
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

CANCEL_ORDER: dict[str, Any] = {
    "summary": "Cancel an order",
    "tags": ["orders"],
    "operation_id": "cancel_order",
    "status_code": 202,
    "response_model": None,
    "responses": {
        202: {
            "description": "The wish is committed: the order is not sent any more, and what may be at the exchange is "
            "canceled there, however often that must be repeated. Repeating it changes nothing.",
            "content": {"application/json": {"schema": ORDER, "example": EXAMPLE_ORDER}},
            "links": _links("$response.body#/id"),
        },
        404: problem_response("order-not-found"),
        409: problem_response("not-cancelable"),
        503: problem_response("database-unavailable", "overloaded", "shutting-down", headers=RETRY_AFTER),
    },
}


def correct(document: dict[str, Any], operations: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Undo what the framework does to its document: it drops nulls from examples, and adds a 422 of its own shape."""
    written = {operation["operation_id"]: operation["responses"] for operation in operations}
    for path in document["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            if "application/json" in responses.get("422", {}).get("content", {}):
                del responses["422"]
            for status, response in written.get(operation["operationId"], {}).items():
                for media_type, media in response["content"].items():
                    examples = {name: media[name] for name in ("example", "examples") if name in media}
                    responses[str(status)]["content"][media_type].update(examples)
            operation["responses"] = dict(sorted(responses.items()))
    document.pop("components", None)  # Those of that 422; our own schemas stand where they are used.
    return document

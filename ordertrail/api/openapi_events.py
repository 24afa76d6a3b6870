"""What the OpenAPI says of `GET /events`."""

from typing import Any

from ordertrail.api.events_query import LIMIT_DEFAULT, LIMIT_MAX
from ordertrail.api.openapi import RETRY_AFTER, problem_response
from ordertrail.api.openapi_reads import EXAMPLE_EXECUTION, EXAMPLE_TRAIL_ROW, EXECUTION, TRAIL_ROW
from ordertrail.events.shown import EventType

_ID = "AAEADIUs8rKvVQAAAAEAAAAAAAAC-gAAAAAAAAARABeDwnzKZIcAAAAAAAAAAAAAAACpr3Ot"
_ORDER_ID = {"order_id": {"type": "string"}}
_ORDER = {
    "type": "object",
    "required": ["order_id", *TRAIL_ROW["required"]],
    "properties": _ORDER_ID | TRAIL_ROW["properties"],
}
_EXECUTION = {
    "type": "object",
    "required": ["order_id", *EXECUTION["required"]],
    "properties": _ORDER_ID | EXECUTION["properties"],
}
_EXAMPLE_ORDER = {"order_id": "0199c0de-0000-7000-8000-000000000001", **EXAMPLE_TRAIL_ROW}
_EXAMPLE_EXECUTION = {"order_id": "0199c0de-0000-7000-8000-000000000001", **EXAMPLE_EXECUTION}


def _event(event_type: EventType, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["id", "type", "data"],
        "properties": {
            "id": {"type": "string", "description": "A cursor to what follows the event."},
            "type": {"type": "string", "const": event_type.value},
            "data": data,
        },
    }


_PAGE = {
    "type": "object",
    "required": ["events", "next_after"],
    "properties": {
        "events": {
            "type": "array",
            "items": {"oneOf": [_event(EventType.ORDER, _ORDER), _event(EventType.EXECUTION, _EXECUTION)]},
        },
        "next_after": {"type": "string", "description": "Where to go on, also where there was nothing."},
    },
}


def _parameter(place: str, name: str, description: str, **schema: object) -> dict[str, Any]:
    return {"name": name, "in": place, "required": False, "description": description, "schema": schema}


READ_EVENTS: dict[str, Any] = {
    "summary": "Watch what is written of orders and executions",
    "description": "One event for each row of a trail (`order`) and for each execution report (`execution`), in an "
    "order that respects each trail, none skipped and none twice. As `text/event-stream`, without end, with an "
    "`event: heartbeat` at least every 10 s whose data is `{head, horizon_seconds, seconds_since_read}` and whose `id` "
    "is a place to resume from; `head` is the `id` of the newest event known. As `application/json` in pages, which "
    "`Prefer: wait=SECONDS` (at most 30) waits for. The cursor is the same in both.",
    "tags": ["events"],
    "operation_id": "read_events",
    "response_model": None,
    "responses": {
        200: {
            "description": "The events.",
            "headers": {
                "Preference-Applied": {
                    "description": "Of a page that was waited for: how long at the most.",
                    "schema": {"type": "string"},
                    "required": False,
                }
            },
            "content": {
                "application/json": {
                    "schema": _PAGE,
                    "example": {
                        "events": [
                            {"id": _ID, "type": "order", "data": _EXAMPLE_ORDER},
                            {"id": _ID, "type": "execution", "data": _EXAMPLE_EXECUTION},
                        ],
                        "next_after": _ID,
                    },
                },
                "text/event-stream": {"schema": {"type": "string"}},
            },
        },
        406: problem_response("not-acceptable"),
        410: problem_response("events-gone"),
        422: problem_response("invalid-request"),
        503: problem_response(
            "too-many-readers", "database-unavailable", "overloaded", "shutting-down", headers=RETRY_AFTER
        ),
    },
    "openapi_extra": {
        "parameters": [
            _parameter(
                "query",
                "after",
                "The `id` of an event or of a heartbeat, or a `next_after`: what follows it. `0`: from the oldest that "
                "is kept. Without it: from now on.",
                type="string",
            ),
            _parameter(
                "header", "Last-Event-ID", "The same; it wins, so that a stream resumes by itself.", type="string"
            ),
            _parameter("query", "order_id", "Of this order alone.", type="string"),
            _parameter("query", "type", "Of this type alone.", type="string", enum=list(EventType)),
            _parameter(
                "query",
                "limit",
                "How many at the most; of a page.",
                type="integer",
                minimum=1,
                maximum=LIMIT_MAX,
                default=LIMIT_DEFAULT,
            ),
            _parameter("header", "Prefer", "`wait=SECONDS`: wait for the first event of a page.", type="string"),
        ],
    },
}

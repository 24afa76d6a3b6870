"""An event as JSON, and as a server-sent event (WHATWG HTML, section 9.2): the same data in both."""

from typing import Any, assert_never

import msgspec

from ordertrail.api.execution_json import execution_json
from ordertrail.api.order_json import trail_row_json
from ordertrail.events.cursor import Cursor, write_cursor
from ordertrail.events.shown import ShownEvent
from ordertrail.storage.event_rows import Event, ExecutionEvent, LogMark, OrderEvent

_encode = msgspec.json.Encoder().encode


def event_data(event: Event) -> bytes:
    """The row that was written, as the order's trail or its executions have it, with the order's id before it."""
    match event:
        case OrderEvent():
            fields = trail_row_json(event.row)
        case ExecutionEvent():
            fields = execution_json(event.execution)
        case _:
            assert_never(event)
    return _encode({"order_id": event.order_id, **fields})


def event_json(event: ShownEvent) -> dict[str, Any]:
    """One of a page."""
    return {"id": event.id, "type": event.type.value, "data": msgspec.Raw(event.data)}


def event_frame(event: ShownEvent) -> bytes:
    """One of a stream."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.type.encode(), event.data)


def heartbeat_frame(
    position: Cursor, head: LogMark | None, *, horizon_seconds: float, seconds_since_read: float
) -> bytes:
    """Where a reader may go on, however little it wanted; `head` is null where the log has not been read of late."""
    data = _encode(
        {
            "head": None if head is None else write_cursor(Cursor(head)),
            "horizon_seconds": round(horizon_seconds, 3),
            "seconds_since_read": round(seconds_since_read, 3),
        }
    )
    return b"id: %b\nevent: heartbeat\ndata: %b\n\n" % (write_cursor(position).encode(), data)

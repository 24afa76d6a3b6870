"""Rows of the event log as readers get them: each event with its `id` and its data, encoded once for all of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, assert_never

from ordertrail.events.cursor import Cursor, write_cursor
from ordertrail.storage.event_rows import Event, ExecutionEvent, LogMark, LogRow, OrderEvent

# What an event takes of memory beside its data.
_OVERHEAD_BYTES = 400


class EventType(StrEnum):
    """What an event tells of."""

    ORDER = "order"
    EXECUTION = "execution"


class ShownEvent(NamedTuple):
    """One event; `id` is the cursor to what follows it."""

    order_id: str
    type: EventType
    id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ShownRow:
    """The events of a row of the log; `before`: the mark of the row before it."""

    before: LogMark
    mark: LogMark
    events: tuple[ShownEvent, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a reader wants: all that is given must hold."""

    order_id: str | None = None
    type: EventType | None = None

    def of(self, events: Iterable[ShownEvent]) -> tuple[ShownEvent, ...]:
        """Those of them that are wanted, in their order."""
        order_id, wanted_type = self.order_id, self.type
        return tuple(
            event
            for event in events
            if (order_id is None or event.order_id == order_id) and (wanted_type is None or event.type is wanted_type)
        )


class Delivery:
    """Events that readers get together, and their bytes, joined once for all who send them."""

    __slots__ = ("_joined", "events", "size_bytes")

    def __init__(self, events: Sequence[ShownEvent]) -> None:
        self.events = events
        self.size_bytes = sum(len(event.data) for event in events) + _OVERHEAD_BYTES * len(events)
        self._joined: bytes | None = None

    def joined(self, frame: Callable[[ShownEvent], bytes]) -> bytes:
        """The frames of all events; every reader has the same `frame`."""
        if self._joined is None:
            self._joined = b"".join(map(frame, self.events))
        return self._joined


def show_rows(before: LogMark, rows: Sequence[LogRow], data_of: Callable[[Event], bytes]) -> list[ShownRow]:
    """Rows that follow the mark `before`, one after the other."""
    shown = []
    for row in rows:
        last = len(row.events) - 1
        events = tuple(
            ShownEvent(
                event.order_id,
                _type_of(event),
                write_cursor(Cursor(row.mark) if index == last else Cursor(before, index + 1, row.mark.check)),
                data_of(event),
            )
            for index, event in enumerate(row.events)
        )
        size_bytes = sum(len(event.data) + _OVERHEAD_BYTES for event in events) + _OVERHEAD_BYTES
        shown.append(ShownRow(before, row.mark, events, size_bytes))
        before = row.mark
    return shown


def events_after(cursor: Cursor, rows: Iterable[ShownRow]) -> list[ShownEvent] | None:
    """What follows the cursor, in rows that follow its mark; None: the row of which it has passed some is not there."""
    events = [event for row in rows for event in row.events]
    if cursor.passed == 0:
        return events
    first = next(iter(rows), None)
    if first is None or first.mark.check != cursor.row_check or cursor.passed > len(first.events):
        return None
    return events[cursor.passed :]


def _type_of(event: Event) -> EventType:
    match event:
        case OrderEvent():
            return EventType.ORDER
        case ExecutionEvent():
            return EventType.EXECUTION
        case _:
            assert_never(event)

"""The newest rows of the event log, in memory: readers that come back soon are served without a statement."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from ordertrail.events.cursor import Cursor
from ordertrail.events.shown import ShownEvent, ShownRow, events_after
from ordertrail.storage.event_rows import LogMark


class Ring:
    """Bounded by events and by bytes; the oldest rows go."""

    def __init__(self, *, events_max: int, bytes_max: int) -> None:
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._rows: deque[ShownRow] = deque()
        self._number_after: dict[LogMark, int] = {}  # mark → the number of the row that follows it
        self._first_number = 0
        self._events = 0
        self._bytes = 0

    def append(self, rows: Sequence[ShownRow]) -> None:
        """Take the rows that follow those that are there."""
        for row in rows:
            self._number_after[row.before] = self._first_number + len(self._rows)
            self._rows.append(row)
            self._events += len(row.events)
            self._bytes += row.size_bytes
        while self._rows and (self._events > self._events_max or self._bytes > self._bytes_max):
            oldest = self._rows.popleft()
            del self._number_after[oldest.before]
            self._first_number += 1
            self._events -= len(oldest.events)
            self._bytes -= oldest.size_bytes

    def clear(self) -> None:
        """Forget all: what comes next does not follow."""
        self._rows.clear()
        self._number_after.clear()
        self._events = self._bytes = 0

    def has(self, cursor: Cursor) -> bool:
        """Whether the cursor's place is here, and not the end."""
        number = self._number_after.get(cursor.mark)
        if number is None or cursor.passed == 0:
            return number is not None
        row = self._rows[number - self._first_number]
        return row.mark.check == cursor.row_check and cursor.passed <= len(row.events)

    def after(self, cursor: Cursor) -> Sequence[ShownEvent] | None:
        """What follows the cursor up to the newest row; None: its place is not here, or it is the end."""
        number = self._number_after.get(cursor.mark)
        return None if number is None else events_after(cursor, _Rows(self._rows, number - self._first_number))


class _Rows:
    """The rows from one on, as often as they are asked for."""

    def __init__(self, rows: deque[ShownRow], start: int) -> None:
        self._rows = rows
        self._start = start

    def __iter__(self) -> "islice[ShownRow]":
        return islice(self._rows, self._start, None)

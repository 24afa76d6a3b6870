"""The mistakes that somebody could make with the event log and its readers; beside those of `canaries.py`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ordertrail.events import older_rows, shown
from ordertrail.events.cursor import Cursor, write_cursor
from ordertrail.events.watching import Begin, Watching
from ordertrail.storage.postgres import order_statements
from tests.simulation.canaries import canary
from tests.simulation.mistakes import made, patch
from tests.simulation.table_rows import Tables
from tests.simulation.tables import STATEMENTS


@canary(readers=1)
def a_reader_that_goes_on_after_the_newest() -> Iterator[None]:
    """One that comes back with its cursor gets what is written from then on."""
    original = Watching._new_reader

    async def new_reader(self: Watching, kind: Any, wanted: Any, start: Any) -> Any:
        if isinstance(start, Cursor):
            start = made(Begin.NOW)
        return await original(self, kind, wanted, start)

    with patch.object(Watching, "_new_reader", new_reader):
        yield


@canary(readers=1)
def a_cursor_that_stays_behind_its_event() -> Iterator[None]:
    """The last event of a row names the place before itself."""
    original = shown.show_rows

    def show_rows(before: Any, rows: Sequence[Any], data_of: Any) -> Any:
        return [
            replace(row, events=(*row.events[:-1], _behind(row)))
            for row in original(before, rows, data_of)
            if row.events
        ]

    def _behind(row: Any) -> Any:
        passed = len(row.events) - 1
        return made(row.events[-1]._replace(id=write_cursor(Cursor(row.before, passed, row.mark.check * bool(passed)))))

    with patch.object(older_rows, "show_rows", show_rows):
        yield


@canary(readers=1)
def a_statement_that_does_not_log() -> Iterator[None]:
    name, run = STATEMENTS[order_statements.INSERT_TRAIL_ROWS]

    def insert_trail_rows(tables: Tables, now: datetime, *arguments: Any) -> Any:
        result = run(tables, now, *arguments)
        if tables.log.trail_rows:
            tables.log.trail_rows.clear()
            made()
        return result

    with patch.dict(STATEMENTS, {order_statements.INSERT_TRAIL_ROWS: (name, insert_trail_rows)}):
        yield

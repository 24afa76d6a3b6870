"""The event log as readers have it: every row once, in an order that respects each trail, from any mark."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ordertrail.domain.trail import OrderStatus
from ordertrail.storage.event_rows import Event, EventLog, ExecutionEvent, LogMark, LogRow, MarkGone, OrderEvent
from ordertrail.storage.order_rows import KeyTaken, NewTrailRow, Rows
from tests.conformance.arrange import COMPLETED, recorded, step
from tests.conformance.databases import DatabaseSubject
from tests.support.executions import frame, report
from tests.support.orders import an_order

EVENTS_MAX = 1000


async def rows_after(log: EventLog, mark: LogMark, *, events_max: int = EVENTS_MAX) -> list[LogRow]:
    rows: list[LogRow] = []
    while True:
        page = await log.read(mark, events_max=events_max)
        assert not isinstance(page, MarkGone), page
        rows += page.rows
        if not page.rows:
            return rows
        mark = page.rows[-1].mark


def in_short(rows: Sequence[LogRow]) -> list[tuple[str, str]]:
    return [_short(event) for row in rows for event in row.events]


def _short(event: Event) -> tuple[str, str]:
    match event:
        case OrderEvent():
            return event.order_id, str(event.row.status)
        case ExecutionEvent():
            return event.order_id, event.execution.exec_id


async def test_an_empty_log_has_a_place_before_what_comes(database: DatabaseSubject, rows: Rows) -> None:
    log = database.event_log
    newest, oldest = await log.newest(), await log.oldest()
    assert newest == oldest

    [order] = await recorded(rows)

    assert in_short(await rows_after(log, newest)) == [(order.id, "INITIATED")]


async def test_every_step_is_an_event_with_what_its_row_says(database: DatabaseSubject, rows: Rows) -> None:
    start = await database.event_log.newest()
    [order] = await recorded(rows)
    await rows.insert_trail_rows([NewTrailRow(order.id, OrderStatus.EXCHANGE_OUTCOME_UNKNOWN, "unknown:timeout")])
    await rows.insert_trail_rows([NewTrailRow(order.id, COMPLETED, None, "E-1")])

    found = await rows_after(database.event_log, start)

    stored = await rows.read(order.id)
    assert stored is not None
    events = [event for row in found for event in row.events]
    assert [event.row for event in events if isinstance(event, OrderEvent)] == list(stored.rows)
    assert {event.order_id for event in events} == {order.id}


async def test_new_and_completed_orders_of_one_commit_are_one_row(database: DatabaseSubject, rows: Rows) -> None:
    [first] = await recorded(rows)
    start = await database.event_log.newest()
    second = an_order()
    await rows.insert_initiated_and_completed([second], [NewTrailRow(first.id, COMPLETED, None, "E-1")])

    [row] = await rows_after(database.event_log, start)

    assert in_short([row]) == [(second.id, "INITIATED"), (first.id, "COMPLETED")]


async def test_what_was_there_already_is_no_event(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(client_order_id="key")
    await rows.insert_initiated([order])
    await step(rows, order.id, COMPLETED)
    start = await database.event_log.newest()

    [taken] = await rows.insert_initiated([an_order(client_order_id="key")])
    await rows.insert_initiated([order])
    await step(rows, order.id, COMPLETED)

    assert isinstance(taken, KeyTaken)
    assert await rows_after(database.event_log, start) == []


async def test_an_order_that_was_never_sent_begins_its_trail(database: DatabaseSubject, rows: Rows) -> None:
    start = await database.event_log.newest()
    order = an_order()
    await rows.insert_never_sent([order])

    assert in_short(await rows_after(database.event_log, start)) == [
        (order.id, "INITIATED"),
        (order.id, "DATABASE_PERSISTENCE_FAILED"),
    ]


async def test_an_execution_comes_before_what_it_leads_to(database: DatabaseSubject, rows: Rows) -> None:
    [order] = await recorded(rows)
    await step(rows, order.id, COMPLETED)
    start = await database.event_log.newest()
    fill = report(1, client_order_id=order.id, ord_status="filled", last_qty=10, last_px=2.5, exec_id="b")
    await database.executions.apply_reports([frame(fill)])
    await database.executions.apply_reports([frame(fill)])

    [row] = await rows_after(database.event_log, start)

    assert in_short([row]) == [(order.id, "b"), (order.id, "FILLED")]
    assert isinstance(row.events[0], ExecutionEvent)
    execution = row.events[0].execution
    assert (execution.last_qty, str(execution.last_px), execution.seq, execution.order_id) == (10, "2.5", 1, order.id)
    assert execution.recorded_at is not None


async def test_a_page_ends_where_it_has_enough(database: DatabaseSubject, rows: Rows) -> None:
    start = await database.event_log.newest()
    for size in (3, 3, 3):
        await rows.insert_initiated([an_order() for _ in range(size)])

    page = await database.event_log.read(start, events_max=4)
    assert not isinstance(page, MarkGone)

    # The second row reaches the limit, and the third does not begin.
    assert ([len(row.events) for row in page.rows], page.has_more) == ([3, 3], True)
    rest = await database.event_log.read(page.rows[-1].mark, events_max=4)
    assert not isinstance(rest, MarkGone)
    assert ([len(row.events) for row in rest.rows], rest.has_more) == ([3], False)
    assert in_short(await rows_after(database.event_log, start, events_max=1)) == in_short(
        await rows_after(database.event_log, start)
    )


async def test_the_newest_row_is_what_was_read_last(database: DatabaseSubject, rows: Rows) -> None:
    start = await database.event_log.oldest()
    await recorded(rows, count=3)

    found = await rows_after(database.event_log, start)

    assert await database.event_log.newest() == found[-1].mark
    assert len({row.mark for row in found}) == 3


@pytest.mark.parametrize(
    "changes", [{"database": 99}, {"check": 1}, {"id": 10**6}, {"txid": 10**6}, {"timeline": 9, "check": 1}]
)
async def test_a_mark_that_is_not_there_is_gone(database: DatabaseSubject, rows: Rows, changes: dict[str, int]) -> None:
    await recorded(rows, count=2)
    mark = await database.event_log.newest()
    log = database.event_log
    wrong = replace(mark, **changes)

    assert isinstance(await log.read(wrong, events_max=EVENTS_MAX), MarkGone)
    first, second = await log.are_there([wrong, mark])
    assert isinstance(first, MarkGone)
    assert second is None


async def test_a_mark_of_the_timeline_before_goes_on_where_its_row_is_there(
    database: DatabaseSubject, rows: Rows
) -> None:
    await recorded(rows)
    mark = replace(await database.event_log.newest(), timeline=12345)
    [order] = await recorded(rows)

    assert in_short(await rows_after(database.event_log, mark)) == [(order.id, "INITIATED")]


async def test_a_place_before_what_is_kept_is_gone(database: DatabaseSubject, rows: Rows) -> None:
    oldest = await database.event_log.oldest()

    [gone] = await database.event_log.are_there([replace(oldest, check=oldest.check + 1)])

    assert isinstance(gone, MarkGone)
    assert "older" in gone.why

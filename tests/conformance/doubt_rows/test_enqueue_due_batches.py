"""Batches of recorded orders become doubts once they are due: none is missed, and none comes twice."""

from dataclasses import replace

import pytest

from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.doubt_rows import Lease
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import (
    COMPLETED,
    DUE,
    FAILED,
    FROM_COMPLETED,
    NOT_PERSISTED,
    NOT_PLACED,
    NOT_RECORDED,
    UNKNOWN,
    UNRESOLVED,
    doubt_row,
    held,
    hold,
    lease_due,
    recorded,
    settled,
    step,
)
from tests.conformance.databases import DEADLINES, RACERS, DatabaseSubject, Doubts
from tests.support.orders import an_order


async def test_batch_that_is_not_due_is_left(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    await recorded(rows)
    await database.let_pass(DEADLINES.review_seconds - 20)

    assert await doubts.enqueue_due_batches(batches_max=10) == 0
    assert await lease_due(doubts) == []


async def test_batch_that_is_due_is_enqueued_once(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    orders = [an_order() for _ in range(3)]
    await rows.insert_initiated(orders)
    await database.let_pass(DUE)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert await doubts.enqueue_due_batches(batches_max=10) == 0
    assert sorted(lease.order_id for lease in await lease_due(doubts)) == sorted(order.id for order in orders)


async def test_first_review_of_an_order_is_its_first_try(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)
    await database.let_pass(DUE)
    await doubts.enqueue_due_batches(batches_max=10)

    assert await lease_due(doubts) == [Lease(order.id, fence=1, tries=0)]


async def test_batches_are_enqueued_so_many_at_a_time_oldest_first(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    orders = await recorded(rows, count=5)
    await database.let_pass(DUE)

    [overdue] = await recorded(database.rows(replace(DEADLINES, review_seconds=-2 * DUE)))

    assert await doubts.enqueue_due_batches(batches_max=2) == 2
    assert {lease.order_id for lease in await lease_due(doubts)} == {overdue.id, orders[0].id}
    assert await doubts.enqueue_due_batches(batches_max=10) == 4
    assert sorted(lease.order_id for lease in await lease_due(doubts)) == [order.id for order in orders[1:]]


async def test_no_batch_is_enqueued_where_none_is_wanted(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    await recorded(rows)
    await database.let_pass(DUE)

    assert await doubts.enqueue_due_batches(batches_max=0) == 0
    assert await doubts.enqueue_due_batches(batches_max=10) == 1


@pytest.mark.parametrize("status", FROM_COMPLETED[1:])
@pytest.mark.parametrize("was_not_placed", [False, True])
async def test_what_the_exchange_reported_settles_nothing_without_completed(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, status: OrderStatus, was_not_placed: bool
) -> None:
    order, completed = an_order(), an_order()
    await rows.insert_initiated([order, completed])
    for each in (order, completed):
        await step(rows, each.id, status, "execution")
        if was_not_placed:
            await step(rows, each.id, NOT_PLACED, "presumed:absent")
    await step(rows, completed.id, COMPLETED, "execution")
    await database.let_pass(DUE)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert [lease.order_id for lease in await lease_due(doubts)] == [order.id]


@pytest.mark.parametrize("status", [COMPLETED, NOT_PLACED])
async def test_settled_order_is_not_enqueued(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, status: OrderStatus
) -> None:
    order, open_order = an_order(), an_order()
    await rows.insert_initiated([order, open_order])
    await step(rows, order.id, status, "proved:absent")
    await database.let_pass(DUE)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert [lease.order_id for lease in await lease_due(doubts)] == [open_order.id]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (FAILED, "refused:x"),
        (NOT_PERSISTED, "refused:x"),
        (NOT_PERSISTED, NOT_RECORDED),
        (UNKNOWN, None),
        (UNRESOLVED, "x"),
    ],
)
async def test_order_with_any_lower_status_is_enqueued(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, status: OrderStatus, reason: str | None
) -> None:
    [order] = await recorded(rows)
    await step(rows, order.id, status, reason)
    await database.let_pass(DUE)
    await doubts.enqueue_due_batches(batches_max=10)

    assert [lease.order_id for lease in await lease_due(doubts)] == [order.id]


@pytest.mark.parametrize(("reason", "is_enqueued"), [("accepted", True), ("unknown:x", False)])
async def test_not_placed_is_enqueued_where_the_exchange_had_accepted(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, reason: str, is_enqueued: bool
) -> None:
    lease = await held(rows, doubts)
    await step(rows, lease.order_id, NOT_PERSISTED, reason)
    await doubts.apply([settled(lease, TrailRow(NOT_PLACED, "proved:absent"))])
    await database.let_pass(DUE)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert [each.order_id for each in await lease_due(doubts)] == [lease.order_id] * is_enqueued


async def test_enqueueing_leaves_an_open_doubt_to_its_holder(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    [order] = await recorded(rows)
    await database.let_pass(DUE)
    lease = await hold(doubts, order.id)
    before = await doubt_row(database, order.id)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert await doubt_row(database, order.id) == before
    assert await doubts.apply([settled(lease)]) == [True]


async def test_enqueueing_opens_a_settled_doubt(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await doubts.apply([replace(settled(lease), next_seconds=10 * DUE)])
    await database.let_pass(DUE)

    await doubts.enqueue_due_batches(batches_max=10)

    assert await lease_due(doubts) == [Lease(lease.order_id, lease.fence + 1, tries=1)]


async def test_late_row_of_an_old_batch_is_not_missed(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    await recorded(rows)
    await database.let_pass(DUE)
    await doubts.enqueue_due_batches(batches_max=10)
    overdue = database.rows(replace(DEADLINES, review_seconds=-2 * DUE))

    [late] = await recorded(overdue)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert late.id in {lease.order_id for lease in await lease_due(doubts)}


async def test_many_enqueue_at_once_each_batch_once(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    orders = await recorded(rows, count=RACERS)
    await database.let_pass(DUE)

    counts = await database.together(*(doubts.enqueue_due_batches(batches_max=3) for _ in range(RACERS)))
    rest = await doubts.enqueue_due_batches(batches_max=1000)

    assert sum(counts) + rest == RACERS
    assert sorted(lease.order_id for lease in await lease_due(doubts)) == [order.id for order in orders]

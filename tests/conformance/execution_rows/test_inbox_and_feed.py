"""The inbox takes a chained frame only at its tail, and gives each frame to one processor; a feed has one owner."""

import asyncio

import pytest

from ordertrail.queues.queue import Frame, Position
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import Rows
from tests.conformance.databases import DatabaseSubject
from tests.conformance.execution_rows.test_apply_reports import accepted, parked, table
from tests.support.executions import EPOCH, VENUE, frame, report
from tests.support.orders import an_order


def a_frame(*seqs: int, order_id: str = "nobody", epoch: str = EPOCH) -> Frame:
    return frame(*(report(seq, client_order_id=order_id) for seq in seqs), epoch=epoch)


async def test_a_chained_frame_follows_on_the_tail(database: DatabaseSubject) -> None:
    inbox = database.executions
    assert await inbox.inbox_tail(VENUE) is None

    put = [
        await inbox.put_in_inbox(a_frame(3, 4), after=Position(EPOCH, 2)),  # the first, wherever it begins
        await inbox.put_in_inbox(a_frame(6), after=Position(EPOCH, 5)),
        await inbox.put_in_inbox(a_frame(5), after=Position(EPOCH, 4)),
        await inbox.put_in_inbox(a_frame(5), after=Position(EPOCH, 4)),
        await inbox.put_in_inbox(a_frame(1, 2), after=None),
        await inbox.put_in_inbox(a_frame(1, epoch="e2"), after=Position("e2", 0)),
        await inbox.put_in_inbox(a_frame(6), after=Position(EPOCH, 5)),
    ]

    assert put == [True, False, True, False, True, True, False]
    assert await inbox.inbox_tail(VENUE) == Position("e2", 1)
    assert await inbox.inbox_depth(VENUE) == 4
    assert [(each.first, each.last) for _, each in await inbox.peek_inbox(VENUE, frames_max=3)] == [
        (3, 4),
        (5, 5),
        (1, 2),
    ]


async def test_frames_are_applied_oldest_first_and_one_epoch_at_a_time(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)
    for epoch, seqs in (("e1", (1, 2)), ("e1", (3, 4)), ("e1", (5, 6)), ("e2", (1,))):
        await database.executions.put_in_inbox(a_frame(*seqs, order_id=order.id, epoch=epoch), after=None)

    applied = [await database.executions.apply_inbox(VENUE, reports_max=4) for _ in range(4)]

    # The exec ids of the second epoch are those of the first, and unique for an order's life.
    assert [each and (each.reports, each.inserted) for each in applied] == [(4, 4), (2, 2), (1, 0), None]
    assert all(each is None or each.waited_seconds is not None for each in applied)
    assert await database.executions.inbox_depth(VENUE) == 0


async def test_a_frame_that_breaks_the_statement_stays_until_it_is_dropped(database: DatabaseSubject) -> None:
    broken = frame(body=b'[{"seq": "x"}]')
    await database.executions.put_in_inbox(broken, after=None)

    with pytest.raises(StatementFailed, match="22P02"):
        await database.executions.apply_inbox(VENUE, reports_max=100)
    [(number, kept)] = await database.executions.peek_inbox(VENUE, frames_max=10)
    await database.executions.drop_from_inbox([number])

    assert kept.body == broken.body
    assert await database.executions.inbox_depth(VENUE) == 0


async def test_of_many_frames_put_after_the_same_tail_one_is_taken(database: DatabaseSubject) -> None:
    await database.executions.put_in_inbox(a_frame(1), after=Position(EPOCH, 0))

    put = await asyncio.gather(
        *(database.executions.put_in_inbox(a_frame(2), after=Position(EPOCH, 1)) for _ in range(5))
    )

    assert sum(put) == 1


async def test_a_feed_has_one_owner_and_a_fence_that_rises(database: DatabaseSubject) -> None:
    feeds = database.executions
    first = await feeds.lease_feed(VENUE, holder="a", lease_seconds=100)
    assert await feeds.lease_feed(VENUE, holder="b", lease_seconds=100) is None
    assert await feeds.lease_feed(VENUE, holder="a", lease_seconds=100) == first
    await database.let_pass(101)
    second = await feeds.lease_feed(VENUE, holder="b", lease_seconds=100)
    assert await feeds.lease_feed(VENUE, holder="a", lease_seconds=100) is None
    await feeds.release_feed(VENUE, holder="a")
    assert await feeds.lease_feed(VENUE, holder="a", lease_seconds=100) is None
    await feeds.release_feed(VENUE, holder="b")
    third = await feeds.lease_feed(VENUE, holder="a", lease_seconds=100)

    assert first and second and third
    assert first.fence < second.fence < third.fence
    view = await feeds.feed(VENUE)
    assert view and (view.holder, view.is_owned, view.position) == ("a", True, None)


async def test_a_report_of_an_unknown_order_is_tried_three_times_and_then_an_orphan(database: DatabaseSubject) -> None:
    executions = database.executions
    await executions.apply_reports([a_frame(1)])
    orphaned = [(await executions.retry_parked(VENUE, limit=10)).orphaned]
    for seconds in (2, 11, 61):
        await database.let_pass(seconds)
        orphaned.append((await executions.retry_parked(VENUE, limit=10)).orphaned)

    assert orphaned == [(), (), (), ("nobody",)]
    assert [row["client_order_id"] for row in await table(database, "orphans")] == ["nobody"]
    assert await table(database, "parked_retries") == []
    assert await parked(database) == [("unknown_order", None, 1)]


async def test_a_report_that_came_before_its_order_is_applied_when_it_is_tried_again(
    database: DatabaseSubject, rows: Rows
) -> None:
    order = an_order()
    await database.executions.apply_reports([a_frame(1, order_id=order.id)])
    await rows.insert_initiated([order])
    await database.let_pass(2)

    retried = await database.executions.retry_parked(VENUE, limit=10)

    assert (retried.applied, len(await table(database, "executions"))) == (1, 1)
    assert [row["closed_at"] is not None for row in await table(database, "parked")] == [True]
    assert await table(database, "parked_retries") == []


async def test_a_parked_report_is_applied_by_hand_once_it_can_be(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)
    executions = database.executions
    await executions.apply_reports([a_frame(1), frame(report(2, client_order_id=order.id, last_qty=-1))])
    await executions.apply_reports([frame(report(3, client_order_id=order.id, exec_id="a"))])
    await executions.apply_reports([frame(report(4, client_order_id=order.id, exec_id="a", last_qty=2))])
    await executions.park_report(frame(), b"{", reason="is broken", seq=5)

    said = [await executions.replay_parked(row.id) for row in await database.parked.parked(limit=10)]

    assert sorted(text.split(":")[0] for text in said if text) == [
        "it cannot be applied",
        "it cannot be read",
        "it contradicts what is kept of the same execution",
        "its order is not known here",
    ]
    assert await executions.replay_parked(10**6) is None
    assert (await executions.coverage(VENUE, EPOCH)).ranges == ((1, 5),)


async def test_what_is_joined_says_the_same(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)
    executions = database.executions
    for seq in (1, 2, 3, 5, 6, 9, 8, 20, 21, 22):
        await executions.apply_reports([a_frame(seq, order_id=order.id)])
    before = await executions.coverage(VENUE, EPOCH)

    await executions.compact(VENUE)

    assert await executions.coverage(VENUE, EPOCH) == before
    assert before.ranges == ((1, 3), (5, 6), (8, 9), (20, 22))
    assert len(await table(database, "execution_coverage")) == 1
    [sums] = await table(database, "position_sums")
    assert sums["quantities"] == [10]

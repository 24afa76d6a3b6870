"""What a person is shown of the orders in doubt."""

from datetime import timedelta

from ordertrail.storage.doubt_rows import DoubtCounts
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import (
    COMPLETED,
    FAILED,
    NOT_PLACED,
    UNRESOLVED,
    held,
    recorded,
    ruling,
    settled,
    step,
    unresolved,
)
from tests.conformance.databases import DatabaseSubject, Doubts


async def test_nothing_in_doubt(rows: Rows, doubts: Doubts) -> None:
    await recorded(rows)

    assert await doubts.counts() == DoubtCounts(0, 0, 0.0, 0)
    assert await doubts.oldest(limit=10) == []


async def test_doubts_are_counted_by_what_is_open(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    gone = await unresolved(rows, doubts)
    await doubts.resolve(gone.order_id, ruling(NOT_PLACED))
    await database.let_pass(500)
    await held(rows, doubts)
    await database.let_pass(300)
    placed = await held(rows, doubts)
    await step(rows, placed.order_id, COMPLETED, "verified")
    await unresolved(rows, doubts)

    counts = await doubts.counts()

    assert (counts.count, counts.unresolved) == (3, 1)
    assert 300 < counts.oldest_seconds < 350


async def test_oldest_doubts_come_first(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    gone = await held(rows, doubts)
    await doubts.apply([settled(gone)])
    first = await unresolved(rows, doubts)
    await database.let_pass(500)
    [second] = await recorded(rows, client_order_id="k-2")
    [third] = await recorded(rows)
    await doubts.reopen([second.id])
    await step(rows, second.id, COMPLETED, "verified")
    await step(rows, second.id, FAILED, "not_sent:x")
    await database.let_pass(100)
    await doubts.reopen([third.id])
    now = await database.now()

    older, newer = await doubts.oldest(limit=2)

    assert [older.order_id, newer.order_id] == [first.order_id, second.id]
    assert [older.status, newer.status] == [UNRESOLVED, COMPLETED]
    assert [older.last_observation, newer.last_observation] == ["differs", None]
    assert [older.tries, newer.tries] == [1, 0]
    assert [older.client_order_id, newer.client_order_id] == [None, "k-2"]
    assert [older.is_unresolved, newer.is_unresolved] == [True, False]
    assert {(each.instrument, each.side, each.quantity) for each in (older, newer)} == {("AAPL12345678", "buy", 10)}
    assert 600 < older.age_seconds < 650
    assert 100 < newer.age_seconds < 150
    assert timedelta(seconds=600) < now - older.since < timedelta(seconds=650)
    assert timedelta(seconds=350) < older.next_at - now <= timedelta(seconds=400)
    assert len(await doubts.oldest(limit=10)) == 3
    assert await doubts.oldest(limit=0) == []

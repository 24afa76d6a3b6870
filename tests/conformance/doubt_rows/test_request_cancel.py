"""A cancel that is asked for forbids sends from then on, and is looked after at once."""

from ordertrail.domain.trail import TrailRow
from ordertrail.storage.doubt_rows import Lease
from ordertrail.storage.order_rows import Rows, SpooledTrail
from tests.conformance.arrange import UNKNOWN, held, later, lease_due, load, recorded, settled
from tests.conformance.databases import RACERS, DatabaseSubject, Doubts
from tests.support.orders import an_order, new_id


async def test_unknown_order_cannot_be_canceled(database: DatabaseSubject, doubts: Doubts) -> None:
    assert not await doubts.request_cancel(new_id())
    assert not any((await database.contents()).values())


async def test_trail_without_its_first_row_cannot_be_canceled(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    await rows.replay([SpooledTrail(order, (TrailRow(UNKNOWN, "unknown:timeout"),))])

    assert not await doubts.request_cancel(order.id)


async def test_canceled_order_is_reviewed_now(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    [fresh] = await recorded(rows)
    is_settled, waits = [await held(rows, doubts) for _ in range(2)]
    await doubts.apply([settled(is_settled), later(waits, seconds=1000)])

    for id_ in (fresh.id, is_settled.order_id, waits.order_id):
        assert await doubts.request_cancel(id_)

    assert sorted(await lease_due(doubts), key=lambda lease: lease.order_id) == sorted(
        [Lease(fresh.id, 2, 0), *(Lease(each.order_id, each.fence + 2, 0) for each in (is_settled, waits))],
        key=lambda lease: lease.order_id,
    )
    assert (await load(doubts, fresh.id)).is_cancel_wanted


async def test_cancel_takes_the_order_from_its_holder(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)

    await doubts.request_cancel(lease.order_id)

    assert await doubts.apply([settled(lease)]) == [False]


async def test_cancel_repeated_changes_nothing(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)
    await doubts.request_cancel(order.id)
    [lease] = await lease_due(doubts)
    before = await database.contents()

    assert await doubts.request_cancel(order.id)
    assert await database.contents() == before
    assert await doubts.apply([settled(lease)]) == [True]


async def test_many_cancels_at_once_count_as_one(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)

    assert await database.together(*(doubts.request_cancel(order.id) for _ in range(RACERS))) == [True] * RACERS
    assert await lease_due(doubts) == [Lease(order.id, 2, 0)]
    assert len((await database.contents())["cancel_requests"]) == 1

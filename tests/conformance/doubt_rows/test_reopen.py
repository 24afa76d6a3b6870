"""An order is in doubt again and due now, and its holder has lost it."""

from ordertrail.storage.doubt_rows import Lease
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import claim, held, later, lease_due, recorded, settled
from tests.conformance.databases import DatabaseSubject, Doubts


async def test_order_is_opened_again_and_due_now(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    is_settled, waits, is_held = [await held(rows, doubts) for _ in range(3)]
    [fresh] = await recorded(rows)
    await doubts.apply([settled(is_settled), later(waits, seconds=1000)])

    assert await doubts.reopen([fresh.id, is_held.order_id, waits.order_id, is_settled.order_id]) == 4

    assert sorted(await lease_due(doubts), key=lambda lease: lease.order_id) == sorted(
        [Lease(each.order_id, each.fence + 2, 0) for each in (is_settled, waits, is_held)] + [Lease(fresh.id, 1, 0)],
        key=lambda lease: lease.order_id,
    )


async def test_the_holder_of_an_order_that_is_opened_loses_it(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)

    await doubts.reopen([lease.order_id])

    assert await doubts.apply([settled(lease)]) == [False]
    assert await claim(doubts, lease) == [None]


async def test_age_of_a_doubt_counts_from_its_first_day(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await doubts.apply([settled(lease)])
    await database.let_pass(1000)

    await doubts.reopen([lease.order_id])

    assert 1000 < (await doubts.counts()).oldest_seconds < 1050


async def test_order_named_twice_is_opened_once(rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)

    assert await doubts.reopen([order.id, order.id]) == 1
    assert await lease_due(doubts) == [Lease(order.id, 1, 0)]


async def test_nothing_is_opened_of_nothing(doubts: Doubts) -> None:
    assert await doubts.reopen([]) == 0

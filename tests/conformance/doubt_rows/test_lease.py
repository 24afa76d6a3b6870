"""One holder at a time, for as long as the lease says; those that are due longest come first."""

from collections.abc import Awaitable, Callable

import pytest

from ordertrail.storage.doubt_rows import Lease
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import held, later, lease_due, recorded
from tests.conformance.databases import RACERS, DatabaseSubject, Doubts


async def test_taken_order_has_a_new_fence_and_one_more_try(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    [order] = await recorded(rows)
    await doubts.reopen([order.id])

    for number in range(3):
        assert await lease_due(doubts) == [Lease(order.id, fence=1 + number, tries=number)]
        await database.let_pass(101)


async def test_nobody_takes_what_another_holds(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    await held(rows, doubts)

    assert await lease_due(doubts) == []
    await database.let_pass(80)
    assert await lease_due(doubts) == []
    await database.let_pass(21)
    assert len(await lease_due(doubts)) == 1


async def test_lease_is_as_long_as_was_wanted(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)
    await doubts.reopen([order.id])
    await lease_due(doubts, lease_seconds=500)

    await database.let_pass(480)
    assert await lease_due(doubts) == []
    await database.let_pass(21)
    assert len(await lease_due(doubts)) == 1


async def test_those_due_longest_are_taken_first(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    orders = await recorded(rows, count=4)
    for order in (orders[0], *orders[::-1]):
        await doubts.reopen([order.id])

    first = await lease_due(doubts, doubts_max=1)
    second = await lease_due(doubts, doubts_max=2)
    third = await lease_due(doubts, doubts_max=2)

    assert [lease.order_id for lease in first] == [orders[3].id]
    assert {lease.order_id for lease in second} == {orders[2].id, orders[1].id}
    assert [lease.order_id for lease in third] == [orders[0].id]


async def test_as_many_are_taken_as_are_wanted(rows: Rows, doubts: Doubts) -> None:
    orders = await recorded(rows, count=5)
    await doubts.reopen([order.id for order in orders])

    assert await lease_due(doubts, doubts_max=0) == []
    assert len(await lease_due(doubts, doubts_max=3)) == 3
    assert len(await lease_due(doubts, doubts_max=3)) == 2


async def test_what_is_not_due_is_not_taken(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await doubts.apply([later(lease, seconds=300)])

    await database.let_pass(280)
    assert await lease_due(doubts) == []
    await database.let_pass(21)
    assert [each.order_id for each in await lease_due(doubts)] == [lease.order_id]


async def test_no_two_take_the_same(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    orders = await recorded(rows, count=RACERS)
    await doubts.reopen([order.id for order in orders])

    leases = await database.together(*(lease_due(doubts, doubts_max=4) for _ in range(RACERS)))
    rest = await lease_due(doubts)

    assert sorted(each.order_id for some in [*leases, rest] for each in some) == [order.id for order in orders]
    assert {each.fence for some in [*leases, rest] for each in some} == {1}


@pytest.mark.parametrize("operation", ["lease", "enqueue_due_batches", "make_due", "oldest"])
async def test_less_than_none_cannot_be_queried(doubts: Doubts, operation: str) -> None:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "lease": lambda: lease_due(doubts, doubts_max=-1),
        "enqueue_due_batches": lambda: doubts.enqueue_due_batches(batches_max=-1),
        "make_due": lambda: doubts.make_due(doubts_max=-1),
        "oldest": lambda: doubts.oldest(limit=-1),
    }

    with pytest.raises(StatementFailed):
        await calls[operation]()

"""What a holder has decided is written; a holder who has lost the order, or has settled it, changes nothing."""

from dataclasses import replace

import pytest

from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.doubt_rows import Lease
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import NewTrailRow, Rows
from tests.conformance.arrange import (
    COMPLETED,
    INITIATED,
    NOT_PLACED,
    SAME_IN_ALL_ROWS,
    UNRESOLVED,
    doubt_row,
    held,
    later,
    lease_due,
    recorded,
    settled,
    trail,
)
from tests.conformance.databases import RACERS, UNSTORABLE, DatabaseSubject, Doubts
from tests.support.orders import new_id


async def test_settled_order_is_never_reviewed_again(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)

    assert await doubts.apply([settled(lease)]) == [True]

    await database.let_pass(100_000)
    assert await lease_due(doubts) == []


async def test_rows_of_a_verdict_are_appended(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts, client_order_id="key")
    verdict = settled(lease, TrailRow(OrderStatus.FILLED, "verified", "E-1"), TrailRow(COMPLETED, "verified", "E-1"))

    assert await doubts.apply([verdict]) == [True]

    assert {row for row in await trail(rows, lease.order_id) if row[0] is not INITIATED} == {
        (COMPLETED, "verified", "E-1"),
        (OrderStatus.FILLED, "verified", "E-1"),
    }
    contents = (await database.contents())["orders"]
    assert len({tuple(row[name] for name in SAME_IN_ALL_ROWS) for row in contents}) == 1
    assert {row["client_order_id"] for row in contents if row["status"] != INITIATED} == {None}


async def test_row_of_a_verdict_that_is_there_stays(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await rows.insert_trail_rows([NewTrailRow(lease.order_id, COMPLETED, None, "E-1")])

    assert await doubts.apply([settled(lease, TrailRow(COMPLETED, "verified", "E-2"))]) == [True]
    assert await trail(rows, lease.order_id) == [(INITIATED, None, None), (COMPLETED, None, "E-1")]


async def test_verdict_lets_go_and_says_when_to_review_again(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    lease = await held(rows, doubts)

    await doubts.apply([later(lease, TrailRow(UNRESOLVED, "differs"), seconds=0, observation="differs")])

    row = await doubt_row(database, lease.order_id)
    assert (row["last_seen"], row["leased_until"], row["settled_at"]) == ("differs", None, None)
    assert await lease_due(doubts) == [Lease(lease.order_id, lease.fence + 1, tries=1)]
    assert (await trail(rows, lease.order_id))[1] == (UNRESOLVED, "differs", None)


async def test_each_order_of_a_batch_has_its_own_verdict(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    first, second, third = [await held(rows, doubts) for _ in range(3)]
    stale = replace(second, fence=second.fence - 1)

    results = await doubts.apply(
        [
            later(third, TrailRow(UNRESOLVED, "third"), seconds=200, observation="third"),
            settled(stale, TrailRow(NOT_PLACED, "stale"), observation="stale"),
            settled(first, TrailRow(COMPLETED, "first", "E-1"), observation="first"),
        ]
    )

    assert results == [True, False, True]
    assert [(await trail(rows, each.order_id))[1:] for each in (first, second, third)] == [
        [(COMPLETED, "first", "E-1")],
        [],
        [(UNRESOLVED, "third", None)],
    ]
    doubt_rows = [await doubt_row(database, each.order_id) for each in (first, second, third)]
    assert [row["last_seen"] for row in doubt_rows] == ["first", None, "third"]
    assert [row["settled_at"] is None for row in doubt_rows] == [False, True, True]


async def test_old_holder_applies_nothing(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    old = await held(rows, doubts)
    await database.let_pass(101)
    [new] = await lease_due(doubts)
    before = await database.contents()

    assert await doubts.apply([settled(old, TrailRow(NOT_PLACED, "proved:absent"))]) == [False]
    assert await database.contents() == before
    assert await doubts.apply([settled(new)]) == [True]


async def test_old_holder_applies_nothing_in_one_batch_with_the_new_one(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    old = await held(rows, doubts)
    await database.let_pass(101)
    [new] = await lease_due(doubts)
    stale, fresh = (
        settled(old, TrailRow(NOT_PLACED, "proved:absent"), observation="stale"),
        later(new, observation="fresh"),
    )

    assert await doubts.apply([stale, fresh]) == [False, True]

    assert await trail(rows, new.order_id) == [(INITIATED, None, None)]
    row = await doubt_row(database, new.order_id)
    assert (row["last_seen"], row["settled_at"]) == ("fresh", None)


async def test_settled_order_is_not_applied_again(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await doubts.apply([settled(lease)])
    before = await database.contents()

    assert await doubts.apply([settled(lease, TrailRow(NOT_PLACED, "again"))]) == [False]
    assert await database.contents() == before


async def test_order_that_is_not_in_doubt_is_not_applied(rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)

    results = await doubts.apply([settled(Lease(id_, 0, 0), TrailRow(NOT_PLACED, "x")) for id_ in (order.id, new_id())])

    assert results == [False, False]
    assert await trail(rows, order.id) == [(INITIATED, None, None)]


async def test_order_without_rows_can_be_settled(rows: Rows, doubts: Doubts) -> None:
    id_ = new_id()
    await doubts.reopen([id_])
    [lease] = await lease_due(doubts)

    assert await doubts.apply([settled(lease, TrailRow(NOT_PLACED, "x"))]) == [True]
    assert await rows.read(id_) is None


async def test_nothing_is_applied_of_nothing(doubts: Doubts) -> None:
    assert await doubts.apply([]) == []


@pytest.mark.parametrize(("text", "code"), UNSTORABLE)
async def test_bad_verdict_leaves_nothing_of_its_batch(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, text: str, code: str
) -> None:
    first, second = [await held(rows, doubts) for _ in range(2)]
    before = await database.contents()

    for bad in (settled(second, observation=text), settled(second, TrailRow(NOT_PLACED, text))):
        with pytest.raises(StatementFailed) as caught:
            await doubts.apply([settled(first, TrailRow(NOT_PLACED, "proved:x")), bad])
        assert caught.value.code == code

    assert await database.contents() == before


async def test_one_of_many_verdicts_at_once_settles(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    verdicts = [settled(lease, TrailRow(NOT_PLACED, f"proved:{n}")) for n in range(RACERS)]

    results = await database.together(*(doubts.apply([verdict]) for verdict in verdicts))

    assert sorted(results) == [[False]] * (RACERS - 1) + [[True]]
    assert (await trail(rows, lease.order_id))[1:] == [(NOT_PLACED, f"proved:{results.index([True])}", None)]


async def test_verdict_races_the_one_who_leases_the_order(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    orders = await recorded(rows, count=RACERS)
    await doubts.reopen([order.id for order in orders])
    old = await lease_due(doubts, lease_seconds=0)

    again: list[Lease] = []

    async def lease_again() -> bool:
        again.extend(await lease_due(doubts))
        return True

    async def apply(lease: Lease) -> bool:
        return (await doubts.apply([settled(lease, TrailRow(NOT_PLACED, "proved:x"))]))[0]

    _, *applied = await database.together(lease_again(), *(apply(lease) for lease in old))

    taken_again = {lease.order_id for lease in again}
    assert {lease.order_id: was_applied for lease, was_applied in zip(old, applied, strict=True)} == {
        order.id: order.id not in taken_again for order in orders
    }
    for order in orders:
        assert ((NOT_PLACED, "proved:x", None) in await trail(rows, order.id)) is (order.id not in taken_again)


async def test_batches_of_verdicts_the_other_way_round_do_not_block_each_other(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    orders = await recorded(rows, count=RACERS)
    await doubts.reopen([order.id for order in orders])
    leases = await lease_due(doubts)

    results = await database.together(
        *(doubts.apply([settled(each) for each in leases[:: 1 if n % 2 else -1]]) for n in range(6))
    )

    assert sorted(sum(batch) for batch in results) == [0] * 5 + [RACERS]

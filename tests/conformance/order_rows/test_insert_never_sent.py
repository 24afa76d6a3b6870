"""An order that is recorded as never sent is not sent later, not even by a holder who has read it before."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ordertrail.domain.order import Order
from ordertrail.domain.trail import Outcome
from ordertrail.storage.doubt_rows import Lease, Verdict
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import KeyTaken, NeverSent, NewTrailRow, Recorded, Rows, SentLater
from tests.conformance.arrange import (
    INITIATED,
    NOT_PERSISTED,
    NOT_RECORDED,
    in_doubt,
    lease_due,
    read,
    settled,
    trail,
    was_claimed,
)
from tests.conformance.databases import DEADLINES, RACERS, UNSTORABLE, DatabaseSubject, Doubts
from tests.support.orders import a_market_order, an_order, new_id


async def test_never_sent_order_has_both_rows(rows: Rows) -> None:
    order = an_order(client_order_id="key")

    [never_sent] = await rows.insert_never_sent([order])

    stored = await read(rows, order.id)
    assert never_sent == NeverSent(stored.created_at)
    assert await trail(rows, order.id) == [(INITIATED, None, None), (NOT_PERSISTED, NOT_RECORDED, None)]
    assert replace(stored.order, place_by=None) == order
    assert stored.order.place_by == stored.created_at + timedelta(seconds=DEADLINES.retry_seconds)
    assert stored.outcome is Outcome.NOT_PLACED


async def test_send_window_of_an_never_sent_order_is_over(database: DatabaseSubject, rows: Rows) -> None:
    wanted = await database.now() + timedelta(seconds=12_345)
    order, market = an_order(place_by=wanted), a_market_order()

    await rows.insert_never_sent([order, market])

    stored = await read(rows, order.id)
    assert stored.send_by == stored.created_at
    assert stored.order.place_by == wanted
    assert (await read(rows, market.id)).order.place_by is None


async def test_never_sent_order_claims_its_key(rows: Rows) -> None:
    first, second = an_order(client_order_id="key"), an_order(client_order_id="key")

    await rows.insert_never_sent([first])

    assert await rows.insert_initiated([second]) == [KeyTaken(first.id)]


async def test_never_sent_order_whose_key_is_taken_is_not_recorded(rows: Rows, doubts: Doubts) -> None:
    first, second = an_order(client_order_id="key"), an_order(client_order_id="key")
    await rows.insert_initiated([first])

    assert await rows.insert_never_sent([second]) == [KeyTaken(first.id)]
    assert await rows.read(second.id) is None
    assert await trail(rows, first.id) == [(INITIATED, None, None)]
    assert await lease_due(doubts) == []


@pytest.mark.parametrize("key", [None, "key"])
async def test_never_sent_order_that_was_recorded_keeps_its_first_row(rows: Rows, key: str | None) -> None:
    order = an_order(client_order_id=key)
    [recorded] = await rows.insert_initiated([order])
    assert isinstance(recorded, Recorded)

    assert await rows.insert_never_sent([order]) == [NeverSent(recorded.created_at)]

    stored = await read(rows, order.id)
    assert [row.status for row in stored.rows] == [INITIATED, NOT_PERSISTED]
    assert stored.send_by == recorded.created_at + timedelta(seconds=DEADLINES.send_seconds)


async def test_never_sent_repeated_returns_the_same(rows: Rows) -> None:
    order, other = an_order(client_order_id="key"), an_order(client_order_id="key")
    first = await rows.insert_never_sent([order])
    before = await read(rows, order.id)

    assert await rows.insert_never_sent([order]) == first
    assert await rows.insert_never_sent([other]) == await rows.insert_never_sent([other]) == [KeyTaken(order.id)]
    assert (await read(rows, order.id)).rows == before.rows


async def test_order_that_was_sent_meanwhile_is_not_said_to_be_never_sent(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)
    assert await was_claimed(doubts, lease)

    assert await rows.insert_never_sent([order]) == [SentLater()]
    assert await trail(rows, order.id) == [(INITIATED, None, None)]


async def test_order_with_a_row_of_that_status_for_another_reason_is_not_said_to_be_never_sent(rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    await rows.insert_trail_rows([NewTrailRow(order.id, NOT_PERSISTED, "unknown:timeout")])

    # That status stands once, with whatever reason it came first: somebody has sent it.
    assert await rows.insert_never_sent([order]) == [SentLater()]
    assert (await trail(rows, order.id))[1] == (NOT_PERSISTED, "unknown:timeout", None)


async def test_nobody_sends_an_never_sent_order_on_what_was_read_before(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)

    await rows.insert_never_sent([order])

    assert not await was_claimed(doubts, lease)
    assert await doubts.apply([settled(lease)]) == [False]


async def test_nobody_sends_an_never_sent_order_later(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    await rows.insert_never_sent([order])
    await doubts.reopen([order.id])

    assert not await was_claimed(doubts, (await lease_due(doubts))[0])


async def test_never_sent_order_in_doubt_is_reviewed_at_once(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    before = await in_doubt(rows, doubts, order)

    await rows.insert_never_sent([order])

    assert await lease_due(doubts) == [Lease(order.id, before.fence + 2, 0)]


@pytest.mark.parametrize("is_settled", [True, False])
async def test_never_sent_order_that_was_settled_or_waits_is_reviewed_at_once(
    rows: Rows, doubts: Doubts, is_settled: bool
) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)
    await doubts.apply([Verdict(lease, (), is_settled=is_settled, next_seconds=1000, observation="")])

    await rows.insert_never_sent([order])

    assert await lease_due(doubts) == [Lease(order.id, lease.fence + 2, 0)]


async def test_never_sent_order_that_is_not_in_doubt_does_not_become_one(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    order = an_order()

    await rows.insert_never_sent([order])

    assert await lease_due(doubts) == []
    assert (await database.contents())["order_batches"] == []


async def test_recorded_order_said_to_be_never_sent_is_still_enqueued(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    await rows.insert_never_sent([order])
    await database.let_pass(DEADLINES.review_seconds + 1)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert [each.order_id for each in await lease_due(doubts)] == [order.id]


async def test_never_sent_results_come_in_the_order_of_the_orders(rows: Rows, doubts: Doubts) -> None:
    sent, owner = an_order(), an_order(client_order_id="key")
    await rows.insert_initiated([owner])
    assert await was_claimed(doubts, await in_doubt(rows, doubts, sent))
    late, early = an_order(id="9" + new_id()[1:]), an_order(id="0" + new_id()[1:])

    results = await rows.insert_never_sent([late, sent, an_order(client_order_id="key"), early])

    assert results[1:3] == [SentLater(), KeyTaken(owner.id)]
    assert results[0] == results[3] == NeverSent((await read(rows, late.id)).created_at)


async def test_never_sent_order_twice_in_a_batch(rows: Rows) -> None:
    order = an_order(client_order_id="key")

    first, second = await rows.insert_never_sent([order, order])

    assert first == second == NeverSent((await read(rows, order.id)).created_at)


@pytest.mark.parametrize(("text", "code"), UNSTORABLE)
async def test_bad_never_sent_order_leaves_nothing_of_its_batch(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, text: str, code: str
) -> None:
    held = an_order()
    lease = await in_doubt(rows, doubts, held)
    before = await database.contents()

    with pytest.raises(StatementFailed) as caught:
        await rows.insert_never_sent([held, an_order(client_order_id=text)])

    assert caught.value.code == code
    assert await database.contents() == before
    assert await was_claimed(doubts, lease)


async def test_never_sent_races_the_claim_to_send(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    orders = [an_order() for _ in range(RACERS)]
    await rows.insert_initiated(orders)
    await doubts.reopen([order.id for order in orders])
    leases = {each.order_id: each for each in await lease_due(doubts)}

    async def say(order: Order) -> bool:
        [said] = await rows.insert_never_sent([order])
        assert isinstance(said, NeverSent | SentLater)
        return isinstance(said, SentLater)

    was_sent = await database.together(
        *(call for order in orders for call in (was_claimed(doubts, leases[order.id]), say(order)))
    )

    assert was_sent[::2] == was_sent[1::2]

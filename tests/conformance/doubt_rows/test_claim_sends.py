"""A send is claimed by the holder alone, once, before every limit, and only where the rows leave it open."""

from datetime import timedelta

import pytest

from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.doubt_rows import Lease
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import Rows, SpooledTrail
from tests.conformance.arrange import (
    ANSWER_SECONDS,
    COMPLETED,
    FAILED,
    FROM_COMPLETED,
    NOT_PERSISTED,
    NOT_PLACED,
    NOT_RECORDED,
    SEND_SECONDS,
    UNKNOWN,
    UNRESOLVED,
    claim,
    held,
    hold,
    lease_due,
    recorded,
    settled,
    step,
    was_claimed,
)
from tests.conformance.databases import DEADLINES, RACERS, DatabaseSubject, Doubts
from tests.support.orders import a_market_order, an_order, new_id
from tests.support.switch import halt, resume


async def test_claims_are_numbered_from_the_second_send_on(rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)

    for number in (2, 3, 4):
        [claimed] = await claim(doubts, await hold(doubts, order.id))
        assert claimed is not None
        assert claimed.number == number


async def test_claim_says_until_when_to_send(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    before = await database.now()

    [claimed] = await claim(doubts, lease)

    assert claimed is not None
    window = timedelta(seconds=SEND_SECONDS)
    assert before + window < claimed.send_by < await database.now() + window
    assert claimed.accept_by == claimed.send_by + timedelta(seconds=ANSWER_SECONDS)
    assert claimed.seconds_left == pytest.approx(SEND_SECONDS)


async def test_claim_is_kept_with_who_made_it(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)

    [claimed] = await claim(doubts, lease)

    assert claimed is not None
    assert (await database.contents())["attempts"] == [
        {
            "order_id": lease.order_id,
            "number": 2,
            "fence": lease.fence,
            "claimed_by": "replica",
            "send_by": claimed.send_by,
            "accept_by": claimed.accept_by,
        }
    ]


@pytest.mark.parametrize(("place_by", "send_by_max"), [(20, None), (1000, 20), (20, 30), (30, 20)])
async def test_send_starts_before_every_limit(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, place_by: float, send_by_max: float | None
) -> None:
    now = await database.now()
    lease = await held(rows, doubts, place_by=now + timedelta(seconds=place_by))
    limit = None if send_by_max is None else now + timedelta(seconds=send_by_max)

    [claimed] = await claim(doubts, lease, send_by_max=limit)

    assert claimed is not None
    assert claimed.send_by == now + timedelta(seconds=20)
    assert 10 < claimed.seconds_left < 20
    assert claimed.accept_by == claimed.send_by + timedelta(seconds=ANSWER_SECONDS)


async def test_order_without_place_by_is_not_sent_again(rows: Rows, doubts: Doubts) -> None:
    order = a_market_order()
    await rows.insert_initiated([order])

    assert await claim(doubts, await hold(doubts, order.id)) == [None]


async def test_order_is_not_sent_after_its_place_by(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)
    await database.let_pass(DEADLINES.retry_seconds + 1)

    assert await claim(doubts, await hold(doubts, order.id)) == [None]


async def test_order_is_not_sent_after_what_its_holder_allows(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    lease = await held(rows, doubts)
    now = await database.now()

    assert await claim(doubts, lease, send_by_max=now - timedelta(seconds=1)) == [None]
    assert await claim(doubts, lease, send_by_max=now + timedelta(seconds=20)) != [None]


async def test_old_holder_claims_nothing(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    old = await held(rows, doubts)
    await database.let_pass(101)
    [new] = await lease_due(doubts)

    assert await claim(doubts, old) == [None]
    assert (await database.contents())["attempts"] == []
    assert await claim(doubts, new) != [None]


@pytest.mark.parametrize("old_first", [True, False])
async def test_old_holder_claims_nothing_in_one_batch_with_the_new_one(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, old_first: bool
) -> None:
    old = await held(rows, doubts)
    await database.let_pass(101)
    [new] = await lease_due(doubts)

    claims = await claim(doubts, *([old, new] if old_first else [new, old]))

    assert [claimed is None for claimed in claims] == [old_first, not old_first]
    assert [attempt["fence"] for attempt in (await database.contents())["attempts"]] == [new.fence]


async def test_settled_order_is_not_sent(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await doubts.apply([settled(lease)])

    assert await claim(doubts, lease) == [None]


async def test_order_that_is_not_in_doubt_is_not_sent(rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)

    assert await claim(doubts, Lease(order.id, 0, 0), Lease(new_id(), 0, 0)) == [None, None]


async def test_order_that_lacks_its_first_row_is_not_sent(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    order = an_order(place_by=await database.now() + timedelta(seconds=1000))
    await rows.replay([SpooledTrail(order, (TrailRow(FAILED, "not_sent:closed"),))])

    assert await claim(doubts, *await lease_due(doubts)) == [None]


async def test_holder_claims_once(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)

    assert await claim(doubts, lease) != [None]
    assert await claim(doubts, lease) == [None]


async def test_claim_twice_in_one_batch_leaves_nothing(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease, other = await held(rows, doubts), await held(rows, doubts)

    with pytest.raises(StatementFailed):
        await claim(doubts, other, lease, lease)

    assert (await database.contents())["attempts"] == []


async def test_halted_nothing_is_claimed_until_it_goes_on(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    lease = await held(rows, doubts)

    await halt(database.switch)
    assert await claim(doubts, lease) == [None]
    await resume(database.switch)

    assert await claim(doubts, lease) != [None]


async def test_canceled_order_is_not_sent_by_who_took_it_before_or_after(rows: Rows, doubts: Doubts) -> None:
    before = await held(rows, doubts)

    await doubts.request_cancel(before.order_id)

    [after] = await lease_due(doubts)
    assert await claim(doubts, before) == await claim(doubts, after) == [None]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (FAILED, "refused:too_big"),
        (NOT_PERSISTED, "refused:too_big"),
        (NOT_PERSISTED, NOT_RECORDED),
        (NOT_PLACED, "proved:absent"),
        *((status, "verified") for status in FROM_COMPLETED),
        (COMPLETED, None),
    ],
)
async def test_order_that_is_settled_by_its_rows_is_not_sent(
    rows: Rows, doubts: Doubts, status: OrderStatus, reason: str | None
) -> None:
    lease = await held(rows, doubts)
    await step(rows, lease.order_id, status, reason)

    assert await claim(doubts, lease) == [None]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (FAILED, "not_sent:closed"),
        (FAILED, None),
        (NOT_PERSISTED, "unknown:refused:x"),
        (UNKNOWN, "unknown:timeout"),
        (UNRESOLVED, "absence_cannot_be_proved"),
    ],
)
async def test_order_that_its_rows_leave_open_may_be_sent(
    rows: Rows, doubts: Doubts, status: OrderStatus, reason: str | None
) -> None:
    lease = await held(rows, doubts)
    await step(rows, lease.order_id, status, reason)

    assert await claim(doubts, lease) != [None]


async def test_claims_come_in_the_order_in_which_they_were_wanted(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    first, second, third = [await held(rows, doubts) for _ in range(3)]
    await doubts.request_cancel(second.order_id)
    await claim(doubts, third)
    third = await hold(doubts, third.order_id)

    claims = await claim(doubts, third, second, Lease(new_id(), 1, 0), first)

    assert [None if claimed is None else claimed.number for claimed in claims] == [3, None, None, 2]


async def test_nothing_is_claimed_of_nothing(doubts: Doubts) -> None:
    assert await claim(doubts) == []


async def test_one_of_many_claims_at_once_is_made(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)

    async def try_to_claim() -> bool:
        try:
            return await was_claimed(doubts, lease)
        except StatementFailed:
            # It waited for another's commit, and is refused by the number that the other has taken.
            return False

    assert sum(await database.together(*(try_to_claim() for _ in range(RACERS)))) == 1
    assert len((await database.contents())["attempts"]) == 1


async def test_claim_races_the_cancel(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    orders = await recorded(rows, count=RACERS)
    await doubts.reopen([order.id for order in orders])
    leases = {each.order_id: each for each in await lease_due(doubts)}

    await database.together(
        *(call for id_, each in leases.items() for call in (was_claimed(doubts, each), doubts.request_cancel(id_)))
    )

    # From the cancels' answers on nobody claims, whatever came of the races.
    again = await lease_due(doubts)
    assert len(again) == RACERS
    assert await claim(doubts, *leases.values()) == await claim(doubts, *again) == [None] * RACERS

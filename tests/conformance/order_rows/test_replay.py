"""A spooled trail adds what is missing, changes nothing that is there, and is never sent."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from ordertrail.domain.order import Order
from ordertrail.domain.trail import TrailRow
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import STEP_AGE_MAX, KeyTaken, NewTrailRow, Recorded, Rows, SpooledTrail
from tests.conformance.arrange import (
    FAILED,
    INITIATED,
    NOT_PERSISTED,
    NOT_PLACED,
    NOT_RECORDED,
    SAME_IN_ALL_ROWS,
    UNKNOWN,
    a_trail,
    in_doubt,
    lease_due,
    read,
    settled,
    trail,
    was_claimed,
)
from tests.conformance.databases import UNSTORABLE, DatabaseSubject, Doubts
from tests.support.orders import an_order


async def test_replayed_order_is_never_sent(rows: Rows, doubts: Doubts) -> None:
    order = an_order()

    await rows.replay([a_trail(order, TrailRow(FAILED, "not_sent:closed", "E-1"))])

    stored = await read(rows, order.id)
    assert await trail(rows, order.id) == [(INITIATED, None, None), (FAILED, "not_sent:closed", "E-1")]
    assert stored.order == order
    assert stored.send_by is not None
    assert stored.send_by <= stored.read_at
    assert not await was_claimed(doubts, (await lease_due(doubts))[0])


async def test_replayed_rows_have_the_orders_fields(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(client_order_id="key", limit_price=Decimal("0.1"))

    await rows.replay([a_trail(order, TrailRow(FAILED, "not_sent:closed"))])

    failed, initiated = (await database.contents())["orders"]
    assert [failed[name] for name in SAME_IN_ALL_ROWS] == [initiated[name] for name in SAME_IN_ALL_ROWS]
    assert [failed[name] for name in ("client_order_id", "place_by", "send_by", "accept_by")] == [None] * 4
    assert initiated["client_order_id"] == "key"


async def test_replayed_order_has_no_place_by_even_of_the_callers_own(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(place_by=await database.now() + timedelta(seconds=12_345))

    await rows.replay([a_trail(order)])

    assert (await read(rows, order.id)).order.place_by is None


async def test_replay_keeps_what_is_there(rows: Rows) -> None:
    order = an_order(client_order_id="key")
    await rows.insert_initiated([order])
    await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "not_sent:closed")])
    before = await read(rows, order.id)

    await rows.replay(
        [
            a_trail(
                replace(order, quantity=77),
                TrailRow(FAILED, "refused:other"),
                TrailRow(NOT_PERSISTED, "accepted", "E-1"),
            )
        ]
    )

    after = await read(rows, order.id)
    assert after.rows[:2] == before.rows
    assert (after.order, after.send_by) == (before.order, before.send_by)
    assert (await trail(rows, order.id))[2] == (NOT_PERSISTED, "accepted", "E-1")


async def test_replayed_order_claims_a_key_that_is_free(rows: Rows) -> None:
    order, other = an_order(client_order_id="key"), an_order(client_order_id="key")

    await rows.replay([a_trail(order)])

    assert await rows.insert_initiated([other]) == [KeyTaken(order.id)]
    assert (await read(rows, order.id)).order.client_order_id == "key"


async def test_replayed_order_leaves_a_key_that_is_taken(rows: Rows) -> None:
    owner, order = an_order(client_order_id="key"), an_order(client_order_id="key")
    await rows.insert_initiated([owner])

    await rows.replay([a_trail(order)])

    assert (await read(rows, order.id)).order.client_order_id is None
    assert await rows.insert_initiated([an_order(client_order_id="key")]) == [KeyTaken(owner.id)]


async def test_trail_without_its_first_row_claims_no_key(rows: Rows) -> None:
    order, other = an_order(client_order_id="key"), an_order(client_order_id="key")

    await rows.replay([SpooledTrail(order, (TrailRow(UNKNOWN, "unknown:timeout"),))])

    assert isinstance((await rows.insert_initiated([other]))[0], Recorded)
    assert await trail(rows, order.id) == [(UNKNOWN, "unknown:timeout", None)]


async def test_replay_does_not_call_never_sent_what_was_sent_meanwhile(rows: Rows, doubts: Doubts) -> None:
    sent, never_sent = an_order(), an_order()
    assert await was_claimed(doubts, await in_doubt(rows, doubts, sent))

    await rows.replay([a_trail(order, TrailRow(NOT_PERSISTED, NOT_RECORDED)) for order in (sent, never_sent)])

    assert await trail(rows, sent.id) == [(INITIATED, None, None)]
    assert await trail(rows, never_sent.id) == [(INITIATED, None, None), (NOT_PERSISTED, NOT_RECORDED, None)]


async def test_replay_of_other_failures_is_written_whoever_sent_since(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    assert await was_claimed(doubts, await in_doubt(rows, doubts, order))

    await rows.replay([a_trail(order, TrailRow(UNKNOWN, "unknown:timeout"), TrailRow(NOT_PERSISTED, None))])

    assert {row[:2] for row in await trail(rows, order.id)} == {
        (INITIATED, None),
        (UNKNOWN, "unknown:timeout"),
        (NOT_PERSISTED, None),
    }


async def test_replay_takes_the_order_from_its_holder(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)

    await rows.replay([a_trail(order, TrailRow(FAILED, "refused:too_big"))])

    assert not await was_claimed(doubts, lease)
    assert await doubts.apply([settled(lease)]) == [False]
    again = (await lease_due(doubts))[0]
    assert again.fence > lease.fence
    assert again.tries == 0


async def test_replay_opens_what_was_settled(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)
    verdict = settled(lease, TrailRow(NOT_PLACED, "proved:absent"))
    assert await doubts.apply([verdict]) == [True]

    await rows.replay([a_trail(order, TrailRow(NOT_PERSISTED, "accepted", "E-1"))])

    assert [each.order_id for each in await lease_due(doubts)] == [order.id]


async def test_replay_repeated_writes_no_row(database: DatabaseSubject, rows: Rows) -> None:
    trails = [a_trail(an_order(client_order_id="key"), TrailRow(UNKNOWN, "unknown:timeout")), a_trail(an_order())]
    await rows.replay(trails)
    before = await database.contents()

    await rows.replay(trails[::-1])

    after = await database.contents()
    assert (after["orders"], after["order_keys"]) == (before["orders"], before["order_keys"])


async def test_trails_of_one_order_in_one_replay(rows: Rows) -> None:
    order = an_order(client_order_id="key")

    await rows.replay([a_trail(order, TrailRow(UNKNOWN, "unknown:timeout")), a_trail(order)])

    assert await trail(rows, order.id) == [(INITIATED, None, None), (UNKNOWN, "unknown:timeout", None)]


async def test_replay_of_nothing_is_nothing(database: DatabaseSubject, rows: Rows) -> None:
    await rows.replay([])

    assert not any((await database.contents()).values())


@pytest.mark.parametrize(("text", "code"), UNSTORABLE)
async def test_bad_trail_leaves_nothing_of_its_replay(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, text: str, code: str
) -> None:
    held = an_order()
    await in_doubt(rows, doubts, held)
    before = await database.contents()

    with pytest.raises(StatementFailed) as caught:
        await rows.replay([a_trail(held, TrailRow(FAILED, "refused:x")), a_trail(an_order(), TrailRow(FAILED, text))])

    assert caught.value.code == code
    assert caught.value.is_about_the_data
    assert await database.contents() == before


def stepped(order: Order, *times: datetime | None) -> SpooledTrail:
    """INITIATED and the failed send, with the times of their steps."""
    rows = (TrailRow(INITIATED), TrailRow(NOT_PERSISTED, "not_sent:closed"))
    return SpooledTrail(order, tuple(replace(row, created_at=at) for row, at in zip(rows, times, strict=True)))


async def test_replayed_rows_have_the_times_of_their_steps(database: DatabaseSubject, rows: Rows) -> None:
    order, now = an_order(), await database.now()
    began, failed = now - timedelta(seconds=37), now - timedelta(seconds=30)

    await rows.replay([stepped(order, began, failed)])

    stored = await read(rows, order.id)
    assert [row.created_at for row in stored.rows] == [began, failed]
    assert stored.created_at == began
    assert all(row.recorded_at is not None and now <= row.recorded_at <= stored.read_at for row in stored.rows)


@pytest.mark.parametrize(
    "off", [None, timedelta(days=365 * 400), timedelta(days=-365 * 50), timedelta(hours=1), -STEP_AGE_MAX], ids=str
)
async def test_step_that_cannot_have_been_then_has_the_databases_time(
    database: DatabaseSubject, rows: Rows, off: timedelta | None
) -> None:
    """1970 and the far future among them; no time at all, as a release before this one spooled it."""
    order, now = an_order(), await database.now()
    at = None if off is None else now + off

    await rows.replay([stepped(order, at, at)])

    stored = await read(rows, order.id)
    for row in stored.rows:
        assert row.recorded_at is None
        assert row.created_at is not None and now <= row.created_at <= stored.read_at


async def test_step_is_never_before_the_first_row(database: DatabaseSubject, rows: Rows) -> None:
    """The process's clock was behind the database's, which had written INITIATED."""
    order = an_order()
    await rows.insert_initiated([order])
    initiated = await read(rows, order.id)

    await rows.replay([stepped(order, initiated.created_at, initiated.created_at - timedelta(hours=1))])

    first, second = (await read(rows, order.id)).rows
    assert (first.created_at, first.recorded_at) == (initiated.created_at, None)
    assert second.created_at == initiated.created_at
    assert second.recorded_at is not None


async def test_trail_is_read_in_the_order_in_which_it_was_written(database: DatabaseSubject, rows: Rows) -> None:
    """What a process's clock says does not move a row before those that were there."""
    order = an_order()
    await rows.insert_initiated([order])
    await rows.insert_trail_rows([NewTrailRow(order.id, NOT_PLACED, "proved:not_sent:closed")])
    at = (await read(rows, order.id)).created_at

    await rows.replay([SpooledTrail(order, (TrailRow(NOT_PERSISTED, "not_sent:closed", created_at=at),))])

    stored = await read(rows, order.id)
    assert [row.status for row in stored.rows] == [INITIATED, NOT_PLACED, NOT_PERSISTED]


async def test_deadlines_are_reckoned_from_when_it_was_written(database: DatabaseSubject, rows: Rows) -> None:
    order, now = an_order(), await database.now()

    await rows.replay([stepped(order, now - timedelta(days=1), now - timedelta(days=1))])
    [repeated] = await rows.insert_initiated([order])

    stored = await read(rows, order.id)
    assert isinstance(repeated, Recorded) and repeated.created_at == stored.rows[0].recorded_at
    assert stored.send_by is not None and now <= stored.send_by <= stored.read_at

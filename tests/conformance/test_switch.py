"""The operator's switch: what is recorded and claimed sees it, and a halt knows what it has to wait for."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ordertrail.domain.order_in_doubt import SendAnswer
from ordertrail.domain.switch import Switch
from ordertrail.domain.trail import OrderStatus
from ordertrail.storage.doubt_rows import AnsweredSend
from ordertrail.storage.order_rows import NewTrailRow, Recorded, Rows
from tests.conformance.arrange import COMPLETED, FAILED, SEND_SECONDS, claim, held, recorded, step
from tests.conformance.databases import DEADLINES, DatabaseSubject, Doubts
from tests.support.orders import an_order, new_id
from tests.support.switch import ALICE, WHY, halt, resume


async def is_halted_for(rows: Rows, *, completed: str | None = None, key: str | None = None) -> bool:
    """What a new order is told."""
    order = an_order(client_order_id=key)
    if completed is None:
        [result] = await rows.insert_initiated([order])
    else:
        [result], _ = await rows.insert_initiated_and_completed([order], [NewTrailRow(completed, COMPLETED, None, "E")])
    assert isinstance(result, Recorded)
    return result.is_halted


async def test_nobody_has_turned_a_new_switch(database: DatabaseSubject) -> None:
    assert await database.switch.read() == Switch()


async def test_switch_says_who_turned_it_when_and_why(database: DatabaseSubject) -> None:
    before = await database.now()

    halted = await halt(database.switch)

    assert before <= halted.at <= await database.now()
    stands = await database.switch.read()
    assert stands == Switch(True, halted.at, "alice", WHY, stands.id)
    await resume(database.switch)
    resumed = await database.switch.read()
    assert resumed.turned_at is not None
    assert halted.at <= resumed.turned_at <= await database.now()
    assert resumed == Switch(False, resumed.turned_at, "alice", None, resumed.id)


async def test_late_resume_ends_no_halt_that_came_meanwhile(database: DatabaseSubject) -> None:
    untouched = await database.switch.read()
    await halt(database.switch)
    before = await database.switch.read()
    await halt(database.switch, "again")
    stands = await database.switch.read()

    late = [await database.switch.resume(ALICE, None, before=which) for which in (untouched, before)]

    assert late == [False, False]
    assert await database.switch.read() == stands
    assert await database.switch.resume(ALICE, None, before=stands)
    assert not await database.switch.resume(ALICE, None, before=stands)
    assert not (await database.switch.read()).is_halted


async def test_switch_that_nobody_has_turned_can_be_resumed(database: DatabaseSubject) -> None:
    assert await database.switch.resume(ALICE, None, before=Switch())
    assert not (await database.switch.read()).is_halted


@pytest.mark.parametrize("key", [None, "key"])
@pytest.mark.parametrize("shares_its_commit", [False, True])
async def test_order_learns_of_it_with_its_first_row(
    database: DatabaseSubject, rows: Rows, key: str | None, shares_its_commit: bool
) -> None:
    other = (await recorded(rows))[0].id if shares_its_commit else None
    assert not await is_halted_for(rows, completed=other, key=key)

    await halt(database.switch)

    assert await is_halted_for(rows, completed=other, key=key and key + "-2")
    await resume(database.switch)
    assert not await is_halted_for(rows, completed=other, key=key and key + "-3")


async def test_repeat_after_a_lost_answer_learns_of_it_too(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    await halt(database.switch)

    [again] = await rows.insert_initiated([order])
    [[beside, new], _] = await rows.insert_initiated_and_completed([order, an_order()], [])

    assert [result.is_halted for result in (again, beside, new) if isinstance(result, Recorded)] == [True] * 3


async def test_nothing_is_under_way_where_nothing_is(database: DatabaseSubject) -> None:
    under_way = await database.switch.under_way(await halt(database.switch))

    assert replace(under_way, at=under_way.at) == under_way
    assert not under_way.has_earlier_statements
    assert (under_way.startable, under_way.last_send_by, under_way.unanswered) == (0, None, 0)


async def test_first_send_is_under_way_until_it_is_answered(database: DatabaseSubject, rows: Rows) -> None:
    answered, failed, waiting = await recorded(rows, count=3)
    await step(rows, answered.id, COMPLETED)
    await step(rows, failed.id, FAILED, "not_sent:circuit_open")
    halted = await halt(database.switch)

    before = await database.switch.under_way(halted)
    await database.let_pass(DEADLINES.send_seconds + 1)
    after = await database.switch.under_way(halted)

    stored = await rows.read(waiting.id)
    assert stored is not None and stored.send_by is not None
    assert (before.startable, before.unanswered) == (1, 1)
    assert before.last_send_by is not None
    assert (after.startable, after.last_send_by, after.unanswered) == (0, None, 1)


async def test_claimed_send_is_under_way_until_it_is_answered(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    lease = await held(rows, doubts)
    await step(rows, lease.order_id, OrderStatus.EXCHANGE_CREATION_FAILED, "not_sent:closed")
    [claimed] = await claim(doubts, lease)
    assert claimed is not None
    halted = await halt(database.switch)

    before = await database.switch.under_way(halted)
    answer = AnsweredSend(lease.order_id, claimed.number, SendAnswer.ACCEPTED, "accepted", "E-1")
    await doubts.record_answers([answer])
    after = await database.switch.under_way(halted)

    assert (before.startable, before.last_send_by, before.unanswered) == (1, claimed.send_by, 1)
    assert claimed.send_by - halted.at <= timedelta(seconds=SEND_SECONDS)
    assert (after.startable, after.unanswered) == (0, 0)


async def test_order_that_is_unknown_is_not_under_way(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    await doubts.reopen([new_id()])

    under_way = await database.switch.under_way(await halt(database.switch))

    assert under_way.unanswered == 0

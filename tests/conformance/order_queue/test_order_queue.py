"""The queue of orders: who takes an order out is one, whatever is tried at once, and says so in the same commit."""

from collections.abc import Coroutine
from typing import Any

import pytest

from ordertrail.domain.order import Order, OrderType
from ordertrail.domain.order_in_doubt import OrderInDoubt, SendAnswer
from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.storage.doubt_rows import AnsweredSend, WantedSend
from ordertrail.storage.order_queue_rows import FIRST_SEND, ClaimedOrder
from ordertrail.storage.order_rows import KeyTaken, NeverSent, NewTrailRow, Recorded, Rows, SentLater
from tests.conformance.arrange import (
    ANSWER_SECONDS,
    COMPLETED,
    DUE,
    FAILED,
    INITIATED,
    NOT_PERSISTED,
    NOT_PLACED,
    SEND_SECONDS,
    UNKNOWN,
    hold,
    lease_due,
)
from tests.conformance.databases import DEADLINES, RACERS, DatabaseSubject, Doubts
from tests.support.orders import an_order
from tests.support.switch import ALICE, WHY, resume

STOCK, BOND = "AAPL12345678", "BOND12345678"


async def queued(rows: Rows, *, count: int = 1, **changes: Any) -> list[Order]:
    orders = sorted((an_order(**changes) for _ in range(count)), key=lambda order: order.id)
    results = await rows.insert_queued(orders)
    assert all(isinstance(result, Recorded) for result in results)
    return orders


async def claim(database: DatabaseSubject, *, orders_max: int = 100, **which: Any) -> list[ClaimedOrder]:
    return await database.order_queue().claim(orders_max=orders_max, claimed_by="worker", **which)


async def together(database: DatabaseSubject, *calls: Coroutine[Any, Any, Any]) -> list[Any]:
    """What comes of different calls at once."""
    return await database.together(*calls)


async def trail(rows: Rows, order: Order) -> dict[OrderStatus, str | None]:
    stored = await rows.read(order.id)
    assert stored is not None
    return {row.status: row.reason for row in stored.rows}


async def doubt_of(doubts: Doubts, order: Order) -> OrderInDoubt:
    [found] = (await doubts.load([order.id])).values()
    assert isinstance(found, OrderInDoubt)
    return found


async def test_a_queued_order_is_pending_and_has_no_deadline_yet(database: DatabaseSubject, rows: Rows) -> None:
    [order] = await queued(rows)

    stored = await rows.read(order.id)

    assert stored is not None
    assert (stored.is_queued, stored.outcome, stored.send_by) == (True, Outcome.PENDING, None)
    assert stored.is_being_placed(seconds_after_send_by=0)
    assert (await database.contents())["order_batches"] == []
    assert (await database.order_queue().depth()).orders == 1


async def test_queued_twice_after_a_lost_answer_it_waits_once(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(client_order_id="key")

    first, second = [await rows.insert_queued([order]) for _ in range(2)]
    [claimed] = await claim(database)
    third = await rows.insert_queued([order])

    assert first == second == third
    assert claimed.order.id == order.id
    assert (await database.order_queue().depth()).orders == 0
    assert await claim(database) == []


async def test_a_key_that_is_taken_queues_nothing(database: DatabaseSubject, rows: Rows) -> None:
    first = an_order(client_order_id="key")
    await rows.insert_initiated([first])

    [taken] = await rows.insert_queued([an_order(client_order_id="key")])

    assert taken == KeyTaken(first.id)
    assert (await database.order_queue().depth()).orders == 0


async def test_the_claim_is_the_send_and_the_reconciler_has_it_then(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    [order] = await queued(rows, client_order_id="key")

    [claimed] = await claim(database)

    assert (claimed.order.id, claimed.order.client_order_id) == (order.id, "key")
    assert 0 < claimed.seconds_left <= DEADLINES.send_seconds
    stored = await rows.read(order.id)
    assert stored is not None
    assert (stored.is_queued, stored.outcome, stored.has_open_claim) == (False, Outcome.UNKNOWN, True)
    assert stored.send_by is not None
    await database.let_pass(DUE)
    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    doubt = await doubt_of(doubts, order)
    [send] = doubt.sends
    assert (send.may_have_arrived, send.accept_by, doubt.is_queued) == (True, send.accept_by, False)


async def test_oldest_first_and_no_more_than_wanted(database: DatabaseSubject, rows: Rows) -> None:
    orders = await queued(rows, count=5)

    first, second = await claim(database, orders_max=2), await claim(database, orders_max=10)

    assert [each.order.id for each in (*first, *second)] == [order.id for order in orders]


async def test_of_many_that_claim_at_once_each_order_has_one(database: DatabaseSubject, rows: Rows) -> None:
    orders = await queued(rows, count=30)

    claims = await database.together(*(claim(database, orders_max=7) for _ in range(RACERS)))

    ids = [each.order.id for claimed in claims for each in claimed]
    assert len(ids) == len(set(ids))
    rest = await claim(database)
    assert sorted([*ids, *(each.order.id for each in rest)]) == [order.id for order in orders]


async def test_instruments_may_be_left_out_or_probed_with_one(database: DatabaseSubject, rows: Rows) -> None:
    await queued(rows, count=3, instrument=STOCK)
    bonds = await queued(rows, count=3, instrument=BOND)

    claimed = await claim(database, excluded=[STOCK], probing=[BOND])

    assert [each.order.id for each in claimed] == [bonds[0].id]
    assert (await database.order_queue().depth()).orders == 5


async def test_nothing_is_claimed_while_placing_is_halted(database: DatabaseSubject, rows: Rows) -> None:
    await queued(rows)
    halt = await database.switch.halt(ALICE, WHY)

    assert await claim(database) == []
    assert (await database.switch.under_way(halt)).startable == 0

    await resume(database.switch)
    assert len(await claim(database)) == 1


async def test_a_halt_waits_for_what_was_claimed_before_it(database: DatabaseSubject, rows: Rows) -> None:
    await queued(rows)
    await claim(database)

    halt = await database.switch.halt(ALICE, WHY)

    under_way = await database.switch.under_way(halt)
    assert (under_way.startable, under_way.unanswered) == (1, 1)


async def test_one_whose_time_is_up_is_not_placed_and_proved(database: DatabaseSubject, rows: Rows) -> None:
    [order] = await queued(rows, type=OrderType.MARKET, limit_price=None)
    queue = database.order_queue()
    assert await queue.expire(orders_max=10) == []

    await database.let_pass(DEADLINES.queue_seconds + 1)

    assert await claim(database) == []
    assert await queue.expire(orders_max=10) == [order.id]
    assert await trail(rows, order) == {INITIATED: None, NOT_PLACED: "proved:not_sent:too_late"}
    stored = await rows.read(order.id)
    assert stored is not None
    assert (stored.outcome, (await queue.depth()).orders) == (Outcome.NOT_PLACED, 0)


async def test_of_a_claim_and_the_end_of_its_time_one_gets_it(database: DatabaseSubject, rows: Rows) -> None:
    orders = await queued(rows, count=20)
    await database.let_pass(DEADLINES.queue_seconds - SEND_SECONDS)

    expiring = [database.order_queue().expire(orders_max=100) for _ in range(3)]
    claimed, *expired = await together(database, claim(database), *expiring)

    ids = [each.order.id for each in claimed if isinstance(each, ClaimedOrder)] + [
        id_ for ids in expired for id_ in ids
    ]
    assert sorted(map(str, ids)) == [order.id for order in orders]


async def test_the_callers_own_place_by_is_the_end_of_its_life(database: DatabaseSubject, rows: Rows) -> None:
    now = await database.now()
    place_by = now.replace(year=now.year + 1)
    [order] = await queued(rows, place_by=place_by)
    await database.let_pass(10 * DEADLINES.queue_seconds)

    [claimed] = await claim(database)

    assert claimed.order.id == order.id


async def test_a_cancel_ends_a_queued_order_at_once(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    [order] = await queued(rows)

    assert await doubts.request_cancel(order.id)
    assert await doubts.request_cancel(order.id)

    assert await trail(rows, order) == {INITIATED: None, NOT_PLACED: "proved:canceled"}
    assert await claim(database) == []
    assert await lease_due(doubts) == []
    stored = await rows.read(order.id)
    assert stored is not None
    assert (stored.outcome, stored.is_forbidden) == (Outcome.NOT_PLACED, True)


async def test_a_cancel_of_a_claimed_order_is_the_reconcilers(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    [order] = await queued(rows)
    await claim(database)

    assert await doubts.request_cancel(order.id)

    assert await trail(rows, order) == {INITIATED: None}
    [lease] = await lease_due(doubts)
    assert lease.order_id == order.id


async def test_of_a_claim_and_a_cancel_at_once_one_gets_it(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    orders = await queued(rows, count=8)

    claimed, *_ = await together(database, claim(database), *(doubts.request_cancel(order.id) for order in orders))

    ids = {each.order.id for each in claimed}
    for order in orders:
        assert (NOT_PLACED in await trail(rows, order)) == (order.id not in ids)


async def test_what_a_first_send_came_to_is_recorded_with_its_row(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    [order] = await queued(rows, type=OrderType.MARKET, limit_price=None)
    await claim(database)

    await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "not_sent:throttled")])

    stored = await rows.read(order.id)
    assert stored is not None
    assert (stored.has_open_claim, stored.outcome) == (False, Outcome.NOT_PLACED)
    [answer] = (await database.contents())["attempt_answers"]
    assert (answer["number"], answer["answer"], answer["reason"]) == (FIRST_SEND, "not_sent", "not_sent:throttled")
    # The worker's own record of the same changes nothing.
    await doubts.record_answers([AnsweredSend(order.id, FIRST_SEND, SendAnswer.UNKNOWN, None, None)])
    assert (await database.contents())["attempt_answers"] == [answer]


@pytest.mark.parametrize(
    ("status", "reason", "answer"),
    [
        (FAILED, "refused:no_funds", "refused"),
        (UNKNOWN, "unknown:timeout", "unknown"),
        (NOT_PERSISTED, "accepted", "accepted"),
        (NOT_PERSISTED, "not_sent:closed", "not_sent"),
    ],
)
async def test_each_answer_of_a_first_send_is_read_off_its_row(
    database: DatabaseSubject, rows: Rows, status: OrderStatus, reason: str, answer: str
) -> None:
    [order] = await queued(rows)
    await claim(database)

    await rows.insert_trail_rows([NewTrailRow(order.id, status, reason, "E-1")])

    assert [row["answer"] for row in (await database.contents())["attempt_answers"]] == [answer]


async def test_a_resend_after_a_workers_send_has_the_next_number(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    [order] = await queued(rows)
    await claim(database)
    lease = await hold(doubts, order.id)

    [resend] = await doubts.claim_sends(
        [WantedSend(lease, None)], claimed_by="r", send_seconds=SEND_SECONDS, answer_seconds=ANSWER_SECONDS
    )

    assert resend is not None
    assert resend.number == FIRST_SEND + 1


async def test_no_reconciler_sends_what_waits_in_the_queue(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    [order] = await queued(rows)
    lease = await hold(doubts, order.id)

    assert (await doubt_of(doubts, order)).is_queued
    assert await doubts.claim_sends(
        [WantedSend(lease, None)], claimed_by="r", send_seconds=SEND_SECONDS, answer_seconds=ANSWER_SECONDS
    ) == [None]
    assert len(await claim(database)) == 1


async def test_one_that_was_said_to_be_never_sent_is_taken_out(database: DatabaseSubject, rows: Rows) -> None:
    """Its request lost the answer, and has told its client that nothing was sent."""
    [order] = await queued(rows)

    assert isinstance((await rows.insert_never_sent([order]))[0], NeverSent)

    assert await claim(database) == []
    assert (await trail(rows, order))[NOT_PERSISTED] == "not_sent:not_recorded"


async def test_one_that_a_worker_has_is_not_said_to_be_never_sent(database: DatabaseSubject, rows: Rows) -> None:
    [order] = await queued(rows)
    await claim(database)

    assert await rows.insert_never_sent([order]) == [SentLater()]
    assert await trail(rows, order) == {INITIATED: None}


@pytest.mark.parametrize("status", [COMPLETED, FAILED, UNKNOWN, NOT_PERSISTED])
async def test_one_that_a_worker_has_sent_is_not_said_to_be_never_sent(
    database: DatabaseSubject, rows: Rows, status: OrderStatus
) -> None:
    """Whatever the worker has written of it: its last choice of a row has the status that never sent has too."""
    [order] = await queued(rows)
    await claim(database)
    await rows.insert_trail_rows([NewTrailRow(order.id, status, "accepted", "X-1")])

    assert await rows.insert_never_sent([order]) == [SentLater()]
    assert await trail(rows, order) == {INITIATED: None, status: "accepted"}


async def test_of_a_claim_and_never_sent_at_once_one_gets_it(database: DatabaseSubject, rows: Rows) -> None:
    orders = await queued(rows, count=8)

    never_sent = [rows.insert_never_sent([order]) for order in orders]
    claimed, *results = await together(database, claim(database), *never_sent)

    ids = {each.order.id for each in claimed if isinstance(each, ClaimedOrder)}
    for order, [result] in zip(orders, results, strict=True):
        assert isinstance(result, SentLater if order.id in ids else NeverSent), order.id


async def test_the_depth_is_what_waits_however_often_it_is_joined(database: DatabaseSubject, rows: Rows) -> None:
    queue = database.order_queue()
    for _ in range(80):
        await queued(rows)
    await claim(database, orders_max=3)
    before = await queue.depth()

    await queue.compact()

    assert (before.orders, (await queue.depth()).orders) == (77, 77)
    assert len((await database.contents())["order_queue_sums"]) == 1
    assert before.oldest_seconds >= 0


async def test_placed_by_a_worker_it_has_its_two_rows(database: DatabaseSubject, rows: Rows) -> None:
    [order] = await queued(rows)
    await claim(database)

    await rows.insert_trail_rows([NewTrailRow(order.id, COMPLETED, None, "E-1")])

    stored = await rows.read(order.id)
    assert stored is not None
    assert (stored.outcome, stored.is_completed) == (Outcome.PLACED, True)

"""What `DoubtRows` promises: nothing missed, one holder at a time, and whoever has lost an order changes nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ordertrail.domain.order import Order
from ordertrail.domain.order_in_doubt import OrderInDoubt, Send, SendAnswer
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.doubt_rows import AnsweredSend, ClaimedSend, DoubtCounts, Lease, Unreadable, Verdict, WantedSend
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import NewTrailRow, Rows, SpooledTrail
from tests.conformance.databases import DEADLINES, RACERS, UNSTORABLE, DatabaseSubject, Doubts, Record
from tests.support.orders import a_market_order, an_order, new_id

INITIATED = OrderStatus.INITIATED
FAILED = OrderStatus.EXCHANGE_CREATION_FAILED
NOT_PERSISTED = OrderStatus.DATABASE_PERSISTENCE_FAILED
UNKNOWN = OrderStatus.EXCHANGE_OUTCOME_UNKNOWN
UNRESOLVED = OrderStatus.UNRESOLVED
NOT_PLACED = OrderStatus.NOT_PLACED
COMPLETED = OrderStatus.COMPLETED
FROM_COMPLETED = list(OrderStatus)[list(OrderStatus).index(COMPLETED) :]
NOT_RECORDED = "not_sent:not_recorded"

DUE = DEADLINES.review_seconds + 1
SEND_SECONDS, ANSWER_SECONDS = 50, 70


async def recorded(rows: Rows, *, count: int = 1, **changes: Any) -> list[Order]:
    """So many orders, each in a batch of its own, in the order of their ids."""
    orders = sorted((an_order(**changes) for _ in range(count)), key=lambda order: order.id)
    for order in orders:
        await rows.insert_initiated([order])
    return orders


async def lease_due(doubts: Doubts, *, doubts_max: int = 1000, lease_seconds: float = 100) -> list[Lease]:
    return await doubts.lease(doubts_max=doubts_max, lease_seconds=lease_seconds)


async def hold(doubts: Doubts, order_id: str) -> Lease:
    """Make a doubt of it, and take it."""
    await doubts.reopen([order_id])
    return next(each for each in await lease_due(doubts) if each.order_id == order_id)


async def held(rows: Rows, doubts: Doubts, **changes: Any) -> Lease:
    """A new order in doubt, taken."""
    return await hold(doubts, (await recorded(rows, **changes))[0].id)


async def step(rows: Rows, order_id: str, status: OrderStatus, reason: str | None = None) -> None:
    assert await rows.insert_trail_rows([NewTrailRow(order_id, status, reason)]) == [True]


async def claim(doubts: Doubts, *wanted: Lease) -> list[ClaimedSend | None]:
    return await doubts.claim_sends(
        [WantedSend(lease, None) for lease in wanted],
        claimed_by="replica",
        send_seconds=SEND_SECONDS,
        answer_seconds=ANSWER_SECONDS,
    )


async def claim_until(doubts: Doubts, lease: Lease, send_by_max: Any) -> ClaimedSend | None:
    [claimed] = await doubts.claim_sends(
        [WantedSend(lease, send_by_max)],
        claimed_by="replica",
        send_seconds=SEND_SECONDS,
        answer_seconds=ANSWER_SECONDS,
    )
    return claimed


def settled(lease: Lease, *rows: TrailRow, observation: str = "settled") -> Verdict:
    return Verdict(lease, rows, is_settled=True, next_seconds=0, observation=observation)


def later(lease: Lease, *rows: TrailRow, seconds: float = 30, observation: str = "later") -> Verdict:
    return Verdict(lease, rows, is_settled=False, next_seconds=seconds, observation=observation)


async def load(doubts: Doubts, order_id: str) -> OrderInDoubt:
    doubt = (await doubts.load([order_id]))[order_id]
    assert isinstance(doubt, OrderInDoubt)
    return doubt


async def doubt_row(database: DatabaseSubject, order_id: str) -> Record:
    return next(row for row in (await database.contents())["doubts"] if row["order_id"] == order_id)


async def trail(rows: Rows, order_id: str) -> list[tuple[OrderStatus, str | None, str | None]]:
    stored = await rows.read(order_id)
    return [] if stored is None else [(row.status, row.reason, row.exchange_order_id) for row in stored.rows]


# Taking in


async def test_batch_that_is_not_due_is_left(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    await recorded(rows)
    await database.let_pass(DEADLINES.review_seconds - 20)

    assert await doubts.enqueue_due_batches(batches_max=10) == 0
    assert await lease_due(doubts) == []


async def test_batch_that_is_due_is_enqueued_once(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    orders = [an_order() for _ in range(3)]
    await rows.insert_initiated(orders)
    await database.let_pass(DUE)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert await doubts.enqueue_due_batches(batches_max=10) == 0
    assert sorted(lease.order_id for lease in await lease_due(doubts)) == sorted(order.id for order in orders)


async def test_first_review_of_an_order_is_its_first_try(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)
    await database.let_pass(DUE)
    await doubts.enqueue_due_batches(batches_max=10)

    assert await lease_due(doubts) == [Lease(order.id, fence=1, tries=0)]


async def test_batches_are_enqueued_so_many_at_a_time_oldest_first(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    orders = await recorded(rows, count=5)
    await database.let_pass(DUE)

    [overdue] = await recorded(database.rows(replace(DEADLINES, review_seconds=-2 * DUE)))

    assert await doubts.enqueue_due_batches(batches_max=2) == 2
    assert {lease.order_id for lease in await lease_due(doubts)} == {overdue.id, orders[0].id}
    assert await doubts.enqueue_due_batches(batches_max=10) == 4
    assert sorted(lease.order_id for lease in await lease_due(doubts)) == [order.id for order in orders[1:]]


async def test_no_batch_is_enqueued_where_none_is_wanted(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    await recorded(rows)
    await database.let_pass(DUE)

    assert await doubts.enqueue_due_batches(batches_max=0) == 0
    assert await doubts.enqueue_due_batches(batches_max=10) == 1


@pytest.mark.parametrize("status", [*FROM_COMPLETED, NOT_PLACED])
async def test_settled_order_is_not_enqueued(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, status: OrderStatus
) -> None:
    order, open_order = an_order(), an_order()
    await rows.insert_initiated([order, open_order])
    await step(rows, order.id, status, "proved:absent")
    await database.let_pass(DUE)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert [lease.order_id for lease in await lease_due(doubts)] == [open_order.id]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (FAILED, "refused:x"),
        (NOT_PERSISTED, "refused:x"),
        (NOT_PERSISTED, NOT_RECORDED),
        (UNKNOWN, None),
        (UNRESOLVED, "x"),
    ],
)
async def test_order_with_any_lower_status_is_enqueued(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, status: OrderStatus, reason: str | None
) -> None:
    [order] = await recorded(rows)
    await step(rows, order.id, status, reason)
    await database.let_pass(DUE)
    await doubts.enqueue_due_batches(batches_max=10)

    assert [lease.order_id for lease in await lease_due(doubts)] == [order.id]


@pytest.mark.parametrize(("reason", "is_enqueued"), [("accepted", True), ("unknown:x", False)])
async def test_not_placed_is_enqueued_where_the_exchange_had_accepted(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, reason: str, is_enqueued: bool
) -> None:
    lease = await held(rows, doubts)
    await step(rows, lease.order_id, NOT_PERSISTED, reason)
    await doubts.apply([settled(lease, TrailRow(NOT_PLACED, "proved:absent"))])
    await database.let_pass(DUE)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert [each.order_id for each in await lease_due(doubts)] == [lease.order_id] * is_enqueued


async def test_enqueueing_leaves_an_open_doubt_to_its_holder(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    [order] = await recorded(rows)
    await database.let_pass(DUE)
    lease = await hold(doubts, order.id)
    before = await doubt_row(database, order.id)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert await doubt_row(database, order.id) == before
    assert await doubts.apply([settled(lease)]) == [True]


async def test_enqueueing_opens_a_settled_doubt(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await doubts.apply([replace(settled(lease), next_seconds=10 * DUE)])
    await database.let_pass(DUE)

    await doubts.enqueue_due_batches(batches_max=10)

    assert await lease_due(doubts) == [Lease(lease.order_id, lease.fence + 1, tries=1)]


async def test_late_row_of_an_old_batch_is_not_missed(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    await recorded(rows)
    await database.let_pass(DUE)
    await doubts.enqueue_due_batches(batches_max=10)
    overdue = database.rows(replace(DEADLINES, review_seconds=-2 * DUE))

    [late] = await recorded(overdue)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert late.id in {lease.order_id for lease in await lease_due(doubts)}


async def test_many_enqueue_at_once_each_batch_once(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    orders = await recorded(rows, count=RACERS)
    await database.let_pass(DUE)

    counts = await database.together(*(doubts.enqueue_due_batches(batches_max=3) for _ in range(RACERS)))
    rest = await doubts.enqueue_due_batches(batches_max=1000)

    assert sum(counts) + rest == RACERS
    assert sorted(lease.order_id for lease in await lease_due(doubts)) == [order.id for order in orders]


# Taking


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


# Loading


async def test_order_is_loaded_as_it_is_read(rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows, client_order_id="key")
    await step(rows, order.id, UNKNOWN, "unknown:timeout")
    await rows.insert_trail_rows([NewTrailRow(order.id, COMPLETED, "verified", "E-1")])

    doubt = await load(doubts, order.id)

    stored = await rows.read(order.id)
    assert stored is not None
    assert (doubt.order, doubt.created_at, doubt.rows) == (stored.order, stored.created_at, stored.rows)
    assert doubt.created_at < doubt.now < stored.read_at
    assert (doubt.is_cancel_wanted, doubt.observed_exchange_order_id) == (False, None)


async def test_first_send_is_what_the_rows_say_of_it(rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)
    await rows.insert_trail_rows([NewTrailRow(order.id, NOT_PERSISTED, "accepted", "E-1")])

    [send] = (await load(doubts, order.id)).sends

    assert (send.answer, send.reason, send.exchange_order_id) == (SendAnswer.ACCEPTED, "accepted", "E-1")


async def test_sends_are_loaded_in_their_order_with_their_answers(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    [order] = await recorded(rows)
    claims = []
    for _ in range(11):
        [claimed] = await claim(doubts, await hold(doubts, order.id))
        assert claimed is not None
        claims.append(claimed)
    await doubts.record_answers([AnsweredSend(order.id, 10, SendAnswer.NOT_SENT, "not_sent:closed", None)])
    await doubts.record_answers([AnsweredSend(order.id, 3, SendAnswer.ACCEPTED, None, "E-3")])

    doubt = await load(doubts, order.id)

    expected = [Send(each.send_by, each.accept_by, None) for each in claims]
    expected[8] = replace(expected[8], answer=SendAnswer.NOT_SENT, reason="not_sent:closed")
    expected[1] = replace(expected[1], answer=SendAnswer.ACCEPTED, exchange_order_id="E-3")
    assert list(doubt.sends[1:]) == expected


async def test_each_order_is_loaded_with_what_is_its_own(rows: Rows, doubts: Doubts) -> None:
    canceled, observed, claimed = await recorded(rows, count=3)
    await doubts.request_cancel(canceled.id)
    await doubts.keep_observations({observed.id: "E-1"})
    await claim(doubts, await hold(doubts, claimed.id))

    loaded = await doubts.load([claimed.id, new_id(), canceled.id, observed.id, observed.id])

    found = {id_: doubt for id_, doubt in loaded.items() if isinstance(doubt, OrderInDoubt)}
    assert list(found) == list(loaded) == sorted([canceled.id, observed.id, claimed.id])
    assert [id_ for id_, doubt in found.items() if doubt.is_cancel_wanted] == [canceled.id]
    assert {
        id_: doubt.observed_exchange_order_id for id_, doubt in found.items() if doubt.observed_exchange_order_id
    } == {observed.id: "E-1"}
    assert [id_ for id_, doubt in found.items() if len(doubt.sends) == 2] == [claimed.id]


async def test_one_unreadable_order_leaves_the_others_readable(rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)
    broken = an_order()
    await rows.replay([SpooledTrail(broken, (TrailRow(UNKNOWN, "unknown:timeout"),))])

    loaded = await doubts.load([broken.id, order.id])

    assert isinstance(loaded[broken.id], Unreadable)
    assert isinstance(loaded[order.id], OrderInDoubt)


async def test_nothing_is_loaded_of_nothing(doubts: Doubts) -> None:
    assert await doubts.load([]) == await doubts.load([new_id()]) == {}


# Concluding


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
    same = ("id", "type", "side", "instrument", "limit_price", "quantity")
    assert len({tuple(row[name] for name in same) for row in contents}) == 1
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


# Claiming sends


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

    claimed = await claim_until(doubts, lease, limit)

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

    assert await claim_until(doubts, lease, now - timedelta(seconds=1)) is None
    assert await claim_until(doubts, lease, now + timedelta(seconds=20)) is not None


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
    assert not await database.is_halted()

    await database.halt()
    assert await database.is_halted()
    assert await claim(doubts, lease) == [None]
    await database.halt(halted=False)

    assert not await database.is_halted()
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
            return await claim(doubts, lease) != [None]
        except StatementFailed:
            # It waited for another's commit, and is refused by the number that the other has taken.
            return False

    assert sum(await database.together(*(try_to_claim() for _ in range(RACERS)))) == 1
    assert len((await database.contents())["attempts"]) == 1


async def test_claim_races_the_cancel(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    orders = await recorded(rows, count=RACERS)
    await doubts.reopen([order.id for order in orders])
    leases = {each.order_id: each for each in await lease_due(doubts)}

    async def try_to_claim(each: Lease) -> bool:
        return await claim(doubts, each) != [None]

    await database.together(
        *(call for id_, each in leases.items() for call in (try_to_claim(each), doubts.request_cancel(id_)))
    )

    # From the cancels' answers on nobody claims, whatever came of the races.
    again = await lease_due(doubts)
    assert len(again) == RACERS
    assert await claim(doubts, *leases.values()) == await claim(doubts, *again) == [None] * RACERS


# Answers


async def test_first_answer_stays(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await claim(doubts, lease)

    for answer, reason in ((SendAnswer.UNKNOWN, "unknown:x"), (SendAnswer.REFUSED, "refused:x")):
        assert await doubts.record_answers([AnsweredSend(lease.order_id, 2, answer, reason, None)]) == [None]

    send = (await load(doubts, lease.order_id)).sends[1]
    assert (send.answer, send.reason) == (SendAnswer.UNKNOWN, "unknown:x")


async def test_answers_twice_in_a_batch(rows: Rows, doubts: Doubts) -> None:
    lease, other = await held(rows, doubts), await held(rows, doubts)
    await claim(doubts, lease, other)
    answer = AnsweredSend(lease.order_id, 2, SendAnswer.ACCEPTED, "accepted", "E-1")

    assert await doubts.record_answers([answer, answer]) == [None, None]
    assert (await load(doubts, lease.order_id)).sends[1].exchange_order_id == "E-1"
    assert (await load(doubts, other.order_id)).sends[1].answer is None


@pytest.mark.parametrize("number", [1, 3])
async def test_answer_to_no_claim_leaves_nothing_of_its_batch(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, number: int
) -> None:
    lease = await held(rows, doubts)
    await claim(doubts, lease)
    answer = AnsweredSend(lease.order_id, 2, SendAnswer.REFUSED, "refused:x", None)

    with pytest.raises(StatementFailed) as caught:
        await doubts.record_answers([answer, replace(answer, number=number)])

    assert caught.value.is_about_the_data
    assert (await database.contents())["attempt_answers"] == []


@pytest.mark.parametrize(("text", "code"), UNSTORABLE)
async def test_bad_answer_leaves_nothing_of_its_batch(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, text: str, code: str
) -> None:
    lease, other = await held(rows, doubts), await held(rows, doubts)
    await claim(doubts, lease, other)
    answer = AnsweredSend(lease.order_id, 2, SendAnswer.REFUSED, "refused:x", None)

    with pytest.raises(StatementFailed) as caught:
        await doubts.record_answers([answer, replace(answer, order_id=other.order_id, reason=text)])

    assert caught.value.code == code
    assert (await database.contents())["attempt_answers"] == []


# Waking


async def test_waiting_order_is_due_now_as_if_never_reviewed(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await doubts.apply([later(lease, seconds=1000)])

    assert await doubts.make_due(doubts_max=10) == 1
    assert await doubts.make_due(doubts_max=10) == 0
    assert await lease_due(doubts) == [Lease(lease.order_id, lease.fence + 1, tries=0)]


async def test_what_does_not_wait_is_not_woken(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    is_settled, is_due, _is_held = [await held(rows, doubts) for _ in range(3)]
    await doubts.apply([replace(settled(is_settled), next_seconds=1000), later(is_due, seconds=0)])
    [never_reviewed] = await recorded(rows)
    await step(rows, never_reviewed.id, UNKNOWN, "unknown:timeout")
    before = await database.contents()

    assert await doubts.make_due(doubts_max=10) == 0
    assert await database.contents() == before


async def test_so_many_are_woken_at_a_time(rows: Rows, doubts: Doubts) -> None:
    leases = [await held(rows, doubts) for _ in range(5)]
    await doubts.apply([later(each, seconds=1000) for each in leases])

    assert await doubts.make_due(doubts_max=0) == 0
    assert await doubts.make_due(doubts_max=3) == 3
    assert len(await lease_due(doubts)) == 3
    assert await doubts.make_due(doubts_max=3) == 2


async def test_many_make_due_at_once_each_order_once(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    leases = [await held(rows, doubts) for _ in range(RACERS)]
    await doubts.apply([later(each, seconds=1000) for each in leases])

    counts = await database.together(*(doubts.make_due(doubts_max=3) for _ in range(5)))
    rest = await doubts.make_due(doubts_max=1000)

    assert sum(counts) + rest == RACERS


# Opening again


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


# Cancels


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


# An operator's word


async def unresolved(rows: Rows, doubts: Doubts, *more: TrailRow) -> Lease:
    lease = await held(rows, doubts)
    await doubts.apply(
        [later(lease, TrailRow(UNRESOLVED, "differs", "E-1"), *more, seconds=1000, observation="differs")]
    )
    return lease


async def test_not_placed_by_an_operators_word_is_settled(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    lease = await unresolved(rows, doubts)

    assert await doubts.resolve(lease.order_id, NOT_PLACED, "operator:asked")

    assert (await trail(rows, lease.order_id))[2] == (NOT_PLACED, "operator:asked", "E-1")
    row = await doubt_row(database, lease.order_id)
    assert (row["last_seen"], row["leased_until"], row["fence"]) == ("operator:asked", None, lease.fence + 1)
    await database.let_pass(10_000)
    assert await lease_due(doubts) == []
    assert not await doubts.resolve(lease.order_id, NOT_PLACED, "operator:again")


async def test_placed_by_an_operators_word_is_reviewed_once_more(rows: Rows, doubts: Doubts) -> None:
    lease = await unresolved(rows, doubts)

    assert await doubts.resolve(lease.order_id, COMPLETED, "operator:asked")

    assert (await trail(rows, lease.order_id))[2] == (COMPLETED, "operator:asked", "E-1")
    assert await lease_due(doubts) == [Lease(lease.order_id, lease.fence + 2, tries=1)]
    assert not await doubts.resolve(lease.order_id, NOT_PLACED, "operator:again")


async def test_operators_word_has_the_greatest_exchange_id_or_none(rows: Rows, doubts: Doubts) -> None:
    two, none = await unresolved(rows, doubts, TrailRow(UNKNOWN, "unknown:x", "E-2")), await held(rows, doubts)
    await doubts.apply([later(none, TrailRow(UNRESOLVED, "absent"))])

    for lease in (two, none):
        assert await doubts.resolve(lease.order_id, NOT_PLACED, "operator:asked")

    assert (await trail(rows, two.order_id))[-1] == (NOT_PLACED, "operator:asked", "E-2")
    assert (await trail(rows, none.order_id))[-1] == (NOT_PLACED, "operator:asked", None)


async def test_operator_takes_the_order_from_its_holder(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    await unresolved(rows, doubts)
    await database.let_pass(1001)
    [lease] = await lease_due(doubts)

    assert await doubts.resolve(lease.order_id, COMPLETED, "operator:asked")
    assert await doubts.apply([settled(lease)]) == [False]
    assert [each.order_id for each in await lease_due(doubts)] == [lease.order_id]


@pytest.mark.parametrize("status", [NOT_PLACED, *FROM_COMPLETED])
async def test_what_rows_have_settled_no_operator_resolves(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, status: OrderStatus
) -> None:
    lease = await unresolved(rows, doubts)
    await step(rows, lease.order_id, status, "verified")
    before = await database.contents()

    assert not await doubts.resolve(lease.order_id, NOT_PLACED, "operator:asked")
    assert await database.contents() == before


async def test_what_is_not_unresolved_no_operator_resolves(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await step(rows, lease.order_id, UNKNOWN, "unknown:timeout")
    [no_doubt] = await recorded(rows)
    await step(rows, no_doubt.id, UNRESOLVED, "differs")

    for id_ in (lease.order_id, no_doubt.id, new_id()):
        assert not await doubts.resolve(id_, NOT_PLACED, "operator:asked")


async def test_order_that_is_settled_no_operator_resolves(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await doubts.apply([settled(lease, TrailRow(UNRESOLVED, "differs"))])

    assert not await doubts.resolve(lease.order_id, NOT_PLACED, "operator:asked")


async def test_no_operator_resolves_what_is_being_sent(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await unresolved(rows, doubts)
    await claim(doubts, await hold(doubts, lease.order_id))

    assert not await doubts.resolve(lease.order_id, NOT_PLACED, "operator:asked")
    await database.let_pass(SEND_SECONDS + 1)
    assert await doubts.resolve(lease.order_id, NOT_PLACED, "operator:asked")


async def test_operator_resolves_what_was_sent_and_answered(rows: Rows, doubts: Doubts) -> None:
    lease = await unresolved(rows, doubts)
    await claim(doubts, await hold(doubts, lease.order_id))
    await doubts.record_answers([AnsweredSend(lease.order_id, 2, SendAnswer.UNKNOWN, "unknown:x", None)])

    assert await doubts.resolve(lease.order_id, NOT_PLACED, "operator:asked")


async def test_one_of_many_words_at_once_counts(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await unresolved(rows, doubts)

    results = await database.together(
        *(doubts.resolve(lease.order_id, NOT_PLACED, f"operator:{n}") for n in range(RACERS))
    )

    assert sorted(results) == [False] * (RACERS - 1) + [True]
    assert (await trail(rows, lease.order_id))[2:] == [(NOT_PLACED, f"operator:{results.index(True)}", "E-1")]


# Epochs


async def test_first_epoch_has_forgotten_nothing(doubts: Doubts) -> None:
    assert await doubts.note_epoch("venue", "1") is None
    assert await doubts.note_epoch("venue", "1") is None


async def test_later_epoch_has_forgotten_what_was_before_it(database: DatabaseSubject, doubts: Doubts) -> None:
    await doubts.note_epoch("venue", "1")
    before = await database.now()

    begun = await doubts.note_epoch("venue", "2")

    assert begun is not None
    assert before < begun < await database.now()
    assert await doubts.note_epoch("venue", "2") == begun


async def test_newest_epoch_counts(doubts: Doubts) -> None:
    begun = [await doubts.note_epoch("venue", epoch) for epoch in "cab"]

    times = [moment for moment in begun if moment is not None]
    assert len(times) == 2
    assert times[0] < times[1]
    assert [await doubts.note_epoch("venue", epoch) for epoch in "abc"] == [times[1]] * 3


async def test_epochs_of_one_venue_are_nothing_to_another(doubts: Doubts) -> None:
    await doubts.note_epoch("one", "1")

    assert await doubts.note_epoch("other", "2") is None
    assert await doubts.note_epoch("one", "2") is not None
    assert await doubts.note_epoch("other", "2") is None


async def test_epoch_noted_many_times_at_once_is_the_first(database: DatabaseSubject, doubts: Doubts) -> None:
    await database.together(*(doubts.note_epoch("venue", "1") for _ in range(RACERS)))

    assert len((await database.contents())["venue_epochs"]) == 1
    assert await doubts.note_epoch("venue", "1") is None


# For a person


async def test_nothing_in_doubt(rows: Rows, doubts: Doubts) -> None:
    await recorded(rows)

    assert await doubts.counts() == DoubtCounts(0, 0, 0.0)
    assert await doubts.oldest(limit=10) == []


async def test_doubts_are_counted_by_what_is_open(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    gone = await unresolved(rows, doubts)
    await doubts.resolve(gone.order_id, NOT_PLACED, "operator:asked")
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
    [second, third] = await recorded(rows, count=2)
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
    assert 600 < older.age_seconds < 650
    assert 100 < newer.age_seconds < 150
    assert timedelta(seconds=600) < now - older.since < timedelta(seconds=650)
    assert timedelta(seconds=350) < older.next_at - now <= timedelta(seconds=400)
    assert len(await doubts.oldest(limit=10)) == 3
    assert await doubts.oldest(limit=0) == []

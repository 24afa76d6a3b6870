"""What `Rows` promises: keys claimed once, rows appended and never changed, everything harmless twice."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ordertrail.domain.order import Order, Side
from ordertrail.domain.order_in_doubt import OrderInDoubt, SendAnswer
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, Outcome, TrailRow
from ordertrail.storage.doubt_rows import AnsweredSend, Lease, Verdict, WantedSend
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import KeyTaken, NeverSent, NewTrailRow, Recorded, Rows, SentLater, SpooledTrail
from tests.conformance.databases import DEADLINES, RACERS, UNSTORABLE, DatabaseSubject, Doubts
from tests.support.orders import a_market_order, an_order, new_id

INITIATED = OrderStatus.INITIATED
FAILED = OrderStatus.EXCHANGE_CREATION_FAILED
NOT_PERSISTED = OrderStatus.DATABASE_PERSISTENCE_FAILED
UNKNOWN = OrderStatus.EXCHANGE_OUTCOME_UNKNOWN
COMPLETED = OrderStatus.COMPLETED
FILLED = OrderStatus.FILLED
NOT_PLACED = OrderStatus.NOT_PLACED
UNRESOLVED = OrderStatus.UNRESOLVED
NOT_RECORDED = "not_sent:not_recorded"


async def read(rows: Rows, order: Order) -> StoredOrder:
    stored = await rows.read(order.id)
    assert stored is not None
    return stored


async def trail(rows: Rows, order: Order) -> list[tuple[OrderStatus, str | None, str | None]]:
    stored = await rows.read(order.id)
    return [] if stored is None else [(row.status, row.reason, row.exchange_order_id) for row in stored.rows]


async def take_all(doubts: Doubts, lease_seconds: float = 100) -> dict[str, Lease]:
    return {each.order_id: each for each in await doubts.lease(doubts_max=1000, lease_seconds=lease_seconds)}


async def claim(doubts: Doubts, lease: Lease) -> bool:
    claimed = await doubts.claim_sends([WantedSend(lease, None)], claimed_by="r", send_seconds=50, answer_seconds=50)
    return claimed[0] is not None


async def in_doubt(rows: Rows, doubts: Doubts, order: Order) -> Lease:
    """The order recorded, in doubt, and held."""
    await rows.insert_initiated([order])
    await doubts.reopen([order.id])
    return (await take_all(doubts))[order.id]


def a_trail(order: Order, *more: TrailRow) -> SpooledTrail:
    return SpooledTrail(order, (TrailRow(INITIATED), *more))


def by_id(*orders: Order) -> list[Order]:
    return sorted(orders, key=lambda order: order.id)


# INITIATED


@pytest.mark.parametrize(
    "order",
    [
        an_order(),
        a_market_order(side=Side.SELL),
        an_order(limit_price=Decimal("0.01"), quantity=2**31 - 1),
        an_order(limit_price=Decimal("9999999999999.99")),
        an_order(limit_price=Decimal("0.1")),
        an_order(client_order_id="ключ ✓ 'quoted'"),
    ],
    ids=["limit", "market", "largest quantity", "most digits", "no binary fraction", "any key"],
)
async def test_recorded_order_is_read_as_it_came(rows: Rows, order: Order) -> None:
    await rows.insert_initiated([order])

    stored = await read(rows, order)

    assert replace(stored.order, place_by=None) == order
    assert stored.rows == (TrailRow(INITIATED, None, None, stored.created_at),)
    assert (stored.has_open_claim, stored.is_forbidden) == (False, False)


async def test_recorded_time_is_the_databases_own(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order()
    before = await database.now()

    [recorded] = await rows.insert_initiated([order])

    stored = await read(rows, order)
    assert isinstance(recorded, Recorded)
    assert recorded.created_at == stored.created_at
    assert before <= stored.created_at <= stored.read_at <= await database.now()
    assert stored.created_at.utcoffset() == timedelta(0)


async def test_deadlines_are_reckoned_from_the_rows_own_time(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    await rows.insert_initiated([order])

    doubt = (await doubts.load([order.id]))[order.id]

    assert isinstance(doubt, OrderInDoubt)
    assert doubt.sends[0].send_by == doubt.created_at + timedelta(seconds=DEADLINES.send_seconds)
    assert doubt.sends[0].accept_by == doubt.created_at + timedelta(seconds=DEADLINES.accept_seconds)
    assert (await read(rows, order)).send_by == doubt.sends[0].send_by


async def test_place_by_of_each_kind_of_order(database: DatabaseSubject, rows: Rows) -> None:
    wanted = await database.now() + timedelta(seconds=12_345)
    limit, own_limit, market, own_market = orders = [
        an_order(),
        an_order(place_by=wanted),
        a_market_order(),
        a_market_order(place_by=wanted),
    ]
    await rows.insert_initiated(orders)

    stored = {order.id: await read(rows, order) for order in orders}

    window = timedelta(seconds=DEADLINES.retry_seconds)
    assert stored[limit.id].order.place_by == stored[limit.id].created_at + window
    assert stored[own_limit.id].order.place_by == wanted
    assert stored[market.id].order.place_by is None
    assert stored[own_market.id].order.place_by == wanted


async def test_place_by_without_any_of_the_callers_own(rows: Rows) -> None:
    limit, market = an_order(), a_market_order()
    await rows.insert_initiated([limit, market])

    stored = await read(rows, limit)

    assert stored.order.place_by == stored.created_at + timedelta(seconds=DEADLINES.retry_seconds)
    assert (await read(rows, market)).order.place_by is None


async def test_without_a_retry_window_only_the_callers_own_place_by_counts(database: DatabaseSubject) -> None:
    rows = database.rows(replace(DEADLINES, retry_seconds=0))
    wanted = await database.now() + timedelta(seconds=12_345)
    limit, own = an_order(), an_order(place_by=wanted)

    await rows.insert_initiated([limit, own])

    assert (await read(rows, limit)).order.place_by is None
    assert (await read(rows, own)).order.place_by == wanted


async def test_key_belongs_to_whoever_claims_it_first(database: DatabaseSubject, rows: Rows) -> None:
    first, second = an_order(client_order_id="key"), an_order(client_order_id="key")
    await rows.insert_initiated([first])
    before = await database.contents()

    assert await rows.insert_initiated([second]) == [KeyTaken(first.id)]
    assert await rows.read(second.id) is None
    assert await database.contents() == before


async def test_key_that_two_of_a_batch_want(rows: Rows) -> None:
    first, second = by_id(an_order(client_order_id="key"), an_order(client_order_id="key"))

    results = await rows.insert_initiated([second, first])

    assert results[0] == KeyTaken(first.id)
    assert isinstance(results[1], Recorded)
    assert await rows.read(second.id) is None


async def test_results_come_in_the_order_of_the_orders(rows: Rows) -> None:
    there, owner = an_order(), an_order(client_order_id="key")
    [there_recorded] = await rows.insert_initiated([there])
    await rows.insert_initiated([owner])
    late, early = an_order(id="9" + new_id()[1:]), an_order(id="0" + new_id()[1:], client_order_id="free")

    results = await rows.insert_initiated([late, an_order(client_order_id="key"), there, early])

    assert results[1:3] == [KeyTaken(owner.id), there_recorded]
    assert results[0] == results[3] == Recorded((await read(rows, late)).created_at)


async def test_key_and_place_by_stay_with_their_order(database: DatabaseSubject, rows: Rows) -> None:
    wanted = await database.now() + timedelta(seconds=12_345)
    orders = [
        an_order(id=new_id(), client_order_id=key, place_by=place_by, quantity=quantity)
        for quantity, (key, place_by) in enumerate([(None, wanted), ("a", None), ("b", wanted), (None, None)], start=1)
    ]

    await rows.insert_initiated(orders[::-1])

    for order in orders:
        stored = (await read(rows, order)).order
        assert (stored.client_order_id, stored.quantity) == (order.client_order_id, order.quantity)
        assert (stored.place_by == wanted) == (order.place_by == wanted)


@pytest.mark.parametrize("key", [None, "key"])
async def test_recorded_again_is_recorded_then(database: DatabaseSubject, rows: Rows, key: str | None) -> None:
    order = an_order(client_order_id=key)
    first = await rows.insert_initiated([order])
    before = await database.contents()

    assert await rows.insert_initiated([order]) == first
    assert await database.contents() == before


async def test_order_that_is_there_keeps_its_fields(rows: Rows) -> None:
    order = an_order(quantity=10)
    await rows.insert_initiated([order])

    await rows.insert_initiated([replace(order, quantity=11)])

    assert (await read(rows, order)).order.quantity == 10


async def test_order_twice_in_a_batch_is_recorded_once(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(client_order_id="key")

    first, second = await rows.insert_initiated([order, order])

    assert first == second == Recorded((await read(rows, order)).created_at)
    assert [batch["order_ids"] for batch in (await database.contents())["order_batches"]] == [[order.id]]


async def test_other_key_for_a_recorded_order_does_not_replace_its_own(rows: Rows) -> None:
    order = an_order(client_order_id="key")
    [recorded] = await rows.insert_initiated([order])

    assert await rows.insert_initiated([replace(order, client_order_id="other")]) == [recorded]
    assert (await read(rows, order)).order.client_order_id == "key"


@pytest.mark.parametrize(("text", "code"), UNSTORABLE)
async def test_one_bad_row_leaves_nothing_of_its_batch(
    database: DatabaseSubject, rows: Rows, text: str, code: str
) -> None:
    good = an_order(client_order_id="key")

    with pytest.raises(StatementFailed) as caught:
        await rows.insert_initiated([good, an_order(client_order_id=text)])

    assert caught.value.code == code
    assert caught.value.is_about_the_data
    assert not any((await database.contents()).values())


async def test_quantity_that_is_no_integer_column_leaves_nothing_of_its_batch(
    database: DatabaseSubject, rows: Rows
) -> None:
    with pytest.raises(StatementFailed) as caught:
        await rows.insert_initiated([an_order(), an_order(quantity=2**31)])

    assert caught.value.is_about_the_data
    assert not any((await database.contents()).values())


async def test_many_want_one_key_at_once(database: DatabaseSubject, rows: Rows) -> None:
    orders = [an_order(client_order_id="key") for _ in range(RACERS)]

    results = await database.together(*(rows.insert_initiated([order]) for order in orders))

    owners = [order for order, [result] in zip(orders, results, strict=True) if isinstance(result, Recorded)]
    assert len(owners) == 1
    assert [result for [result] in results if isinstance(result, KeyTaken)] == [KeyTaken(owners[0].id)] * (RACERS - 1)
    assert [order for order in orders if await rows.read(order.id) is not None] == owners


async def test_batches_that_share_keys_the_other_way_round_do_not_block_each_other(
    database: DatabaseSubject, rows: Rows
) -> None:
    batches = [[an_order(client_order_id=f"key-{n}") for n in range(RACERS)] for _ in range(4)]

    results = await database.together(
        *(rows.insert_initiated(batch[:: 1 if n % 2 else -1]) for n, batch in enumerate(batches))
    )

    recorded = [result for batch in results for result in batch if isinstance(result, Recorded)]
    assert len(recorded) == RACERS


async def test_order_recorded_many_times_at_once(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(client_order_id="key")

    results = await database.together(*(rows.insert_initiated([order]) for _ in range(RACERS)))

    assert results == [[Recorded((await read(rows, order)).created_at)]] * RACERS
    contents = await database.contents()
    assert len(contents["orders"]) == len(contents["order_batches"]) == 1


# Steps


async def test_step_has_the_orders_fields(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(client_order_id="key", limit_price=Decimal("0.1"))
    await rows.insert_initiated([order])

    assert await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "not_sent:closed", "E-1")]) == [True]

    failed, initiated = (await database.contents())["orders"]
    same = ("id", "type", "side", "instrument", "limit_price", "quantity")
    assert [failed[name] for name in same] == [initiated[name] for name in same]
    assert (failed["status"], failed["reason"], failed["exchange_order_id"]) == (FAILED, "not_sent:closed", "E-1")
    assert [failed[name] for name in ("client_order_id", "place_by", "send_by", "accept_by")] == [None] * 4
    assert failed["created_at"] > initiated["created_at"]


@pytest.mark.parametrize("key", [None, "key"])
@pytest.mark.parametrize("has_place_by", [False, True])
async def test_rows_of_both_kinds_share_a_commit(
    database: DatabaseSubject, rows: Rows, key: str | None, has_place_by: bool
) -> None:
    first, second, other, other_second = orders = [an_order(id=new_id(), quantity=n) for n in range(1, 5)]
    place_by = await database.now() + timedelta(seconds=12_345) if has_place_by else None
    fresh = an_order(client_order_id=key, place_by=place_by, quantity=9)
    await rows.insert_initiated(orders)

    recorded, are_there = await rows.insert_initiated_and_completed(
        [other_second, fresh],
        [NewTrailRow(second.id, COMPLETED, None, "E-2"), NewTrailRow(first.id, COMPLETED, None, "E-1")],
    )

    stored = await read(rows, fresh)
    assert recorded == [Recorded((await read(rows, other_second)).created_at), Recorded(stored.created_at)]
    assert are_there == [True, True]
    assert (stored.order.client_order_id, stored.order.quantity) == (key, 9)
    assert place_by in (None, stored.order.place_by)
    assert await trail(rows, fresh) == await trail(rows, other) == [(INITIATED, None, None)]
    for order, exchange_order_id in ((first, "E-1"), (second, "E-2")):
        assert await trail(rows, order) == [(INITIATED, None, None), (COMPLETED, None, exchange_order_id)]
        assert (await read(rows, order)).order.quantity == order.quantity


async def test_of_both_kinds_each_gets_its_own_result(rows: Rows) -> None:
    owner, placed = an_order(client_order_id="key"), an_order()
    await rows.insert_initiated([owner, placed])
    fresh, late = an_order(), an_order(client_order_id="key")
    completed = [NewTrailRow(order.id, COMPLETED, None, "E-1") for order in (placed, late, fresh)]

    recorded, are_there = await rows.insert_initiated_and_completed([late, fresh], completed)

    # COMPLETED needs an INITIATED that was committed before.
    assert recorded == [KeyTaken(owner.id), Recorded((await read(rows, fresh)).created_at)]
    assert are_there == [True, False, False]
    assert await trail(rows, fresh) == [(INITIATED, None, None)]
    assert await rows.read(late.id) is None


async def test_both_kinds_repeated_change_nothing(database: DatabaseSubject, rows: Rows) -> None:
    placed, fresh = an_order(), an_order(client_order_id="key")
    await rows.insert_initiated([placed])
    completed = [NewTrailRow(placed.id, COMPLETED, None, "E-1")]
    first = await rows.insert_initiated_and_completed([fresh], completed)
    before = await database.contents()

    assert await rows.insert_initiated_and_completed([fresh], completed) == first
    assert await database.contents() == before


@pytest.mark.parametrize(
    ("bad_order", "bad_step"),
    [
        ({"quantity": 2**31}, {}),
        ({"client_order_id": UNSTORABLE[0][0]}, {}),
        ({}, {"exchange_order_id": UNSTORABLE[0][0]}),
    ],
)
async def test_one_bad_row_keeps_back_both_kinds(
    database: DatabaseSubject, rows: Rows, bad_order: dict[str, Any], bad_step: dict[str, Any]
) -> None:
    placed = an_order()
    await rows.insert_initiated([placed])
    before = await database.contents()
    step = replace(NewTrailRow(placed.id, COMPLETED, None, "E-1"), **bad_step)

    with pytest.raises(StatementFailed) as caught:
        await rows.insert_initiated_and_completed([an_order(), an_order(**bad_order)], [step])

    assert caught.value.is_about_the_data
    assert await database.contents() == before


@pytest.mark.parametrize("reason", [None, "not_sent:closed"])
async def test_step_without_an_order_is_not_written(database: DatabaseSubject, rows: Rows, reason: str | None) -> None:
    assert await rows.insert_trail_rows([NewTrailRow(new_id(), COMPLETED, reason, "E-1")]) == [False]
    assert not any((await database.contents()).values())


async def test_step_needs_initiated_and_not_just_any_row(rows: Rows) -> None:
    order = an_order()
    await rows.replay([SpooledTrail(order, (TrailRow(UNKNOWN, "unknown:timeout"),))])

    assert await rows.insert_trail_rows([NewTrailRow(order.id, COMPLETED, None, "E-1")]) == [False]
    assert await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "not_sent:closed")]) == [False]
    assert await trail(rows, order) == [(UNKNOWN, "unknown:timeout", None)]


@pytest.mark.parametrize(
    ("first", "second"), [((None, "E-1"), (None, "E-2")), (("verified", "E-1"), ("execution", "E-2"))]
)
async def test_step_that_is_there_stays(
    rows: Rows, first: tuple[str | None, str], second: tuple[str | None, str]
) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    await rows.insert_trail_rows([NewTrailRow(order.id, COMPLETED, *first)])

    assert await rows.insert_trail_rows([NewTrailRow(order.id, COMPLETED, *second)]) == [True]
    assert await trail(rows, order) == [(INITIATED, None, None), (COMPLETED, *first)]


async def test_step_repeated_changes_nothing(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    steps = [NewTrailRow(order.id, UNKNOWN, "unknown:timeout"), NewTrailRow(order.id, COMPLETED, "verified", "E-1")]
    await rows.insert_trail_rows(steps)
    before = await database.contents()

    assert await rows.insert_trail_rows(steps) == [True, True]
    assert await database.contents() == before


@pytest.mark.parametrize("reason", [None, "verified"])
async def test_step_results_come_in_the_order_of_the_rows(rows: Rows, reason: str | None) -> None:
    late, early = an_order(id="9" + new_id()[1:]), an_order(id="0" + new_id()[1:])
    there = an_order()
    await rows.insert_initiated([late, early, there])
    await rows.insert_trail_rows([NewTrailRow(there.id, COMPLETED, reason, "E-0")])

    results = await rows.insert_trail_rows(
        [NewTrailRow(id_, COMPLETED, reason, f"E-{n}") for n, id_ in enumerate([late.id, new_id(), there.id, early.id])]
    )

    assert results == [True, False, True, True]
    assert [(await trail(rows, order))[1][2] for order in (late, there, early)] == ["E-0", "E-0", "E-3"]


async def test_several_steps_of_one_order_in_a_batch(rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    steps = [
        NewTrailRow(order.id, FILLED, "execution", "E-1"),
        NewTrailRow(order.id, UNKNOWN, "unknown:timeout"),
        NewTrailRow(order.id, FILLED, "execution", "E-1"),
    ]

    assert await rows.insert_trail_rows(steps) == [True, True, True]
    assert await trail(rows, order) == [
        (INITIATED, None, None),
        (UNKNOWN, "unknown:timeout", None),
        (FILLED, "execution", "E-1"),
    ]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (FAILED, "not_sent:closed"),
        (NOT_PERSISTED, "accepted"),
        (NOT_PERSISTED, "unknown:timeout"),
        (UNKNOWN, "unknown:timeout"),
    ],
)
async def test_failure_that_is_not_final_is_reviewed_soon(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, status: OrderStatus, reason: str
) -> None:
    order = an_order()
    await rows.insert_initiated([order])

    await rows.insert_trail_rows([NewTrailRow(order.id, status, reason)])

    [doubt] = (await database.contents())["doubts"]
    assert timedelta(seconds=0.9) < doubt["next_at"] - doubt["since"] < timedelta(seconds=1.1)
    await database.let_pass(2)
    assert list(await take_all(doubts)) == [order.id]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (FAILED, "refused:too_big"),
        (NOT_PERSISTED, "refused:too_big"),
        (FAILED, None),
        (UNRESOLVED, "differs_at_exchange"),
        (NOT_PLACED, "proved:absent"),
        (COMPLETED, "verified"),
        (COMPLETED, None),
        (FILLED, "execution"),
    ],
)
async def test_step_that_leaves_no_doubt(
    database: DatabaseSubject, rows: Rows, status: OrderStatus, reason: str | None
) -> None:
    order = an_order()
    await rows.insert_initiated([order])

    assert await rows.insert_trail_rows([NewTrailRow(order.id, status, reason)]) == [True]

    assert (await database.contents())["doubts"] == []


async def test_failure_leaves_a_doubt_as_it_is(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    held, settled = an_order(), an_order()
    await in_doubt(rows, doubts, held)
    lease = await in_doubt(rows, doubts, settled)
    await doubts.apply([Verdict(lease, (), is_settled=True, next_seconds=0, observation="settled")])
    before = (await database.contents())["doubts"]

    await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "not_sent:closed") for order in (held, settled)])

    assert (await database.contents())["doubts"] == before


async def test_failure_that_was_there_makes_no_doubt(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "refused:too_big")])

    await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "not_sent:closed")])

    assert (await database.contents())["doubts"] == []


@pytest.mark.parametrize(("text", "code"), UNSTORABLE)
async def test_bad_step_leaves_nothing_of_its_batch(
    database: DatabaseSubject, rows: Rows, text: str, code: str
) -> None:
    good, bad = by_id(an_order(), an_order())
    await rows.insert_initiated([good, bad])
    before = await database.contents()

    for step in (NewTrailRow(bad.id, FAILED, text), NewTrailRow(bad.id, COMPLETED, None, text)):
        with pytest.raises(StatementFailed) as caught:
            await rows.insert_trail_rows([NewTrailRow(good.id, step.status, step.reason and "not_sent:closed"), step])
        assert caught.value.code == code

    assert await database.contents() == before


async def test_one_step_many_times_at_once(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    steps = [NewTrailRow(order.id, COMPLETED, "verified", f"E-{n}") for n in range(RACERS)]

    assert await database.together(*(rows.insert_trail_rows([step]) for step in steps)) == [[True]] * RACERS
    assert len(await trail(rows, order)) == 2


# NeverSent


async def test_never_sent_order_has_both_rows(rows: Rows) -> None:
    order = an_order(client_order_id="key")

    [unsent] = await rows.insert_never_sent([order])

    stored = await read(rows, order)
    assert unsent == NeverSent(stored.created_at)
    assert await trail(rows, order) == [(INITIATED, None, None), (NOT_PERSISTED, NOT_RECORDED, None)]
    assert replace(stored.order, place_by=None) == order
    assert stored.order.place_by == stored.created_at + timedelta(seconds=DEADLINES.retry_seconds)
    assert stored.outcome is Outcome.NOT_PLACED


async def test_send_window_of_an_never_sent_order_is_over(database: DatabaseSubject, rows: Rows) -> None:
    wanted = await database.now() + timedelta(seconds=12_345)
    order, market = an_order(place_by=wanted), a_market_order()

    await rows.insert_never_sent([order, market])

    stored = await read(rows, order)
    assert stored.send_by == stored.created_at
    assert stored.order.place_by == wanted
    assert (await read(rows, market)).order.place_by is None


async def test_never_sent_order_claims_its_key(rows: Rows) -> None:
    first, second = an_order(client_order_id="key"), an_order(client_order_id="key")

    await rows.insert_never_sent([first])

    assert await rows.insert_initiated([second]) == [KeyTaken(first.id)]


async def test_never_sent_order_whose_key_is_taken_is_not_recorded(rows: Rows, doubts: Doubts) -> None:
    first, second = an_order(client_order_id="key"), an_order(client_order_id="key")
    await rows.insert_initiated([first])

    assert await rows.insert_never_sent([second]) == [KeyTaken(first.id)]
    assert await rows.read(second.id) is None
    assert await trail(rows, first) == [(INITIATED, None, None)]
    assert await take_all(doubts) == {}


@pytest.mark.parametrize("key", [None, "key"])
async def test_never_sent_order_that_was_recorded_keeps_its_first_row(rows: Rows, key: str | None) -> None:
    order = an_order(client_order_id=key)
    [recorded] = await rows.insert_initiated([order])
    assert isinstance(recorded, Recorded)

    assert await rows.insert_never_sent([order]) == [NeverSent(recorded.created_at)]

    stored = await read(rows, order)
    assert [row.status for row in stored.rows] == [INITIATED, NOT_PERSISTED]
    assert stored.send_by == recorded.created_at + timedelta(seconds=DEADLINES.send_seconds)


async def test_never_sent_repeated_returns_the_same(rows: Rows) -> None:
    order, other = an_order(client_order_id="key"), an_order(client_order_id="key")
    first = await rows.insert_never_sent([order])
    before = await read(rows, order)

    assert await rows.insert_never_sent([order]) == first
    assert await rows.insert_never_sent([other]) == await rows.insert_never_sent([other]) == [KeyTaken(order.id)]
    assert (await read(rows, order)).rows == before.rows


async def test_order_that_was_sent_meanwhile_is_not_said_to_be_never_sent(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)
    assert await claim(doubts, lease)

    assert await rows.insert_never_sent([order]) == [SentLater()]
    assert await trail(rows, order) == [(INITIATED, None, None)]


async def test_order_that_was_sent_after_it_was_never_sent_stays_never_sent(rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    await rows.insert_trail_rows([NewTrailRow(order.id, NOT_PERSISTED, "unknown:timeout")])

    # That status stands once, with whatever reason it came first; the row is there.
    assert isinstance((await rows.insert_never_sent([order]))[0], NeverSent)
    assert (await trail(rows, order))[1] == (NOT_PERSISTED, "unknown:timeout", None)


async def test_nobody_sends_an_never_sent_order_on_what_was_read_before(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)

    await rows.insert_never_sent([order])

    assert not await claim(doubts, lease)
    assert await doubts.apply([Verdict(lease, (), is_settled=True, next_seconds=0, observation="")]) == [False]


async def test_nobody_sends_an_never_sent_order_later(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    await rows.insert_never_sent([order])
    await doubts.reopen([order.id])

    assert not await claim(doubts, (await take_all(doubts))[order.id])


async def test_never_sent_order_in_doubt_is_reviewed_at_once(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    before = await in_doubt(rows, doubts, order)

    await rows.insert_never_sent([order])

    assert await take_all(doubts) == {order.id: Lease(order.id, before.fence + 2, 0)}


@pytest.mark.parametrize("is_settled", [True, False])
async def test_never_sent_order_that_was_settled_or_waits_is_reviewed_at_once(
    rows: Rows, doubts: Doubts, is_settled: bool
) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)
    await doubts.apply([Verdict(lease, (), is_settled=is_settled, next_seconds=1000, observation="")])

    await rows.insert_never_sent([order])

    assert await take_all(doubts) == {order.id: Lease(order.id, lease.fence + 2, 0)}


async def test_never_sent_order_that_is_not_in_doubt_does_not_become_one(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    order = an_order()

    await rows.insert_never_sent([order])

    assert await take_all(doubts) == {}
    assert (await database.contents())["order_batches"] == []


async def test_recorded_order_said_to_be_never_sent_is_still_enqueued(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    await rows.insert_never_sent([order])
    await database.let_pass(DEADLINES.review_seconds + 1)

    assert await doubts.enqueue_due_batches(batches_max=10) == 1
    assert list(await take_all(doubts)) == [order.id]


async def test_never_sent_results_come_in_the_order_of_the_orders(rows: Rows, doubts: Doubts) -> None:
    sent, owner = an_order(), an_order(client_order_id="key")
    await rows.insert_initiated([owner])
    assert await claim(doubts, await in_doubt(rows, doubts, sent))
    late, early = an_order(id="9" + new_id()[1:]), an_order(id="0" + new_id()[1:])

    results = await rows.insert_never_sent([late, sent, an_order(client_order_id="key"), early])

    assert results[1:3] == [SentLater(), KeyTaken(owner.id)]
    assert results[0] == results[3] == NeverSent((await read(rows, late)).created_at)


async def test_never_sent_order_twice_in_a_batch(rows: Rows) -> None:
    order = an_order(client_order_id="key")

    first, second = await rows.insert_never_sent([order, order])

    assert first == second == NeverSent((await read(rows, order)).created_at)


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
    assert await claim(doubts, lease)


async def test_never_sent_races_the_claim_to_send(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    orders = [an_order() for _ in range(RACERS)]
    await rows.insert_initiated(orders)
    await doubts.reopen([order.id for order in orders])
    leases = await take_all(doubts)

    async def say(order: Order) -> bool:
        [said] = await rows.insert_never_sent([order])
        assert isinstance(said, NeverSent | SentLater)
        return isinstance(said, SentLater)

    was_sent = await database.together(
        *(call for order in orders for call in (claim(doubts, leases[order.id]), say(order)))
    )

    assert was_sent[::2] == was_sent[1::2]


# Replayed


async def test_replayed_order_is_never_sent(rows: Rows, doubts: Doubts) -> None:
    order = an_order()

    await rows.replay([a_trail(order, TrailRow(FAILED, "not_sent:closed", "E-1"))])

    stored = await read(rows, order)
    assert await trail(rows, order) == [(INITIATED, None, None), (FAILED, "not_sent:closed", "E-1")]
    assert stored.order == order
    assert stored.send_by is not None
    assert stored.send_by <= stored.read_at
    assert not await claim(doubts, (await take_all(doubts))[order.id])


async def test_replayed_rows_have_the_orders_fields(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(client_order_id="key", limit_price=Decimal("0.1"))

    await rows.replay([a_trail(order, TrailRow(FAILED, "not_sent:closed"))])

    failed, initiated = (await database.contents())["orders"]
    same = ("id", "type", "side", "instrument", "limit_price", "quantity")
    assert [failed[name] for name in same] == [initiated[name] for name in same]
    assert [failed[name] for name in ("client_order_id", "place_by", "send_by", "accept_by")] == [None] * 4
    assert initiated["client_order_id"] == "key"


async def test_replayed_order_has_no_place_by_even_of_the_callers_own(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(place_by=await database.now() + timedelta(seconds=12_345))

    await rows.replay([a_trail(order)])

    assert (await read(rows, order)).order.place_by is None


async def test_replay_keeps_what_is_there(rows: Rows) -> None:
    order = an_order(client_order_id="key")
    await rows.insert_initiated([order])
    await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "not_sent:closed")])
    before = await read(rows, order)

    await rows.replay(
        [
            a_trail(
                replace(order, quantity=77),
                TrailRow(FAILED, "refused:other"),
                TrailRow(NOT_PERSISTED, "accepted", "E-1"),
            )
        ]
    )

    after = await read(rows, order)
    assert after.rows[:2] == before.rows
    assert (after.order, after.send_by) == (before.order, before.send_by)
    assert (await trail(rows, order))[2] == (NOT_PERSISTED, "accepted", "E-1")


async def test_replayed_order_claims_a_key_that_is_free(rows: Rows) -> None:
    order, other = an_order(client_order_id="key"), an_order(client_order_id="key")

    await rows.replay([a_trail(order)])

    assert await rows.insert_initiated([other]) == [KeyTaken(order.id)]
    assert (await read(rows, order)).order.client_order_id == "key"


async def test_replayed_order_leaves_a_key_that_is_taken(rows: Rows) -> None:
    owner, order = an_order(client_order_id="key"), an_order(client_order_id="key")
    await rows.insert_initiated([owner])

    await rows.replay([a_trail(order)])

    assert (await read(rows, order)).order.client_order_id is None
    assert await rows.insert_initiated([an_order(client_order_id="key")]) == [KeyTaken(owner.id)]


async def test_trail_without_its_first_row_claims_no_key(rows: Rows) -> None:
    order, other = an_order(client_order_id="key"), an_order(client_order_id="key")

    await rows.replay([SpooledTrail(order, (TrailRow(UNKNOWN, "unknown:timeout"),))])

    assert isinstance((await rows.insert_initiated([other]))[0], Recorded)
    assert await trail(rows, order) == [(UNKNOWN, "unknown:timeout", None)]


async def test_replay_does_not_call_never_sent_what_was_sent_meanwhile(rows: Rows, doubts: Doubts) -> None:
    sent, unsent = an_order(), an_order()
    assert await claim(doubts, await in_doubt(rows, doubts, sent))

    await rows.replay([a_trail(order, TrailRow(NOT_PERSISTED, NOT_RECORDED)) for order in (sent, unsent)])

    assert await trail(rows, sent) == [(INITIATED, None, None)]
    assert await trail(rows, unsent) == [(INITIATED, None, None), (NOT_PERSISTED, NOT_RECORDED, None)]


async def test_replay_of_other_failures_is_written_whoever_sent_since(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    assert await claim(doubts, await in_doubt(rows, doubts, order))

    await rows.replay([a_trail(order, TrailRow(UNKNOWN, "unknown:timeout"), TrailRow(NOT_PERSISTED, None))])

    assert {row[:2] for row in await trail(rows, order)} == {
        (INITIATED, None),
        (UNKNOWN, "unknown:timeout"),
        (NOT_PERSISTED, None),
    }


async def test_replay_takes_the_order_from_its_holder(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)

    await rows.replay([a_trail(order, TrailRow(FAILED, "refused:too_big"))])

    assert not await claim(doubts, lease)
    assert await doubts.apply([Verdict(lease, (), is_settled=True, next_seconds=0, observation="")]) == [False]
    again = (await take_all(doubts))[order.id]
    assert again.fence > lease.fence
    assert again.tries == 0


async def test_replay_opens_what_was_settled(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)
    verdict = Verdict(lease, (TrailRow(NOT_PLACED, "proved:absent"),), is_settled=True, next_seconds=0, observation="")
    assert await doubts.apply([verdict]) == [True]

    await rows.replay([a_trail(order, TrailRow(NOT_PERSISTED, "accepted", "E-1"))])

    assert list(await take_all(doubts)) == [order.id]


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

    assert await trail(rows, order) == [(INITIATED, None, None), (UNKNOWN, "unknown:timeout", None)]


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


# Read


async def test_unknown_order_is_none(rows: Rows) -> None:
    assert await rows.read(new_id()) is None


@pytest.mark.parametrize(("text", "code"), UNSTORABLE)
async def test_id_that_cannot_be_stored_cannot_be_queried(rows: Rows, text: str, code: str) -> None:
    with pytest.raises(StatementFailed) as caught:
        await rows.read(text)

    assert caught.value.code == code


async def test_rows_are_read_oldest_first(rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    for status in (FILLED, UNKNOWN, COMPLETED):
        await rows.insert_trail_rows([NewTrailRow(order.id, status, "unknown:x")])

    stored = await read(rows, order)

    assert [row.status for row in stored.rows] == [INITIATED, FILLED, UNKNOWN, COMPLETED]
    times = [row.created_at for row in stored.rows if row.created_at is not None]
    assert times == sorted(times)
    assert len(times) == 4


async def test_order_is_being_placed_until_its_window_has_passed(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    assert (await read(rows, order)).is_being_placed(seconds_after_send_by=50)

    await database.let_pass(DEADLINES.send_seconds + 20)
    assert (await read(rows, order)).is_being_placed(seconds_after_send_by=50)
    await database.let_pass(40)

    assert not (await read(rows, order)).is_being_placed(seconds_after_send_by=50)


@pytest.mark.parametrize(
    ("answer", "is_open"),
    [
        (None, True),
        (SendAnswer.UNKNOWN, True),
        (SendAnswer.ACCEPTED, True),
        (SendAnswer.REFUSED, False),
        (SendAnswer.NOT_SENT, False),
    ],
)
async def test_claim_is_open_until_an_answer_proves_that_it_did_nothing(
    rows: Rows, doubts: Doubts, answer: SendAnswer | None, is_open: bool
) -> None:
    order = an_order()
    assert await claim(doubts, await in_doubt(rows, doubts, order))

    if answer is not None:
        await doubts.record_answers([AnsweredSend(order.id, 2, answer, f"{answer}:x", None)])

    assert (await read(rows, order)).has_open_claim is is_open


async def test_one_open_claim_among_closed_ones_counts(rows: Rows, doubts: Doubts) -> None:
    order, other = an_order(), an_order()
    assert await claim(doubts, await in_doubt(rows, doubts, order))
    await doubts.record_answers([AnsweredSend(order.id, 2, SendAnswer.NOT_SENT, "not_sent:x", None)])
    assert await claim(doubts, await in_doubt(rows, doubts, order))
    await rows.insert_initiated([other])

    assert (await read(rows, order)).has_open_claim
    assert not (await read(rows, other)).has_open_claim


async def test_cancel_forbids_the_order_and_no_other(rows: Rows, doubts: Doubts) -> None:
    order, other = an_order(), an_order()
    await rows.insert_initiated([order, other])

    await doubts.request_cancel(order.id)

    assert (await read(rows, order)).is_forbidden
    assert not (await read(rows, other)).is_forbidden

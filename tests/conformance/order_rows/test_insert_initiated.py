"""INITIATED and the key are recorded together, once, and every order gets its own answer."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from ordertrail.domain.order import Order, Side
from ordertrail.domain.order_in_doubt import OrderInDoubt
from ordertrail.domain.trail import TrailRow
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import KeyTaken, Recorded, Rows
from tests.conformance.arrange import INITIATED, by_id, read
from tests.conformance.databases import DEADLINES, RACERS, UNSTORABLE, DatabaseSubject, Doubts
from tests.support.orders import a_market_order, an_order, new_id


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

    stored = await read(rows, order.id)

    assert replace(stored.order, place_by=None) == order
    assert stored.rows == (TrailRow(INITIATED, None, None, stored.created_at),)
    assert (stored.has_open_claim, stored.is_forbidden) == (False, False)


async def test_recorded_time_is_the_databases_own(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order()
    before = await database.now()

    [recorded] = await rows.insert_initiated([order])

    stored = await read(rows, order.id)
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
    assert (await read(rows, order.id)).send_by == doubt.sends[0].send_by


async def test_place_by_of_each_kind_of_order(database: DatabaseSubject, rows: Rows) -> None:
    wanted = await database.now() + timedelta(seconds=12_345)
    limit, own_limit, market, own_market = orders = [
        an_order(),
        an_order(place_by=wanted),
        a_market_order(),
        a_market_order(place_by=wanted),
    ]
    await rows.insert_initiated(orders)

    stored = {order.id: await read(rows, order.id) for order in orders}

    window = timedelta(seconds=DEADLINES.retry_seconds)
    assert stored[limit.id].order.place_by == stored[limit.id].created_at + window
    assert stored[own_limit.id].order.place_by == wanted
    assert stored[market.id].order.place_by is None
    assert stored[own_market.id].order.place_by == wanted


async def test_place_by_without_any_of_the_callers_own(rows: Rows) -> None:
    limit, market = an_order(), a_market_order()
    await rows.insert_initiated([limit, market])

    stored = await read(rows, limit.id)

    assert stored.order.place_by == stored.created_at + timedelta(seconds=DEADLINES.retry_seconds)
    assert (await read(rows, market.id)).order.place_by is None


async def test_without_a_retry_window_only_the_callers_own_place_by_counts(database: DatabaseSubject) -> None:
    rows = database.rows(replace(DEADLINES, retry_seconds=0))
    wanted = await database.now() + timedelta(seconds=12_345)
    limit, own = an_order(), an_order(place_by=wanted)

    await rows.insert_initiated([limit, own])

    assert (await read(rows, limit.id)).order.place_by is None
    assert (await read(rows, own.id)).order.place_by == wanted


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
    assert results[0] == results[3] == Recorded((await read(rows, late.id)).created_at)


async def test_key_and_place_by_stay_with_their_order(database: DatabaseSubject, rows: Rows) -> None:
    wanted = await database.now() + timedelta(seconds=12_345)
    orders = [
        an_order(id=new_id(), client_order_id=key, place_by=place_by, quantity=quantity)
        for quantity, (key, place_by) in enumerate([(None, wanted), ("a", None), ("b", wanted), (None, None)], start=1)
    ]

    await rows.insert_initiated(orders[::-1])

    for order in orders:
        stored = (await read(rows, order.id)).order
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

    assert (await read(rows, order.id)).order.quantity == 10


async def test_order_twice_in_a_batch_is_recorded_once(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(client_order_id="key")

    first, second = await rows.insert_initiated([order, order])

    assert first == second == Recorded((await read(rows, order.id)).created_at)
    assert [batch["order_ids"] for batch in (await database.contents())["order_batches"]] == [[order.id]]


async def test_other_key_for_a_recorded_order_does_not_replace_its_own(rows: Rows) -> None:
    order = an_order(client_order_id="key")
    [recorded] = await rows.insert_initiated([order])

    assert await rows.insert_initiated([replace(order, client_order_id="other")]) == [recorded]
    assert (await read(rows, order.id)).order.client_order_id == "key"


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

    assert results == [[Recorded((await read(rows, order.id)).created_at)]] * RACERS
    contents = await database.contents()
    assert len(contents["orders"]) == len(contents["order_batches"]) == 1

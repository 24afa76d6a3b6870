"""INITIATED of new orders and COMPLETED of others in one commit: each as it would be alone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import KeyTaken, NewTrailRow, Recorded, Rows
from tests.conformance.arrange import COMPLETED, INITIATED, read, trail
from tests.conformance.databases import UNSTORABLE, DatabaseSubject
from tests.support.orders import an_order, new_id


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

    stored = await read(rows, fresh.id)
    assert recorded == [Recorded((await read(rows, other_second.id)).created_at), Recorded(stored.created_at)]
    assert are_there == [True, True]
    assert (stored.order.client_order_id, stored.order.quantity) == (key, 9)
    assert place_by in (None, stored.order.place_by)
    assert await trail(rows, fresh.id) == await trail(rows, other.id) == [(INITIATED, None, None)]
    for order, exchange_order_id in ((first, "E-1"), (second, "E-2")):
        assert await trail(rows, order.id) == [(INITIATED, None, None), (COMPLETED, None, exchange_order_id)]
        assert (await read(rows, order.id)).order.quantity == order.quantity


async def test_of_both_kinds_each_gets_its_own_result(rows: Rows) -> None:
    owner, placed = an_order(client_order_id="key"), an_order()
    await rows.insert_initiated([owner, placed])
    fresh, late = an_order(), an_order(client_order_id="key")
    completed = [NewTrailRow(order.id, COMPLETED, None, "E-1") for order in (placed, late, fresh)]

    recorded, are_there = await rows.insert_initiated_and_completed([late, fresh], completed)

    # COMPLETED needs an INITIATED that was committed before.
    assert recorded == [KeyTaken(owner.id), Recorded((await read(rows, fresh.id)).created_at)]
    assert are_there == [True, False, False]
    assert await trail(rows, fresh.id) == [(INITIATED, None, None)]
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

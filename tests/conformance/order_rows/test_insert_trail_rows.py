"""A step is appended to an order that is recorded, once; what it leaves open is looked after soon."""

from datetime import timedelta
from decimal import Decimal

import pytest

from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import NewTrailRow, Rows, SpooledTrail
from tests.conformance.arrange import (
    COMPLETED,
    FAILED,
    FILLED,
    INITIATED,
    NOT_PERSISTED,
    NOT_PLACED,
    SAME_IN_ALL_ROWS,
    UNKNOWN,
    UNRESOLVED,
    by_id,
    in_doubt,
    lease_due,
    settled,
    trail,
)
from tests.conformance.databases import RACERS, UNSTORABLE, DatabaseSubject, Doubts
from tests.support.orders import an_order, new_id


async def test_step_has_the_orders_fields(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order(client_order_id="key", limit_price=Decimal("0.1"))
    await rows.insert_initiated([order])

    assert await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "not_sent:closed", "E-1")]) == [True]

    failed, initiated = (await database.contents())["orders"]
    assert [failed[name] for name in SAME_IN_ALL_ROWS] == [initiated[name] for name in SAME_IN_ALL_ROWS]
    assert (failed["status"], failed["reason"], failed["exchange_order_id"]) == (FAILED, "not_sent:closed", "E-1")
    assert [failed[name] for name in ("client_order_id", "place_by", "send_by", "accept_by")] == [None] * 4
    assert failed["created_at"] > initiated["created_at"]


@pytest.mark.parametrize("reason", [None, "not_sent:closed"])
async def test_step_without_an_order_is_not_written(database: DatabaseSubject, rows: Rows, reason: str | None) -> None:
    assert await rows.insert_trail_rows([NewTrailRow(new_id(), COMPLETED, reason, "E-1")]) == [False]
    assert not any((await database.contents()).values())


async def test_step_needs_initiated_and_not_just_any_row(rows: Rows) -> None:
    order = an_order()
    await rows.replay([SpooledTrail(order, (TrailRow(UNKNOWN, "unknown:timeout"),))])

    assert await rows.insert_trail_rows([NewTrailRow(order.id, COMPLETED, None, "E-1")]) == [False]
    assert await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "not_sent:closed")]) == [False]
    assert await trail(rows, order.id) == [(UNKNOWN, "unknown:timeout", None)]


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
    assert await trail(rows, order.id) == [(INITIATED, None, None), (COMPLETED, *first)]


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
    assert [(await trail(rows, order.id))[1][2] for order in (late, there, early)] == ["E-0", "E-0", "E-3"]


async def test_several_steps_of_one_order_in_a_batch(rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    steps = [
        NewTrailRow(order.id, FILLED, "execution", "E-1"),
        NewTrailRow(order.id, UNKNOWN, "unknown:timeout"),
        NewTrailRow(order.id, FILLED, "execution", "E-1"),
    ]

    assert await rows.insert_trail_rows(steps) == [True, True, True]
    assert await trail(rows, order.id) == [
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
    assert [each.order_id for each in await lease_due(doubts)] == [order.id]


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
    held, gone = an_order(), an_order()
    await in_doubt(rows, doubts, held)
    lease = await in_doubt(rows, doubts, gone)
    await doubts.apply([settled(lease)])
    before = (await database.contents())["doubts"]

    await rows.insert_trail_rows([NewTrailRow(order.id, FAILED, "not_sent:closed") for order in (held, gone)])

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
    assert len(await trail(rows, order.id)) == 2

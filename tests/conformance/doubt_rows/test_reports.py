"""What the exchange's reports say of orders in doubt: the venue's latest word, and which orders they make due."""

from typing import Any

import pytest

from ordertrail.domain.operator_word import is_unresolved
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.domain.venue_word import VenueWord
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import (
    COMPLETED,
    FILLED,
    UNRESOLVED,
    doubt_row,
    hold,
    in_doubt,
    later,
    lease_due,
    load,
    recorded,
    settled,
    step,
)
from tests.conformance.databases import DEADLINES, DatabaseSubject, Doubts
from tests.support.executions import EPOCH, frame, report
from tests.support.orders import an_order

DUE = DEADLINES.review_seconds + 1
QUIET = {"last_qty": 0, "last_px": None, "cum_qty": 0, "leaves_qty": 10, "avg_px": None}
REFUSAL = {"exec_type": "rejected", "exchange_order_id": None}


def said(order_id: str, seq: int, ord_status: str, **changes: Any) -> dict[str, Any]:
    """A report that leaves the order so."""
    return report(
        seq, **{"client_order_id": order_id, "exec_type": "new", "ord_status": ord_status, **QUIET, **changes}
    )


def bust(order_id: str, seq: int, of: int) -> dict[str, Any]:
    """A trade is taken back, and its order is open again."""
    return said(order_id, seq, "new", exec_type="trade_cancel", exec_ref_id=f"x{of}", last_qty=1, last_px="150.25")


async def apply(database: DatabaseSubject, *reports: dict[str, Any], epoch: str = EPOCH) -> None:
    await database.executions.apply_reports([frame(*reports, epoch=epoch)])


async def test_order_of_which_nothing_was_reported_has_no_word(rows: Rows, doubts: Doubts) -> None:
    lease = await in_doubt(rows, doubts, an_order())

    assert await doubts.venue_word(lease.order_id) is None
    assert (await load(doubts, lease.order_id)).word is None


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_latest_word_counts_in_whichever_order_reports_come(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, is_reversed: bool
) -> None:
    lease = await in_doubt(rows, doubts, an_order())
    reports = [
        said(lease.order_id, 1, "new", exchange_order_id="X-1"),
        said(lease.order_id, 2, "filled", exchange_order_id="X-2"),
        said(lease.order_id, 10, "canceled", exec_type="canceled", exchange_order_id="X-10"),
    ]
    for each in reversed(reports) if is_reversed else reports:
        await apply(database, each)

    word = VenueWord("canceled", proves_acceptance=True, exchange_order_id="X-10")
    assert await doubts.venue_word(lease.order_id) == word
    assert (await load(doubts, lease.order_id)).word == word


async def test_word_of_a_later_epoch_is_later_whatever_its_number(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    lease = await in_doubt(rows, doubts, an_order())
    await apply(database, said(lease.order_id, 900, "filled"))
    await apply(database, said(lease.order_id, 1, "partially_filled"), epoch="another")

    word = await doubts.venue_word(lease.order_id)

    assert word is not None and word.ord_status == "partially_filled"


async def test_refusal_proves_nothing_and_names_no_order(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await in_doubt(rows, doubts, an_order())
    await apply(database, said(lease.order_id, 1, "rejected", **REFUSAL))

    word = VenueWord("rejected", proves_acceptance=False, exchange_order_id=None)
    assert await doubts.venue_word(lease.order_id) == word
    assert not (await load(doubts, lease.order_id)).was_accepted


# What is due


async def test_report_makes_its_order_due_and_frees_it_of_its_lease(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    lease = await hold(doubts, (await in_doubt(rows, doubts, an_order())).order_id)

    await apply(database, said(lease.order_id, 1, "new"))

    assert await doubts.apply([settled(lease, TrailRow(OrderStatus.NOT_PLACED, "proved:absent"))]) == [False]
    assert [each.order_id for each in await lease_due(doubts)] == [lease.order_id]


async def test_rejection_that_came_before_completed_is_enqueued(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    rejected, appended, refused_and_new, placed = await recorded(rows, count=4)
    await apply(
        database,
        said(rejected.id, 1, "rejected", **REFUSAL),
        said(appended.id, 2, "rejected", **REFUSAL),
        said(refused_and_new.id, 3, "rejected", **REFUSAL),
        said(refused_and_new.id, 4, "new"),
    )
    for order in (rejected, appended, refused_and_new, placed):
        await step(rows, order.id, COMPLETED)
    await step(rows, appended.id, OrderStatus.REJECTED, "execution")
    await database.let_pass(DUE)

    await doubts.enqueue_due_batches(batches_max=100)

    assert {lease.order_id for lease in await lease_due(doubts)} == {rejected.id}


@pytest.mark.parametrize("is_wanted", [False, True])
async def test_order_that_is_open_again_is_due_where_it_is_to_be_canceled(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, is_wanted: bool
) -> None:
    [order] = await recorded(rows)
    await step(rows, order.id, COMPLETED)
    if is_wanted:
        await doubts.request_cancel(order.id)
    else:
        await doubts.reopen([order.id])
    await apply(database, report(1, client_order_id=order.id, ord_status="filled"))
    await doubts.apply([settled(await hold(doubts, order.id))])

    await apply(database, bust(order.id, 2, of=1))

    assert [lease.order_id for lease in await lease_due(doubts)] == ([order.id] if is_wanted else [])
    assert ((await doubt_row(database, order.id))["settled_at"] is None) == is_wanted


# What waits for a person

WORDS_AND_ROWS: list[tuple[tuple[str, ...], tuple[tuple[OrderStatus, str], ...], bool]] = [
    ((), (), True),
    (("canceled",), (), False),
    (("filled",), (), False),
    (("filled", "new"), (), True),
    (("new", "a new word"), (), True),
    (("rejected",), (), False),
    (("new",), ((OrderStatus.CANCELED, "operator:ada: asked"),), False),
    (("new",), ((FILLED, "verified"),), True),
    ((), ((FILLED, "verified"),), False),
]


@pytest.mark.parametrize("story", WORDS_AND_ROWS)
async def test_order_that_is_to_be_canceled_waits_for_a_person_until_it_is_over(
    database: DatabaseSubject,
    rows: Rows,
    doubts: Doubts,
    story: tuple[tuple[str, ...], tuple[tuple[OrderStatus, str], ...], bool],
) -> None:
    ord_statuses, more, is_counted = story
    lease = await in_doubt(rows, doubts, an_order())
    await doubts.apply([later(lease, TrailRow(UNRESOLVED, "differs"), TrailRow(COMPLETED, "verified"))])
    await doubts.request_cancel(lease.order_id)
    for status, reason in more:
        await step(rows, lease.order_id, status, reason)
    for seq, ord_status in enumerate(ord_statuses, start=1):
        await apply(database, said(lease.order_id, seq, ord_status))

    assert (await doubts.counts()).unresolved == is_counted
    assert is_unresolved(await load(doubts, lease.order_id)) == is_counted

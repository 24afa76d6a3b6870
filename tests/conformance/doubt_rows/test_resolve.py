"""An operator settles what is unresolved, and nothing else."""

from decimal import Decimal

import pytest

from ordertrail.domain.operator_word import FillByHand
from ordertrail.domain.order_in_doubt import SendAnswer
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.doubt_rows import AnsweredSend, Lease
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import (
    COMPLETED,
    FROM_COMPLETED,
    NOT_PLACED,
    SEND_SECONDS,
    UNKNOWN,
    UNRESOLVED,
    claim,
    doubt_row,
    held,
    hold,
    later,
    lease_due,
    recorded,
    ruling,
    settled,
    step,
    trail,
    unresolved,
)
from tests.conformance.databases import RACERS, DatabaseSubject, Doubts
from tests.support.orders import new_id


async def takes(doubts: Doubts, order_id: str, *statuses: OrderStatus, reason: str = "operator:asked") -> bool:
    found = await doubts.resolve(order_id, ruling(*statuses, reason=reason))
    return found is not None and found.is_taken


async def test_not_placed_by_an_operators_word_is_settled(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    lease = await unresolved(rows, doubts)

    assert await takes(doubts, lease.order_id, NOT_PLACED)

    assert (await trail(rows, lease.order_id))[2] == (NOT_PLACED, "operator:asked", "E-1")
    row = await doubt_row(database, lease.order_id)
    assert (row["last_seen"], row["leased_until"], row["fence"]) == ("operator:asked", None, lease.fence + 1)
    await database.let_pass(10_000)
    assert await lease_due(doubts) == []
    assert not await takes(doubts, lease.order_id, NOT_PLACED, reason="operator:again")


async def test_placed_by_an_operators_word_is_reviewed_once_more(rows: Rows, doubts: Doubts) -> None:
    lease = await unresolved(rows, doubts)

    assert await takes(doubts, lease.order_id, COMPLETED)

    assert (await trail(rows, lease.order_id))[2] == (COMPLETED, "operator:asked", "E-1")
    assert await lease_due(doubts) == [Lease(lease.order_id, lease.fence + 2, tries=1)]
    assert not await takes(doubts, lease.order_id, NOT_PLACED, reason="operator:again")


async def test_operators_word_has_the_greatest_exchange_id_or_none(rows: Rows, doubts: Doubts) -> None:
    two, none = await unresolved(rows, doubts, TrailRow(UNKNOWN, "unknown:x", "E-2")), await held(rows, doubts)
    await doubts.apply([later(none, TrailRow(UNRESOLVED, "absent"))])

    for lease in (two, none):
        assert await takes(doubts, lease.order_id, NOT_PLACED)

    assert (await trail(rows, two.order_id))[-1] == (NOT_PLACED, "operator:asked", "E-2")
    assert (await trail(rows, none.order_id))[-1] == (NOT_PLACED, "operator:asked", None)


async def test_operator_takes_the_order_from_its_holder(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    await unresolved(rows, doubts)
    await database.let_pass(1001)
    [lease] = await lease_due(doubts)

    assert await takes(doubts, lease.order_id, COMPLETED)
    assert await doubts.apply([settled(lease)]) == [False]
    assert [each.order_id for each in await lease_due(doubts)] == [lease.order_id]


@pytest.mark.parametrize("status", [NOT_PLACED, *FROM_COMPLETED])
async def test_what_rows_have_settled_no_operator_resolves(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, status: OrderStatus
) -> None:
    lease = await unresolved(rows, doubts)
    await step(rows, lease.order_id, status, "verified")
    before = await database.contents()

    assert not await takes(doubts, lease.order_id, NOT_PLACED)
    assert await database.contents() == before


async def test_what_is_not_unresolved_no_operator_resolves(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await step(rows, lease.order_id, UNKNOWN, "unknown:timeout")
    [no_doubt] = await recorded(rows)
    await step(rows, no_doubt.id, UNRESOLVED, "differs")

    for id_ in (lease.order_id, no_doubt.id, new_id()):
        assert not await takes(doubts, id_, NOT_PLACED)


async def test_order_that_is_settled_no_operator_resolves(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await doubts.apply([settled(lease, TrailRow(UNRESOLVED, "differs"))])

    assert not await takes(doubts, lease.order_id, NOT_PLACED)


async def test_no_operator_resolves_what_is_being_sent(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await unresolved(rows, doubts)
    await claim(doubts, await hold(doubts, lease.order_id))

    assert not await takes(doubts, lease.order_id, NOT_PLACED)
    await database.let_pass(SEND_SECONDS + 1)
    assert await takes(doubts, lease.order_id, NOT_PLACED)


async def test_operator_resolves_what_was_sent_and_answered(rows: Rows, doubts: Doubts) -> None:
    lease = await unresolved(rows, doubts)
    await claim(doubts, await hold(doubts, lease.order_id))
    await doubts.record_answers([AnsweredSend(lease.order_id, 2, SendAnswer.UNKNOWN, "unknown:x", None)])

    assert await takes(doubts, lease.order_id, NOT_PLACED)


async def test_one_of_many_words_at_once_counts(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    lease = await unresolved(rows, doubts)

    results = await database.together(
        *(takes(doubts, lease.order_id, NOT_PLACED, reason=f"operator:{n}") for n in range(RACERS))
    )

    assert sorted(results) == [False] * (RACERS - 1) + [True]
    assert (await trail(rows, lease.order_id))[2:] == [(NOT_PLACED, f"operator:{results.index(True)}", "E-1")]


async def test_word_that_is_taken_is_kept_with_who_said_so(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    lease = await unresolved(rows, doubts)
    fill = FillByHand(3, Decimal("150.250"))

    assert not await takes(doubts, new_id(), NOT_PLACED)
    found = await doubts.resolve(lease.order_id, ruling(COMPLETED, OrderStatus.CANCELED, fill=fill))
    assert not await takes(doubts, lease.order_id, NOT_PLACED)

    assert found is not None and found.is_taken
    assert await database.actions() == [
        {
            "action": "resolve",
            "operator": "ada",
            "origin": "cli",
            "reason": "asked the desk",
            "order_id": lease.order_id,
            "subject": None,
            "before": {"status": "UNRESOLVED"},
            "after": {"statuses": ["COMPLETED", "CANCELED"], "filled_quantity": 3, "filled_price": "150.250"},
        }
    ]

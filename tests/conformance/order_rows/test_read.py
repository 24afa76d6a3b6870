"""A stored order is read with what may still become of it."""

import pytest

from ordertrail.domain.order_in_doubt import SendAnswer
from ordertrail.storage.doubt_rows import AnsweredSend
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import NewTrailRow, Rows
from tests.conformance.arrange import COMPLETED, FILLED, INITIATED, UNKNOWN, in_doubt, read, was_claimed
from tests.conformance.databases import DEADLINES, UNSTORABLE, DatabaseSubject, Doubts
from tests.support.orders import an_order, new_id


async def test_unknown_order_is_none(rows: Rows) -> None:
    assert await rows.read(new_id()) is None


@pytest.mark.parametrize(("text", "code"), UNSTORABLE)
async def test_id_that_cannot_be_stored_cannot_be_queried(rows: Rows, text: str, code: str) -> None:
    with pytest.raises(StatementFailed) as caught:
        await rows.read(text)

    assert caught.value.code == code


async def test_owner_of_a_key(rows: Rows) -> None:
    order = an_order(client_order_id="mine")
    await rows.insert_initiated([order, an_order(client_order_id="another")])

    assert await rows.owner_of("mine") == order.id
    assert await rows.owner_of("nobody's") is None


async def test_rows_are_read_oldest_first(rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    for status in (FILLED, UNKNOWN, COMPLETED):
        await rows.insert_trail_rows([NewTrailRow(order.id, status, "unknown:x")])

    stored = await read(rows, order.id)

    assert [row.status for row in stored.rows] == [INITIATED, FILLED, UNKNOWN, COMPLETED]
    times = [row.created_at for row in stored.rows if row.created_at is not None]
    assert times == sorted(times)
    assert len(times) == 4


async def test_order_is_being_placed_until_its_window_has_passed(database: DatabaseSubject, rows: Rows) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    assert (await read(rows, order.id)).is_being_placed(seconds_after_send_by=50)

    await database.let_pass(DEADLINES.send_seconds + 20)
    assert (await read(rows, order.id)).is_being_placed(seconds_after_send_by=50)
    await database.let_pass(40)

    assert not (await read(rows, order.id)).is_being_placed(seconds_after_send_by=50)


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
    assert await was_claimed(doubts, await in_doubt(rows, doubts, order))

    if answer is not None:
        await doubts.record_answers([AnsweredSend(order.id, 2, answer, f"{answer}:x", None)])

    assert (await read(rows, order.id)).has_open_claim is is_open


async def test_one_open_claim_among_closed_ones_counts(rows: Rows, doubts: Doubts) -> None:
    order, other = an_order(), an_order()
    assert await was_claimed(doubts, await in_doubt(rows, doubts, order))
    await doubts.record_answers([AnsweredSend(order.id, 2, SendAnswer.NOT_SENT, "not_sent:x", None)])
    assert await was_claimed(doubts, await in_doubt(rows, doubts, order))
    await rows.insert_initiated([other])

    assert (await read(rows, order.id)).has_open_claim
    assert not (await read(rows, other.id)).has_open_claim


async def test_cancel_forbids_the_order_and_no_other(rows: Rows, doubts: Doubts) -> None:
    order, other = an_order(), an_order()
    await rows.insert_initiated([order, other])

    await doubts.request_cancel(order.id)

    assert (await read(rows, order.id)).is_forbidden
    assert not (await read(rows, other.id)).is_forbidden

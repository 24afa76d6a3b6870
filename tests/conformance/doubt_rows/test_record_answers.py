"""The first answer to a claim stays."""

from dataclasses import replace

import pytest

from ordertrail.domain.order_in_doubt import SendAnswer
from ordertrail.storage.doubt_rows import AnsweredSend
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import claim, held, load
from tests.conformance.databases import UNSTORABLE, DatabaseSubject, Doubts


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

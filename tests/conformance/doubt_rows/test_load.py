"""An order in doubt is loaded as it is read, with its sends, and what cannot be read harms no other."""

from dataclasses import replace

from ordertrail.domain.order_in_doubt import OrderInDoubt, Send, SendAnswer
from ordertrail.domain.trail import TrailRow
from ordertrail.storage.doubt_rows import AnsweredSend, Unreadable
from ordertrail.storage.order_rows import NewTrailRow, Rows, SpooledTrail
from tests.conformance.arrange import COMPLETED, NOT_PERSISTED, UNKNOWN, claim, hold, load, recorded, step
from tests.conformance.databases import DatabaseSubject, Doubts
from tests.support.orders import an_order, new_id


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

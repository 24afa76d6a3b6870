"""Whatever is counted as unresolved, a person's word can end: one rule, over trails of every kind."""

from dataclasses import dataclass
from random import Random

import pytest

from ordertrail.domain.operator_word import OperatorWord, statuses_of, words_for
from ordertrail.domain.order_in_doubt import SendAnswer
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.doubt_rows import AnsweredSend
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import (
    COMPLETED,
    FAILED,
    FILLED,
    NOT_PERSISTED,
    NOT_PLACED,
    SEND_SECONDS,
    UNKNOWN,
    UNRESOLVED,
    claim,
    hold,
    in_doubt,
    later,
    load,
    ruling,
    settled,
    trail,
)
from tests.conformance.databases import DatabaseSubject, Doubts
from tests.support.orders import an_order

STORIES = 40
# What a trail may say beside INITIATED and UNRESOLVED, each with a chance of its own.
SAID: dict[OrderStatus, tuple[float, tuple[str, ...]]] = {
    FAILED: (0.3, ("not_sent:closed", "refused:x")),
    NOT_PERSISTED: (0.2, ("unknown:timeout", "accepted", "not_sent:not_recorded")),
    UNKNOWN: (0.5, ("unknown:timeout",)),
    NOT_PLACED: (0.25, ("proved:absent", "presumed:absent")),
    COMPLETED: (0.4, ("verified",)),
    OrderStatus.PARTIALLY_FILLED: (0.1, ("execution",)),
    OrderStatus.CANCELED: (0.05, ("execution",)),
    OrderStatus.REJECTED: (0.05, ("verified:refused:x",)),
    FILLED: (0.05, ("execution",)),
}


@dataclass(frozen=True)
class Story:
    """What has become of an order so far."""

    rows: tuple[TrailRow, ...]
    answer: SendAnswer | None
    was_claimed: bool
    was_canceled: bool
    was_observed: bool
    was_settled: bool


def a_story(chance: Random) -> Story:
    rows = [
        TrailRow(status, chance.choice(reasons), chance.choice([None, "E-1"]))
        for status, (share, reasons) in SAID.items()
        if chance.random() < share
    ]
    if chance.random() < 0.85:
        rows.append(TrailRow(UNRESOLVED, "accepted_and_absent"))
    return Story(
        tuple(rows),
        chance.choice([None, *SendAnswer]),
        was_claimed=chance.random() < 0.4,
        was_canceled=chance.random() < 0.5,
        was_observed=chance.random() < 0.2,
        was_settled=chance.random() < 0.1,
    )


async def order_with(rows: Rows, doubts: Doubts, story: Story) -> str:
    """An order of which this is true."""
    lease = await in_doubt(rows, doubts, an_order())
    if story.was_claimed:
        [claimed] = await claim(doubts, lease)
        assert claimed is not None
        if story.answer is not None:
            answered = AnsweredSend(lease.order_id, claimed.number, story.answer, f"{story.answer}:x", None)
            await doubts.record_answers([answered])
    await doubts.apply([later(lease, *story.rows)])
    if story.was_canceled:
        await doubts.request_cancel(lease.order_id)
    if story.was_observed:
        await doubts.keep_observations({lease.order_id: "E-2"})
    if story.was_settled:
        await doubts.apply([settled(await hold(doubts, lease.order_id))])
    return lease.order_id


async def counted(doubts: Doubts) -> set[str]:
    """The orders that are counted as unresolved."""
    views = await doubts.oldest(limit=10_000)
    found = {view.order_id for view in views if view.is_unresolved}
    assert (await doubts.counts()).unresolved == len(found)
    return found


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_is_counted_as_unresolved_a_word_ends(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, seed: int
) -> None:
    chance = Random(seed)
    stories = [a_story(chance) for _ in range(STORIES)]
    orders = [{word: await order_with(rows, doubts, story) for word in OperatorWord} for story in stories]
    await database.let_pass(SEND_SECONDS + 1)
    unresolved = await counted(doubts)

    for story, copies in zip(stories, orders, strict=True):
        taken = set()
        for word, order_id in copies.items():
            words = set() if story.was_settled else words_for(await load(doubts, order_id))
            found = await doubts.resolve(order_id, ruling(*statuses_of(word)))
            assert found is not None
            assert found.is_taken == (word in words), (story, word)
            taken |= {word} if found.is_taken else set()
        is_counted = set(copies.values()) <= unresolved
        assert is_counted or not set(copies.values()) & unresolved
        assert bool(taken) == is_counted, story

    assert {OperatorWord.NOT_PLACED, OperatorWord.PLACED} <= {
        word for copies in orders for word, order_id in copies.items() if order_id in unresolved
    }


@pytest.mark.parametrize("word", [OperatorWord.CANCELED, OperatorWord.EXPIRED, OperatorWord.FILLED])
async def test_order_that_was_accepted_canceled_and_forgotten_is_ended_by_a_word(
    database: DatabaseSubject, rows: Rows, doubts: Doubts, word: OperatorWord
) -> None:
    order_id = await order_with(
        rows, doubts, Story((TrailRow(COMPLETED, None, "E-1"),), None, False, False, False, was_settled=True)
    )
    await doubts.request_cancel(order_id)
    await doubts.apply([later(await hold(doubts, order_id), TrailRow(UNRESOLVED, "accepted_and_absent", "E-1"))])
    assert (await doubts.counts()).unresolved == 1

    for refused in (OperatorWord.NOT_PLACED, OperatorWord.PLACED):
        found = await doubts.resolve(order_id, ruling(*statuses_of(refused)))
        assert found is not None and found.is_unresolved and not found.is_taken
    found = await doubts.resolve(order_id, ruling(*statuses_of(word)))

    assert found is not None and found.is_taken
    counts = await doubts.counts()
    assert (counts.count, counts.unresolved) == (0, 0)
    assert (await trail(rows, order_id))[-1] == (statuses_of(word)[-1], "operator:asked", "E-1")

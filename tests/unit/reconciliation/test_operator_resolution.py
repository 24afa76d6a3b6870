"""What an operator's word must be, and what it does to an order."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.domain.operator_word import FillByHand, OperatorWord
from ordertrail.domain.order_in_doubt import OrderInDoubt
from ordertrail.domain.trail import OrderStatus
from ordertrail.reconciliation.operator_resolution import (
    Evidence,
    NotResolvable,
    Resolution,
    Resolved,
    read_evidence,
    resolve,
)
from ordertrail.storage.doubt_rows import OperatorRuling, Resolvable
from tests.support.clocks import NOON
from tests.support.orders import an_order

QUANTITY = 10
TAKEN = Resolvable(is_unresolved=True, was_accepted=False, is_placed=False, is_being_sent=False, is_taken=True)
ADA = Operator("ada", Origin.CLI)
S = OrderStatus


class Doubts:
    def __init__(self, found: Resolvable | None = TAKEN) -> None:
        self.found = found
        self.settled: list[tuple[str, OperatorRuling]] = []

    async def load(self, order_ids: Sequence[str]) -> dict[str, OrderInDoubt]:
        order = an_order(id=order_ids[0], quantity=QUANTITY)
        return {order.id: OrderInDoubt(order, NOON, (), (), NOON)}

    async def resolve(self, order_id: str, ruling: OperatorRuling) -> Resolvable | None:
        self.settled.append((order_id, ruling))
        return self.found


async def resolved(doubts: Any, word: OperatorWord, fill: FillByHand | None = None) -> Resolution:
    return await resolve(doubts, "order-1", word, Evidence("the desk said so"), operator=ADA, fill=fill)


@pytest.mark.parametrize(
    ("word", "quantity", "statuses", "status"),
    [
        (OperatorWord.PLACED, None, (S.COMPLETED,), S.COMPLETED),
        (OperatorWord.NOT_PLACED, None, (S.NOT_PLACED,), S.NOT_PLACED),
        (OperatorWord.CANCELED, None, (S.COMPLETED, S.CANCELED), S.CANCELED),
        (OperatorWord.CANCELED, 4, (S.COMPLETED, S.CANCELED, S.PARTIALLY_FILLED), S.CANCELED),
        (OperatorWord.EXPIRED, None, (S.COMPLETED, S.EXPIRED), S.EXPIRED),
        (OperatorWord.EXPIRED, 9, (S.COMPLETED, S.EXPIRED, S.PARTIALLY_FILLED), S.EXPIRED),
        (OperatorWord.FILLED, QUANTITY, (S.COMPLETED, S.FILLED), S.FILLED),
    ],
)
async def test_order_is_settled_with_the_operators_name_and_words(
    word: OperatorWord, quantity: int | None, statuses: tuple[OrderStatus, ...], status: OrderStatus
) -> None:
    doubts = Doubts()
    fill = None if quantity is None else FillByHand(quantity, Decimal("1.5"))

    resolution = await resolved(doubts, word, fill)

    assert resolution == Resolved(status)
    ruling = OperatorRuling(statuses, "operator:ada: the desk said so", ADA, "the desk said so", fill)
    assert doubts.settled == [("order-1", ruling)]


@pytest.mark.parametrize(
    ("word", "quantity", "why"),
    [
        (OperatorWord.FILLED, None, NotResolvable.FILL_MISSING),
        (OperatorWord.FILLED, QUANTITY - 1, NotResolvable.FILL_DIFFERS),
        (OperatorWord.FILLED, QUANTITY + 1, NotResolvable.FILL_DIFFERS),
        (OperatorWord.CANCELED, QUANTITY, NotResolvable.FILL_DIFFERS),
        (OperatorWord.EXPIRED, QUANTITY + 1, NotResolvable.FILL_DIFFERS),
        (OperatorWord.PLACED, 1, NotResolvable.FILL_OF_NOTHING),
        (OperatorWord.NOT_PLACED, 1, NotResolvable.FILL_OF_NOTHING),
    ],
)
async def test_fill_must_go_with_the_word(word: OperatorWord, quantity: int | None, why: NotResolvable) -> None:
    doubts = Doubts()

    resolution = await resolved(doubts, word, None if quantity is None else FillByHand(quantity, Decimal(1)))

    assert resolution is why
    assert doubts.settled == []


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, NotResolvable.NOT_UNRESOLVED),
        (Resolvable(False, True, True, True, False), NotResolvable.NOT_UNRESOLVED),
        (Resolvable(True, True, True, True, False), NotResolvable.BEING_SENT),
        (Resolvable(True, True, True, False, False), NotResolvable.PLACED_ALREADY),
        (Resolvable(True, True, False, False, False), NotResolvable.ACCEPTED),
    ],
)
async def test_word_that_was_not_taken_says_why(found: Resolvable | None, why: NotResolvable) -> None:
    assert await resolved(Doubts(found), OperatorWord.PLACED) is why


@pytest.mark.parametrize(("text", "words"), [("x", "x"), (" called the desk \n", "called the desk"), ("é" * 1000,) * 2])
def test_a_line_of_words_is_evidence(text: str, words: str) -> None:
    assert read_evidence(text) == Evidence(words)


@pytest.mark.parametrize("text", ["", " \n ", "two\nlines", "nul\0", "x" * 1001], ids=ascii)
def test_nothing_else_is_evidence(text: str) -> None:
    assert read_evidence(text) is None

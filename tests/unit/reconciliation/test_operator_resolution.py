"""What an operator's word must be, and what it does to an order."""

from typing import Any

import pytest

from ordertrail.domain.trail import OrderStatus
from ordertrail.reconciliation.operator_resolution import (
    Evidence,
    NotResolvable,
    Resolved,
    read_evidence,
    resolve,
)


class Doubts:
    def __init__(self, *, is_unresolved: bool = True) -> None:
        self.is_unresolved = is_unresolved
        self.settled: list[tuple[str, OrderStatus, str]] = []

    async def resolve(self, order_id: str, status: OrderStatus, reason: str) -> bool:
        if self.is_unresolved:
            self.settled.append((order_id, status, reason))
        return self.is_unresolved


@pytest.mark.parametrize(
    ("is_placed", "status"), [(True, OrderStatus.COMPLETED), (False, OrderStatus.NOT_PLACED)], ids=str
)
async def test_order_is_settled_with_the_operators_name_and_words(is_placed: bool, status: OrderStatus) -> None:
    doubts: Any = Doubts()

    resolution = await resolve(
        doubts, "order-1", is_placed=is_placed, evidence=Evidence("the venue's desk said so"), operator="ada"
    )

    assert resolution == Resolved(status)
    assert doubts.settled == [("order-1", status, "operator:ada: the venue's desk said so")]


async def test_order_that_is_not_unresolved_stays_as_it_is() -> None:
    doubts: Any = Doubts(is_unresolved=False)

    resolution = await resolve(doubts, "order-1", is_placed=True, evidence=Evidence("so"), operator="ada")

    assert resolution == NotResolvable()


@pytest.mark.parametrize(("text", "words"), [("x", "x"), (" called the desk \n", "called the desk"), ("é" * 1000,) * 2])
def test_a_line_of_words_is_evidence(text: str, words: str) -> None:
    assert read_evidence(text) == Evidence(words)


@pytest.mark.parametrize("text", ["", " \n ", "two\nlines", "nul\0", "x" * 1001], ids=ascii)
def test_nothing_else_is_evidence(text: str) -> None:
    assert read_evidence(text) is None

"""What becomes of a wish to cancel, and that it is committed before anybody acts on it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.domain.venue_word import VenueWord
from ordertrail.placement.cancel_order import Canceling, CancelRequested, NoSuchOrder, OrderIsOver
from ordertrail.storage.errors import StatementOutcomeUnknown
from tests.support.orders import LATER, an_order

S = OrderStatus
NOW = datetime(2026, 11, 22, tzinfo=UTC)
COMPLETED = TrailRow(S.COMPLETED)
REFUSED = TrailRow(S.EXCHANGE_CREATION_FAILED, "refused:NO_MONEY")
NOT_SENT = TrailRow(S.EXCHANGE_CREATION_FAILED, "not_sent:closed")


def stored_order(*rows: TrailRow, **changes: Any) -> StoredOrder:
    order = an_order(id="order-1", place_by=LATER)
    return replace(StoredOrder(order, NOW, None, (TrailRow(S.INITIATED), *rows), NOW), **changes)


class House:
    """One order, or none; `log` is what was done, in turn."""

    def __init__(self) -> None:
        self.stored: StoredOrder | None = stored_order(COMPLETED)
        self.word: VenueWord | None = None
        self.error: StatementOutcomeUnknown | None = None
        self.log: list[str] = []
        doubts: Any = self
        rows: Any = self
        self.canceling = Canceling(rows, doubts, lambda: self.log.append("woken up"))

    async def read(self, order_id: str) -> StoredOrder | None:
        self.log.append(f"read {order_id}")
        return self.stored

    async def venue_word(self, _order_id: str) -> VenueWord | None:
        return self.word

    async def request_cancel(self, order_id: str) -> bool:
        self.log.append(f"commit {order_id}")
        if self.error is not None:
            raise self.error
        assert self.stored is not None
        self.stored = replace(self.stored, is_forbidden=True)
        return True


@pytest.fixture
def house() -> House:
    return House()


async def test_wish_is_committed_before_the_reconciler_is_woken_up(house: House) -> None:
    requested = await house.canceling.request("order-1")

    assert house.stored is not None and house.stored.is_forbidden
    assert requested == CancelRequested(house.stored)
    assert house.log == ["read order-1", "commit order-1", "read order-1", "woken up"]


async def test_wish_that_could_not_be_committed_makes_nothing_due(house: House) -> None:
    house.error = StatementOutcomeUnknown("cut", may_have_happened=True)

    with pytest.raises(StatementOutcomeUnknown):
        await house.canceling.request("order-1")

    assert house.log == ["read order-1", "commit order-1"]


async def test_wish_may_be_repeated_once_it_is_fulfilled(house: House) -> None:
    canceled = house.stored = stored_order(COMPLETED, TrailRow(S.CANCELED), is_forbidden=True)

    assert await house.canceling.request("order-1") == CancelRequested(canceled)
    assert house.log == ["read order-1"]


FILLED, CANCELED = TrailRow(S.FILLED, "execution"), TrailRow(S.CANCELED, "execution")


def word(ord_status: str) -> VenueWord:
    return VenueWord(ord_status, proves_acceptance=True, exchange_order_id="x-1")


@pytest.mark.parametrize(
    ("rows", "ord_status", "is_forbidden", "expected"),
    [
        ((COMPLETED, FILLED), "filled", True, S.FILLED),
        ((COMPLETED, FILLED, CANCELED), "filled", True, S.FILLED),
        ((FILLED,), "filled", False, S.FILLED),
        ((COMPLETED,), "expired", True, S.EXPIRED),
        ((COMPLETED, CANCELED), "canceled", False, S.CANCELED),
        ((COMPLETED, CANCELED), "canceled", True, None),
        ((COMPLETED, CANCELED, FILLED), "canceled", True, None),
        ((COMPLETED, FILLED), "partially_filled", False, None),
        ((COMPLETED, CANCELED), "new", False, None),
        ((COMPLETED, FILLED), "a new word", True, None),
    ],
)
async def test_latest_word_says_whether_an_order_is_over(
    house: House, rows: tuple[TrailRow, ...], ord_status: str, is_forbidden: bool, expected: OrderStatus | None
) -> None:
    house.stored, house.word = stored_order(*rows, is_forbidden=is_forbidden), word(ord_status)

    result = await house.canceling.request("order-1")

    assert result == (CancelRequested(house.stored) if expected is None else OrderIsOver(expected))
    assert house.stored.is_forbidden or expected is not None


async def test_order_that_nobody_placed_is_none(house: House) -> None:
    house.stored = None

    assert await house.canceling.request("order-1") == NoSuchOrder()
    assert house.log == ["read order-1"]


@pytest.mark.parametrize("text", ["nul\0", "x" * 256, "ü"], ids=ascii)
async def test_text_that_is_no_id_is_not_read(house: House, text: str) -> None:
    assert await house.canceling.request(text) == NoSuchOrder()
    assert house.log == []


async def test_longest_id_is_read(house: House) -> None:
    assert isinstance(await house.canceling.request("x" * 255), CancelRequested)


@pytest.mark.parametrize(
    ("status", "is_forbidden"),
    [(S.FILLED, True), (S.EXPIRED, True), (S.REJECTED, True), (S.FILLED, False), (S.CANCELED, False)],
)
async def test_order_that_the_exchange_is_done_with_is_over(
    house: House, status: OrderStatus, is_forbidden: bool
) -> None:
    house.stored = stored_order(COMPLETED, TrailRow(status), is_forbidden=is_forbidden)

    assert await house.canceling.request("order-1") == OrderIsOver(status)
    assert house.log == ["read order-1"]


@pytest.mark.parametrize("row", [REFUSED, TrailRow(S.NOT_PLACED, "proved:not_sent:too_late")])
async def test_order_that_was_never_placed_is_over(house: House, row: TrailRow) -> None:
    house.stored = stored_order(row)

    assert await house.canceling.request("order-1") == OrderIsOver(row.status)


async def test_refused_order_was_not_ended_by_the_wish_to_cancel(house: House) -> None:
    refused = TrailRow(S.NOT_PLACED, "proved:refused:NO_MONEY")
    house.stored = stored_order(TrailRow(S.EXCHANGE_OUTCOME_UNKNOWN, "unknown:timeout"), refused, is_forbidden=True)

    assert await house.canceling.request("order-1") == OrderIsOver(S.NOT_PLACED)


@pytest.mark.parametrize("rows", [(), (NOT_SENT,), (COMPLETED,), (COMPLETED, TrailRow(S.PARTIALLY_FILLED))])
async def test_order_that_may_yet_be_placed_or_filled_is_canceled(house: House, rows: tuple[TrailRow, ...]) -> None:
    house.stored = stored_order(*rows)

    assert isinstance(await house.canceling.request("order-1"), CancelRequested)


async def test_wish_may_be_repeated_though_it_is_what_ended_the_order(house: House) -> None:
    house.stored = stored_order(NOT_SENT, is_forbidden=True)

    assert isinstance(await house.canceling.request("order-1"), CancelRequested)

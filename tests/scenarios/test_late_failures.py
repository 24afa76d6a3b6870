"""A process that takes INITIATED for lost, and says so when the order has been looked after for long."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ordertrail.domain.order import Order
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.doubt_rows import WantedSend
from ordertrail.storage.order_rows import NeverSent, SentLater, SpooledTrail
from tests.support.reconciling import REVIEW, Installation, installation, limit_order

INITIATED = ("INITIATED", None)
NOT_RECORDED = ("DATABASE_PERSISTENCE_FAILED", "not_sent:not_recorded")


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(database_url, tmp_path) as opened:
        yield opened


def trail_of(order: Order) -> SpooledTrail:
    never_recorded = TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, NOT_RECORDED[1])
    return SpooledTrail(order, (TrailRow(OrderStatus.INITIATED), never_recorded))


async def resent(house: Installation) -> Order:
    """Its INITIATED was committed, its process heard nothing of that, and reconciliation has sent it."""
    order = limit_order()
    await house.service.rows.insert_initiated([order])
    await house.pass_time(REVIEW)
    await house.due()
    assert await house.rows(order.id) == [INITIATED, ("COMPLETED", "resent")]
    return order


async def test_order_that_was_sent_later_is_not_said_to_be_never_sent(house: Installation) -> None:
    order = await resent(house)

    assert await house.service.rows.insert_never_sent([order]) == [SentLater()]
    assert await house.rows(order.id) == [INITIATED, ("COMPLETED", "resent")]


async def test_replayed_order_that_was_sent_later_is_not_said_to_be_never_sent(house: Installation) -> None:
    order = await resent(house)

    await house.service.rows.replay([trail_of(order)])

    await house.due()
    assert await house.rows(order.id) == [INITIATED, ("COMPLETED", "resent")]
    assert await house.is_settled(order.id)


async def test_order_that_nobody_has_sent_is_never_sent(house: Installation) -> None:
    order = limit_order()
    await house.service.rows.insert_initiated([order])
    await house.service.doubts.reopen([order.id])
    leases = await house.service.doubts.lease(doubts_max=1, lease_seconds=60)

    first, second = [await house.service.rows.insert_never_sent([order]) for _ in range(2)]

    assert isinstance(first[0], NeverSent)
    assert first == second
    # Whoever has looked at it before must not send it now.
    wanted = [WantedSend(each, None) for each in leases]
    assert await house.service.doubts.claim_sends(wanted, claimed_by="x", send_seconds=5, answer_seconds=1) == [None]
    await house.pass_time(REVIEW)
    await house.due()
    assert await house.attempts(order.id) == []
    assert await house.rows(order.id) == [INITIATED, NOT_RECORDED]

"""What `POST /orders` answers to a client that prefers not to wait for the exchange."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.placement.admission import Shed
from ordertrail.placement.place_order import Failed, Queued, Repeated
from tests.support.orders import an_order
from tests.unit.api.test_place import COMPLETED, INITIATED, NOW, REFUSED, UNKNOWN, Door

ASYNC = "respond-async"


@pytest.fixture(params=["asgi", "whole"])
async def door(request: pytest.FixtureRequest) -> Door:
    door = Door(is_whole=request.param == "whole")
    door.placing.end = lambda order: Queued(order, NOW)
    return door


def stored(*rows: TrailRow, key: str | None = "mine", **changes: Any) -> Repeated:
    order = an_order(id="order-1", client_order_id=key, place_by=NOW + timedelta(seconds=60))
    found = StoredOrder(order, NOW, None, (INITIATED, *rows), NOW + timedelta(seconds=1))
    return Repeated("order-1", replace(found, **changes))


async def test_a_queued_order_is_202_with_the_order_as_it_stands(door: Door) -> None:
    answer = await door.post("mine", prefer=ASYNC)

    assert (answer.status, answer.headers["location"]) == (202, "/orders/order-1")
    assert answer.headers["preference-applied"] == ASYNC
    assert (answer["status"], answer["outcome"], answer["exchange_order_id"]) == ("INITIATED", "pending", None)
    assert (answer["id"], answer["client_order_id"]) == ("order-1", "mine")
    assert datetime.fromisoformat(answer["created_at"]) == NOW
    assert datetime.fromisoformat(answer["place_by"]) == NOW + timedelta(seconds=60)


async def test_one_that_waits_gets_the_synchronous_answer_if_it_comes_in_time(door: Door) -> None:
    door.waiting.found = stored(COMPLETED, key=None)

    answer = await door.post(prefer="respond-async, wait=5")

    assert (answer.status, answer["status"], answer["exchange_order_id"]) == (201, "COMPLETED", "X-1")
    assert "preference-applied" not in answer.headers
    assert door.waiting.seconds == 5


async def test_one_that_waits_longer_than_may_be_waits_as_long_as_may_be(door: Door) -> None:
    door.waiting.found = stored(REFUSED, key=None)

    answer = await door.post(prefer="respond-async, wait=900")

    assert (answer.status, answer["type"]) == (500, "/problems/exchange-refused")
    assert door.waiting.seconds == 30


@pytest.mark.parametrize("is_queued", [True, False], ids=["queued", "claimed"])
async def test_one_that_waits_in_vain_hears_that_it_is_on_its_way(door: Door, is_queued: bool) -> None:
    send_by = None if is_queued else NOW + timedelta(seconds=5)
    door.waiting.found = stored(key=None, is_queued=is_queued, send_by=send_by, has_open_claim=not is_queued)
    door.waiting.is_decided = False

    answer = await door.post(prefer="wait=1, respond-async")

    assert (answer.status, answer["status"]) == (202, "INITIATED")
    assert answer["outcome"] == ("pending" if is_queued else "unknown")


async def test_a_queued_order_is_in_progress_for_one_that_waits_and_202_for_one_that_does_not(door: Door) -> None:
    door.placing.end = lambda _: stored(is_queued=True)

    synchronous, later = await door.post("mine"), await door.post("mine", prefer=ASYNC)

    assert (synchronous.status, synchronous["type"]) == (409, "/problems/request-in-progress")
    assert synchronous.headers["retry-after"] == "1"
    assert (later.status, later["outcome"]) == (202, "pending")


async def test_what_became_of_a_known_key_is_answered_as_without_the_preference(door: Door) -> None:
    door.placing.end = lambda _: stored(COMPLETED)
    placed = await door.post("mine", prefer=ASYNC)
    door.placing.end = lambda _: stored(UNKNOWN, send_by=NOW - timedelta(seconds=99))
    in_doubt = await door.post("mine", prefer=ASYNC)

    assert placed.status == 201
    assert (in_doubt.status, in_doubt["type"]) == (500, "/problems/outcome-unknown")


async def test_an_order_that_could_not_be_recorded_fails_as_without_the_preference(door: Door) -> None:
    row = TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, "not_sent:not_recorded")
    door.placing.end = lambda order: Failed(order, (INITIATED, row), None)

    answer = await door.post(prefer=ASYNC)

    assert (answer.status, answer["type"], answer["outcome"]) == (500, "/problems/not-recorded", "not_placed")


async def test_a_full_queue_turns_away_only_what_would_wait_in_it(door: Door) -> None:
    door.intake.is_full = True

    turned_away, synchronous = await door.post(prefer=ASYNC), await door.post()

    assert (turned_away.status, turned_away["type"]) == (503, "/problems/queue-full")
    assert turned_away.headers["retry-after"] == "1"
    assert synchronous.status == 202  # by the placing of this test, which queues whatever comes


async def test_halted_is_said_before_the_queue_is(door: Door) -> None:
    door.turned_away = Shed.HALTED
    door.intake.is_full = True

    assert (await door.post(prefer=ASYNC))["type"] == "/problems/halted"


async def test_a_preference_that_cannot_be_read_is_none(door: Door) -> None:
    door.placing.end = lambda _: stored(COMPLETED, key=None)

    assert (await door.post(prefer="respond-asynchronously, wait=x")).status == 201

"""The seed's scenarios by their names: the exact rows in the table, and the exact answer.

The seed lists EXCHANGE_CREATION_FAILED for the happy flow by a slip, and both INITIATED and
DATABASE_PERSISTENCE_FAILED for failing case 3: DESIGN.md, section 1, says how that is read.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from ordertrail.domain.venue_answer import Refused
from tests.support.orders import placed_order_json
from tests.support.service import WAIT_SECONDS, Running, ScriptedVenue

MESSAGE = "Internal server error while placing the order"


async def test_happy_flow(service: Running, venue: ScriptedVenue) -> None:
    before = datetime.now(UTC)

    reply = await service.place()

    order_id = reply.body["id"]
    created_at = datetime.fromisoformat(reply.body["created_at"])
    assert reply.status == 201
    assert reply.headers["location"] == f"/orders/{order_id}"
    assert "retry-after" not in reply.headers
    assert reply.headers["content-type"] == "application/json"
    times = {name: reply.body[name] for name in ("created_at", "place_by")}
    assert reply.body == placed_order_json(id=order_id, **times)
    assert before - timedelta(seconds=1) < created_at < datetime.now(UTC) + timedelta(seconds=1)
    assert datetime.fromisoformat(reply.body["place_by"]) == created_at + timedelta(seconds=60)
    assert [order.id for order in venue.sent] == [order_id]

    rows = await service.fetch("SELECT *, status::text AS status FROM orders ORDER BY created_at")
    assert [row["status"] for row in rows] == ["INITIATED", "COMPLETED"]
    for row in rows:
        seed_columns = [row[name] for name in ("id", "type", "side", "instrument", "limit_price", "quantity")]
        assert seed_columns == [order_id, "limit", "buy", "AAPL12345678", 150.0, 10]
        assert row["reason"] is None
    assert [row["exchange_order_id"] for row in rows] == [None, "X-1"]
    assert rows[0]["created_at"].replace(tzinfo=UTC) == created_at < rows[1]["created_at"].replace(tzinfo=UTC)


async def test_failing_case_1_the_exchange_fails(service: Running, venue: ScriptedVenue) -> None:
    venue.answer = Refused("price_band", "too far from the market")

    reply = await service.place()

    order_id = reply.body["order_id"]
    assert await service.trail(order_id) == [
        ("INITIATED", None, None),
        ("EXCHANGE_CREATION_FAILED", "refused:price_band", None),
    ]
    assert await service.rows() == 2
    assert reply.status == 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["location"] == f"/orders/{order_id}"
    assert "retry-after" not in reply.headers
    assert reply.body == {
        "type": "/problems/exchange-refused",
        "title": "The exchange refused the order",
        "status": 500,
        "detail": "The exchange refused the order (refused:price_band).",
        "message": MESSAGE,
        "instance": f"/orders/{order_id}",
        "order_id": order_id,
        "order_status": "EXCHANGE_CREATION_FAILED",
        "outcome": "not_placed",
        "certainty": "proved",
        "retryable": False,
        "advice": "new_key_is_safe",
        "place_by": reply.body["place_by"],
        "client_order_id": None,
        "exchange_order_id": None,
        "trace_id": order_id.replace("-", ""),
    }


async def test_failing_case_2_the_completed_row_fails(service: Running, venue: ScriptedVenue) -> None:
    service.refuse_rows("COMPLETED")

    reply = await service.place()

    order_id = reply.body["order_id"]
    assert await service.trail(order_id) == [
        ("INITIATED", None, None),
        ("DATABASE_PERSISTENCE_FAILED", "accepted", "X-1"),
    ]
    assert await service.rows() == 2
    assert reply.status == 500
    assert reply.headers["location"] == f"/orders/{order_id}"
    assert reply.headers["retry-after"] == "1"
    assert reply.body["type"] == "/problems/not-recorded"
    assert reply.body["message"] == MESSAGE
    assert reply.body["order_status"] == "DATABASE_PERSISTENCE_FAILED"
    assert reply.body["outcome"] == "placed"
    assert reply.body["retryable"] is True
    assert reply.body["advice"] == "never_repeat"
    assert reply.body["exchange_order_id"] == "X-1"
    assert len(venue.sent) == 1


async def test_failing_case_3_the_initiated_row_fails(service: Running, venue: ScriptedVenue) -> None:
    service.refuse_rows("INITIATED", first=1)

    reply = await service.place()

    order_id = reply.body["order_id"]
    assert sorted(await service.trail(order_id)) == [
        ("DATABASE_PERSISTENCE_FAILED", "not_sent:not_recorded", None),
        ("INITIATED", None, None),
    ]
    assert await service.rows() == 2
    assert venue.sent == []
    assert reply.status == 500
    assert reply.headers["location"] == f"/orders/{order_id}"
    assert "retry-after" not in reply.headers
    assert reply.body["type"] == "/problems/not-recorded"
    assert reply.body["message"] == MESSAGE
    assert reply.body["order_status"] == "DATABASE_PERSISTENCE_FAILED"
    assert reply.body["outcome"] == "not_placed"
    assert reply.body["retryable"] is False
    assert (reply.body["certainty"], reply.body["advice"]) == ("proved", "new_key_is_safe")
    assert reply.body["exchange_order_id"] is None


async def test_the_exchange_sees_the_order_after_initiated_is_committed_and_before_anything_else(
    service: Running, venue: ScriptedVenue
) -> None:
    venue.may_answer.clear()
    placing = asyncio.create_task(service.place())
    async with asyncio.timeout(WAIT_SECONDS):
        await venue.arrived.wait()

    while_sending = await service.trail(venue.sent[0].id)
    venue.may_answer.set()
    reply = await placing

    assert while_sending == [("INITIATED", None, None)]
    assert reply.status == 201

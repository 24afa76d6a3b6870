"""POST /orders in happy and unhappy flows, many at once and again under their keys."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ordertrail.domain.trail import OrderStatus
from ordertrail.domain.venue_answer import Refused, Unknown
from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.storage.order_rows import NewTrailRow
from tests.support.counts import Count
from tests.support.orders import MARKET_ORDER, an_order
from tests.support.service import Running, ScriptedVenue
from tests.unit.api.test_hostile_orders import CASES, IS_AN_ORDER


async def test_a_market_order_is_placed_without_price_and_without_place_by(service: Running) -> None:
    reply = await service.place(**(MARKET_ORDER | {"limit_price": None}))

    assert reply.status == 201
    assert (reply.body["type"], reply.body["limit_price"], reply.body["place_by"]) == ("market", None, None)


async def test_the_answer_s_location_is_the_order_with_the_same_fields(service: Running) -> None:
    placed = await service.place(key="mine")

    read = await service.call("GET", placed.headers["location"])

    assert read.status == 200
    assert {name: read.body[name] for name in placed.body} == placed.body
    assert [row["status"] for row in read.body["trail"]] == ["INITIATED", "COMPLETED"]


async def test_the_same_request_under_its_key_is_the_same_order(service: Running, venue: ScriptedVenue) -> None:
    first = await service.place(key="mine")
    again = await service.place(client_order_id="mine", limit_price="150.0")

    assert (again.status, again.body) == (201, first.body)
    assert again.headers["location"] == first.headers["location"]
    assert len(venue.sent) == 1
    assert await service.rows() == 2


async def test_another_order_under_a_key_is_refused(service: Running, venue: ScriptedVenue) -> None:
    first = await service.place(key="mine")
    other = await service.place(key="mine", quantity=11)

    assert other.status == 422
    assert other.body["type"] == "/problems/key-reused"
    assert other.body["order_id"] == first.body["id"]
    assert len(venue.sent) == 1


async def test_a_repeat_while_the_order_is_being_placed_is_409(service: Running, venue: ScriptedVenue) -> None:
    venue.may_answer.clear()
    placing = asyncio.create_task(service.place(key="mine"))
    await venue.arrived.wait()

    repeated = await service.place(key="mine")
    venue.may_answer.set()
    placed = await placing

    assert repeated.status == 409
    assert repeated.headers["retry-after"] == "1"
    assert repeated.headers["location"] == placed.headers["location"]
    assert placed.status == 201
    assert len(venue.sent) == 1


async def test_a_repeat_of_a_failure_gives_the_same_answer_and_sends_nothing(
    service: Running, venue: ScriptedVenue
) -> None:
    venue.answer = Refused("price_band")

    first = await service.place(key="mine")
    again = await service.place(key="mine")

    assert (first.status, again.status) == (500, 500)
    assert first.body | {"trace_id": ""} == again.body | {"trace_id": ""}
    assert len(venue.sent) == 1


async def test_a_repeat_that_cannot_read_its_order_keeps_its_key(service: Running, venue: ScriptedVenue) -> None:
    await service.place(key="mine")

    async def away(order_id: str) -> None:
        raise StatementOutcomeUnknown("away", may_have_happened=False)

    service.service.journal.read = away  # type: ignore[method-assign]

    again = await service.place(key="mine")

    assert again.status == 500
    assert again.body["client_order_id"] == "mine"
    assert again.body["retryable"] is True
    assert "no key" not in again.body["detail"]


async def test_fifty_at_once_of_which_the_database_refuses_one(service: Running, venue: ScriptedVenue) -> None:
    service.refuse_rows("COMPLETED", "BADROW000000")

    replies = await asyncio.gather(
        *(service.place(instrument="BADROW000000" if number == 25 else f"GOOD{number:08}") for number in range(50))
    )

    assert [reply.status for reply in replies] == [201] * 25 + [500] + [201] * 24
    statuses = await service.fetch("SELECT array_agg(status::text ORDER BY status) AS s FROM orders GROUP BY id")
    trails = sorted(record["s"] for record in statuses)
    assert trails == sorted([["INITIATED", "COMPLETED"]] * 49 + [["INITIATED", "DATABASE_PERSISTENCE_FAILED"]])
    assert len(venue.sent) == 50


async def test_fifty_at_once_of_which_the_first_row_of_one_is_refused(service: Running, venue: ScriptedVenue) -> None:
    service.refuse_rows("INITIATED", "BADROW000000")

    replies = await asyncio.gather(
        *(service.place(instrument="BADROW000000" if number == 25 else f"GOOD{number:08}") for number in range(50))
    )

    assert sorted(reply.status for reply in replies) == [201] * 49 + [500]
    assert replies[25].body["outcome"] == "not_placed"
    assert await service.rows() == 98
    assert len(venue.sent) == 49


async def test_rows_of_concurrent_orders_share_commits(service: Running) -> None:
    replies = await asyncio.gather(*(service.place() for _ in range(200)))

    assert {reply.status for reply in replies} == {201}
    [record] = await service.fetch("SELECT count(*) AS rows, count(DISTINCT xmin::text) AS commits FROM orders")
    assert record["rows"] == 400
    assert record["commits"] < 200


async def test_one_key_posted_fifty_times_at_once_is_one_order(service: Running, venue: ScriptedVenue) -> None:
    replies = await asyncio.gather(*(service.place(key="mine") for _ in range(50)))

    assert len(venue.sent) == 1
    assert await service.rows() == 2
    assert {reply.status for reply in replies} <= {201, 409}
    assert {reply.headers["location"] for reply in replies} == {f"/orders/{venue.sent[0].id}"}


async def test_a_commit_whose_answer_was_lost_is_repeated_without_harm(service: Running, venue: ScriptedVenue) -> None:
    lose_first_answers(service)

    replies = await asyncio.gather(*(service.place(key=f"key-{number}") for number in range(20)))

    assert {reply.status for reply in replies} == {201}
    assert len(venue.sent) == 20
    assert await service.rows() == 40


async def test_writing_the_same_rows_twice_gives_the_same_results(service: Running) -> None:
    rows = service.service.rows
    orders = [an_order(), an_order(client_order_id="mine"), an_order(client_order_id="mine")]
    steps = [NewTrailRow(orders[0].id, OrderStatus.COMPLETED, None, "X-1")]

    first = await rows.insert_initiated(orders), await rows.insert_trail_rows(steps)
    again = await rows.insert_initiated(orders), await rows.insert_trail_rows(steps)

    assert first == again == await rows.insert_initiated_and_completed(orders, steps)
    assert await service.rows() == 3


async def test_times_are_written_alike_in_every_answer(service: Running, venue: ScriptedVenue) -> None:
    placed = await service.place(key="mine", place_by="2099-01-01T00:00:00Z")
    venue.answer = Unknown("timeout")
    failed = await service.place(place_by="2099-01-01T00:00:00Z")

    assert placed.body["place_by"] == failed.body["place_by"] == "2099-01-01T00:00:00.000000Z"


def lose_first_answers(service: Running) -> None:
    """Each kind of write commits once, and then its answer is lost."""
    rows: Any = service.service.rows
    for write in ("insert_initiated", "insert_initiated_and_completed", "insert_trail_rows"):
        setattr(rows, write, losing_once(getattr(rows, write)))


def losing_once(write: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    lost: list[object] = []

    async def write_and_lose(*items: object) -> object:
        results = await write(*items)
        if not lost:
            lost.append(items)
            raise StatementOutcomeUnknown("the answer was lost", may_have_happened=True)
        return results

    return write_and_lose


async def test_hostile_field_is_a_problem_and_the_order_beside_it_is_placed(
    service: Running, venue: ScriptedVenue, counted: Count
) -> None:
    for number, (case, body) in enumerate(CASES.items()):
        fresh = body.replace(b'"k-1"', b'"k-%d"' % number)

        reply = await service.post(fresh)

        assert reply.status in ({201} if case in IS_AN_ORDER else {400, 413, 422}), case
        if reply.status != 201:
            assert reply.headers["content-type"] == "application/problem+json", case
            assert reply.body["advice"], case
        if number % 20 == 0:
            assert (await service.place()).status == 201
    assert len(venue.sent) == len(IS_AN_ORDER) + len(range(0, len(CASES), 20))
    counted({"hostile orders": len(CASES)})

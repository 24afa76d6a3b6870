"""Orders that wait in the queue, over HTTP: taken at once, placed by a worker, and never by anybody else."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import Accepted, NotSent, Refused, Unknown
from ordertrail.placement.worker import PlaceWorker, WorkerLimits
from ordertrail.runtime.clock import Clock, SystemClock
from tests.support.service import Reply, Running, ScriptedVenue, running

ASYNC = {"Prefer": "respond-async"}
SEED = b'{"type": "limit", "side": "buy", "instrument": "AAPL12345678", "limit_price": 150.00, "quantity": 10}'
MARKET = b'{"type": "market", "side": "buy", "instrument": "AAPL12345678", "quantity": 10}'


class House:
    """A service without a worker, and one that works when a test says so."""

    def __init__(self, service: Running, venue: ScriptedVenue) -> None:
        self.running = service
        self.venue = venue
        self.worker = self.new_worker()

    def new_worker(self, clock: Clock | None = None) -> PlaceWorker:
        parts = self.running.service
        return PlaceWorker(
            parts.order_queue_rows,
            parts.placing,
            parts.gateway,
            parts.doubts,
            clock=clock or parts.clock,
            limits=WorkerLimits(),
            name="worker",
        )

    async def queue(self, body: bytes = SEED, key: str | None = None, prefer: str = "respond-async") -> Reply:
        headers = {"Prefer": prefer} | ({} if key is None else {"Idempotency-Key": key})
        return await self.running.post(body, **headers)

    async def work(self) -> int:
        count = await self.worker.run_once()
        await self.worker.drain()
        return count

    async def read(self, order_id: str) -> dict[str, object]:
        return (await self.running.call("GET", f"/orders/{order_id}")).body

    @property
    def sent(self) -> list[str]:
        return [order.id for order in self.venue.sent]


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    venue = ScriptedVenue()
    async with running(database_url, tmp_path, venue, place_queued_in_api=False) as service:
        yield House(service, venue)


async def test_an_order_is_taken_at_once_and_placed_by_a_worker(house: House) -> None:
    taken = await house.queue()

    assert (taken.status, taken.body["status"], taken.body["outcome"]) == (202, "INITIATED", "pending")
    assert taken.headers["location"] == f"/orders/{taken.body['id']}"
    assert house.sent == []
    assert await house.work() == 1
    placed = await house.read(taken.body["id"])
    assert (placed["status"], placed["outcome"], placed["exchange_order_id"]) == ("COMPLETED", "placed", "X-1")
    assert [row[0] for row in await house.running.trail(taken.body["id"])] == ["INITIATED", "COMPLETED"]
    assert await house.work() == 0
    assert house.sent == [taken.body["id"]]


async def test_a_repeat_with_the_same_key_never_sends_and_never_queues_again(house: House) -> None:
    first = await house.queue(key="mine")
    again, synchronous = await house.queue(key="mine"), await house.running.post(SEED, **{"Idempotency-Key": "mine"})

    assert (again.status, again.body) == (202, first.body)
    assert (synchronous.status, synchronous.body["type"]) == (409, "/problems/request-in-progress")
    assert synchronous.headers["retry-after"] == "1"
    assert await house.work() == 1
    placed = await house.running.post(SEED, **{"Idempotency-Key": "mine"})
    assert (placed.status, placed.body["id"]) == (201, first.body["id"])
    assert (await house.queue(key="mine")).status == 201
    assert house.sent == [first.body["id"]]


async def test_another_order_under_the_key_is_refused(house: House) -> None:
    await house.queue(key="mine")

    assert (await house.queue(MARKET, key="mine")).status == 422
    assert await house.work() == 1


async def test_bad_input_is_refused_as_without_the_preference(house: House) -> None:
    assert (await house.queue(b'{"type": "limit"}')).status == 422
    assert await house.running.rows() == 0


@pytest.mark.parametrize(
    ("answer", "status", "outcome"),
    [
        (Refused("no_funds"), "EXCHANGE_CREATION_FAILED", "not_placed"),
        (Unknown(Cause.TIMEOUT), "EXCHANGE_OUTCOME_UNKNOWN", "unknown"),
        (NotSent(Cause.CLOSED), "EXCHANGE_CREATION_FAILED", "pending"),
    ],
)
async def test_what_the_exchange_says_is_recorded_as_for_one_that_waited(
    house: House, answer: Refused | Unknown | NotSent, status: str, outcome: str
) -> None:
    house.venue.answer = answer
    taken = await house.queue()

    await house.work()

    read = await house.read(taken.body["id"])
    assert (read["status"], read["outcome"]) == (status, outcome)


async def test_a_market_order_that_was_not_sent_is_not_sent_again(house: House) -> None:
    house.venue.answer = NotSent(Cause.THROTTLED)
    taken = await house.queue(MARKET)
    await house.work()

    assert (await house.read(taken.body["id"]))["outcome"] == "not_placed"
    house.venue.answer = Accepted("X-1")
    await house.running.service.schedule.run_once()
    assert house.sent == [taken.body["id"]]


async def test_one_whose_worker_died_with_its_claim_is_the_reconcilers(house: House) -> None:
    taken = await house.queue(MARKET)
    rows = house.running.service.order_queue_rows
    [claimed] = await rows.claim(orders_max=1, claimed_by="dead")

    assert claimed.order.id == taken.body["id"]
    assert (await house.read(taken.body["id"]))["outcome"] == "unknown"
    assert await house.work() == 0
    assert house.sent == []


async def test_a_cancel_of_a_queued_order_is_done_at_once(house: House) -> None:
    taken = await house.queue()

    canceled = await house.running.call("DELETE", f"/orders/{taken.body['id']}")
    again = await house.running.call("DELETE", f"/orders/{taken.body['id']}")

    assert (canceled.status, again.status) == (202, 202)
    read = await house.read(taken.body["id"])
    assert (read["status"], read["outcome"], read["certainty"]) == ("NOT_PLACED", "not_placed", "proved")
    assert (await house.running.trail(taken.body["id"]))[-1][:2] == ("NOT_PLACED", "proved:canceled")
    assert await house.work() == 0
    assert house.sent == []


async def test_one_that_waits_too_long_is_not_placed_without_any_worker(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path, ScriptedVenue(), queue_window_seconds=0.01) as service:
        house = House(service, ScriptedVenue())
        taken = await house.queue(MARKET, key="mine")

        async def is_over() -> bool:
            await service.service.schedule.run_once()
            return (await house.read(taken.body["id"]))["status"] == "NOT_PLACED"

        await service.until(is_over)
        assert (await service.trail(taken.body["id"]))[-1][:2] == ("NOT_PLACED", "proved:not_sent:too_late")
        answered = await house.queue(MARKET, key="mine")
        assert (answered.status, answered.body["outcome"], answered.body["certainty"]) == (500, "not_placed", "proved")
        assert answered.body["advice"] == "new_key_is_safe"


async def test_the_end_of_its_life_is_its_place_by(house: House) -> None:
    place_by = datetime.now().astimezone() + timedelta(hours=12)
    taken = await house.queue(MARKET.replace(b"}", f', "place_by": "{place_by.isoformat()}"}}'.encode()))

    [record] = await house.running.fetch("SELECT start_by, place_by, send_by FROM orders")
    assert (record["start_by"], record["place_by"], record["send_by"]) == (place_by, place_by, None)
    assert taken.status == 202


async def test_more_than_may_wait_are_turned_away_before_anything_is_recorded(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path, ScriptedVenue(), queue_orders_max=2) as service:
        house = House(service, ScriptedVenue())
        replies = [await house.queue() for _ in range(3)]

        assert [reply.status for reply in replies] == [202, 202, 503]
        assert replies[2].body["type"] == "/problems/queue-full"
        assert await service.rows() == 2
        assert (await service.place()).status == 201
        await house.work()
        await service.service.order_queue.intake.read_depth()
        assert (await house.queue()).status == 202


async def test_halted_nothing_that_waits_is_sent_and_nothing_more_is_taken(house: House) -> None:
    taken = await house.queue()
    service = house.running.service
    service.gate.halt()

    assert await house.work() == 0
    assert (await house.queue()).body["type"] == "/problems/halted"
    service.gate.resume()
    assert await house.work() == 1
    assert house.sent == [taken.body["id"]]


async def test_an_open_breaker_keeps_the_worker_from_claiming_and_the_api_from_nothing(house: House) -> None:
    house.venue.answer = Unknown(Cause.TIMEOUT)
    while house.running.service.gate.state().budgets[0].breaker != "open":
        await house.running.place()
    sent = len(house.sent)

    taken = await house.queue()

    assert taken.status == 202
    assert await house.work() == 0
    assert len(house.sent) == sent
    assert (await house.read(taken.body["id"]))["outcome"] == "pending"


async def test_one_that_waits_for_its_order_gets_the_synchronous_answer(database_url: str, tmp_path: Path) -> None:
    venue = ScriptedVenue()
    async with running(database_url, tmp_path, venue) as service:
        house = House(service, venue)
        worker = house.new_worker(SystemClock())
        service.service.background.start("placing queued orders in a test", worker.run())
        service.service.order_queue.intake._wake_up_worker = worker.wake_up

        placed = await house.queue(prefer="respond-async, wait=1")
        venue.answer = Refused("no_funds")
        refused = await house.queue(prefer="wait=1, respond-async")

        assert (placed.status, placed.body["status"]) == (201, "COMPLETED")
        assert (refused.status, refused.body["type"]) == (500, "/problems/exchange-refused")


async def test_pending_orders_are_listed_whether_they_are_queued_or_failed(house: House) -> None:
    house.venue.answer = NotSent(Cause.CLOSED)
    failed = await house.queue()
    await house.work()
    waiting = [(await house.queue()).body["id"] for _ in range(3)]

    listed = (await house.running.call("GET", "/orders?outcome=pending")).body["orders"]
    page = (await house.running.call("GET", "/orders?outcome=pending&limit=2")).body
    rest = (await house.running.call("GET", f"/orders?outcome=pending&cursor={page['next_cursor']}&limit=2")).body

    expected = [*reversed(waiting), failed.body["id"]]
    assert [order["id"] for order in listed] == expected
    assert [order["id"] for order in [*page["orders"], *rest["orders"]]] == expected

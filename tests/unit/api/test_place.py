"""What `POST /orders` answers to each end that placing can have, and what a repeated key is told of its order."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from ordertrail.api.place import KEY_LOOKUPS_MAX, PlaceOrder
from ordertrail.api.place_responses import WholeResponse as PlaceAnswer
from ordertrail.domain.deadlines import Deadlines
from ordertrail.domain.order import Order, OrderType
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.placement.admission import Shed
from ordertrail.placement.place_order import Failed, Placed, Placement, Repeated
from ordertrail.runtime.telemetry import buffered
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from tests.support.clocks import ManualClock
from tests.support.orders import an_order, placed_order_json, request_body

S = OrderStatus
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
DEADLINES = Deadlines(send_seconds=5, accept_seconds=10, review_seconds=20, retry_seconds=60)
INITIATED = TrailRow(S.INITIATED)
UNKNOWN = TrailRow(S.EXCHANGE_OUTCOME_UNKNOWN, "unknown:timeout")
REFUSED = TrailRow(S.EXCHANGE_CREATION_FAILED, "refused:no_funds")
NOT_SENT = TrailRow(S.EXCHANGE_CREATION_FAILED, "not_sent:closed")
COMPLETED = TrailRow(S.COMPLETED, None, "X-1")


def placement_seconds() -> float:
    buffered.flush()
    return REGISTRY.get_sample_value("ordertrail_placement_seconds_sum", {"outcome": "placed"}) or 0


class Placing:
    """Comes to whatever a test says, when it says so."""

    def __init__(self) -> None:
        self.end: Callable[[Order], Placement] = lambda order: Placed(order, NOW, "X-1")
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.began = asyncio.Event()

        self.owner: Callable[[str], Repeated | None] = lambda key: None
        self.lookups: list[str] = []
        self.lookup_began = asyncio.Semaphore(0)

    async def find(self, key: str) -> Repeated | None:
        self.lookups.append(key)
        self.lookup_began.release()
        await self.may_end.wait()
        return self.owner(key)

    async def place(self, order: Order) -> Placement:
        self.began.set()
        await self.may_end.wait()
        return self.end(order)


class Intake:
    """The door to the queue, which is the placing's to answer for."""

    def __init__(self, placing: Placing) -> None:
        self._placing = placing
        self.is_full = False

    async def enqueue(self, order: Order) -> Placement:
        return await self._placing.place(order)

    async def repeat(self, order_id: str) -> Placement:
        raise AssertionError("the waiting reads here")


class Waiting:
    """`found`: what a client gets that waits; None: nobody may wait."""

    def __init__(self) -> None:
        self.found: Placement | None = None
        self.seconds = 0.0

    async def read_until(self, order_id: str, read: object, is_enough: Any, *, seconds: float) -> Placement:
        assert self.found is not None
        self.seconds = seconds
        assert is_enough(self.found) == self.is_decided
        return self.found

    is_decided = True


class WholeResponse:
    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = {name.decode(): value.decode() for name, value in headers}
        self.body: dict[str, Any] = json.loads(body)

    def __getitem__(self, name: str) -> Any:
        return self.body[name]


class Door:
    """The endpoint, as any ASGI server calls it, or as our own does that has the request whole (`take`)."""

    def __init__(self, *, is_whole: bool) -> None:
        self.is_whole = is_whole
        self.placing = Placing()
        self.intake = Intake(self.placing)
        self.waiting = Waiting()
        self.clock = ManualClock(wall=NOW)
        self.turned_away: Shed | None = None
        self.endpoint = PlaceOrder(
            cast("Any", self.placing),
            cast("Any", self.intake),
            cast("Any", self.waiting),
            self.clock,
            shed=lambda in_flight: self.turned_away,
            body_bytes_max=1000,
            seconds_after_send_by=3,
            place_by_of=DEADLINES.place_by,
            new_id=lambda: "order-1",
        )

    async def post(self, key: str | None = None, *, prefer: str | None = None, **changes: Any) -> WholeResponse:
        headers = [(b"content-type", b"application/json")]
        if prefer is not None:
            headers.append((b"prefer", prefer.encode()))
        if key is not None:
            headers.append((b"idempotency-key", key.encode()))
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request_body(**changes), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        async with asyncio.timeout(10):
            if self.is_whole:
                return await self._post_whole(headers, request_body(**changes))
            await self.endpoint({"type": "http", "headers": headers}, receive, send)
        start, body = sent
        return WholeResponse(start["status"], start["headers"], body["body"])

    async def _post_whole(self, headers: list[tuple[bytes, bytes]], body: bytes) -> WholeResponse:
        reported: asyncio.Future[WholeResponse] = asyncio.get_running_loop().create_future()

        def respond(answer: PlaceAnswer | None) -> None:
            if answer is None:
                reported.cancel()
            elif not reported.cancelled():
                reported.set_result(WholeResponse(*answer))

        self.endpoint.take(headers, body, respond)
        return await reported

    async def failed(self, *rows: TrailRow, key: str | None = "mine", **more: Any) -> WholeResponse:
        """The answer to an order of which these rows were written."""
        more = {"place_by": None, **more}
        self.placing.end = lambda order: Failed(order, (INITIATED, *rows), **more)
        return await self.post(key)

    async def repeated(self, *rows: TrailRow, read_after: float = 9, **changes: Any) -> WholeResponse:
        """The answer to a repeat of an order with these rows, read so many seconds after it was recorded."""
        order = an_order(id="first", client_order_id="mine", place_by=NOW + timedelta(seconds=60))
        stored = StoredOrder(
            replace(order, **changes),
            NOW,
            NOW + timedelta(seconds=5),
            (INITIATED, *rows),
            NOW + timedelta(seconds=read_after),
        )
        self.placing.end = lambda _: Repeated("first", stored)
        return await self.post("mine")


@pytest.fixture(params=["asgi", "whole"])
async def door(request: pytest.FixtureRequest) -> Door:
    return Door(is_whole=request.param == "whole")


# A first request


async def test_placed_order_is_reported_in_full(door: Door) -> None:
    answer = await door.post("mine")

    assert answer.status == 201
    assert answer.headers["location"] == "/orders/order-1"
    assert answer.headers["content-type"] == "application/json"
    times = {name: answer[name] for name in ("created_at", "place_by")}
    assert answer.body == placed_order_json(client_order_id="mine", **times)
    assert datetime.fromisoformat(answer["created_at"]) == NOW
    assert datetime.fromisoformat(answer["place_by"]) == NOW + timedelta(seconds=60)


async def test_placed_market_order_has_no_price_and_no_place_by(door: Door) -> None:
    door.placing.end = lambda order: Placed(replace(order, type=OrderType.MARKET, limit_price=None), NOW, "X-1")

    answer = await door.post()

    assert (answer["limit_price"], answer["place_by"], answer["client_order_id"]) == (None, None, None)


async def test_refused_order_is_not_placed_and_need_not_be_repeated(door: Door) -> None:
    answer = await door.failed(REFUSED)

    assert answer.status == 500
    assert answer["type"] == "/problems/exchange-refused"
    assert (answer["order_status"], answer["outcome"]) == ("EXCHANGE_CREATION_FAILED", "not_placed")
    assert answer["retryable"] is False
    assert answer["detail"] == "The exchange refused the order (refused:no_funds)."
    assert (answer["order_id"], answer["client_order_id"], answer["exchange_order_id"]) == ("order-1", "mine", None)
    assert answer["instance"] == answer.headers["location"] == "/orders/order-1"
    assert answer["message"] == "Internal server error while placing the order"
    assert answer.headers["content-type"] == "application/problem+json"
    assert "retry-after" not in answer.headers


async def test_order_in_doubt_may_be_repeated(door: Door) -> None:
    place_by = NOW + timedelta(seconds=60)

    answer = await door.failed(UNKNOWN, place_by=place_by)

    assert (answer["type"], answer["outcome"]) == ("/problems/outcome-unknown", "unknown")
    assert answer["retryable"] is True
    assert datetime.fromisoformat(answer["place_by"]) == place_by
    assert answer.headers["retry-after"] == "1"
    assert "another order" not in answer["detail"]


async def test_failed_order_without_a_key_is_warned_of_a_repeat(door: Door) -> None:
    in_doubt, refused = await door.failed(UNKNOWN, key=None), await door.failed(REFUSED, key=None)

    assert "a repeat would be another order" in in_doubt["detail"]
    assert "another order" not in refused["detail"]


@pytest.mark.parametrize(("seconds", "header"), [(None, "1"), (0.2, "1"), (2.1, "3"), (7, "7")])
async def test_pending_order_is_to_be_repeated_when_the_exchange_wants_more(
    door: Door, seconds: float | None, header: str
) -> None:
    place_by = NOW + timedelta(seconds=60)

    answer = await door.failed(NOT_SENT, place_by=place_by, retry_after_seconds=seconds)

    assert (answer["type"], answer["outcome"]) == ("/problems/exchange-unavailable", "pending")
    assert answer.headers["retry-after"] == header


async def test_accepted_order_that_was_not_recorded_has_its_exchange_order_id(door: Door) -> None:
    answer = await door.failed(TrailRow(S.DATABASE_PERSISTENCE_FAILED, "accepted", "X-7"))

    assert (answer.status, answer["type"]) == (500, "/problems/not-recorded")
    assert (answer["outcome"], answer["exchange_order_id"]) == ("placed", "X-7")


async def test_bug_in_placing_leaves_the_outcome_unknown(door: Door) -> None:
    def raises(order: Order) -> Placement:
        raise KeyError(order.id)

    door.placing.end = raises

    answer = await door.post("mine")

    assert (answer.status, answer["type"]) == (500, "/problems/internal-error")
    assert (answer["order_status"], answer["outcome"], answer["retryable"]) == ("INITIATED", "unknown", True)
    assert answer["detail"] == "Something went wrong inside the service."
    assert answer["order_id"] == "order-1"
    assert door.endpoint.in_flight() == []


async def test_bug_in_placing_does_not_hide_the_caller_s_own_place_by(door: Door) -> None:
    def raises(order: Order) -> Placement:
        raise KeyError(order.id)

    door.placing.end = raises

    answer = await door.post("mine", place_by="2026-11-22T09:01:00Z")

    assert datetime.fromisoformat(answer["place_by"]) == NOW + timedelta(seconds=60)


@pytest.mark.parametrize("key", [None, "mine"])
async def test_invalid_order_is_answered_so_and_never_begun(door: Door, key: str | None) -> None:
    answer = await door.post(key, quantity=0)

    assert (answer.status, answer["type"]) == (422, "/problems/invalid-request")
    assert answer["errors"][0]["pointer"] == "/quantity"
    assert not door.placing.began.is_set()


async def test_body_beyond_the_limit_is_refused(door: Door) -> None:
    answer = await door.post(instrument="A" * 1000)

    assert (answer.status, answer["type"]) == (413, "/problems/payload-too-large")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("shed", "problem"),
    [(Shed.OVERLOADED, "overloaded"), (Shed.SPOOL_FULL, "spool-full"), (Shed.HALTED, "halted")],
)
async def test_order_that_is_shed_is_to_come_back(door: Door, shed: Shed, problem: str) -> None:
    door.turned_away = shed

    answer = await door.post()

    assert (answer.status, answer["type"]) == (503, f"/problems/{problem}")
    assert answer.headers["retry-after"] == "1"
    assert not door.placing.began.is_set()


@pytest.mark.parametrize("shed", list(Shed))
@pytest.mark.parametrize(("key", "advice"), [("mine", "wait_then_repeat_same_key"), (None, "repeat_request")])
async def test_order_that_is_shed_is_advised_to_come_back(door: Door, shed: Shed, key: str | None, advice: str) -> None:
    door.turned_away = shed

    in_header, in_body = await door.post(key), await door.post(client_order_id=key)

    assert in_header["advice"] == in_body["advice"] == advice
    assert in_header.headers["retry-after"] == in_body.headers["retry-after"] == "1"


def a_placed_order(key: str) -> Repeated:
    order = an_order(id="first", client_order_id=key)
    return Repeated("first", StoredOrder(order, NOW, NOW, (INITIATED, COMPLETED), NOW))


@pytest.mark.parametrize("shed", list(Shed))
async def test_known_key_is_answered_with_the_truth_where_new_orders_are_shed(door: Door, shed: Shed) -> None:
    door.turned_away = shed
    door.placing.owner = a_placed_order

    known, keyless = await door.post("mine"), await door.post()

    assert (known.status, known["id"]) == (201, "first")
    assert (keyless.status, door.placing.lookups) == (503, ["mine"])
    assert not door.placing.began.is_set()


async def test_no_key_is_read_where_orders_are_taken(door: Door) -> None:
    await door.post("mine")

    assert door.placing.lookups == []


async def test_few_keys_are_read_at_once_and_the_others_are_to_come_back(door: Door) -> None:
    """What is turned away must not become a storm of reads."""
    door.turned_away = Shed.OVERLOADED
    door.placing.owner = a_placed_order
    door.placing.may_end.clear()
    waiting = [asyncio.create_task(door.post(f"key-{number}")) for number in range(KEY_LOOKUPS_MAX)]
    for _ in range(KEY_LOOKUPS_MAX):
        await door.placing.lookup_began.acquire()

    beyond = await door.post("one-more")
    draining = asyncio.create_task(door.endpoint.drain())
    is_drained_early, _ = await asyncio.wait({draining}, timeout=0)
    door.placing.may_end.set()
    async with asyncio.timeout(10):
        answers = [await each for each in waiting]
        await draining

    assert (beyond.status, beyond["type"]) == (503, "/problems/overloaded")
    assert (beyond["advice"], beyond.headers["retry-after"]) == ("wait_then_repeat_same_key", "1")
    assert [answer.status for answer in answers] == [201] * KEY_LOOKUPS_MAX
    assert not is_drained_early
    assert len(door.placing.lookups) == KEY_LOOKUPS_MAX


@pytest.mark.parametrize(
    "error",
    [StatementFailed("53300", "too many"), StatementOutcomeUnknown("away", may_have_happened=False), KeyError()],
)
async def test_key_that_cannot_be_read_is_to_come_back(door: Door, error: Exception) -> None:
    def raises(key: str) -> Repeated | None:
        raise error

    door.turned_away = Shed.SPOOL_FULL
    door.placing.owner = raises

    shed = await door.post("mine")
    door.turned_away = None
    expired = await door.post("mine", place_by="2026-11-22T08:59:00Z")

    assert (shed.status, shed["type"]) == (503, "/problems/spool-full")
    assert (expired.status, expired["type"]) == (503, "/problems/database-unavailable")
    for answer in (shed, expired):
        assert (answer["advice"], answer.headers["retry-after"]) == ("wait_then_repeat_same_key", "1")


async def test_request_whose_place_by_has_passed_is_a_repeat_or_invalid(door: Door) -> None:
    late = {"place_by": "2026-11-22T08:59:00Z"}

    new, keyless = await door.post("mine", **late), await door.post(**late)
    wrong_besides = await door.post("mine", **late, quantity=0)
    door.placing.owner = a_placed_order
    known = await door.post("mine", **late)

    for answer in (new, keyless, wrong_besides):
        assert (answer.status, answer["advice"]) == (422, "correct_and_repeat")
        assert answer["errors"][-1] == {"pointer": "/place_by", "detail": "must be in the future"}
    assert (known.status, known["id"]) == (201, "first")
    assert door.placing.lookups == ["mine", "mine"]


async def test_bug_before_there_is_an_order_is_answered(door: Door) -> None:
    def raises() -> str:
        raise KeyError("no id")

    door.endpoint._new_id = raises

    answer, keyless = await door.post("mine"), await door.post()

    assert (answer.status, answer["type"]) == (500, "/problems/internal-error")
    assert "order_id" not in answer.body
    assert (answer["advice"], keyless["advice"]) == ("wait_then_repeat_same_key", "repeat_request")
    assert answer.headers["retry-after"] == "1"


async def test_requests_that_are_no_order_are_advised_to_be_corrected(door: Door) -> None:
    invalid, too_large = await door.post("mine", quantity=0), await door.post("mine", instrument="A" * 1000)

    assert (invalid["advice"], too_large["advice"]) == ("correct_and_repeat", "correct_and_repeat")


async def test_what_is_settled_as_not_placed_says_how_certain_that_is(door: Door) -> None:
    proved = await door.repeated(UNKNOWN, TrailRow(S.NOT_PLACED, "proved:absent"))
    presumed = await door.repeated(UNKNOWN, TrailRow(S.NOT_PLACED, "presumed:absent"))
    by_person = await door.repeated(UNKNOWN, TrailRow(S.NOT_PLACED, "operator:joe: asked the desk"))

    for answer in (proved, presumed, by_person):
        assert (answer.status, answer["type"], answer["outcome"]) == (500, "/problems/not-placed", "not_placed")
        assert "retry-after" not in answer.headers
    assert (proved["certainty"], proved["advice"]) == ("proved", "new_key_is_safe")
    assert (presumed["certainty"], presumed["advice"]) == ("presumed", "never_repeat")
    assert (by_person["certainty"], by_person["advice"]) == ("presumed", "never_repeat")
    assert "joe" not in str(by_person.body) and "desk" not in str(by_person.body)


async def test_only_what_is_not_placed_has_a_certainty(door: Door) -> None:
    in_doubt, pending = await door.failed(UNKNOWN), await door.failed(NOT_SENT, place_by=NOW)

    assert "certainty" not in in_doubt.body and "certainty" not in pending.body
    assert in_doubt["advice"] == pending["advice"] == "wait_then_repeat_same_key"


async def test_outage_at_the_first_row_is_reported_with_one_voice(door: Door) -> None:
    """Nothing was sent, and whether the key has an order is not known: to be learned by repeating, not by guessing."""
    row = TrailRow(S.DATABASE_PERSISTENCE_FAILED, "not_sent:not_recorded")

    unread, keyless = [await door.failed(row, key=key, may_be_recorded=True) for key in ("mine", None)]
    written = await door.failed(row)

    assert (unread["outcome"], unread["retryable"], unread["advice"]) == ("unknown", True, "wait_then_repeat_same_key")
    assert "Nothing was sent for this request" in unread["detail"] and "cannot be read" in unread["detail"]
    assert unread.headers["retry-after"] == "1"
    assert keyless["advice"] == "never_repeat"
    assert (written["outcome"], written["certainty"], written["advice"]) == ("not_placed", "proved", "new_key_is_safe")


async def test_time_of_a_placement_is_measured(door: Door) -> None:
    def after_two_seconds(order: Order) -> Placement:
        door.clock.move(2)
        return Placed(order, NOW, "X-1")

    door.placing.end = after_two_seconds
    before = placement_seconds()

    await door.post()

    assert placement_seconds() - before == 2


# Callers that leave, and the end of a process


async def test_caller_that_leaves_stops_nothing(door: Door) -> None:
    door.placing.may_end.clear()
    posting = asyncio.create_task(door.post())
    await door.placing.began.wait()

    posting.cancel()
    await asyncio.wait({posting})
    in_flight = door.endpoint.in_flight()
    draining = asyncio.create_task(door.endpoint.drain())
    is_drained_early, _ = await asyncio.wait({draining}, timeout=0)
    door.placing.may_end.set()
    async with asyncio.timeout(10):
        await draining

    assert posting.cancelled()
    assert in_flight == ["order-1"]
    assert not is_drained_early
    assert door.endpoint.in_flight() == []


async def test_placing_that_is_cancelled_cancels_its_request(door: Door) -> None:
    door.placing.may_end.clear()
    posting = asyncio.create_task(door.post())
    await door.placing.began.wait()

    for task in list(door.endpoint._in_flight):
        task.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait({posting})

    assert posting.cancelled()
    assert door.endpoint.in_flight() == []


# A repeat


@pytest.mark.parametrize("status", [S.COMPLETED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED])
async def test_repeat_of_a_placed_order_is_reported_it(door: Door, status: OrderStatus) -> None:
    answer = await door.repeated(UNKNOWN, COMPLETED, TrailRow(status, "verified", "X-1"))

    assert answer.status == 201
    assert (answer["id"], answer["status"], answer["outcome"]) == ("first", status, "placed")
    assert answer["exchange_order_id"] == "X-1"
    assert answer.headers["location"] == "/orders/first"
    assert answer.headers["content-type"] == "application/json"


async def test_repeat_of_an_order_placed_by_the_exchange_s_word_alone_is_not_201(door: Door) -> None:
    answer = await door.repeated(TrailRow(S.DATABASE_PERSISTENCE_FAILED, "accepted", "X-7"))

    assert (answer.status, answer["type"]) == (500, "/problems/not-recorded")
    assert (answer["outcome"], answer["exchange_order_id"]) == ("placed", "X-7")
    assert answer["detail"].startswith(
        "A step of the order could not be recorded (accepted). The exchange has accepted"
    )
    assert answer["advice"] == "wait_then_repeat_same_key"


REPORTED = [S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED]


@pytest.mark.parametrize("others", [(), (UNKNOWN,), (TrailRow(S.DATABASE_PERSISTENCE_FAILED, "accepted", "X-7"),)])
@pytest.mark.parametrize("status", REPORTED)
async def test_repeat_of_an_order_that_the_exchange_reported_is_201_only_with_completed(
    door: Door, status: OrderStatus, others: tuple[TrailRow, ...]
) -> None:
    reported = TrailRow(status, "execution", "X-1")

    before = await door.repeated(*others, reported, read_after=1000)
    after = await door.repeated(*others, reported, TrailRow(S.COMPLETED, "execution", "X-1"), read_after=1000)

    assert (before.status, before["type"]) == (409, "/problems/request-in-progress")
    assert before["advice"] == "wait_then_repeat_same_key"
    assert (before.headers["location"], before.headers["retry-after"]) == ("/orders/first", "1")
    assert (after.status, after["status"], after["outcome"]) == (201, status, "placed")


@pytest.mark.parametrize("changes", [{"quantity": 11}, {"limit_price": Decimal(151)}])
async def test_key_of_another_order_is_refused_whatever_became_of_it(door: Door, changes: dict[str, Any]) -> None:
    for rows in ((), (UNKNOWN,), (COMPLETED,)):
        answer = await door.repeated(*rows, read_after=1, **changes)

        assert (answer.status, answer["type"]) == (422, "/problems/key-reused")
        assert answer["order_id"] == "first"
        assert answer.headers["location"] == "/orders/first"


async def test_repeat_of_an_order_that_is_being_placed_is_to_come_back(door: Door) -> None:
    answer = await door.repeated(read_after=7.9)

    assert (answer.status, answer["type"]) == (409, "/problems/request-in-progress")
    assert answer["order_id"] == "first"
    assert answer.headers["location"] == "/orders/first"
    assert answer.headers["retry-after"] == "1"


async def test_repeat_of_an_order_whose_request_died_is_reported_that_it_is_in_doubt(door: Door) -> None:
    answer = await door.repeated(read_after=8)

    assert (answer.status, answer["type"]) == (500, "/problems/outcome-unknown")
    assert (answer["order_id"], answer["order_status"], answer["outcome"]) == ("first", "INITIATED", "unknown")
    assert answer["detail"] == "The order may have reached the exchange."
    assert answer.headers["location"] == "/orders/first"


async def test_repeat_of_a_failed_order_is_reported_its_present_end_and_newest_reason(door: Door) -> None:
    answer = await door.repeated(UNKNOWN, TrailRow(S.NOT_PLACED, "proved:absent"))

    assert (answer.status, answer["outcome"], answer["retryable"]) == (500, "not_placed", False)
    assert "(proved:absent)" in answer["detail"]
    assert datetime.fromisoformat(answer["place_by"]) == NOW + timedelta(seconds=60)


async def test_reason_is_reported_though_a_row_without_one_came_later(door: Door) -> None:
    """As when the spool has INITIATED and the database took what failed."""
    answer = await door.repeated(REFUSED, INITIATED)

    assert answer["detail"].endswith("(refused:no_funds).")


async def test_nothing_is_said_of_an_order_that_cannot_be_read(door: Door) -> None:
    door.placing.end = lambda _: Repeated("first", None)

    answer = await door.post("mine")

    assert (answer.status, answer["type"]) == (500, "/problems/not-recorded")
    assert (answer["order_id"], answer["order_status"], answer["outcome"]) == ("first", "INITIATED", "unknown")
    assert answer["retryable"] is True
    assert answer["place_by"] is None
    assert "cannot be read" in answer["detail"]
    assert answer.headers["location"] == "/orders/first"


@pytest.mark.parametrize("stored", [None, StoredOrder(an_order(id="order-1"), NOW, NOW, (INITIATED,), NOW)])
async def test_order_without_a_key_is_never_to_be_repeated_whatever_can_be_read_of_it(
    door: Door, stored: StoredOrder | None
) -> None:
    """As where placing stood still for so long that only the rows could tell what became of it."""
    door.placing.end = lambda _: Repeated("order-1", stored)

    answer = await door.post()

    assert (answer.status, answer["outcome"]) == (500, "unknown")
    assert answer["advice"] == "never_repeat"
    assert "key cannot be read" not in answer["detail"]
    assert answer.headers["location"] == "/orders/order-1"

"""Each of a sender's calls: through its own lane of the gate, in time, and out again whatever the venue does."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from ordertrail.domain.capabilities import PROMISES_NOTHING
from ordertrail.domain.venue_answer import (
    Absent,
    Accepted,
    CancelAccepted,
    NoAnswer,
    NotSent,
    PlaceAnswer,
    Refused,
    Unknown,
)
from ordertrail.runtime.telemetry import buffered
from ordertrail.venues.gate.limits import CallBudgetLimits, GateLimits
from ordertrail.venues.venue import ExecutionPage, OpenOrders, Venue
from tests.support.clocks import ManualClock
from tests.support.gateway import gateway_to
from tests.support.orders import an_order
from tests.unit.venues.gate.moving import gate_with
from tests.unit.venues.test_gateway import shown

ORDER = an_order()
TIMEOUT_SECONDS = 5.0
ONE = CallBudgetLimits(in_flight_max=1)
CALLS = ("place", "query", "cancel", "capabilities", "open_orders", "executions")
ANSWERS: dict[str, Any] = {
    "place": Accepted("X-1"),
    "query": Absent(),
    "cancel": CancelAccepted(),
    "capabilities": PROMISES_NOTHING,
    "open_orders": OpenOrders((), None),
    "executions": ExecutionPage("e", (), 0),
}


class SlowVenue:
    """Each call takes a quarter of a second of the clock, and waits for the gate if there is one."""

    name = "slow"

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.answers = dict(ANSWERS)
        self.raises: dict[str, Exception] = {}
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.gate: asyncio.Event | None = None
        self.begun = asyncio.Event()

    def __getattr__(self, call: str) -> Callable[..., Awaitable[Any]]:
        async def answer(*of: object, **how: object) -> Any:
            self.called.append((call, how))
            self.begun.set()
            if self.gate is not None:
                await self.gate.wait()
            self.clock.move(0.25)
            if call in self.raises:
                raise self.raises[call]
            return self.answers[call]

        return answer


class House:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.venue = SlowVenue(self.clock)
        self.gate = gate_with(self.clock, limits=GateLimits(ONE, ONE, ONE))
        venue = cast("Venue", self.venue)
        self.gateway = gateway_to(venue, self.clock, gate=self.gate, timeout_seconds=TIMEOUT_SECONDS)

    def call(self, name: str, *, send_by: float = TIMEOUT_SECONDS) -> Awaitable[Any]:
        match name:
            case "place":
                return self.gateway.send_and_query(ORDER, send_by=self.clock.time + send_by, accept_by=None)
            case "query" | "cancel":
                return cast("Awaitable[Any]", getattr(self.gateway, name)(ORDER.id))
            case "executions":
                return self.gateway.executions(after=7, limit=9)
            case _:
                return cast("Awaitable[Any]", getattr(self.gateway, name)())

    async def begun(self, name: str, *, and_waiting: int = 0) -> list[asyncio.Future[Any]]:
        """A call that is held at the venue, and others that wait behind it."""
        self.venue.gate = asyncio.Event()
        calls: list[asyncio.Future[Any]] = [asyncio.ensure_future(self.call(name)) for _ in range(1 + and_waiting)]
        async with asyncio.timeout(5):
            await self.venue.begun.wait()
        assert sum(budget.waiting for budget in self.gate.state().budgets) == and_waiting
        return calls

    def let_go(self) -> None:
        assert self.venue.gate is not None
        self.venue.gate.set()

    def in_flight(self) -> int:
        return sum(budget.in_flight for budget in self.gate.state().budgets)


@pytest.fixture
def house() -> House:
    return House()


def metric(of: str, **labels: str) -> float:
    buffered.flush()
    return REGISTRY.get_sample_value(f"ordertrail_{of}", labels) or 0


@pytest.mark.parametrize("call", CALLS)
async def test_answer_comes_back_and_the_call_budget_is_left(house: House, call: str) -> None:
    assert await house.call(call) == ANSWERS[call]

    [(called, how)] = house.venue.called
    assert (called, how["timeout_seconds"]) == (call, TIMEOUT_SECONDS)
    assert how.get("send_by") == (1000.0 + TIMEOUT_SECONDS if call == "place" else None)
    assert (how.get("after"), how.get("limit")) == ((7, 9) if call == "executions" else (None, None))
    assert house.in_flight() == 0
    assert house.gateway.venue_name == "slow"


@pytest.mark.parametrize("call", CALLS)
async def test_call_waits_its_turn_and_has_the_rest_of_its_time(house: House, call: str) -> None:
    first, second = await house.begun(call, and_waiting=1)
    assert [name for name, _ in house.venue.called] == [call]

    house.clock.move(2)
    house.let_go()

    assert (await first, await second) == (ANSWERS[call], ANSWERS[call])
    # Placing has a deadline of its own, and tells it to the venue.
    rest = TIMEOUT_SECONDS if call == "place" else TIMEOUT_SECONDS - 2 - 0.25
    assert house.venue.called[1][1]["timeout_seconds"] == pytest.approx(rest)
    assert house.in_flight() == 0


@pytest.mark.parametrize("call", CALLS)
async def test_call_whose_turn_does_not_come_in_time_is_not_made(house: House, call: str) -> None:
    first, second = await house.begun(call, and_waiting=1)

    house.clock.move(TIMEOUT_SECONDS)

    assert await second == (NotSent("send_window_passed") if call == "place" else NoAnswer("send_window_passed"))
    house.let_go()
    await first
    assert [name for name, _ in house.venue.called] == [call]


async def test_halt_closes_placing_alone(house: House) -> None:
    before = metric("exchange_answers_total", answer="not_sent")
    assert house.gateway.denial_cause(ORDER) is None
    house.gate.halt()

    assert house.gateway.denial_cause(ORDER) == "halted"
    assert await house.call("place") == NotSent("halted")
    assert house.venue.called == []
    assert metric("exchange_answers_total", answer="not_sent") == before + 1
    assert await house.call("query") == Absent()
    assert await house.call("cancel") == CancelAccepted()


@pytest.mark.parametrize("call", CALLS)
async def test_adapter_that_raises_is_no_answer_and_counted(house: House, call: str) -> None:
    before = metric("invariants_broken_total", name="venue_raised")
    house.venue.raises = {call: ValueError("a bug")}

    answer = await house.call(call)

    assert answer == (Unknown("adapter_raised") if call == "place" else NoAnswer("adapter_raised"))
    assert metric("invariants_broken_total", name="venue_raised") == before + 1
    assert house.in_flight() == 0


@pytest.mark.parametrize("call", CALLS)
async def test_call_that_is_given_up_leaves_the_call_budget(house: House, call: str) -> None:
    [under_way] = await house.begun(call)
    assert house.in_flight() == 1

    under_way.cancel()
    await asyncio.wait({under_way})

    assert under_way.cancelled()
    assert house.in_flight() == 0


@pytest.mark.parametrize("call", ["place", "query", "cancel"])
async def test_time_of_a_call_is_measured(house: House, call: str) -> None:
    before = metric("exchange_seconds_sum", call=call), metric("exchange_seconds_count", call=call)

    await house.call(call)

    after = metric("exchange_seconds_sum", call=call), metric("exchange_seconds_count", call=call)
    assert after[0] - before[0] == pytest.approx(0.25)
    assert after[1] - before[1] == 1


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        (Accepted("X-1"), "accepted"),
        (Refused("no_funds"), "refused"),
        (NotSent("closed"), "not_sent"),
        (Unknown("timeout"), "unknown"),
    ],
)
async def test_answers_are_counted_by_what_they_are(house: House, answer: PlaceAnswer, label: str) -> None:
    before = metric("exchange_answers_total", answer=label)
    house.venue.answers["place"] = answer

    await house.call("place")

    assert metric("exchange_answers_total", answer=label) == before + 1


async def test_verifications_are_counted_by_what_they_are(house: House) -> None:
    before = metric("verifications_total", result="absent")

    await house.call("query")

    assert metric("verifications_total", result="absent") == before + 1


async def test_time_by_which_the_exchange_must_accept_is_handed_on(house: House) -> None:
    accept_by = datetime(2026, 1, 1, 12, tzinfo=UTC)

    await house.gateway.send_and_query(ORDER, send_by=2000.0, accept_by=accept_by)

    assert house.venue.called[0][1]["accept_by"] is accept_by


async def test_send_is_the_only_one_unless_said_otherwise(house: House) -> None:
    house.venue.answers |= {"place": Unknown("timeout"), "query": shown("rejected", of=ORDER)}

    assert await house.gateway.send_and_query(ORDER, send_by=2000.0, accept_by=None) == Refused("no_funds")

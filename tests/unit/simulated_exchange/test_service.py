import asyncio
from random import Random

import pytest

from simulated_exchange.capabilities import Profile
from simulated_exchange.faults import CancelWeights, Faults, PlaceWeights, QueryFaults
from simulated_exchange.latency import Latency
from simulated_exchange.results import (
    Accepted,
    Canceled,
    CancelPending,
    CancelResult,
    Closed,
    ConnectionReset,
    Duplicate,
    PlaceResult,
    Rejected,
    ServerError,
    Silence,
    Throttled,
    TooLate,
    UnknownOrder,
    Unreadable,
)
from simulated_exchange.service import ExchangeService, open_exchange
from simulated_exchange.wire import OrderView
from tests.support.clocks import ManualClock
from tests.unit.simulated_exchange.making import NOON_US, always, limit

LATE_SECONDS = 0.01


def opened(
    faults: Faults | None = None, profile: Profile | None = None, clock: ManualClock | None = None
) -> ExchangeService:
    return open_exchange(None, faults=faults, profile=profile, now_us=(clock or ManualClock()).now_us, random=Random(1))


async def status_of(service: ExchangeService, client_order_id: str) -> str | None:
    order = await service.query(client_order_id)
    return order.ord_status if isinstance(order, OrderView) else None


WHAT_FAULTS_DO: list[tuple[str, str, type[PlaceResult], str | None]] = [
    ("accept", "US0378331005", Accepted, "new"),
    ("refuse", "FAULTREFUSE0", Rejected, "rejected"),
    ("throttle", "FAULTTHROTTL", Throttled, None),
    ("closed", "FAULTCLOSED0", Closed, None),
    ("lost", "FAULTLOST000", Silence, "new"),
    ("late", "FAULTLATE000", Accepted, "new"),
    ("error_after", "FAULTERROR00", ServerError, "new"),
    ("garbage", "FAULTGARBAGE", Unreadable, "new"),
    ("reset", "FAULTRESET00", ConnectionReset, "new"),
]


@pytest.mark.parametrize(("fault", "_instrument", "result", "status"), WHAT_FAULTS_DO)
async def test_fault_by_weight(fault: str, _instrument: str, result: type[PlaceResult], status: str | None) -> None:
    service = opened(always(fault, late_seconds=LATE_SECONDS))

    assert isinstance(await service.place(limit("a")), result)

    assert await status_of(service, "a") == status


@pytest.mark.parametrize(("_fault", "instrument", "result", "status"), WHAT_FAULTS_DO)
async def test_fault_by_instrument(_fault: str, instrument: str, result: type[PlaceResult], status: str | None) -> None:
    service = opened(Faults(late_seconds=LATE_SECONDS))

    assert isinstance(await service.place(limit("a", instrument=instrument)), result)

    assert await status_of(service, "a") == status


async def test_error_before_places_nothing() -> None:
    service = opened(always("error_before"))

    assert isinstance(await service.place(limit("a")), ServerError)

    assert await status_of(service, "a") is None


async def test_refusing_never_disowns_an_order_that_is_there() -> None:
    service = opened()
    await service.place(limit("a"))
    service.exchange.set_faults(always("refuse"))

    assert isinstance(await service.place(limit("a")), Duplicate)

    assert await status_of(service, "a") == "new"


async def test_late_order_is_there_later_also_without_its_client() -> None:
    service = opened(always("late", late_seconds=LATE_SECONDS))
    placing = asyncio.create_task(service.place(limit("a")))
    await asyncio.sleep(0)
    placing.cancel()
    early = await status_of(service, "a")

    await asyncio.wait(service._late)

    assert early is None
    assert await status_of(service, "a") == "new"


async def test_late_order_is_refused_if_its_accept_by_has_passed() -> None:
    clock = ManualClock()
    service = opened(always("late", late_seconds=LATE_SECONDS), clock=clock)
    placing = asyncio.create_task(service.place(limit("a", accept_by_us=NOON_US)))
    await asyncio.sleep(0)
    clock.move(1)

    result = await placing

    assert isinstance(result, Rejected)
    assert result.reject_reason == "accept_by_passed"


async def test_late_order_is_never_accepted_later_than_promised() -> None:
    service = opened(always("late", late_seconds=LATE_SECONDS), Profile(accepts_within_seconds=LATE_SECONDS / 2))

    result = await service.place(limit("a"))

    assert isinstance(result, Rejected)
    assert result.reject_reason == "held_too_long"


async def test_id_of_a_late_order_is_free_until_it_is_accepted_and_then_taken_once() -> None:
    service = opened(always("late", late_seconds=LATE_SECONDS))
    late = [asyncio.create_task(service.place(limit("a"))) for _ in range(3)]
    await asyncio.sleep(0)
    service.exchange.set_faults(Faults())

    prompt = await service.place(limit("a"))

    assert isinstance(prompt, Accepted)
    assert all(isinstance(result, Duplicate) for result in await asyncio.gather(*late))
    assert (await service.executions(0, 10)).head == 1


async def test_late_order_with_a_taken_id_is_reported_at_once() -> None:
    service = opened()
    await service.place(limit("a"))
    service.exchange.set_faults(always("late", late_seconds=3600.0))

    assert isinstance(await service.place(limit("a")), Duplicate)


async def test_stopping_drops_what_is_late() -> None:
    service = opened(always("late", late_seconds=3600.0))
    placing = asyncio.create_task(service.place(limit("a")))
    await asyncio.sleep(0)

    service.stop()

    assert isinstance(await placing, ConnectionReset)
    assert await status_of(service, "a") is None


WHAT_CANCEL_FAULTS_DO: list[tuple[str, type[CancelResult], str]] = [
    ("accept", Canceled, "canceled"),
    ("late", CancelPending, "new"),
    ("lost", Silence, "new"),
    ("error_after", ServerError, "canceled"),
    ("refuse", TooLate, "new"),
]


def canceling(fault: str) -> ExchangeService:
    return opened(Faults(cancel=CancelWeights(**{fault: 1.0}), late_seconds=LATE_SECONDS))


@pytest.mark.parametrize(("fault", "result", "status"), WHAT_CANCEL_FAULTS_DO)
async def test_fault_of_cancels(fault: str, result: type[CancelResult], status: str) -> None:
    service = canceling(fault)
    await service.place(limit("a"))

    assert isinstance(await service.cancel("a"), result)

    assert await status_of(service, "a") == status
    await service.close()


@pytest.mark.parametrize("fault", ["accept", "late", "refuse"])
async def test_cancel_of_what_is_not_open_is_answered_as_always(fault: str) -> None:
    service = canceling(fault)
    await service.place(limit("a"))
    service.exchange.cancel("a")

    answers = [await service.cancel("a"), await service.cancel("nobody")]

    assert [type(answer) for answer in answers] == [TooLate, UnknownOrder]


async def test_late_cancel_takes_effect_later() -> None:
    service = canceling("late")
    await service.place(limit("a"))
    await service.cancel("a")

    await asyncio.wait(service._late)

    assert await status_of(service, "a") == "canceled"


async def test_fill_that_comes_before_a_late_cancel_is_the_end_of_the_order() -> None:
    service = canceling("late")
    await service.place(limit("a", "sell"))
    await service.cancel("a")
    await service.place(limit("b", "buy"))

    await asyncio.wait(service._late)

    assert await status_of(service, "a") == "filled"
    reports = (await service.executions(0, 10)).executions
    assert [report.exec_type for report in reports] == ["new", "new", "trade", "trade"]


async def test_late_cancel_is_not_for_the_next_order_under_its_id() -> None:
    service = opened(
        Faults(cancel=CancelWeights(late=1.0), late_seconds=LATE_SECONDS), Profile(client_order_id_unique="while_open")
    )
    await service.place(limit("a", "sell"))
    await service.cancel("a")
    await service.place(limit("b", "buy"))
    await service.place(limit("a", "sell"))

    await asyncio.wait(service._late)

    assert await status_of(service, "a") == "new"


async def test_querying_gets_no_answer_as_often_as_set() -> None:
    service = opened(Faults(ask=QueryFaults(no_answer=0.25)))

    answers = [await service.query("a") for _ in range(4000)]

    assert 900 < sum(isinstance(answer, ServerError) for answer in answers) < 1100
    assert {type(answer) for answer in answers} == {ServerError, UnknownOrder}


async def test_weights_are_shares() -> None:
    service = opened(Faults(place=PlaceWeights(accept=3, closed=1)))

    results = [await service.place(limit(f"a{number}")) for number in range(4000)]

    assert 900 < sum(isinstance(result, Closed) for result in results) < 1100


async def test_same_seed_same_faults() -> None:
    def seeded() -> ExchangeService:
        return opened(Faults(place=PlaceWeights(accept=1, closed=1, throttle=1)))

    first, second = seeded(), seeded()

    assert [await first.place(limit(str(n))) for n in range(50)] == [
        await second.place(limit(str(n))) for n in range(50)
    ]


async def test_latency_holds_every_answer_that_long() -> None:
    service = opened(Faults(latency_ms=20))
    loop = asyncio.get_running_loop()
    began = loop.time()

    await asyncio.gather(*(service.place(limit(str(n))) for n in range(100)))
    placed = loop.time()
    await service.query("1")
    queried = loop.time()
    await service.cancel("1")

    assert placed - began >= 0.02
    assert queried - placed >= 0.02
    assert loop.time() - queried >= 0.02


async def test_latency_releases_in_order_and_passes_over_who_has_gone() -> None:
    latency = Latency(0.01)
    first, gone, last = latency.begin(), latency.begin(), latency.begin()
    gone.cancel()

    await last

    assert first.done()


async def test_latency_counts_from_ones_own_beginning() -> None:
    latency = Latency(0.04)
    loop = asyncio.get_running_loop()
    first = latency.begin()
    await asyncio.wait((first,), timeout=0.02)
    began = loop.time()

    await latency.begin()

    assert first.done()
    assert loop.time() - began >= 0.04


async def test_shorter_latency_does_not_wait_for_the_longer_one_before_it() -> None:
    service = opened(Faults(latency_ms=600_000))
    slow = asyncio.create_task(service.place(limit("slow")))
    await asyncio.sleep(0)
    service.exchange.set_faults(Faults(latency_ms=1))

    await asyncio.wait_for(service.place(limit("quick")), timeout=10)

    assert not slow.done()
    slow.cancel()


async def test_in_memory_exchange_keeps_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulated_exchange.service.KEPT_ORDERS", 100)
    service = opened()

    for number in range(1000):
        await service.place(limit(str(number), price=f"{1 + number % 7}.00"))

    reports = await service.executions(0, 10_000)
    assert reports.head == 1000
    assert len(reports.executions) <= 400
    assert reports.executions[-1].seq == 1000
    assert len((await service.open_orders()).orders) == 100
    assert await status_of(service, "899") is None
    assert await status_of(service, "900") == "new"

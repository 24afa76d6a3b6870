"""Waiting at the gate: in turn, in time, and without leaving anything behind."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.domain.reason import Cause
from ordertrail.venues.gate.call_budget import Permit, later_in_loop
from ordertrail.venues.gate.denial import Denied
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.rules import BreakerRules, GateRules
from tests.support.clocks import ManualClock
from tests.unit.venues.gate.moving import ACCEPTED, SILENCE, TROUBLE, Reported, cause, gate_with, passed, throttled

Entry = asyncio.Task[Permit | Denied]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def waiting(gate: Gate, clock: ManualClock, seconds: float = 5.0) -> Entry:
    entry = asyncio.create_task(gate.placing.enter(deadline=clock.time + seconds))
    await turns()
    return entry


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def in_flight(gate: Gate) -> int:
    return gate.state().budgets[0].in_flight


def waiters(gate: Gate) -> int:
    return gate.state().budgets[0].waiting


async def test_a_free_call_budget_lets_pass_without_waiting(clock: ManualClock) -> None:
    gate = gate_with(clock)

    coroutine = gate.placing.enter(deadline=clock.time + 5)

    with pytest.raises(StopIteration) as end:
        coroutine.send(None)  # it ends without ever giving control to the event loop
    passed(end.value.value).leave(ACCEPTED, clock.time)
    assert in_flight(gate) == 0
    assert clock.armed == 0


async def test_a_call_takes_from_its_entry_to_its_end(clock: ManualClock) -> None:
    clock.move(100)
    rules = GateRules(placing=BreakerRules(slow_seconds=2))
    entries = []
    for seconds in (1.9, 2.0):
        gate = gate_with(clock, rules=rules)
        permits = [passed(gate.placing.try_enter(clock.time)) for _ in range(20)]
        clock.move(seconds)
        for permit in permits:
            permit.leave(ACCEPTED, clock.time)
        entries.append(gate.placing.try_enter(clock.time))

    passed(entries[0])
    assert cause(entries[1]) is Cause.CIRCUIT_OPEN


async def test_no_more_than_the_limit_are_in_flight_and_the_next_goes_when_one_leaves(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=2)
    first, _ = (passed(gate.placing.try_enter(clock.time)) for _ in range(2))
    refused = gate.placing.try_enter(clock.time)
    third = await waiting(gate, clock)
    was_waiting = not third.done()

    first.leave(ACCEPTED, clock.time)
    await turns()

    assert refused is None and was_waiting
    passed(third.result())
    assert in_flight(gate) == 2


async def test_those_that_wait_are_served_in_the_order_they_came(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=1)
    holder = passed(gate.placing.try_enter(clock.time))
    entries = [await waiting(gate, clock) for _ in range(5)]
    served = []

    for _ in entries:
        holder.leave(ACCEPTED, clock.time)
        await turns()
        newest = next(n for n, entry in enumerate(entries) if entry.done() and n not in served)
        served.append(newest)
        holder = passed(entries[newest].result())

    assert served == [0, 1, 2, 3, 4]


async def test_nobody_overtakes_those_that_wait(clock: ManualClock) -> None:
    gate = gate_with(clock, per_second=1)
    passed(gate.placing.try_enter(clock.time)).leave(ACCEPTED, clock.time)
    _first = await waiting(gate, clock)

    clock.time += 1  # a token is there, but its timer has not rung yet

    assert gate.placing.try_enter(clock.time) is None


async def test_a_rate_lets_those_that_wait_through_one_by_one(clock: ManualClock) -> None:
    gate = gate_with(clock, per_second=2)
    passed(gate.placing.try_enter(clock.time))
    entries = [await waiting(gate, clock) for _ in range(3)]
    done = []

    for _ in range(3):
        clock.move(0.5)
        await turns()
        done.append([entry.done() for entry in entries])

    assert done == [[True, False, False], [True, True, False], [True, True, True]]


async def test_what_cannot_be_in_time_is_reported_at_once(clock: ManualClock) -> None:
    gate = gate_with(clock, per_second=1)
    passed(gate.placing.try_enter(clock.time))
    in_time = await waiting(gate, clock, seconds=1.5)

    too_late = await gate.placing.enter(deadline=clock.time + 1.5)

    assert not in_time.done()
    assert cause(too_late) is Cause.RATE_LIMITED
    assert isinstance(too_late, Denied) and too_late.retry_after_seconds == pytest.approx(2)


async def test_a_deadline_ends_waiting_and_nothing_passes_after_it(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=1)
    holder = passed(gate.placing.try_enter(clock.time))
    entry = await waiting(gate, clock, seconds=2)

    clock.move(2)
    await turns()
    holder.leave(ACCEPTED, clock.time)

    assert cause(entry.result()) is Cause.WINDOW_PASSED
    assert (in_flight(gate), waiters(gate), clock.timers) == (0, 0, [])


async def test_a_deadline_that_has_passed_is_reported_even_before_its_timer_rings(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=1)
    holder = passed(gate.placing.try_enter(clock.time))
    entry = await waiting(gate, clock, seconds=2)

    clock.time += 2
    holder.leave(ACCEPTED, clock.time)
    await turns()

    assert cause(entry.result()) is Cause.WINDOW_PASSED
    assert in_flight(gate) == 0


async def test_one_whose_deadline_has_passed_never_enters(clock: ManualClock) -> None:
    gate = gate_with(clock)

    assert cause(await gate.placing.enter(deadline=clock.time)) is Cause.WINDOW_PASSED


async def test_a_full_line_takes_no_more(clock: ManualClock) -> None:
    reported = Reported()
    gate = gate_with(clock, in_flight_max=1, waiting_max=2, reported=reported)
    passed(gate.placing.try_enter(clock.time))
    _entries = [await waiting(gate, clock) for _ in range(2)]

    answer = await gate.placing.enter(deadline=clock.time + 5)

    assert cause(answer) is Cause.QUEUE_FULL
    assert reported.refusals == [("place", Cause.QUEUE_FULL)]


@pytest.mark.parametrize(("per_second", "retry_after_seconds"), [(0, None), (2, 0.5)])
async def test_where_the_line_is_full_a_rate_reports_when_to_come_back(
    clock: ManualClock, per_second: float, retry_after_seconds: float | None
) -> None:
    gate = gate_with(clock, in_flight_max=1, waiting_max=0, per_second=per_second)
    passed(gate.placing.try_enter(clock.time))

    answer = await gate.placing.enter(deadline=clock.time + 5)

    assert isinstance(answer, Denied)
    assert (answer.cause, answer.retry_after_seconds) == (
        Cause.QUEUE_FULL,
        None if retry_after_seconds is None else pytest.approx(retry_after_seconds, abs=0.001),
    )


async def test_a_token_that_comes_at_the_deadline_comes_too_late(clock: ManualClock) -> None:
    gate = gate_with(clock, per_second=1)
    passed(gate.placing.try_enter(clock.time))
    assert gate.placing._bucket is not None

    answer = await gate.placing.enter(deadline=gate.placing._bucket.free_at(clock.time))

    assert cause(answer) is Cause.RATE_LIMITED


async def test_those_that_a_halt_turns_away_are_counted(clock: ManualClock) -> None:
    reported = Reported()
    gate = gate_with(clock, in_flight_max=1, reported=reported)
    passed(gate.placing.try_enter(clock.time))
    entries = [await waiting(gate, clock) for _ in range(2)]

    gate.halt()
    await turns()

    assert [cause(entry.result()) for entry in entries] == [Cause.HALTED] * 2
    assert reported.refusals == [("place", Cause.HALTED)] * 2


async def test_a_line_that_waits_for_a_token_has_one_timer_for_it(clock: ManualClock) -> None:
    gate = gate_with(clock, per_second=2)
    passed(gate.placing.try_enter(clock.time))

    _entries = [await waiting(gate, clock, seconds=9) for _ in range(3)]

    assert sorted(at - clock.time for at, _, _ in clock.timers) == pytest.approx([0.5, 9, 9, 9], abs=0.001)


async def test_a_token_without_a_slot_is_not_sought_again_and_again(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=1, per_second=2)
    holder = passed(gate.placing.try_enter(clock.time))
    entry = await waiting(gate, clock, seconds=9)

    clock.move(5)
    armed = clock.armed
    holder.leave(ACCEPTED, clock.time)
    await turns()

    assert armed == 2
    passed(entry.result())


async def test_a_cancelled_waiter_leaves_nothing_behind(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=1)
    holder = passed(gate.placing.try_enter(clock.time))
    first, second = [await waiting(gate, clock) for _ in range(2)]

    first.cancel()
    await turns()
    left = waiters(gate)
    holder.leave(ACCEPTED, clock.time)
    await turns()

    assert left == 1
    passed(second.result()).leave(ACCEPTED, clock.time)
    assert (in_flight(gate), waiters(gate), clock.timers) == (0, 0, [])


async def test_a_waiter_cancelled_in_the_moment_it_is_served_gives_its_permit_on(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=1)
    holder = passed(gate.placing.try_enter(clock.time))
    first, second = [await waiting(gate, clock) for _ in range(2)]

    holder.leave(ACCEPTED, clock.time)
    first.cancel()
    await turns()

    assert first.cancelled()
    passed(second.result()).leave(ACCEPTED, clock.time)
    assert (in_flight(gate), waiters(gate), clock.timers) == (0, 0, [])


async def test_a_waiter_cancelled_before_it_knows_is_passed_over(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=1)
    holder = passed(gate.placing.try_enter(clock.time))
    first, second = [await waiting(gate, clock) for _ in range(2)]

    first.cancel()
    holder.leave(ACCEPTED, clock.time)
    await turns()

    assert first.cancelled()
    passed(second.result())
    assert in_flight(gate) == 1


@pytest.mark.parametrize("answer", [SILENCE, throttled(3)])
async def test_those_that_wait_are_reported_when_the_exchange_fails_or_throttles(
    clock: ManualClock, answer: object
) -> None:
    gate = gate_with(clock, in_flight_max=8)
    permits = [passed(gate.placing.try_enter(clock.time)) for _ in range(8)]
    entries = [await waiting(gate, clock) for _ in range(9)]

    for permit in permits:
        permit.leave(answer, clock.time)
    await turns()

    causes = {got.cause for entry in entries if isinstance(got := entry.result(), Denied)}
    assert causes == {Cause.THROTTLED if answer == throttled(3) else Cause.CIRCUIT_OPEN}
    assert waiters(gate) == 0


async def test_a_permit_cannot_be_left_twice(clock: ManualClock) -> None:
    permit = passed(gate_with(clock).placing.try_enter(clock.time))
    permit.leave(ACCEPTED, clock.time)

    with pytest.raises(AssertionError, match="twice"):
        permit.leave(ACCEPTED, clock.time)


async def test_a_denying_call_budget_says_why_without_counting_or_taking_its_probe(clock: ManualClock) -> None:
    reported = Reported()
    gate = gate_with(clock, reported=reported)
    for _ in range(8):
        passed(gate.placing.try_enter(clock.time)).leave(SILENCE, clock.time)

    closed = gate.placing.denial(clock.time)
    later = [gate.placing.denial(clock.time + 1) for _ in range(3)]

    assert cause(closed) is Cause.CIRCUIT_OPEN
    assert later == [None, None, None]
    assert reported.refusals == []


async def test_the_event_loop_s_own_timers_serve_too() -> None:
    clock = ManualClock()
    gate = gate_with(clock, in_flight_max=1)
    gate.placing._later = later_in_loop
    holder = passed(gate.placing.try_enter(clock.time))
    entry = asyncio.create_task(gate.placing.enter(deadline=clock.time + 0.002))

    assert cause(await entry) is Cause.WINDOW_PASSED
    holder.leave(ACCEPTED, clock.time)


@given(
    in_flight_max=st.integers(1, 4),
    per_second=st.sampled_from([0, 1, 5, 50]),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("enter"), st.floats(0.1, 3)),
            st.tuples(st.just("leave"), st.sampled_from([ACCEPTED, TROUBLE, SILENCE, throttled(0.5), None])),
            st.tuples(st.just("cancel"), st.integers(0, 5)),
            st.tuples(st.just("move"), st.floats(0, 2)),
        ),
        max_size=60,
    ),
)
def test_whatever_happens_limits_hold_and_nothing_stays_behind(
    in_flight_max: int, per_second: float, steps: list[tuple[str, Any]]
) -> None:
    asyncio.run(_whatever(in_flight_max, per_second, steps))


async def _whatever(in_flight_max: int, per_second: float, steps: list[tuple[str, Any]]) -> None:
    clock = ManualClock()
    gate = gate_with(clock, in_flight_max=in_flight_max, per_second=per_second, waiting_max=5)
    entries: list[Entry] = []
    permits: list[Permit] = []
    began: list[float] = []

    async def settle() -> None:
        await turns()
        for entry in [entry for entry in entries if entry.done()]:
            entries.remove(entry)
            if not entry.cancelled() and isinstance(got := entry.result(), Permit):
                permits.append(got)
                began.append(got.entered_at)

    for step, value in steps:
        if step == "enter":
            entries.append(asyncio.create_task(gate.placing.enter(deadline=clock.time + value)))
        elif step == "leave" and permits:
            permits.pop(0).leave(value, clock.time)
        elif step == "cancel" and entries:
            entries[value % len(entries)].cancel()
        elif step == "move":
            clock.move(value)
        await settle()
        assert len(permits) == in_flight(gate) <= in_flight_max
        assert len(entries) == waiters(gate) <= 5

    while permits or entries:
        for permit in permits:
            permit.leave(None, clock.time)
        permits.clear()
        clock.move(3)
        await settle()
    clock.move(3)
    assert (in_flight(gate), waiters(gate), clock.timers) == (0, 0, [])
    if per_second:
        burst = max(per_second / 10, 1)
        for i, begin in enumerate(began):
            for j in range(i, len(began)):
                assert j - i + 1 <= per_second * (began[j] - begin) + burst + 1e-3

"""The three budgets beside each other, the operator's switch, and the shares of several processes."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.domain.reason import Cause
from ordertrail.venues.gate.breaker import State
from ordertrail.venues.gate.call_budget import CallBudget
from ordertrail.venues.gate.denial import BudgetName, Denied
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.limits import CallBudgetLimits, GateLimits
from tests.support.clocks import ManualClock
from tests.unit.venues.gate.moving import ACCEPTED, NO_ANSWER, SILENCE, Reported, cause, gate_with, passed, throttled


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def fail(budget: CallBudget, clock: ManualClock) -> None:
    for _ in range(8):
        passed(budget.try_enter(clock.time)).leave(SILENCE, clock.time)


def passes(gate: Gate, clock: ManualClock) -> list[bool]:
    budgets = (gate.placing, gate.cancelling, gate.querying)
    return [budget.denial(clock.time) is None for budget in budgets]


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_trouble_with_one_budget_never_stops_the_others(clock: ManualClock, failing: int) -> None:
    gate = gate_with(clock)

    fail((gate.placing, gate.cancelling, gate.querying)[failing], clock)

    assert passes(gate, clock) == [number != failing for number in range(3)]


async def test_a_call_budget_full_of_orders_leaves_cancelling_and_querying_free(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=1, per_second=1)
    passed(gate.placing.try_enter(clock.time))

    assert gate.placing.try_enter(clock.time) is None
    passed(gate.cancelling.try_enter(clock.time))
    passed(gate.querying.try_enter(clock.time))


async def test_throttled_orders_hold_placing_alone(clock: ManualClock) -> None:
    gate = gate_with(clock)

    passed(gate.placing.try_enter(clock.time)).leave(throttled(4), clock.time)

    assert gate.placing.try_enter(clock.time) == Denied(Cause.THROTTLED, 4)
    assert passes(gate, clock) == [False, True, True]


async def test_questions_are_tried_at_least_every_two_seconds_however_long_nobody_answers(clock: ManualClock) -> None:
    gate = gate_with(clock)
    fail(gate.querying, clock)
    tried = []

    for _ in range(600):
        clock.move(0.1)
        if (got := gate.querying.try_enter(clock.time)) is not None and not isinstance(got, Denied):
            tried.append(clock.time)
            got.leave(NO_ANSWER, clock.time)

    gaps = [later - earlier for earlier, later in pairwise(tried)]
    assert max(gaps) <= 2.1 + 1e-6
    assert len(tried) <= 60


async def test_one_answered_question_lets_all_others_pass(clock: ManualClock) -> None:
    gate = gate_with(clock)
    fail(gate.querying, clock)
    clock.move(2)

    passed(gate.querying.try_enter(clock.time)).leave(ACCEPTED, clock.time)

    assert passes(gate, clock)[2]


async def test_half_open_fifty_callers_at_once_let_one_through(clock: ManualClock) -> None:
    gate = gate_with(clock)
    fail(gate.placing, clock)
    clock.move(1)

    got = await asyncio.gather(*(gate.placing.enter(deadline=clock.time + 5) for _ in range(50)))

    assert [type(each).__name__ for each in got].count("Permit") == 1
    assert sum(isinstance(each, Denied) and each.cause is Cause.CIRCUIT_OPEN for each in got) == 49


async def test_a_probe_that_is_cancelled_makes_room_for_the_next(clock: ManualClock) -> None:
    gate = gate_with(clock)
    fail(gate.placing, clock)
    clock.move(1)

    passed(gate.placing.try_enter(clock.time)).leave(None, clock.time)

    passed(gate.placing.try_enter(clock.time))


async def test_a_probe_that_finds_no_slot_is_not_taken(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=9)
    slow = [passed(gate.placing.try_enter(clock.time)) for _ in range(8)]
    for _ in range(8):
        passed(gate.placing.try_enter(clock.time)).leave(SILENCE, clock.time)
    clock.move(1)
    probe = passed(gate.placing.try_enter(clock.time))
    probe.leave(None, clock.time)

    again = passed(gate.placing.try_enter(clock.time))

    again.leave(ACCEPTED, clock.time)
    for permit in slow:
        permit.leave(ACCEPTED, clock.time)
    assert gate.state().budgets[0].in_flight == 0


async def test_halted_nothing_is_placed_and_cancelling_and_querying_go_on(clock: ManualClock) -> None:
    gate = gate_with(clock)

    gate.halt()

    assert gate.placing.try_enter(clock.time) == Denied(Cause.HALTED)
    assert passes(gate, clock) == [False, True, True]
    gate.resume()
    passed(gate.placing.try_enter(clock.time))


async def test_a_halt_reports_those_that_wait_at_once(clock: ManualClock) -> None:
    gate = gate_with(clock, in_flight_max=1)
    passed(gate.placing.try_enter(clock.time))
    entry = asyncio.create_task(gate.placing.enter(deadline=clock.time + 5))
    await asyncio.sleep(0)

    gate.halt()

    assert cause(await entry) is Cause.HALTED


async def test_its_state_is_reported_for_people(clock: ManualClock) -> None:
    reported = Reported()
    gate = gate_with(clock, reported=reported)
    passed(gate.placing.try_enter(clock.time)).leave(ACCEPTED, clock.time)
    fail(gate.placing, clock)
    passed(gate.querying.try_enter(clock.time))

    state = gate.state()

    placing, _, querying = state.budgets
    assert (placing.breaker, placing.calls, placing.troubles) == (State.OPEN, 9, 8)
    assert placing.denied_seconds == pytest.approx(1)
    assert (querying.breaker, querying.denied_seconds, querying.in_flight) == (State.CLOSED, 0, 1)
    assert reported.changes == [(BudgetName.PLACE, State.OPEN)]


def test_shares_add_up_to_the_installation_s_limits() -> None:
    limits = GateLimits(placing=CallBudgetLimits(in_flight_max=10, per_second=100, waiting_max=7))

    share = limits.for_share(processes=4).placing

    assert share == CallBudgetLimits(in_flight_max=2, per_second=25, waiting_max=7)
    assert share.burst == 2.5


def test_a_process_may_always_have_one_in_flight() -> None:
    limits = GateLimits(placing=CallBudgetLimits(in_flight_max=2))

    assert limits.for_share(processes=8).placing.in_flight_max == 1


def test_no_limit_stays_no_limit_and_one_process_has_all() -> None:
    limits = GateLimits()

    assert limits.for_share(processes=4).querying.per_second == 0
    assert limits.for_share(processes=1) == limits


@given(
    processes=st.integers(1, 64),
    in_flight_max=st.integers(1, 10_000),
    per_second=st.floats(0, 100_000),
)
def test_processes_together_keep_to_the_limits(processes: int, in_flight_max: int, per_second: float) -> None:
    limits = GateLimits(querying=CallBudgetLimits(in_flight_max=in_flight_max, per_second=per_second))

    share = limits.for_share(processes=processes).querying

    assert share.in_flight_max * processes <= max(in_flight_max, processes)
    assert share.per_second * processes == pytest.approx(per_second)


async def test_each_process_learns_for_itself(clock: ManualClock) -> None:
    one, other = gate_with(clock), gate_with(clock)

    fail(one.placing, clock)

    assert (passes(one, clock)[0], passes(other, clock)[0]) == (False, True)


async def test_two_processes_together_send_no_more_than_one_installation_may() -> None:
    clock = ManualClock()
    share = GateLimits(placing=CallBudgetLimits(in_flight_max=100, per_second=20)).for_share(processes=2).placing
    gates = [gate_with(clock, per_second=share.per_second, in_flight_max=share.in_flight_max) for _ in range(2)]
    sent = 0

    for _ in range(1000):
        clock.move(0.01)
        for gate in gates:
            if (got := gate.placing.try_enter(clock.time)) is not None:
                passed(got).leave(ACCEPTED, clock.time)
                sent += 1

    assert 190 <= sent <= 20 * 10 + 2

"""Evidence with a scope: what stops one instrument, what stops all, and who may find out that it is over."""

import pytest

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import NoAnswer, NotSent, Scope, Unknown
from ordertrail.venues.gate.breaker import State
from ordertrail.venues.gate.call_budget import INSTRUMENTS_SHOWN_MAX, CallBudget
from ordertrail.venues.gate.denial import BudgetName, Denied
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.health_signals import HealthSignal
from ordertrail.venues.gate.instruments import INSTRUMENTS_KEPT_MAX, OPEN_FOR_VENUE, USED_SECONDS
from ordertrail.venues.gate.repeats import Repeats
from ordertrail.venues.gate.rules import INSTRUMENT_CALLS_MIN, BreakerRules, GateRules
from tests.support.clocks import ManualClock
from tests.unit.venues.gate.moving import ACCEPTED, SILENCE, TROUBLE, Reported, cause, gate_with, passed, throttled

CLOSED = NotSent("closed")
CLOSED_HERE = NotSent("closed", scope=Scope.INSTRUMENT)
OF_INSTRUMENT = [TROUBLE, Unknown("unreadable"), Unknown("http_503"), CLOSED_HERE]
FRESH_SECONDS = BreakerRules().fresh_seconds


class House:
    """A gate and calls through its budget for placing."""

    def __init__(self, rules: GateRules | None = None) -> None:
        self.clock = ManualClock()
        self.reported = Reported()
        self.gate: Gate = gate_with(self.clock, reported=self.reported, rules=rules)
        self._orders = 0

    def call(self, instrument: str, answer: object, *, order_id: str | None = None, is_resend: bool = False) -> None:
        """One call that must be let through; each is another order if it is not said which."""
        self._orders += 1
        got = self.gate.placing.try_enter(self.clock.time, instrument, is_resend=is_resend)
        passed(got).leave(answer, self.clock.time, order_id or f"order-{self._orders}")

    def shut(self, instrument: str, answer: object = TROUBLE) -> None:
        for _ in range(INSTRUMENT_CALLS_MIN):
            self.call(instrument, answer)

    def denial(self, instrument: str, *, is_resend: bool = False) -> Denied | None:
        return self.gate.placing.denial(self.clock.time, instrument, is_resend=is_resend)

    def is_free(self, *instruments: str) -> list[bool]:
        return [self.denial(instrument) is None for instrument in instruments]

    @property
    def breaker(self) -> State:
        return self.gate.state().budgets[0].breaker


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize("answer", OF_INSTRUMENT)
def test_an_instrument_s_troubles_stop_it_and_no_other(house: House, answer: object) -> None:
    house.call("GOOD", ACCEPTED)

    house.shut("BAD", answer)

    assert house.denial("BAD") == Denied(Cause.CIRCUIT_OPEN, 1)
    assert house.is_free("GOOD", "NEW") == [True, True]
    assert house.breaker is State.CLOSED


def test_seven_troubles_leave_an_instrument_alone(house: House) -> None:
    for _ in range(INSTRUMENT_CALLS_MIN - 1):
        house.call("BAD", TROUBLE)

    assert house.is_free("BAD") == [True]


def test_an_instrument_that_mostly_answers_is_not_stopped(house: House) -> None:
    for number in range(100):
        house.call("SO-SO", TROUBLE if number % 3 == 2 else ACCEPTED)

    assert house.is_free("SO-SO") == [True]


def test_one_good_probe_opens_an_instrument_to_all(house: House) -> None:
    house.shut("BAD")
    house.clock.move(1)

    house.call("BAD", ACCEPTED)

    assert house.is_free("BAD") == [True]
    assert house.reported.instruments == [
        (BudgetName.PLACE, "BAD", State.OPEN),
        (BudgetName.PLACE, "BAD", State.HALF_OPEN),
        (BudgetName.PLACE, "BAD", State.CLOSED),
    ]


def test_an_instrument_is_probed_by_one_at_a_time_and_pauses_grow(house: House) -> None:
    house.shut("BAD")
    house.clock.move(1)
    probe = passed(house.gate.placing.try_enter(house.clock.time, "BAD"))

    assert cause(house.gate.placing.try_enter(house.clock.time, "BAD")) is Cause.CIRCUIT_OPEN
    probe.leave(TROUBLE, house.clock.time, "probe")
    assert house.denial("BAD") == Denied(Cause.CIRCUIT_OPEN, 2)


def test_a_probe_in_an_instrument_that_meets_silence_says_nothing_of_it(house: House) -> None:
    house.shut("BAD")
    house.clock.move(1)

    house.call("BAD", SILENCE)

    assert house.is_free("BAD") == [True]


def test_an_instrument_that_is_throttled_waits_as_long_as_the_exchange_says_and_the_others_go_on(house: House) -> None:
    house.call("BUSY", NotSent("throttled", 7, Scope.INSTRUMENT))

    assert house.denial("BUSY") == Denied(Cause.THROTTLED, 7)
    assert house.is_free("GOOD") == [True]
    house.clock.move(7)
    assert house.is_free("BUSY") == [True]


@pytest.mark.parametrize(("answer", "why"), [(throttled(7), Cause.THROTTLED), (CLOSED, Cause.CIRCUIT_OPEN)])
def test_a_word_without_a_scope_is_the_venue_s(house: House, answer: object, why: Cause) -> None:
    for _ in range(1 if answer == throttled(7) else 20):
        house.call("ANY", answer)

    denied = house.denial("GOOD")
    assert denied is not None
    assert denied.cause is why


def test_of_what_the_venue_and_the_instrument_have_against_an_order_the_longer_is_said(house: House) -> None:
    house.shut("BAD")
    house.call("BUSY", NotSent("throttled", 30, Scope.INSTRUMENT))
    house.call("GOOD", throttled(9))

    assert house.denial("BAD") == Denied(Cause.THROTTLED, 9)
    assert house.denial("BUSY") == Denied(Cause.THROTTLED, 30)


def test_silence_is_the_venue_s(house: House) -> None:
    for _ in range(8):
        house.call("ANY", SILENCE)

    assert house.is_free("GOOD") == [False]


def test_an_answer_about_an_instrument_ends_a_run_of_silences(house: House) -> None:
    for answer in [SILENCE] * 7 + [TROUBLE] + [SILENCE] * 7:
        house.call("ANY", answer)

    assert house.breaker is State.CLOSED


def test_three_open_instruments_speak_of_the_venue(house: House) -> None:
    for number in range(OPEN_FOR_VENUE - 1):
        house.shut(f"BAD-{number}")
    house.call("GOOD", ACCEPTED)
    house.call("GOOD", ACCEPTED)
    before = house.is_free("GOOD", "NEW")

    house.shut("BAD-LAST")

    assert (before, house.is_free("GOOD", "NEW")) == ([True, True], [False, False])
    assert house.reported.changes == [(BudgetName.PLACE, State.OPEN)]


def test_three_open_instruments_beside_many_that_are_well_do_not(house: House) -> None:
    for number in range(OPEN_FOR_VENUE):
        for _ in range(INSTRUMENT_CALLS_MIN + 1):
            house.call("GOOD", ACCEPTED)
        house.shut(f"BAD-{number}")

    assert house.is_free("GOOD") == [True]
    assert house.breaker is State.CLOSED


def test_instruments_that_were_open_long_ago_do_not_speak_of_the_venue(house: House) -> None:
    for number in range(OPEN_FOR_VENUE - 1):
        house.shut(f"BAD-{number}")
    house.clock.move(USED_SECONDS)

    for _ in range(20):
        house.call("GOOD", ACCEPTED)
    house.shut("BAD-LAST")
    for _ in range(3):
        house.call("OTHER", TROUBLE)

    assert house.breaker is State.CLOSED
    assert house.gate.state().budgets[0].instruments_open == 1


def test_an_instrument_counts_as_open_while_it_is_used_or_its_pause_lasts(house: House) -> None:
    house.shut("BRIEF")
    house.call("LONG", NotSent("throttled", 30, Scope.INSTRUMENT))
    numbers = []

    for seconds in (0, 9.9, 0.1, 19.9, 0.1):
        house.clock.move(seconds)
        numbers.append(house.gate.state().budgets[0].instruments_open)

    assert numbers == [2, 2, 1, 1, 0]


def failing_alone(house: House) -> None:
    """Two instruments that are closed, and nothing else: 20 calls in 3 s."""
    for name in ("BAD-0", "BAD-1"):
        house.shut(name, CLOSED_HERE)
    for seconds in (1, 2):
        house.clock.move(seconds)
        for name in ("BAD-0", "BAD-1"):
            house.call(name, CLOSED_HERE)


def test_all_that_are_used_being_open_speaks_of_the_venue(house: House) -> None:
    failing_alone(house)

    assert house.breaker is State.OPEN


def test_an_order_in_another_instrument_takes_that_back_at_once(house: House) -> None:
    failing_alone(house)

    house.call("GOOD", ACCEPTED)
    house.call("GOOD", ACCEPTED)

    assert house.breaker is State.CLOSED


def test_a_probe_in_one_of_those_takes_nothing_back(house: House) -> None:
    failing_alone(house)
    house.clock.move(4)

    passed(house.gate.placing.try_enter(house.clock.time, "BAD-0"))

    assert house.breaker is State.HALF_OPEN


def test_a_throttle_of_the_account_is_not_taken_back_by_another_instrument(house: House) -> None:
    failing_alone(house)
    house.clock.move(4)

    house.call("BAD-0", throttled(9))

    assert house.denial("GOOD") == Denied(Cause.THROTTLED, 9)


def test_an_instrument_that_was_used_within_ten_seconds_speaks_against_it(house: House) -> None:
    house.call("GOOD", ACCEPTED)

    failing_alone(house)

    assert house.breaker is State.CLOSED


def test_an_instrument_that_was_used_longer_ago_does_not(house: House) -> None:
    house.call("GOOD", ACCEPTED)
    house.clock.move(USED_SECONDS)

    failing_alone(house)

    assert house.breaker is State.OPEN


def test_slow_answers_are_the_venue_s_troubles_and_no_instrument_s() -> None:
    house = House(GateRules(placing=BreakerRules(slow_seconds=2)))
    house.call("GOOD", TROUBLE)
    permits = [passed(house.gate.placing.try_enter(house.clock.time, "GOOD")) for _ in range(INSTRUMENT_CALLS_MIN)]
    house.clock.move(2)

    for permit in permits:
        permit.leave(ACCEPTED, house.clock.time)

    state = house.gate.state().budgets[0]
    assert (state.troubles, state.instruments_open) == (INSTRUMENT_CALLS_MIN, 0)


def open_venue(house: House) -> None:
    for _ in range(8):
        house.call("ANY", SILENCE)
    assert house.breaker is State.OPEN


def test_an_instrument_s_trouble_ends_no_probe_of_the_venue(house: House) -> None:
    open_venue(house)
    house.clock.move(1)

    house.call("BAD", CLOSED_HERE)
    for _ in range(3):
        house.call("GOOD", ACCEPTED)

    assert house.breaker is State.CLOSED


def test_a_probe_is_a_fresh_order_while_fresh_orders_come(house: House) -> None:
    open_venue(house)
    house.clock.move(1)

    assert house.denial("GOOD", is_resend=True) == Denied(Cause.CIRCUIT_OPEN, FRESH_SECONDS - 1)
    for _ in range(3):
        house.call("GOOD", ACCEPTED)
    assert house.denial("GOOD", is_resend=True) is None


def test_a_probe_is_a_resend_where_no_fresh_order_comes(house: House) -> None:
    open_venue(house)
    house.clock.move(FRESH_SECONDS)

    house.call("GOOD", ACCEPTED, is_resend=True)

    assert house.breaker is State.HALF_OPEN


def test_a_resend_is_let_through_in_time_even_if_fresh_orders_come_and_none_can_close_the_breaker(house: House) -> None:
    open_venue(house)
    house.clock.move(1)
    waited = 0.0

    while house.denial("GOOD", is_resend=True) is not None and waited < 60:
        passed(house.gate.placing.try_enter(house.clock.time, "GOOD")).leave(None, house.clock.time)
        house.clock.move(0.5)
        waited += 0.5

    assert waited == FRESH_SECONDS


def test_resends_go_while_all_is_well_however_many_fresh_orders_come(house: House) -> None:
    for _ in range(100):
        house.call("GOOD", ACCEPTED)

        house.call("GOOD", ACCEPTED, is_resend=True)


def test_a_fresh_order_in_an_instrument_that_is_stopped_keeps_no_resend_waiting(house: House) -> None:
    house.call("BAD", NotSent("throttled", 30, Scope.INSTRUMENT))
    open_venue(house)
    house.clock.move(FRESH_SECONDS - 1)
    assert cause(house.gate.placing.try_enter(house.clock.time, "BAD")) is Cause.THROTTLED
    house.clock.move(1)

    assert house.denial("GOOD", is_resend=True) is None


def test_a_resend_is_no_probe_of_its_instrument_while_fresh_orders_come_in_that(house: House) -> None:
    house.shut("BAD")
    house.clock.move(1)
    house.call("GOOD", ACCEPTED)

    assert house.is_free("BAD") == [True]
    assert house.denial("BAD", is_resend=True) == Denied(Cause.CIRCUIT_OPEN, FRESH_SECONDS - 1)
    house.clock.move(FRESH_SECONDS - 1)
    house.call("GOOD", ACCEPTED)
    assert house.denial("BAD", is_resend=True) is None


@pytest.mark.parametrize("answer", [TROUBLE, SILENCE, CLOSED, CLOSED_HERE])
def test_the_same_answer_to_the_same_order_counts_once(house: House, answer: object) -> None:
    for _ in range(100):
        house.call("BAD", answer, order_id="the-same")

    assert house.is_free("BAD", "GOOD") == [True, True]


def test_another_answer_to_the_same_order_counts_and_so_does_the_same_after_the_window(house: House) -> None:
    for answer in (SILENCE, SILENCE, TROUBLE, TROUBLE, ACCEPTED):
        house.call("BAD", answer, order_id="the-same")
    house.clock.move(9.9)
    house.call("BAD", SILENCE, order_id="the-same")
    before = house.gate.state().budgets[0]

    house.clock.move(0.1)
    house.call("BAD", SILENCE, order_id="the-same")

    after = house.gate.state().budgets[0]
    assert (before.calls, before.troubles) == (3, 1)
    assert after.troubles == 1 + (after.calls > 1)


@pytest.mark.parametrize("scope", Scope)
def test_one_order_that_is_throttled_again_and_again_is_one_of_the_three_it_takes(scope: Scope) -> None:
    house = House(GateRules(placing=BreakerRules(throttles_to_back_off=3)))
    for order_id in ("one", "one", "one", "two", "two", "one"):
        house.call("BUSY", NotSent("throttled", 2, scope), order_id=order_id)

    house.call("BUSY", NotSent("throttled", 2, scope), order_id="three")

    assert house.denial("BUSY") == Denied(Cause.THROTTLED, 2)


def test_a_repeated_throttle_counts_once_on_the_way_in_and_is_obeyed_each_time_once_backed_off(house: House) -> None:
    house.call("ANY", throttled(2), order_id="the-same")
    house.clock.move(FRESH_SECONDS)

    house.call("ANY", throttled(9), order_id="the-same", is_resend=True)

    assert house.denial("GOOD") == Denied(Cause.THROTTLED, 9)


def test_queries_that_one_instrument_s_orders_spoil_leave_the_others_free(house: House) -> None:
    querying = house.gate.querying
    passed(querying.try_enter(house.clock.time, "GOOD")).leave(ACCEPTED, house.clock.time, "good")
    for number in range(40):
        got = querying.try_enter(house.clock.time, "BAD")
        if not isinstance(got, Denied):
            passed(got).leave(NoAnswer("http_500"), house.clock.time, f"order-{number}")

    assert querying.denial(house.clock.time, "GOOD") is None
    assert querying.denial(house.clock.time, "BAD") is not None
    assert house.gate.placing.denial(house.clock.time, "BAD") is None


def test_errors_of_calls_about_no_instrument_are_the_venue_s(house: House) -> None:
    querying = house.gate.querying
    for _ in range(20):
        passed(querying.try_enter(house.clock.time)).leave(NoAnswer("unreadable"), house.clock.time)

    assert querying.denial(house.clock.time, "GOOD") is not None


def kept(budget: CallBudget) -> dict[str, object]:
    return dict(budget._instruments.by_name)


def test_a_million_instruments_cost_bounded_memory_and_the_least_recently_used_go(house: House) -> None:
    house.call("OLD", ACCEPTED)
    for number in range(20_000):
        house.clock.move(0.001)
        house.call(f"I-{number}", TROUBLE if number % 2 else ACCEPTED)
        if number % 100 == 0:
            house.call("USED", ACCEPTED)

    names = kept(house.gate.placing)
    assert len(names) <= INSTRUMENTS_KEPT_MAX
    assert "OLD" not in names
    assert {"USED", "I-19999"} <= set(names)


def test_an_instrument_that_is_forgotten_while_a_call_is_under_way_is_not_shown(house: House) -> None:
    permits = [passed(house.gate.placing.try_enter(house.clock.time, "BAD")) for _ in range(INSTRUMENT_CALLS_MIN)]
    for number in range(INSTRUMENTS_KEPT_MAX):
        house.clock.move(0.001)
        passed(house.gate.placing.try_enter(house.clock.time, f"I-{number}")).leave(None, house.clock.time)

    for number, permit in enumerate(permits):
        permit.leave(TROUBLE, house.clock.time, f"order-{number}")

    assert house.gate.state().budgets[0].instruments_open == 0
    assert house.reported.instruments == []


def test_an_instrument_that_is_forgotten_is_open_no_more(house: House) -> None:
    house.call("BAD", NotSent("throttled", 30, Scope.INSTRUMENT))
    for number in range(INSTRUMENTS_KEPT_MAX):
        house.clock.move(0.001)
        house.call(f"I-{number}", ACCEPTED)

    assert house.gate.state().budgets[0].instruments_open == 0
    assert house.is_free("BAD") == [True]


def test_what_was_counted_anew_is_the_last_to_be_forgotten() -> None:
    repeats = Repeats(10, remembered_max=2)
    for order_id, now in (("again", 0), ("once", 5), ("again", 10), ("new", 11)):
        assert not repeats.is_repeat(order_id, HealthSignal.SILENCE, now)

    assert repeats.is_repeat("again", HealthSignal.SILENCE, 12)
    assert not repeats.is_repeat("once", HealthSignal.SILENCE, 12)


def test_repeats_are_remembered_up_to_a_bound() -> None:
    repeats = Repeats(10, remembered_max=3)
    for number in range(4):
        assert not repeats.is_repeat(f"order-{number}", HealthSignal.SILENCE, 0)

    assert repeats.is_repeat("order-1", HealthSignal.SILENCE, 9.9)
    assert not repeats.is_repeat("order-0", HealthSignal.SILENCE, 9.9)
    assert not repeats.is_repeat("order-3", HealthSignal.SILENCE, 10)


def test_open_instruments_are_shown_to_people_up_to_a_bound(house: House) -> None:
    house.clock.move(100)
    for number in range(INSTRUMENTS_SHOWN_MAX + 5):
        for _ in range(30):
            house.call("GOOD", ACCEPTED)
        house.shut(f"BAD-{number:02}")

    placing = house.gate.state().budgets[0]

    assert placing.instruments_open == INSTRUMENTS_SHOWN_MAX + 5
    assert [each.instrument for each in placing.open_instruments] == [
        f"BAD-{number:02}" for number in range(INSTRUMENTS_SHOWN_MAX)
    ]
    assert (placing.open_instruments[0].breaker, placing.open_instruments[0].denied_seconds) == (State.OPEN, 1)

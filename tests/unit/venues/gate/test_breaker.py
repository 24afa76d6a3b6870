"""When the breaker opens, whom it lets through, and when it closes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.domain.venue_answer import Absent, NoAnswer, NotSent, Scope, Unknown
from ordertrail.venues.gate.breaker import Breaker, Reach, State
from ordertrail.venues.gate.health_signals import HealthSignal, health_signal_of, retry_after_of
from ordertrail.venues.gate.rules import BreakerRules
from ordertrail.venues.gate.window import Window
from tests.unit.venues.gate.moving import ACCEPTED, NO_ANSWER, REFUSED, SILENCE, TROUBLE, throttled

RULES = BreakerRules()
START = 1000.0


def breaker(rules: BreakerRules = RULES, chance: float = 0.0) -> Breaker:
    return Breaker(rules, chance=lambda: chance, on_change=lambda state: None)


def call(
    it: Breaker, signal: HealthSignal, now: float, took_seconds: float = 0.005, reach: Reach = Reach.INSTRUMENT
) -> None:
    assert it.wait_seconds(now) == 0
    it.leave(it.enter(now), signal, now=now, took_seconds=took_seconds, reach=reach)


def opened(rules: BreakerRules = RULES, chance: float = 0.0) -> Breaker:
    it = breaker(rules, chance)
    for _ in range(rules.silences_in_a_row):
        call(it, HealthSignal.SILENCE, START)
    assert it.state is State.OPEN
    return it


def test_answers_without_use_are_troubles_and_a_no_is_not() -> None:
    signals = [
        health_signal_of(answer) for answer in (ACCEPTED, REFUSED, TROUBLE, SILENCE, NO_ANSWER, throttled(1), None)
    ]

    assert signals == [
        HealthSignal.HEALTHY,
        HealthSignal.HEALTHY,
        HealthSignal.INSTRUMENT_TROUBLE,
        HealthSignal.SILENCE,
        HealthSignal.SILENCE,
        HealthSignal.THROTTLED,
        HealthSignal.NOTHING,
    ]


@pytest.mark.parametrize(
    ("answer", "signal"),
    [
        (Unknown("differs_at_exchange"), HealthSignal.HEALTHY),
        (Unknown("http_429"), HealthSignal.THROTTLED),
        (NoAnswer("http_429"), HealthSignal.THROTTLED),
        (NotSent("connect_failed"), HealthSignal.SILENCE),
        (NotSent("connect_timeout"), HealthSignal.SILENCE),
        (Unknown("connection_lost"), HealthSignal.SILENCE),
        (NotSent("closed"), HealthSignal.TROUBLE),
        (NotSent("closed", scope=Scope.INSTRUMENT), HealthSignal.INSTRUMENT_TROUBLE),
        (NotSent("throttled", 3, Scope.INSTRUMENT), HealthSignal.INSTRUMENT_THROTTLED),
        (NotSent("an_adapter_s_own", scope=Scope.INSTRUMENT), HealthSignal.INSTRUMENT_TROUBLE),
        (Unknown("exchange_broken"), HealthSignal.TROUBLE),
        (Unknown("unreadable"), HealthSignal.INSTRUMENT_TROUBLE),
        (NoAnswer("http_500"), HealthSignal.INSTRUMENT_TROUBLE),
        (NotSent("send_window_passed"), HealthSignal.NOTHING),
        (Absent(), HealthSignal.HEALTHY),
    ],
)
def test_the_cause_reports_how_the_exchange_does(answer: object, signal: HealthSignal) -> None:
    assert health_signal_of(answer) is signal


def test_only_a_call_that_was_not_sent_reports_when_the_exchange_wants_the_next() -> None:
    assert retry_after_of(throttled(7)) == 7
    assert retry_after_of(Unknown("http_429")) is None


def test_half_of_twenty_calls_in_trouble_open_it() -> None:
    it = breaker()
    for _ in range(10):
        call(it, HealthSignal.HEALTHY, START)
    for _ in range(9):
        call(it, HealthSignal.TROUBLE, START)

    state_before = it.state
    call(it, HealthSignal.TROUBLE, START)

    assert (state_before, it.state) == (State.CLOSED, State.OPEN)


def test_less_than_half_in_trouble_leave_it_closed() -> None:
    it = breaker()

    for number in range(1000):
        call(it, HealthSignal.TROUBLE if number % 20 >= 11 else HealthSignal.HEALTHY, START + number / 1000)

    assert it.is_closed


def test_nineteen_troubles_alone_prove_nothing() -> None:
    it = breaker()

    for _ in range(19):
        call(it, HealthSignal.TROUBLE, START)

    assert it.is_closed


def test_troubles_older_than_the_window_do_not_count() -> None:
    it = breaker()
    for _ in range(19):
        call(it, HealthSignal.TROUBLE, START)

    call(it, HealthSignal.TROUBLE, START + RULES.window_seconds + 0.1)

    assert it.is_closed
    assert it.counts(START + RULES.window_seconds + 0.1) == (1, 1)


def test_eight_silences_in_a_row_open_it_however_slowly_they_come() -> None:
    it = breaker()
    for number in range(7):
        call(it, HealthSignal.SILENCE, START + 60 * number)

    state_before = it.state
    call(it, HealthSignal.SILENCE, START + 60 * 7)

    assert (state_before, it.state) == (State.CLOSED, State.OPEN)


@pytest.mark.parametrize("answer", [HealthSignal.HEALTHY, HealthSignal.TROUBLE])
def test_any_answer_ends_a_run_of_silences(answer: HealthSignal) -> None:
    it = breaker()

    for signal in [HealthSignal.SILENCE] * 7 + [answer] + [HealthSignal.SILENCE] * 7:
        call(it, signal, START)

    assert it.is_closed


@pytest.mark.parametrize("reach", [Reach.ALL_IN_USE, Reach.VENUE])
def test_troubles_of_instruments_count_once_they_speak_of_the_venue(reach: Reach) -> None:
    it = breaker()
    for _ in range(10):
        call(it, HealthSignal.HEALTHY, START)
    for _ in range(9):
        call(it, HealthSignal.INSTRUMENT_TROUBLE, START)

    state_before = it.state
    call(it, HealthSignal.INSTRUMENT_THROTTLED, START, reach=reach)

    assert (state_before, it.state, it.counts(START)) == (State.CLOSED, State.OPEN, (20, 0))
    assert it.rests_on_all_in_use is (reach is Reach.ALL_IN_USE)


def test_troubles_of_instruments_that_are_older_than_the_window_do_not_count() -> None:
    it = breaker()
    for _ in range(30):
        call(it, HealthSignal.INSTRUMENT_TROUBLE, START)
    call(it, HealthSignal.HEALTHY, START + RULES.window_seconds / 2)
    for _ in range(11):
        call(it, HealthSignal.HEALTHY, START + RULES.window_seconds + 0.1)

    for _ in range(10):
        call(it, HealthSignal.INSTRUMENT_TROUBLE, START + RULES.window_seconds + 0.1, reach=Reach.VENUE)

    assert it.is_closed


def test_the_venue_s_own_troubles_open_it_for_themselves() -> None:
    it = breaker()

    for _ in range(20):
        call(it, HealthSignal.TROUBLE, START, reach=Reach.ALL_IN_USE)

    assert (it.state, it.rests_on_all_in_use) == (State.OPEN, False)


def test_a_probe_that_meets_trouble_of_all_instruments_opens_it_again() -> None:
    it = opened()

    call(it, HealthSignal.INSTRUMENT_TROUBLE, START + 1)
    state_before = it.state
    call(it, HealthSignal.INSTRUMENT_TROUBLE, START + 1, reach=Reach.VENUE)

    assert (state_before, it.state, it.wait_seconds(START + 1)) == (State.HALF_OPEN, State.OPEN, 2)


def test_a_run_of_silences_at_high_rates_is_chance() -> None:
    it = breaker()
    for _ in range(100):
        call(it, HealthSignal.HEALTHY, START)

    for _ in range(20):
        call(it, HealthSignal.SILENCE, START)

    assert it.is_closed


def test_calls_given_up_on_our_side_count_for_nothing() -> None:
    it = breaker()

    for _ in range(100):
        call(it, HealthSignal.NOTHING, START)

    assert it.counts(START) == (0, 0)


def test_slow_answers_are_troubles_where_that_is_set() -> None:
    tolerant, strict = breaker(), breaker(BreakerRules(slow_seconds=2))

    for it in (tolerant, strict):
        for _ in range(19):
            call(it, HealthSignal.HEALTHY, START, took_seconds=2)
        it.leave(it.enter(START), HealthSignal.HEALTHY, now=START, took_seconds=2)
        it.leave(it.enter(START), HealthSignal.TROUBLE, now=START, took_seconds=1)

    assert (tolerant.state, strict.state) == (State.CLOSED, State.OPEN)


def test_quick_answers_are_no_troubles_where_slow_ones_are() -> None:
    it = breaker(BreakerRules(slow_seconds=2))

    for _ in range(30):
        call(it, HealthSignal.HEALTHY, START, took_seconds=1.9)

    assert it.counts(START) == (30, 0)


def test_slow_silences_are_silences_still() -> None:
    it = breaker(BreakerRules(slow_seconds=2))

    for _ in range(8):
        call(it, HealthSignal.SILENCE, START, took_seconds=5)

    assert it.state is State.OPEN


def test_what_is_reported_the_window_is_as_young_as_the_window() -> None:
    it = breaker()
    call(it, HealthSignal.TROUBLE, START)

    assert it.counts(START + RULES.window_seconds / 2) == (1, 1)
    assert it.counts(START + 2 * RULES.window_seconds) == (0, 0)


def test_states_have_these_names() -> None:
    assert [state.value for state in State] == ["closed", "half_open", "throttled", "open"]


def test_it_stays_open_for_its_pause() -> None:
    it = opened()

    assert it.wait_seconds(START) == pytest.approx(1)
    assert it.wait_seconds(START + 0.999) > 0
    assert it.wait_seconds(START + 1) == 0


def test_of_fifty_callers_one_probes() -> None:
    it = opened()
    now = START + 1

    through = [it.enter(now) for _ in range(50) if it.wait_seconds(now) == 0]

    assert len(through) == 1
    assert it.state is State.HALF_OPEN


def test_three_successful_probes_close_it() -> None:
    it = opened()
    states = []

    for number in range(3):
        call(it, HealthSignal.HEALTHY, START + 1 + number)
        states.append(it.state)

    assert states == [State.HALF_OPEN, State.HALF_OPEN, State.CLOSED]


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_thirty_seconds() -> None:
    it = opened()
    now = START
    pauses = []

    for _ in range(8):
        pauses.append(it.wait_seconds(now))
        now += pauses[-1]
        call(it, HealthSignal.SILENCE, now)

    assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])


def test_jitter_shortens_a_pause_by_a_quarter_at_the_most() -> None:
    it = opened(chance=1.0)

    assert it.wait_seconds(START) == pytest.approx(0.75)


def test_a_probe_given_up_on_our_side_makes_room_for_the_next() -> None:
    it = opened()
    now = START + 1

    call(it, HealthSignal.NOTHING, now)

    assert it.state is State.HALF_OPEN
    assert it.wait_seconds(now) == 0


def test_a_lost_probe_does_not_keep_it_half_open_for_ever() -> None:
    it = opened()
    lost = it.enter(START + 1)

    later = START + 1 + RULES.probe_seconds_max
    waited = it.wait_seconds(later - 0.1), it.wait_seconds(later)
    second = it.enter(later)
    it.leave(lost, HealthSignal.SILENCE, now=later, took_seconds=60)

    assert waited[0] > 0 and waited[1] == 0
    assert it.state is State.HALF_OPEN
    it.leave(second, HealthSignal.HEALTHY, now=later, took_seconds=0)
    assert it.state is State.HALF_OPEN


def test_answers_to_calls_from_before_it_opened_change_nothing() -> None:
    it = breaker()
    old = [it.enter(START) for _ in range(50)]
    for _ in range(8):
        call(it, HealthSignal.SILENCE, START)
    wait = it.wait_seconds(START)

    for turn in old[:20]:
        it.leave(turn, HealthSignal.SILENCE, now=START + 0.5, took_seconds=0.5)
    wait_then = it.wait_seconds(START)
    probe = it.enter(START + 1)
    for turn in old[20:30]:
        it.leave(turn, HealthSignal.HEALTHY, now=START + 1, took_seconds=1)
    is_still_probing = it.state is State.HALF_OPEN and it.wait_seconds(START + 1) > 0
    it.leave(probe, HealthSignal.HEALTHY, now=START + 1, took_seconds=0)
    for _ in range(2):
        call(it, HealthSignal.HEALTHY, START + 2)
    for turn in old[30:]:
        it.leave(turn, HealthSignal.SILENCE, now=START + 5, took_seconds=5)

    assert wait_then == wait
    assert is_still_probing
    assert it.is_closed and it.counts(START + 5) == (0, 0)


def test_an_exchange_that_fails_every_second_call_does_not_make_it_flap() -> None:
    changes: list[State] = []
    it = Breaker(RULES, chance=lambda: 0.0, on_change=changes.append)
    now, number, sent = START, 0, 0

    while now < START + 600:
        if it.wait_seconds(now) == 0:
            call(it, HealthSignal.HEALTHY if number % 2 else HealthSignal.SILENCE, now)
            number += 1
            sent += 1
        now += 0.01

    assert changes.count(State.CLOSED) == 0
    assert sent < 20 + 2 * 600 / 15


def test_pauses_go_on_growing_if_it_opens_again_soon_after_it_closed() -> None:
    it = opened()
    for _ in range(3):
        call(it, HealthSignal.HEALTHY, START + 1)
    for _ in range(8):
        call(it, HealthSignal.SILENCE, START + 20)

    assert it.wait_seconds(START + 20) == pytest.approx(2)


def test_pauses_begin_anew_after_a_long_health() -> None:
    it = opened()
    for _ in range(3):
        call(it, HealthSignal.HEALTHY, START + 1)
    for _ in range(8):
        call(it, HealthSignal.SILENCE, START + 100)

    assert it.wait_seconds(START + 100) == pytest.approx(1)


def test_throttled_it_holds_for_as_long_as_the_exchange_says() -> None:
    it = breaker()

    it.back_off(START, 7)

    assert it.state is State.THROTTLED and it.is_throttled
    assert it.wait_seconds(START) == 7
    assert it.wait_seconds(START + 7) == 0


def test_the_longest_wish_of_many_throttled_calls_holds() -> None:
    it = breaker()

    for seconds in (2, 7, 3, None):
        it.back_off(START, seconds)

    assert it.wait_seconds(START) == 7


def test_after_a_back_off_one_call_tries_and_its_answer_lets_all_pass() -> None:
    it = breaker()
    it.back_off(START, 2)
    trial = it.enter(START + 2)

    wait_meanwhile = it.wait_seconds(START + 2)
    it.leave(trial, HealthSignal.HEALTHY, now=START + 2, took_seconds=0)

    assert wait_meanwhile > 0
    assert it.is_closed and not it.is_throttled


def test_many_calls_throttled_at_once_without_a_time_are_one_wish() -> None:
    it = breaker()

    for _ in range(50):
        it.back_off(START, None)

    assert it.wait_seconds(START) == 1


def test_troubles_add_up_across_back_offs() -> None:
    it = breaker()
    for number in range(5):
        for _ in range(4):
            if it.is_closed:
                call(it, HealthSignal.TROUBLE, START + number)
        if it.is_closed:
            it.back_off(START + number, 0)
            call(it, HealthSignal.HEALTHY, START + number)

    assert it.state is State.OPEN


def test_back_offs_without_a_time_grow_until_a_call_is_answered() -> None:
    it = breaker()
    now = START
    holds = []

    for _ in range(8):
        it.enter(now)
        it.back_off(now, None)
        holds.append(it.wait_seconds(now))
        now += holds[-1]
    call(it, HealthSignal.HEALTHY, now)
    it.back_off(now, None)

    assert holds == [1, 2, 4, 8, 16, 32, 60, 60]
    assert it.wait_seconds(now) == 1


def test_no_wish_holds_longer_than_the_longest_back_off() -> None:
    it = breaker()

    it.back_off(START, 86_400)

    assert it.wait_seconds(START) == RULES.throttle_seconds_max


def test_a_throttled_probe_still_needs_three_successes() -> None:
    it = opened()
    it.enter(START + 1)
    it.back_off(START + 1, 1)
    states = []

    for _ in range(3):
        call(it, HealthSignal.HEALTHY, START + 2)
        states.append(it.state)

    assert states == [State.HALF_OPEN, State.HALF_OPEN, State.CLOSED]


def test_a_throttled_call_does_not_shorten_an_open_pause() -> None:
    it = opened()

    it.back_off(START, 0)

    assert it.state is State.OPEN
    assert it.wait_seconds(START) == pytest.approx(1)


def test_the_window_keeps_the_last_of_a_bucket_as_long_as_it_is_young() -> None:
    window = Window(10)
    window.add(START, is_trouble=False)
    window.add(START + 0.9, is_trouble=True)

    window.move_to(START + 9.85)

    assert window.troubles == 1


@given(
    st.sampled_from([10, 30]),
    st.lists(st.tuples(st.one_of(st.floats(0, 0.4), st.floats(0, 1.2)), st.booleans()), max_size=200),
)
def test_the_window_counts_what_is_young_and_nothing_that_is_old(seconds: int, steps: list[tuple[float, bool]]) -> None:
    window = Window(seconds)
    now, calls = START, []

    for share, is_trouble in steps:
        now += share * seconds
        calls.append((now, is_trouble))
        window.add(now, is_trouble=is_trouble)

        young = sum(at > now - 0.9 * seconds + 1e-6 for at, _ in calls)
        not_old = sum(at > now - seconds - 1e-6 for at, _ in calls)
        assert young <= window.calls <= not_old
        assert sum(bad for at, bad in calls if at > now - 0.9 * seconds + 1e-6) <= window.troubles <= window.calls


@given(st.lists(st.tuples(st.sampled_from(list(HealthSignal)), st.floats(0, 5), st.booleans()), max_size=300))
def test_whatever_happens_one_probe_at_a_time_and_a_healthy_exchange_is_let_back(
    steps: list[tuple[HealthSignal, float, bool]],
) -> None:
    it = breaker(BreakerRules(probe_seconds_max=1e9))
    now = START
    probes: set[int] = set()
    others: list[int] = []

    def leave(turn: int, signal: HealthSignal) -> None:
        probes.discard(turn)
        if signal is HealthSignal.THROTTLED:
            it.back_off(now, None)
        else:
            it.leave(turn, signal, now=now, took_seconds=0)

    for signal, gap, is_new in steps:
        now += gap
        if is_new and it.wait_seconds(now) == 0:
            was_closed = it.is_closed
            turn = it.enter(now)
            if was_closed:
                others.append(turn)
            else:
                probes.add(turn)
                assert sum(probe == max(probes) for probe in probes) == 1
                assert it.wait_seconds(now) > 0
        elif others:
            leave(others.pop(0), signal)
        elif probes:
            leave(min(probes), signal)
    for turn in [*others, *probes]:
        leave(turn, HealthSignal.NOTHING)

    now += 60
    for _ in range(3):
        if not it.is_closed:
            call(it, HealthSignal.HEALTHY, now)

    assert it.is_closed


def test_a_throttled_order_among_answered_ones_holds_nobody_back() -> None:
    it = breaker(BreakerRules(throttles_to_back_off=3))

    for _ in range(5):
        it.back_off(START, 7)
        it.back_off(START, 7)
        assert it.is_closed
        it.leave(it.enter(START), HealthSignal.HEALTHY, now=START, took_seconds=0)

    assert it.is_closed


def test_throttled_orders_from_before_it_opened_hold_nobody_back_after_it_closed() -> None:
    it = breaker(BreakerRules(throttles_to_back_off=3))
    it.back_off(START, 7)
    it.back_off(START, 7)
    for _ in range(8):
        call(it, HealthSignal.SILENCE, START)
    for _ in range(3):
        call(it, HealthSignal.HEALTHY, START + 1)

    it.back_off(START + 1, 7)
    it.back_off(START + 1, 7)

    assert it.is_closed


def test_trouble_after_a_back_off_opens_it_as_any_trouble_does() -> None:
    it = breaker()
    it.back_off(START, 1)
    call(it, HealthSignal.TROUBLE, START + 1)
    opened_state, is_throttled = it.state, it.is_throttled
    states = []

    for _ in range(3):
        call(it, HealthSignal.HEALTHY, START + 2)
        states.append(it.state)

    assert (opened_state, is_throttled) == (State.OPEN, False)
    assert states == [State.HALF_OPEN, State.HALF_OPEN, State.CLOSED]


def test_a_back_off_after_a_long_health_begins_pauses_anew_too() -> None:
    it = opened()
    for _ in range(3):
        call(it, HealthSignal.HEALTHY, START + 1)
    later = START + 1 + RULES.pause_seconds_max

    it.back_off(later, 1)
    call(it, HealthSignal.TROUBLE, later + 1)

    assert it.wait_seconds(later + 1) == RULES.pause_seconds


def test_throttled_orders_in_a_row_back_off_the_call_budget() -> None:
    it = breaker(BreakerRules(throttles_to_back_off=3))

    for _ in range(3):
        it.back_off(START, 7)

    assert it.state is State.THROTTLED
    assert it.wait_seconds(START) == 7

"""Whatever is sent, answered and sent again: few instruments harm no other, and what is over is found out."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.domain.venue_answer import NotSent, Scope, Unknown
from ordertrail.venues.gate.breaker import State
from ordertrail.venues.gate.call_budget import Permit
from ordertrail.venues.gate.denial import Denied
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.instruments import OPEN_FOR_VENUE, Instrument, Instruments
from ordertrail.venues.gate.rules import BreakerRules, GateRules
from tests.support.clocks import ManualClock
from tests.unit.venues.gate.moving import ACCEPTED, REFUSED, SILENCE, TROUBLE, gate_with, throttled

OF_INSTRUMENT = (
    TROUBLE,
    Unknown("unreadable"),
    Unknown("http_503"),
    NotSent("closed", scope=Scope.INSTRUMENT),
    NotSent("throttled", 1, Scope.INSTRUMENT),
    NotSent("throttled", 90, Scope.INSTRUMENT),
)
OF_VENUE = (SILENCE, NotSent("closed"), throttled(1), throttled(None), NotSent("connect_failed"), None)
BAD = [f"BAD-{number}" for number in range(OPEN_FOR_VENUE - 1)]
GOOD = ["GOOD-0", "GOOD-1", "GOOD-2"]
MIXED = [*BAD, *GOOD]
RULES = (GateRules(), GateRules(placing=BreakerRules(throttles_to_back_off=3)))
# Back-off, pause, and what is left to fresh orders, at their longest; three probes, each a second after the other.
FREE_AGAIN_SECONDS = 60 + 30 + 5 + 3


@dataclass
class World:
    """A gate, and calls under way."""

    rules: GateRules
    clock: ManualClock = field(default_factory=ManualClock)
    under_way: list[tuple[Permit, str, object]] = field(default_factory=list)
    orders: int = 0

    def __post_init__(self) -> None:
        self.gate: Gate = gate_with(self.clock, rules=self.rules)

    def begin(self, instrument: str, answer: object, number: int | None, *, is_resend: bool) -> bool:
        """Whether the call was let through; its answer comes when it is let go of."""
        self.orders += 1
        got = self.gate.placing.try_enter(self.clock.time, instrument, is_resend=is_resend)
        if isinstance(got, Permit):
            order_id = f"new-{self.orders}" if number is None else f"{instrument}-{number}"
            self.under_way.append((got, order_id, answer))
        return isinstance(got, Permit)

    def let_go(self, number: int) -> None:
        if self.under_way:
            permit, order_id, answer = self.under_way.pop(number % len(self.under_way))
            permit.leave(answer, self.clock.time, order_id)

    @property
    def in_flight(self) -> int:
        return self.gate.state().budgets[0].in_flight


@dataclass(frozen=True)
class Step:
    """So much time passes, an order is sent, and so many of those under way are answered."""

    seconds: float
    instrument: str
    number: int | None
    is_resend: bool
    answer: object
    answered: int


def steps(instruments: list[str], answers: tuple[object, ...]) -> st.SearchStrategy[list[Step]]:
    return st.lists(
        st.builds(
            Step,
            seconds=st.sampled_from([0.0, 0.0, 0.01, 0.5, 1.0, 3.0, 11.0, 40.0]),
            instrument=st.sampled_from(instruments),
            number=st.none() | st.integers(0, 2),
            is_resend=st.booleans(),
            answer=st.sampled_from(answers),
            answered=st.integers(0, 3),
        ),
        max_size=120,
    )


def take(world: World, step: Step, answer: object) -> bool:
    world.clock.move(step.seconds)
    is_through = world.begin(step.instrument, answer, step.number, is_resend=step.is_resend)
    for number in range(step.answered):
        world.let_go(number)
    return is_through


@pytest.mark.parametrize("rules", RULES)
@given(steps=steps(MIXED, (*OF_INSTRUMENT, *OF_INSTRUMENT, ACCEPTED, REFUSED)))
def test_two_instruments_however_bad_keep_no_order_in_another_waiting(rules: GateRules, steps: list[Step]) -> None:
    world = World(rules)

    for step in steps:
        is_good = step.instrument in GOOD
        was_denied = world.gate.placing.denial(world.clock.time + step.seconds, step.instrument, is_resend=True)

        is_through = take(world, step, ACCEPTED if is_good else step.answer)

        assert not is_good or (is_through and was_denied is None)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("resends", [(False,), (True,), (False, True)])
@given(steps=steps(MIXED, (*OF_INSTRUMENT, *OF_VENUE, ACCEPTED)))
def test_once_all_is_well_every_order_goes_again_in_time(
    rules: GateRules, resends: tuple[bool, ...], steps: list[Step]
) -> None:
    world = World(rules)
    for step in steps:
        take(world, step, step.answer)
    while world.under_way:
        world.let_go(0)

    for _ in range(FREE_AGAIN_SECONDS):
        world.clock.move(1)
        for instrument in MIXED:
            for is_resend in resends:
                world.begin(instrument, ACCEPTED, None, is_resend=is_resend)
                world.let_go(0)

    state = world.gate.state().budgets[0]
    assert (state.breaker, state.instruments_open, state.in_flight) == (State.CLOSED, 0, 0)
    for instrument in (*MIXED, "NEW"):
        assert world.begin(instrument, ACCEPTED, None, is_resend=True)


@given(steps=steps(MIXED, (*OF_INSTRUMENT, *OF_VENUE, ACCEPTED)))
def test_who_is_let_through_leaves_and_a_denial_says_when_to_come_back(steps: list[Step]) -> None:
    world = World(GateRules())

    for step in steps:
        take(world, step, step.answer)
        denied = world.gate.placing.denial(world.clock.time, step.instrument, is_resend=step.is_resend)

        assert world.in_flight == len(world.under_way)
        if isinstance(denied, Denied):
            assert denied.retry_after_seconds is not None
            assert 0 < denied.retry_after_seconds <= BreakerRules().throttle_seconds_max
        if step.is_resend and denied is None:
            assert world.gate.placing.denial(world.clock.time, step.instrument) is None, "a fresh order may do no less"


@given(steps=steps(MIXED, (*OF_INSTRUMENT, *OF_VENUE, ACCEPTED)))
def test_equal_calls_are_decided_equally(steps: list[Step]) -> None:
    one, other = World(GateRules()), World(GateRules())

    decided = [[take(world, step, step.answer) for step in steps] for world in (one, other)]

    assert decided[0] == decided[1]
    assert one.gate.state() == other.gate.state()


@given(
    names=st.lists(st.integers(0, 30), max_size=200),
    kept_max=st.integers(1, 12),
)
def test_the_table_never_grows_beyond_its_bound_and_keeps_the_last_used(names: list[int], kept_max: int) -> None:
    table = Instruments(BreakerRules(), chance=lambda: 0.0, on_change=lambda name, state: None, kept_max=kept_max)
    last_used: list[str] = []

    for now, name in enumerate(map(str, names)):
        used: Instrument = table.by_name.get(name) or table.add(name)
        used.used_at = now
        last_used = [each for each in last_used if each != name] + [name]

        # One in eight is forgotten at a time, so all but that share of the newest are there.
        assert len(table.by_name) <= kept_max
        assert set(last_used[-(kept_max - max(kept_max // 8, 1) + 1) :]) <= set(table.by_name)

"""A gate in a test's hands: what the exchange answers, and a record of what the gate told its metrics."""

from dataclasses import dataclass, field

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import Accepted, NoAnswer, NotSent, Refused, Unknown
from ordertrail.venues.gate.breaker import State
from ordertrail.venues.gate.call_budget import Permit
from ordertrail.venues.gate.denial import BudgetName, Denied
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.limits import CallBudgetLimits, GateLimits
from ordertrail.venues.gate.rules import GateRules
from tests.support.clocks import ManualClock

ACCEPTED = Accepted("E1")
REFUSED = Refused("price_out_of_range")
TROUBLE = Unknown("http_500")
SILENCE = Unknown("timeout")
NO_ANSWER = NoAnswer("timeout")


def throttled(seconds: float | None) -> NotSent:
    return NotSent("throttled", seconds)


@dataclass
class Reported:
    """What the gate told its metrics."""

    refusals: list[tuple[BudgetName, Cause]] = field(default_factory=list)
    changes: list[tuple[BudgetName, State]] = field(default_factory=list)
    instruments: list[tuple[BudgetName, str, State]] = field(default_factory=list)

    def refused(self, budget: BudgetName, cause: Cause) -> None:
        self.refusals.append((budget, cause))

    def changed(self, budget: BudgetName, state: State) -> None:
        self.changes.append((budget, state))

    def instrument_changed(self, budget: BudgetName, instrument: str, state: State) -> None:
        self.instruments.append((budget, instrument, state))


def gate_with(
    clock: ManualClock,
    *,
    in_flight_max: int = 100,
    per_second: float = 0,
    waiting_max: int = 100,
    rules: GateRules | None = None,
    reported: Reported | None = None,
    limits: GateLimits | None = None,
) -> Gate:
    """A gate whose limits are those of placing, the other budgets wide open; or one with these `limits` instead."""
    placing = CallBudgetLimits(in_flight_max=in_flight_max, per_second=per_second, waiting_max=waiting_max)
    return Gate(
        limits or GateLimits(placing=placing),
        rules or GateRules(),
        clock=clock,
        chance=lambda: 0.0,
        metrics=reported or Reported(),
        later=clock.later,
    )


def passed(got: Permit | Denied | None) -> Permit:
    assert isinstance(got, Permit), got
    return got


def cause(got: Permit | Denied | None) -> Cause:
    assert isinstance(got, Denied), got
    return got.cause

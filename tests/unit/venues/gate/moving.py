"""A gate in a test's hands: a clock that moves when told, timers that hang on it, and a record of what was told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import Accepted, NoAnswer, NotSent, Refused, Unknown
from ordertrail.venues.gate.breaker import State
from ordertrail.venues.gate.call_budget import Permit
from ordertrail.venues.gate.denial import BudgetName, Denied
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.limits import CallBudgetLimits, GateLimits
from ordertrail.venues.gate.rules import GateRules

ACCEPTED = Accepted("E1")
REFUSED = Refused("price_out_of_range")
TROUBLE = Unknown("http_500")
SILENCE = Unknown("timeout")
NO_ANSWER = NoAnswer("timeout")


def throttled(seconds: float | None) -> NotSent:
    return NotSent("throttled", seconds)


@dataclass
class Moving:
    """A clock and its timers."""

    time: float = 1000.0
    timers: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    armed: int = 0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")

    def later(self, seconds: float, call: Callable[[], None]) -> "Handle":
        self.armed += 1
        entry = (self.time + seconds, self.armed, call)
        self.timers.append(entry)
        return Handle(self, entry)

    def move(self, seconds: float) -> None:
        """Let time pass, and every timer ring at its own time."""
        end = self.time + seconds
        while due := sorted(t for t in self.timers if t[0] <= end):
            self.timers.remove(due[0])
            self.time = max(self.time, due[0][0])
            due[0][2]()
        self.time = end


@dataclass
class Handle:
    moving: Moving
    entry: tuple[float, int, Callable[[], None]]

    def cancel(self) -> None:
        if self.entry in self.moving.timers:
            self.moving.timers.remove(self.entry)


@dataclass
class Told:
    """What the gate told its metrics."""

    refusals: list[tuple[BudgetName, Cause]] = field(default_factory=list)
    changes: list[tuple[BudgetName, State]] = field(default_factory=list)

    def refused(self, budget: BudgetName, cause: Cause) -> None:
        self.refusals.append((budget, cause))

    def changed(self, budget: BudgetName, state: State) -> None:
        self.changes.append((budget, state))


def gate_with(
    clock: Moving,
    *,
    in_flight_max: int = 100,
    per_second: float = 0,
    waiting_max: int = 100,
    rules: GateRules | None = None,
    told: Told | None = None,
) -> Gate:
    """A gate whose limits are those of placing; the other budgets are wide open."""
    placing = CallBudgetLimits(in_flight_max=in_flight_max, per_second=per_second, waiting_max=waiting_max)
    return Gate(
        GateLimits(placing=placing),
        rules or GateRules(),
        clock=clock,
        chance=lambda: 0.0,
        metrics=told or Told(),
        later=clock.later,
    )


def passed(got: Permit | Denied | None) -> Permit:
    assert isinstance(got, Permit), got
    return got


def cause(got: Permit | Denied | None) -> Cause:
    assert isinstance(got, Denied), got
    return got.cause

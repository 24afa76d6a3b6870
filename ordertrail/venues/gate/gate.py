"""The gate that stands before one exchange, in one process: a call budget each for placing, cancelling and querying."""

from collections.abc import Callable
from functools import partial

from ordertrail.runtime.clock import Clock
from ordertrail.venues.gate.breaker import Breaker
from ordertrail.venues.gate.call_budget import CallBudget, GateMetrics, Later, later_in_loop
from ordertrail.venues.gate.denial import BudgetName, GateState
from ordertrail.venues.gate.instruments import Instruments
from ordertrail.venues.gate.limits import CallBudgetLimits, GateLimits
from ordertrail.venues.gate.repeats import Repeats
from ordertrail.venues.gate.rules import BreakerRules, GateRules, rules_of_instruments


class Gate:
    """Three call budgets that share nothing, and the operator's switch for the first.

    A hot caller tries `budget.try_enter(now)` first and awaits `budget.enter(deadline=…)` only where that is None.
    """

    def __init__(
        self,
        limits: GateLimits,
        rules: GateRules,
        *,
        clock: Clock,
        chance: Callable[[], float],
        metrics: GateMetrics,
        later: Later = later_in_loop,
    ) -> None:
        """`limits` are this process's share; `chance` gives numbers from 0 to 1."""
        self._clock = clock

        def budget(budget: BudgetName, budget_limits: CallBudgetLimits, breaker_rules: BreakerRules) -> CallBudget:
            breaker = Breaker(breaker_rules, chance=chance, on_change=partial(metrics.changed, budget))
            instruments = Instruments(
                rules_of_instruments(breaker_rules),
                chance=chance,
                on_change=partial(metrics.instrument_changed, budget),
            )
            repeats = Repeats(breaker_rules.window_seconds)
            return CallBudget(
                budget, budget_limits, breaker, instruments, repeats, clock=clock, metrics=metrics, later=later
            )

        self.placing = budget(BudgetName.PLACE, limits.placing, rules.placing)
        self.cancelling = budget(BudgetName.CANCEL, limits.cancelling, rules.cancelling)
        self.querying = budget(BudgetName.QUERY, limits.querying, rules.querying)
        self.is_halted = False

    def halt(self) -> None:
        """Place nothing more; cancelling and querying go on. Those that wait are denied at once."""
        self.is_halted = True
        self.placing.halt(is_halted=True)

    def resume(self) -> None:
        """Place again."""
        self.is_halted = False
        self.placing.halt(is_halted=False)

    def state(self) -> GateState:
        """The gate at this moment, for people; nothing is decided by it."""
        now = self._clock.monotonic()
        budgets = (self.placing, self.cancelling, self.querying)
        return GateState(self.is_halted, tuple(budget.state(now) for budget in budgets))

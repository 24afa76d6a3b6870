"""The gate that stands before one exchange, in one process: a lane each for placing, cancelling and asking."""

from collections.abc import Callable
from functools import partial

from ordertrail.runtime.clock import Clock
from ordertrail.venues.gate.breaker import Breaker
from ordertrail.venues.gate.call_budget import GateMetrics, Lane, Later, later_in_loop
from ordertrail.venues.gate.denial import Budget, GateState
from ordertrail.venues.gate.limits import GateLimits, LaneLimits
from ordertrail.venues.gate.rules import BreakerRules, GateRules


class Gate:
    """Three lanes that share nothing, and the operator's switch for the first.

    A hot caller tries `lane.try_enter(now)` first and awaits `lane.enter(deadline=…)` only where that is None.
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

        def lane(budget: Budget, lane_limits: LaneLimits, breaker_rules: BreakerRules) -> Lane:
            breaker = Breaker(breaker_rules, chance=chance, on_change=partial(metrics.changed, budget))
            return Lane(budget, lane_limits, breaker, clock=clock, metrics=metrics, later=later)

        self.placing = lane(Budget.PLACE, limits.placing, rules.placing)
        self.cancelling = lane(Budget.CANCEL, limits.cancelling, rules.cancelling)
        self.asking = lane(Budget.ASK, limits.asking, rules.asking)
        self.is_halted = False

    def halt(self) -> None:
        """Place nothing more; cancelling and asking go on. Those that wait are told at once."""
        self.is_halted = True
        self.placing.halt(is_halted=True)

    def resume(self) -> None:
        """Place again."""
        self.is_halted = False
        self.placing.halt(is_halted=False)

    def state(self) -> GateState:
        """What the gate looks like now, for people; nothing is decided by it."""
        now = self._clock.monotonic()
        lanes = (self.placing, self.cancelling, self.asking)
        return GateState(self.is_halted, tuple(lane.state(now) for lane in lanes))

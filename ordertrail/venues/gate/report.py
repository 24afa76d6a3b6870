"""What the gate does, as metrics and log lines."""

from ordertrail.domain.reason import Cause
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.buffered import BufferedCounter
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.venues.gate.breaker import State
from ordertrail.venues.gate.denial import DENIAL_CAUSES, BudgetName, GateState

_log = get_logger()

_LEVELS = {State.CLOSED: 0, State.HALF_OPEN: 1, State.THROTTLED: 2, State.OPEN: 3}


class GateReport:
    """The `GateMetrics` of a process: one for its one gate."""

    def __init__(self, *, venue: str) -> None:
        self._venue = venue
        self._refused = {
            (budget, cause): BufferedCounter(metrics.GATE_REFUSED.labels(budget, cause))
            for budget in BudgetName
            for cause in DENIAL_CAUSES
        }
        for budget in BudgetName:
            metrics.GATE_BREAKER.labels(budget).set(_LEVELS[State.CLOSED])

    def refused(self, budget: BudgetName, cause: Cause) -> None:
        """A call was not let through."""
        self._refused[budget, cause].add()

    def changed(self, budget: BudgetName, state: State) -> None:
        """The breaker of `budget` is now in `state`."""
        metrics.GATE_BREAKER.labels(budget).set(_LEVELS[state])
        if state in {State.OPEN, State.THROTTLED}:
            metrics.GATE_STOPS.labels(budget, state).inc()
            _log.warning("the gate stops calls to the exchange", venue=self._venue, budget=budget, breaker=state)
        else:
            _log.info("the gate lets calls through", venue=self._venue, budget=budget, breaker=state)

    def instrument_changed(self, budget: BudgetName, instrument: str, state: State) -> None:
        """The breaker of an instrument is now in `state`; the instrument is for the log alone."""
        if state in {State.OPEN, State.THROTTLED}:
            metrics.GATE_INSTRUMENT_STOPS.labels(budget, state).inc()
            _log.warning(
                "the gate stops calls in one instrument",
                venue=self._venue,
                budget=budget,
                breaker=state,
                instrument=instrument,
            )


def publish(state: GateState) -> None:
    """Set the gauges; to be called about once a second, for the calls themselves do not touch them."""
    metrics.GATE_HALTED.set(state.is_halted)
    for budget in state.budgets:
        metrics.GATE_IN_FLIGHT.labels(budget.budget).set(budget.in_flight)
        metrics.GATE_WAITING.labels(budget.budget).set(budget.waiting)
        metrics.GATE_INSTRUMENTS_OPEN.labels(budget.budget).set(budget.instruments_open)

"""What the gate tells its metrics."""

from prometheus_client import REGISTRY

from ordertrail.domain.reason import Cause
from ordertrail.runtime.telemetry import buffered
from ordertrail.venues.gate.breaker import State
from ordertrail.venues.gate.denial import BudgetName
from ordertrail.venues.gate.report import GateReport, publish
from tests.support.clocks import ManualClock
from tests.unit.venues.gate.moving import gate_with, passed


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"ordertrail_gate_{name}", labels) or 0


def test_refusals_are_counted_by_budget_and_cause() -> None:
    before = value("refused_total", budget="query", cause="queue_full")
    report = GateReport(venue="http")

    report.refused(BudgetName.QUERY, Cause.QUEUE_FULL)
    buffered.flush()

    assert value("refused_total", budget="query", cause="queue_full") == before + 1


def test_refusals_have_a_series_for_each_cause_of_the_gate_and_for_no_other() -> None:
    GateReport(venue="http")

    causes = {
        sample.labels["cause"]
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "ordertrail_gate_refused_total"
    }
    assert causes == {"circuit_open", "throttled", "rate_limited", "queue_full", "send_window_passed", "halted"}


def test_a_breaker_that_opens_shows_and_counts() -> None:
    before = value("stops_total", budget="place", state="open")
    report = GateReport(venue="http")

    levels = [value("breaker", budget="place")]
    for state in (State.OPEN, State.HALF_OPEN, State.CLOSED):
        report.changed(BudgetName.PLACE, state)
        levels.append(value("breaker", budget="place"))

    assert levels == [0, 3, 1, 0]
    assert value("stops_total", budget="place", state="open") == before + 1


def test_what_is_under_way_is_published() -> None:
    clock = ManualClock()
    gate = gate_with(clock)
    passed(gate.placing.try_enter(clock.time))
    gate.halt()

    publish(gate.state())

    assert value("in_flight", budget="place") == 1
    assert value("halted") == 1
    gate.resume()
    publish(gate.state())
    assert value("halted") == 0

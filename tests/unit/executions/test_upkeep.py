"""What a processor keeps in order, and says of what it applied."""

from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ordertrail.executions.applied_reports import AppliedReports
from ordertrail.executions.upkeep import Upkeep
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.execution_rows import Applied, Retried
from tests.support.clocks import ManualClock
from tests.support.executions import VENUE, MemoryQueue, MemoryRows


class House:
    def __init__(self) -> None:
        self.rows = MemoryRows()
        self.clock = ManualClock()
        self.upkeep = Upkeep(self.rows, MemoryQueue(), self.clock, AppliedReports(VENUE), venue=VENUE)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


def with_orders(what: str, *orders: str) -> Applied:
    changes: dict[str, Any] = {what: orders}
    return Applied(2, 2, 0, **changes)


async def test_each_thing_is_done_in_its_own_time() -> None:
    house = House()

    for _ in range(12):
        await house.upkeep.run_once()
        house.clock.move(1)

    assert house.rows.log.count("retry") == 12
    assert house.rows.log.count("compact") == 12
    assert house.rows.log.count("partitions") == 1


async def test_one_failure_holds_up_nothing_else_and_is_said_once() -> None:
    house = House()
    house.rows.retried = [StatementFailed("42P01", "no such table")] * 3

    with capture_logs() as logs:
        for _ in range(6):
            await house.upkeep.run_once()
            house.clock.move(1)

    assert [each["log_level"] for each in logs] == ["warning", "info"]
    assert house.rows.log.count("compact") == 6


async def test_an_order_that_nobody_knows_raises_an_alert() -> None:
    house = House()
    house.rows.retried = [Retried(applied=2, late=("late-1",), orphaned=("orphan-1",))]
    before = counted("ordertrail_orphans_total"), counted("ordertrail_late_arrivals_total")

    with capture_logs() as logs:
        await house.upkeep.run_once()

    assert {(each["log_level"], each["order_id"]) for each in logs} == {
        ("critical", "orphan-1"),
        ("critical", "late-1"),
    }
    assert (counted("ordertrail_orphans_total"), counted("ordertrail_late_arrivals_total")) == (
        before[0] + 1,
        before[1] + 1,
    )


@pytest.mark.parametrize("what", ["overfilled", "after_end", "busted", "contradicting"])
def test_what_should_not_be_is_counted_and_said_of_each_order(what: str) -> None:
    before = counted("ordertrail_execution_troubles_total", what=what)

    with capture_logs() as logs:
        AppliedReports(VENUE).applied(with_orders(what, "o1", "o2"), seconds=0.1)

    assert counted("ordertrail_execution_troubles_total", what=what) == before + 2
    assert [(each["log_level"], each["order_id"], each["venue"]) for each in logs] == [
        ("critical", "o1", VENUE),
        ("critical", "o2", VENUE),
    ]


def test_a_flood_of_alerts_is_said_of_some_and_counted_whole() -> None:
    orders = tuple(f"o{number}" for number in range(100))

    with capture_logs() as logs:
        AppliedReports(VENUE).applied(Applied(100, 100, 0, late=orders), seconds=0.1)

    assert len(logs) == 11
    assert logs[-1]["more_orders"] == 90


async def test_that_the_database_is_away_is_counted_and_left_to_the_watch_to_say() -> None:
    house = House()
    house.rows.retried = [StatementOutcomeUnknown("cannot connect", may_have_happened=False)]
    before = counted("ordertrail_execution_failures_total", kind="statement_outcome_unknown")

    with capture_logs() as logs:
        await house.upkeep.run_once()

    assert logs == []
    assert counted("ordertrail_execution_failures_total", kind="statement_outcome_unknown") == before + 1


async def test_what_failed_and_is_due_once_a_day_is_tried_again_after_a_minute() -> None:
    house = House()
    house.rows.partitions = [StatementFailed("42501", "must be owner"), 7]

    for _ in range(3):
        await house.upkeep.run_once()
        house.clock.move(59)
    before = house.rows.log.count("partitions")
    await house.upkeep.run_once()

    assert (before, house.rows.log.count("partitions")) == (2, 2)
    assert REGISTRY.get_sample_value("ordertrail_execution_misplaced") == 7

"""Whether a feed brings a venue's reports, and for how long some have been missing."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from ordertrail.queues.queue import Position
from ordertrail.reconciliation import fed_reports as module
from ordertrail.reconciliation.fed_reports import Fed, FedReports
from ordertrail.storage.execution_rows import Coverage, FeedView
from tests.support.clocks import ManualClock

NOW = datetime(2026, 11, 27, tzinfo=UTC)


class Rows:
    """In the place of the rows of feeds."""

    def __init__(self) -> None:
        self.position: Position | None = Position("e-1", 100)
        self.newest: str | None = "e-0"
        self.unowned_seconds = 0.0
        self.is_there = True
        self.ranges: dict[str, tuple[tuple[int, int], ...]] = {}

    async def feed(self, venue: str) -> FeedView | None:
        is_owned = self.unowned_seconds == 0
        return FeedView(venue, "f", is_owned, self.position, NOW, self.unowned_seconds) if self.is_there else None

    async def newest_epoch(self, _venue: str) -> str | None:
        return self.newest

    async def coverage(self, _venue: str, epoch: str) -> Coverage:
        return Coverage(self.ranges.get(epoch, ()))


class House:
    def __init__(self) -> None:
        self.rows = Rows()
        self.clock = ManualClock(1000.0)
        self.reports = FedReports(cast("Any", self.rows), self.clock, venue="v")

    async def gap_reports_after(self, seconds: float, *ranges: tuple[int, int], epoch: str = "e-1") -> int:
        self.clock.move(seconds)
        self.rows.position = Position(epoch, 1000)
        self.rows.ranges[epoch] = ranges
        fed = await self.reports.review()
        assert fed is not None
        return fed.gap_reports


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    errors: list[dict[str, Any]] = []

    class Log:
        def error(self, _event: str, **fields: Any) -> None:
            errors.append(fields)

    monkeypatch.setattr(module, "_log", Log())
    return errors


@pytest.mark.parametrize(("unowned_seconds", "is_fed"), [(0, True), (60, True), (60.5, False)])
async def test_feed_that_nobody_has_owned_for_a_minute_is_none(
    house: House, unowned_seconds: float, is_fed: bool
) -> None:
    house.rows.unowned_seconds = unowned_seconds

    assert (await house.reports.review() is not None) == is_fed


async def test_without_a_feed_nothing_is_brought(house: House) -> None:
    house.rows.is_there = False

    assert await house.reports.review() is None


async def test_epoch_is_the_queues_else_the_one_that_was_known_last(house: House) -> None:
    house.rows.ranges = {"e-1": ((1, 7), (9, 9)), "e-0": ((1, 5),)}

    by_queue = await house.reports.review()
    house.rows.position = None
    by_rows = await house.reports.review()
    house.rows.newest = None

    assert (by_queue, by_rows) == (Fed("e-1", 7, 0), Fed("e-0", 5, 0))
    assert await house.reports.review() is None


async def test_what_is_missing_for_a_minute_before_something_that_is_applied_is_a_gap(
    house: House, errors: list[dict[str, Any]]
) -> None:
    assert await house.gap_reports_after(0, (1, 10), (15, 20)) == 0
    assert await house.gap_reports_after(59.9, (1, 10), (15, 30)) == 0
    assert errors == []

    assert await house.gap_reports_after(0.1, (1, 10), (15, 40)) == 4

    assert REGISTRY.get_sample_value("ordertrail_execution_gap_reports") == 4
    assert errors == [{"venue": "v", "epoch": "e-1", "reports": 4, "ranges": ["11-14"]}]


async def test_gap_is_reported_once_and_again_where_there_is_another(
    house: House, errors: list[dict[str, Any]]
) -> None:
    for seconds in (0, 60, 60):
        await house.gap_reports_after(seconds, (1, 10), (15, 20))
    assert len(errors) == 1

    for seconds in (60, 60):
        await house.gap_reports_after(seconds, (1, 10), (15, 20), (30, 30))
    assert [each["reports"] for each in errors] == [4, 13]


async def test_rest_of_a_gap_is_as_old_as_all_of_it_was(house: House) -> None:
    await house.gap_reports_after(0, (1, 10), (20, 20))
    await house.gap_reports_after(30, (1, 10), (13, 14), (20, 20))

    assert await house.gap_reports_after(30, (1, 10), (13, 14), (20, 20)) == 7


async def test_gap_that_is_filled_is_none(house: House) -> None:
    for seconds, expected in ((0, 0), (60, 4)):
        assert await house.gap_reports_after(seconds, (1, 10), (15, 20)) == expected

    assert await house.gap_reports_after(1, (1, 20)) == 0
    assert REGISTRY.get_sample_value("ordertrail_execution_gap_reports") == 0


async def test_gap_of_another_epoch_is_another(house: House) -> None:
    await house.gap_reports_after(0, (1, 10), (15, 20))

    assert await house.gap_reports_after(60, (1, 10), (15, 20), epoch="e-2") == 0


async def test_nothing_is_missing_where_nothing_is_applied(house: House) -> None:
    await house.gap_reports_after(0)

    assert await house.gap_reports_after(100) == 0

"""Our executions beside the exchange's: what is missing, differs or is unknown to it, and what that comes to."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from ordertrail.domain.order import Order, Side
from ordertrail.executions import compare
from ordertrail.executions.compare import CannotCompare, ExecutionComparer
from ordertrail.executions.comparison_schedule import ComparisonSchedule
from ordertrail.storage.comparison_rows import Comparison
from ordertrail.storage.postgres import comparisons
from tests.support.brought import bring, epoch_of, reports_of
from tests.support.clocks import ManualClock
from tests.support.reconciling import Installation, installation, limit_order


class Hurried(ManualClock):
    """Every pause is over at once."""

    @override
    async def sleep(self, seconds: float) -> None:
        self.move(seconds)


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(database_url, tmp_path) as opened:
        yield opened


def comparer_of(house: Installation) -> ExecutionComparer:
    service = house.service
    rows = comparisons.PostgresComparisons(service.database)
    return ExecutionComparer(rows, service.executions, service.gateway, Hurried(), venue="simulated")


async def two_trades(house: Installation) -> tuple[Order, Order]:
    """Two orders that have met."""
    buy, sell = limit_order(), limit_order(side=Side.SELL)
    await house.place(buy)
    await house.place(sell)
    return buy, sell


def counts(comparison: Comparison) -> tuple[int, int, int]:
    return comparison.missing, comparison.different, comparison.unknown


async def test_what_was_brought_whole_is_equal(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "PAGE_REPORTS", 2)
    monkeypatch.setattr(comparisons, "WALK_ROWS", 2)
    for _ in range(3):
        await two_trades(house)
    reports = await reports_of(house)
    await bring(house, *reports)

    comparison = await comparer_of(house).run_once()

    assert len(reports) == 12
    assert (comparison.reports, comparison.up_to_seq, comparison.is_equal) == (12, 12, True)
    [kept] = await house.connection.fetch("SELECT * FROM execution_comparisons")
    assert (kept["reports"], kept["missing"], kept["is_equal"]) == (12, 0, True)


async def test_what_was_not_brought_is_missing(house: Installation) -> None:
    await two_trades(house)
    reports = await reports_of(house)
    await bring(house, reports[0], reports[2])

    comparison = await comparer_of(house).run_once()

    assert counts(comparison) == (2, 0, 0)
    assert not comparison.is_equal
    assert [each["seq"] for each in comparison.details["examples"]["missing"]] == [2, 4]
    assert comparison.details["applied_and_no_row"] == 0


async def test_what_was_applied_and_is_no_row_is_counted_by_itself(house: Installation) -> None:
    await two_trades(house)
    epoch, reports = epoch_of(house), await reports_of(house)
    await bring(house, *reports[:3])
    await house.connection.execute(
        "INSERT INTO execution_coverage (venue, epoch, seqs) VALUES ('simulated', $1, '{[4,5)}')", epoch
    )

    comparison = await comparer_of(house).run_once()

    assert (counts(comparison), comparison.details["applied_and_no_row"]) == ((1, 0, 0), 1)
    assert [each["seq"] for each in comparison.details["examples"]["applied_and_no_row"]] == [4]


@pytest.mark.parametrize(
    "change", [{"last_qty": 9}, {"last_px": "150.24"}, {"exec_type": "canceled"}, {"exec_ref_id": "another"}]
)
async def test_execution_that_says_something_else_is_different(house: Installation, change: dict[str, Any]) -> None:
    await two_trades(house)
    reports = await reports_of(house)
    trade = next(each for each in reports if each["exec_type"] == "trade")
    await bring(house, trade | change)
    await bring(house, *reports)

    comparison = await comparer_of(house).run_once()

    assert counts(comparison) == (0, 1, 0)
    assert [each["exec_id"] for each in comparison.details["examples"]["different"]] == [trade["exec_id"]]


async def test_execution_that_the_exchange_does_not_have_is_unknown(house: Installation) -> None:
    buy, _ = await two_trades(house)
    idle = limit_order(instrument="IDLE00000000")
    await house.service.rows.insert_initiated([idle])
    reports = await reports_of(house)
    await bring(house, *reports, reports[3] | {"client_order_id": buy.id, "exec_id": "forged"})
    of_another = await comparer_of(house).run_once()
    await bring(house, reports[3] | {"client_order_id": idle.id})

    comparison = await comparer_of(house).run_once()

    assert counts(of_another) == (0, 0, 1)
    assert [each["exec_id"] for each in of_another.details["examples"]["unknown"]] == ["forged"]
    assert counts(comparison) == (0, 0, 2)


async def test_reports_of_orders_that_are_not_known_here_are_parked_and_not_missing(house: Installation) -> None:
    house.arrives(limit_order(instrument="IDLE00000000"))
    await two_trades(house)
    reports = await reports_of(house)
    await bring(house, *reports)

    comparison = await comparer_of(house).run_once()

    assert comparison.is_equal
    assert comparison.details["parked"] == 1


async def test_what_is_applied_meanwhile_is_not_missing(house: Installation) -> None:
    await two_trades(house)
    reports = await reports_of(house)
    await bring(house, *reports[:2])
    service = house.service

    class Applying(Hurried):
        @override
        async def sleep(self, seconds: float) -> None:
            if seconds == compare.ON_ITS_WAY_SECONDS:
                await bring(house, *reports)

    rows = comparisons.PostgresComparisons(service.database)
    comparer = ExecutionComparer(rows, service.executions, service.gateway, Applying(), venue="simulated")

    assert (await comparer.run_once()).is_equal


async def test_nothing_that_no_feed_has_brought_is_compared(house: Installation) -> None:
    assert (await comparer_of(house).run_once()).reports == 0
    await two_trades(house)

    with pytest.raises(CannotCompare, match="no feed brings"):
        await comparer_of(house).run_once()


async def test_one_replica_compares_once_a_day(house: Installation) -> None:
    await two_trades(house)
    reports = await reports_of(house)
    service = house.service
    rows = comparisons.PostgresComparisons(service.database)
    replicas = [
        ComparisonSchedule(comparer_of(house), rows, service.doubts, service.executions, Hurried(), venue="simulated")
        for _ in range(2)
    ]

    async def compared() -> int:
        for replica in replicas:
            await replica.run_once()
        return int(await house.connection.fetchval("SELECT count(*) FROM execution_comparisons"))

    assert await compared() == 0
    await service.executions.lease_feed("simulated", holder="f", lease_seconds=3)
    await bring(house, *reports)
    assert await compared() == 1
    assert await compared() == 1
    await house.connection.execute("UPDATE sweep_positions SET leased_until = leased_until - interval '23 hours'")
    assert await compared() == 1
    await house.connection.execute("UPDATE sweep_positions SET leased_until = leased_until - interval '1 hour'")
    assert await compared() == 2

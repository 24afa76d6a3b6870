"""A comparison with a venue that keeps little, says little, or begins anew."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from typing_extensions import override

from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.executions import compare as module
from ordertrail.executions.compare import CannotCompare, ExecutionComparer
from ordertrail.executions.compared_page import compare_page
from ordertrail.storage.comparison_rows import ComparedRange, Comparison, ExecutionKey, KeptExecution
from ordertrail.storage.execution_rows import Coverage
from ordertrail.venues.comparable_reports import ComparableReport, read_comparable
from ordertrail.venues.venue import Compacted, OtherEpoch, Reports
from tests.support.clocks import ManualClock

NOW = datetime(2026, 11, 27, tzinfo=UTC)
Page = Reports | OtherEpoch | Compacted | NoAnswer


def a_report(seq: int, **changes: Any) -> dict[str, Any]:
    report = {"exec_id": f"x{seq}", "exec_type": "trade", "client_order_id": "o", "last_qty": 1, "last_px": "1.50"}
    return {"seq": seq, **report, **changes}


def a_row(number: int, **changes: Any) -> KeptExecution:
    row = {"order_id": "o", "exec_id": f"x{number}", "exec_type": "trade", "last_qty": 1, "last_px": Decimal("1.5")}
    return KeptExecution(**{**row, "exec_ref_id": None, "is_counted": True, "seq": number, **changes})


class Hurried(ManualClock):
    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    @override
    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class House:
    """A venue with `head` reports, of which it keeps those from `oldest` on; and all of them as rows."""

    def __init__(self, *, head: int, oldest: int = 1) -> None:
        self.head, self.oldest = head, oldest
        self.rows = {seq: a_row(seq) for seq in range(1, head + 1)}
        self.instead: list[Page] = []
        self.pages: list[tuple[int, int]] = []
        self.kept_comparisons: list[Comparison] = []
        self.clock = Hurried()
        house = cast("Any", self)
        self.comparer = ExecutionComparer(house, house, house, self.clock, venue="v")

    async def report_page(self, *, after: int, limit: int, epoch: str) -> Page:
        if epoch != "e":
            return OtherEpoch("e", self.head)
        self.pages.append((after, limit))
        if self.instead:
            return self.instead.pop(0)
        if after + 1 < self.oldest:
            return Compacted(self.oldest)
        last = min(after + limit, self.head)
        reports = [a_report(seq) for seq in range(after + 1, last + 1)]
        return Reports(json.dumps(reports).encode(), len(reports), after + 1, last, is_contiguous=True)

    async def coverage(self, _venue: str, _epoch: str) -> Coverage:
        return Coverage(((1, self.head),))

    async def epoch_session(self, _venue: str, _epoch: str) -> tuple[int, datetime]:
        return 1, NOW

    async def kept(
        self, compared: ComparedRange, *, order_ids: Sequence[str], exec_ids: Sequence[str], first: int, last: int
    ) -> list[KeptExecution]:
        return [row for seq, row in self.rows.items() if row.exec_id in exec_ids or first <= seq <= last]

    async def parked_seqs(self, _compared: ComparedRange, _seqs: Sequence[int]) -> set[int]:
        return set()

    async def count_kept(self, compared: ComparedRange, after: ExecutionKey) -> tuple[int, ExecutionKey | None]:
        if after.order_id:
            return 0, None
        counted = [seq for seq in self.rows if compared.first <= seq <= compared.last]
        return len(counted), ExecutionKey("o", 1, "x")

    async def keep_comparison(self, comparison: Comparison) -> None:
        self.kept_comparisons.append(comparison)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_REPORTS", 3)


async def test_pages_are_compared_one_after_the_other_and_in_no_haste() -> None:
    house = House(head=7)

    comparison = await house.comparer.run_once()

    assert house.pages == [(0, 3), (3, 3), (6, 1)]
    assert (comparison.reports, comparison.is_equal) == (7, True)
    assert len(house.clock.slept) == 4
    assert house.kept_comparisons == [comparison]


async def test_venue_is_compared_from_its_oldest_report_on() -> None:
    house = House(head=7, oldest=5)
    house.rows[2] = a_row(2, exec_id="ours alone")

    comparison = await house.comparer.run_once()

    assert (comparison.reports, comparison.details["from_seq"], comparison.is_equal) == (3, 5, True)


async def test_venue_that_forgets_meanwhile_is_compared_from_there_on() -> None:
    house = House(head=9)
    whole = await house.report_page(after=0, limit=3, epoch="e")
    house.instead = [whole, Compacted(7)]

    comparison = await house.comparer.run_once()

    assert (comparison.details["from_seq"], comparison.is_equal) == (7, True)


async def test_page_without_an_answer_is_repeated_and_not_for_ever() -> None:
    house = House(head=3)
    house.instead = [NoAnswer("timeout"), NoAnswer("circuit_open")]
    assert (await house.comparer.run_once()).is_equal
    house.instead = [NoAnswer("timeout")] * module.TRIES_MAX

    with pytest.raises(CannotCompare, match="does not answer: timeout"):
        await house.comparer.run_once()

    assert len(house.kept_comparisons) == 1


@pytest.mark.parametrize("page", [OtherEpoch("f", 1), Reports(b"[]", 0, None, None, is_contiguous=False), Compacted(1)])
async def test_page_that_leads_nowhere_ends_the_comparison(page: Page) -> None:
    house = House(head=3)
    house.instead = [page]

    with pytest.raises(CannotCompare):
        await house.comparer.run_once()

    assert house.kept_comparisons == []


async def test_so_much_of_what_is_missing_is_reviewed_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ON_ITS_WAY_MAX", 3)
    house = House(head=7)
    house.rows.clear()

    comparison = await house.comparer.run_once()

    assert (comparison.missing, comparison.details["applied_and_no_row"]) == (7, 7)
    assert house.clock.slept.count(module.ON_ITS_WAY_SECONDS) == 1


async def test_figures_of_the_last_comparison_are_published() -> None:
    module.publish(Comparison("v", "e", 9, 9, 4, 3, 2, compared_at=NOW))

    values = {
        name: REGISTRY.get_sample_value(f"ordertrail_executions_{name}")
        for name in ("compared_at", "missing", "different", "unknown")
    }
    assert values == {"compared_at": NOW.timestamp(), "missing": 4, "different": 3, "unknown": 2}


def reports(*of: dict[str, Any]) -> list[ComparableReport]:
    return read_comparable(json.dumps(of).encode())[0]


@pytest.mark.parametrize(
    ("changes", "is_equal"),
    [
        ({}, True),
        ({"last_px": Decimal("1.5000")}, True),
        ({"last_px": Decimal("1.51")}, False),
        ({"last_qty": 2}, False),
        ({"exec_type": "trade_correct"}, False),
        ({"exec_ref_id": "x0"}, False),
        ({"seq": 9}, True),
    ],
)
def test_execution_is_equal_by_what_it_says(changes: dict[str, Any], is_equal: bool) -> None:
    result = compare_page(reports(a_report(1)), [a_row(1, **changes)])

    assert (result.different == ()) == is_equal
    assert (result.missing, result.unknown) == ((), ())
    assert result.counted == (changes.get("seq", 1) == 1)


@pytest.mark.parametrize("price", [None, "0", "0.00"])
def test_no_price_is_a_price_of_nothing(price: str | None) -> None:
    new = a_report(1, exec_type="new", last_qty=0, last_px=price)
    row = a_row(1, exec_type="new", last_qty=0, last_px=None)

    assert compare_page(reports(new), [row]).different == ()


def test_price_that_is_none_is_different() -> None:
    assert len(compare_page(reports(a_report(1, last_px="abc")), [a_row(1)]).different) == 1


def test_row_that_was_recorded_since_is_not_unknown() -> None:
    rows = [a_row(2), a_row(3, is_counted=False)]

    result = compare_page(reports(a_report(1)), rows)

    assert [row.seq for row in result.unknown] == [2]
    assert [each.seq for each in result.missing] == [1]


def test_element_that_cannot_be_read_spoils_no_other() -> None:
    body = b'[{"seq": "x"}, 7, ' + json.dumps(a_report(3)).encode() + b"]"

    found, unreadable = read_comparable(body)

    assert ([each.seq for each in found], unreadable) == ([3], 2)

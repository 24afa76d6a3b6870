"""One page of the venue's execution reports beside the rows that are kept of it: pure, from both to what differs."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from ordertrail.storage.comparison_rows import KeptExecution
from ordertrail.venues.comparable_reports import ComparableReport


@dataclass(frozen=True, slots=True)
class ComparedPage:
    """`missing`: the venue's that are no rows; `different`: those that are other rows; `unknown`: rows that it has not.

    `counted`: how many of the rows are among the venue's, and are counted by the walk, too.
    """

    missing: tuple[ComparableReport, ...]
    different: tuple[ComparableReport, ...]
    unknown: tuple[KeptExecution, ...]
    counted: int


def compare_page(reports: Sequence[ComparableReport], kept: Sequence[KeptExecution]) -> ComparedPage:
    """What differs; the same execution has the same order and exec id, whatever its `seq`."""
    by_key = {(row.order_id, row.exec_id): row for row in kept}
    keys = {(report.client_order_id, report.exec_id) for report in reports}
    missing, different, counted = [], [], 0
    for report in reports:
        row = by_key.get((report.client_order_id, report.exec_id))
        if row is None:
            missing.append(report)
            continue
        if not _is_equal(report, row):
            different.append(report)
        counted += row.is_counted and row.seq == report.seq
    unknown = [row for key, row in by_key.items() if row.is_counted and key not in keys]
    return ComparedPage(tuple(missing), tuple(different), tuple(unknown), counted)


def _is_equal(report: ComparableReport, row: KeptExecution) -> bool:
    return (
        report.exec_type == row.exec_type
        and report.last_qty == row.last_qty
        and _price(report.last_px) == (row.last_px or 0)
        and report.exec_ref_id == row.exec_ref_id
    )


def _price(text: str | None) -> Decimal | None:
    """No price and a price of 0 say the same: nothing was traded."""
    try:
        return Decimal(text or 0)
    except InvalidOperation:
        return None

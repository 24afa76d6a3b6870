"""Our executions compared with the venue's, report by report: once a day by one replica, and by hand.

Nothing is repaired here. What is missing among what is applied the feed fetches; that a report was applied and is no
row, or is another one, is for a person at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.executions.compared_page import compare_page
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.comparison_rows import FIRST_KEY, ComparedRange, Comparison, ComparisonRows
from ordertrail.storage.execution_rows import Coverage, FeedRows
from ordertrail.venues.comparable_reports import ComparableReport, read_comparable
from ordertrail.venues.gateway import Gateway
from ordertrail.venues.venue import Compacted, OtherEpoch, Reports

_log = get_logger()

PAGE_REPORTS = 1000
PAUSE_SECONDS = 0.05
TRIES_MAX = 5
RETRY_SECONDS = 2.0
# What has just been reported is on its way, and is looked for once more after so long.
ON_ITS_WAY_SECONDS = 5.0
ON_ITS_WAY_MAX = 10_000
EXAMPLES_MAX = 20
# To a page of an epoch that cannot be the venue answers which one it is in, and up to where.
NO_EPOCH = "-"


class CannotCompare(Exception):
    """There is nothing to compare with; why, for a person."""


@dataclass(slots=True)
class _Findings:
    """What has been found so far; of each kind some examples."""

    coverage: Coverage
    reports: int = 0
    unreadable: int = 0
    parked: int = 0
    missing: int = 0
    applied_and_no_row: int = 0
    different: int = 0
    unknown: int = 0
    counted: int = 0
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    on_their_way: list[ComparableReport] = field(default_factory=list)

    def add_missing(self, reports: Iterable[ComparableReport]) -> None:
        for report in reports:
            is_applied = any(first <= report.seq <= last for first, last in self.coverage.ranges)
            self.missing += 1
            self.applied_and_no_row += is_applied
            self._add_example("applied_and_no_row" if is_applied else "missing", report)

    def add_different(self, reports: Iterable[ComparableReport]) -> None:
        for report in reports:
            self.different += 1
            self._add_example("different", report)

    def _add_example(self, kind: str, report: ComparableReport) -> None:
        self.add_example(kind, order_id=report.client_order_id, exec_id=report.exec_id, seq=report.seq)

    def add_example(self, kind: str, **example: Any) -> None:
        examples = self.examples.setdefault(kind, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(example)


class ExecutionComparer:
    """Compares one venue's executions; a page at a time, through the budget of queries, and never in haste."""

    def __init__(
        self,
        rows: ComparisonRows,
        feeds: FeedRows,
        gateway: Gateway,
        clock: Clock,
        *,
        venue: str,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._rows = rows
        self._feeds = feeds
        self._gateway = gateway
        self._clock = clock
        self._venue = venue
        self._pause_seconds = pause_seconds

    async def run_once(self) -> Comparison:
        """Compare all that the venue keeps of its present epoch, and keep what came of it.

        Raises CannotCompare, StatementFailed and StatementOutcomeUnknown.
        """
        epoch, head = await self._epoch_and_head()
        known = await self._rows.epoch_session(self._venue, epoch)
        if known is None and head:
            raise CannotCompare("nothing of the venue's present epoch was ever applied: no feed brings its reports")
        comparison = Comparison(self._venue, epoch, 0, 0, 0, 0, 0)
        if known is not None and head:
            session, begun_at = known
            comparison = await self._compare(ComparedRange(self._venue, epoch, session, 1, head, begun_at))
        await self._rows.keep_comparison(comparison)
        report(comparison)
        return comparison

    async def _epoch_and_head(self) -> tuple[str, int]:
        page = await self._page(after=0, limit=1, epoch=NO_EPOCH)
        if not isinstance(page, OtherEpoch):
            raise CannotCompare("the venue does not say which epoch it is in")
        return page.epoch, page.head

    async def _compare(self, compared: ComparedRange) -> Comparison:
        findings = _Findings(await self._feeds.coverage(compared.venue, compared.epoch))
        compared = replace(compared, first=await self._compare_pages(compared, findings))
        await self._review_missing(compared, findings)
        await self._count_unknown(compared, findings)
        return Comparison(
            compared.venue,
            compared.epoch,
            compared.last,
            findings.reports,
            findings.missing,
            findings.different,
            findings.unknown,
            {
                "from_seq": compared.first,
                "applied_and_no_row": findings.applied_and_no_row,
                "parked": findings.parked,
                "unreadable": findings.unreadable,
                "examples": findings.examples,
            },
        )

    async def _compare_pages(self, compared: ComparedRange, findings: _Findings) -> int:
        """From where on they were compared: a venue may not keep its first reports, and may lose more meanwhile."""
        begun_at, after = 1, 0
        while after < compared.last:
            page = await self._page(after=after, limit=min(PAGE_REPORTS, compared.last - after), epoch=compared.epoch)
            match page:
                case Compacted(oldest=oldest) if oldest > after + 1:
                    begun_at, after = oldest, oldest - 1
                    findings.counted = 0
                case Reports(last=int(last)) if last > after:
                    await self._compare_page(compared, page, after + 1, last, findings)
                    after = last
                case OtherEpoch():
                    raise CannotCompare("the venue has begun another epoch meanwhile")
                case _:
                    raise CannotCompare("the venue gives no page that leads on")
            await self._clock.sleep(self._pause_seconds)
        return begun_at

    async def _compare_page(
        self, compared: ComparedRange, page: Reports, first: int, last: int, findings: _Findings
    ) -> None:
        reports, unreadable = read_comparable(page.body)
        findings.reports += page.count
        findings.unreadable += unreadable
        kept = await self._rows.kept(
            compared,
            order_ids=list({report.client_order_id for report in reports}),
            exec_ids=[report.exec_id for report in reports],
            first=first,
            last=last,
        )
        result = compare_page(reports, kept)
        findings.counted += result.counted
        findings.add_different(result.different)
        for row in result.unknown:
            findings.add_example("unknown", order_id=row.order_id, exec_id=row.exec_id, seq=row.seq)
        missing = await self._without_parked(compared, result.missing, findings)
        if len(findings.on_their_way) + len(missing) <= ON_ITS_WAY_MAX:
            findings.on_their_way += missing
        else:
            findings.add_missing(missing)

    async def _without_parked(
        self, compared: ComparedRange, missing: Sequence[ComparableReport], findings: _Findings
    ) -> list[ComparableReport]:
        parked = await self._rows.parked_seqs(compared, [each.seq for each in missing]) if missing else set()
        findings.parked += len(parked)
        return [each for each in missing if each.seq not in parked]

    async def _review_missing(self, compared: ComparedRange, findings: _Findings) -> None:
        """What was missing may have been on its way."""
        if findings.on_their_way:
            await self._clock.sleep(ON_ITS_WAY_SECONDS)
        for reports in _slices(findings.on_their_way):
            kept = await self._rows.kept(
                compared,
                order_ids=list({each.client_order_id for each in reports}),
                exec_ids=[each.exec_id for each in reports],
                first=1,
                last=0,
            )
            result = compare_page(reports, kept)
            findings.add_different(result.different)
            findings.add_missing(await self._without_parked(compared, result.missing, findings))

    async def _count_unknown(self, compared: ComparedRange, findings: _Findings) -> None:
        """Of the rows that were there before, those that are not among the venue's, whatever their orders."""
        count, after = 0, FIRST_KEY
        while True:
            counted, last = await self._rows.count_kept(compared, after)
            count += counted
            if last is None:
                break
            after = last
            await self._clock.sleep(self._pause_seconds)
        findings.unknown = max(count - findings.counted, 0)

    async def _page(self, *, after: int, limit: int, epoch: str) -> Reports | OtherEpoch | Compacted:
        """Repeated where there is no answer, but not for ever."""
        cause = ""
        for _ in range(TRIES_MAX):
            page = await self._gateway.report_page(after=after, limit=limit, epoch=epoch)
            if not isinstance(page, NoAnswer):
                return page
            cause = page.text
            await self._clock.sleep(RETRY_SECONDS)
        raise CannotCompare(f"the venue does not answer: {cause}")


def report(comparison: Comparison) -> None:
    """Say what it came to; what is not equal, aloud."""
    publish(comparison)
    what = {
        name: getattr(comparison, name)
        for name in ("venue", "epoch", "up_to_seq", "reports", "missing", "different", "unknown")
    }
    if comparison.is_equal:
        _log.info("our executions equal the exchange's", **what)
    else:
        examples = comparison.details.get("examples", {})
        _log.critical("our executions differ from the exchange's", **what, examples=examples)


def publish(comparison: Comparison) -> None:
    """The metrics of it, for each process that reads it."""
    if comparison.compared_at is not None:
        metrics.EXECUTIONS_COMPARED_AT.set(comparison.compared_at.timestamp())
    metrics.EXECUTIONS_MISSING.set(comparison.missing)
    metrics.EXECUTIONS_DIFFERENT.set(comparison.different)
    metrics.EXECUTIONS_UNKNOWN.set(comparison.unknown)


def _slices(reports: Sequence[ComparableReport]) -> Iterator[Sequence[ComparableReport]]:
    return (reports[start : start + PAGE_REPORTS] for start in range(0, len(reports), PAGE_REPORTS))

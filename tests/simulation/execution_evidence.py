"""What the checker of executions is given of a run, and whether anything is still on its way."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ordertrail.domain.execution import Execution, average, fold_executions
from ordertrail.storage.comparison_rows import Comparison
from simulated_exchange.entries import EpochLine, Line
from tests.simulation.execution_tables import joined
from tests.simulation.execution_twins import summed_up
from tests.simulation.occurrences import poison_of, without_poison
from tests.simulation.site import Site
from tests.simulation.table_rows import Record, Tables
from tests.support.execution_checker import (
    ExecutionEvidence,
    ExecutionRow,
    Logged,
    ParkedReport,
    Position,
    Progress,
    TrailRow,
    WentBack,
    check_executions,
    reports_of,
    went_back,
)

KIND = "execution_report"
VENUE = "simulated"
FIRST_EPOCH = EpochLine(1, "e")


def check_way(site: Site) -> tuple[list[str], Counter[str]]:
    """What is violated on the way of execution reports, once nothing fails any more."""
    lines = _lines(site)
    violations, counts = check_executions(reports(site), _evidence(site), list(poison_of(lines)), gone(site))
    counts["reports forgotten"] = len(went_back(lines).forgotten)
    return violations + list(_sums_that_differ(site.database.tables)), counts


def _sums_that_differ(tables: Tables) -> Iterator[str]:
    """What positions are reckoned from is what the rows of each order come to, also those that the exchange forgot."""
    kept = {key: quantity for key, (quantity, _) in summed_up(tables).items()}
    rows: Counter[tuple[str, str]] = Counter()
    for order_id, progress in _progress(tables, frozenset()).items():
        first = tables.orders[order_id]["INITIATED"]
        rows[first["instrument"], first["side"]] += progress.cum_qty
    for key in sorted(kept.keys() | rows.keys()):
        if kept.get(key, 0) != rows[key]:
            yield f"position {key}: {kept.get(key, 0)} is kept, and the executions come to {rows[key]}"


def reports(site: Site) -> list[Logged]:
    """Every report that the exchange has made, but for those that nobody can read."""
    return list(reports_of(map(without_poison, _lines(site))))


def _lines(site: Site) -> list[Line]:
    return [FIRST_EPOCH, *site.exchange.log.lines]


def wrongly_compared(site: Site, comparison: Comparison | str) -> Iterator[str]:
    """What a comparison must find, reckoned from the exchange's log and the tables alone."""
    if isinstance(comparison, str):
        yield f"comparison: {comparison}"
        return
    log, tables = site.exchange.exchange.executions_log, site.database.tables
    session = tables.reports.epochs.get((VENUE, log.epoch), 0)
    views = log.views(log.dropped, log.head)
    there = {(view.client_order_id, view.exec_id) for view in views}
    kept = {
        (row_id, exec_id): row
        for row_id, rows in tables.reports.executions.items()
        for (of, exec_id), row in rows.items()
        if of == session
    }
    parked = {row["seq"] for row in tables.parked.values() if row["kind"] == KIND and row["epoch"] == log.epoch}
    missing = sum(key not in kept for key in there)
    missing -= sum((view.client_order_id, view.exec_id) not in kept and view.seq in parked for view in views)
    unknown = sum(
        row["epoch"] == log.epoch and log.dropped < row["seq"] <= log.head and key not in there
        for key, row in kept.items()
    )
    expected = (len(views), missing, 0, unknown)
    found = (comparison.reports, comparison.missing, comparison.different, comparison.unknown)
    if found != expected:
        yield f"comparison: (reports, missing, different, unknown) are {expected}, and {found} were found"


def gone(site: Site) -> WentBack:
    """What the exchange has forgotten; where nothing else went wrong, none of what took its place may be missed."""
    found = went_back(_lines(site))
    return replace(found, unsure=frozenset()) if site.exchange.is_read_again_for_sure else found


def is_all_applied(site: Site) -> bool:
    """Whether each report of the exchange's present epoch is a row, or parked."""
    log = site.exchange.exchange.executions_log
    tables = site.database.tables
    covered = joined(each for _, epoch, ranges in tables.reports.coverage if epoch == log.epoch for each in ranges)
    is_covered = not log.head or (bool(covered) and covered[0][0] == 1 and covered[0][1] >= log.head)
    return not _waiting(site) and is_covered and not _missing_again(site)


def _missing_again(site: Site) -> bool:
    """Whether a report that took another's place is missing, which its place does not tell."""
    if not site.exchange.times_gone_back or not site.exchange.is_read_again_for_sure:
        return False
    executions = site.database.tables.reports.executions
    kept = {exec_id for rows in executions.values() for _, exec_id in rows}
    again = {exec_id for _, exec_id in went_back(_lines(site)).unsure}
    log = site.exchange.exchange.executions_log
    return any(view.exec_id in again and view.exec_id not in kept for view in log.views(log.dropped, log.head))


def is_all_tried(site: Site) -> bool:
    """Whether what was parked for want of its order has been tried for the last time."""
    return not site.database.tables.reports.retries


def _waiting(site: Site) -> int:
    return len(site.database.tables.reports.inbox) + (0 if site.broker is None else site.broker.depth())


def _evidence(site: Site) -> ExecutionEvidence:
    tables = site.database.tables
    covered: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for _, epoch, ranges in tables.reports.coverage:
        covered[epoch] += ranges
    rows = [row for rows in tables.reports.executions.values() for row in rows.values()]
    left_out = between_epochs(site)
    return ExecutionEvidence(
        [
            TrailRow(row["id"], row["status"], row["reason"], row["instrument"], row["side"], row["quantity"])
            for trail in tables.orders.values()
            for row in trail.values()
        ],
        [_row(row) for row in rows],
        [
            ParkedReport(
                row["epoch"],
                row["seq"],
                row["order_id"],
                row["reason"],
                row["closed_at"] is None,
                row["raw"],
                row["field"],
            )
            for row in tables.parked.values()
            if row["kind"] == KIND
        ],
        {epoch: session for (_, epoch), session in tables.reports.epochs.items()},
        covered,
        progress=_progress(tables, left_out | _of_forgotten(site)),
        positions=None if left_out or went_back(_lines(site)).forgotten else _positions(tables),
        reviewed=frozenset(tables.doubts),
        orphans=frozenset(orphan["client_order_id"] for orphan in tables.orphans.values()),
        placed_by_processor=site.placed_by_processor,
        waiting_frames=_waiting(site),
    )


def _row(row: Record) -> ExecutionRow:
    return ExecutionRow(
        row["order_id"], row["session"], row["exec_id"], row["epoch"], row["seq"], row["exec_type"], row["ord_status"],
        row["exchange_order_id"], row["last_qty"], row["last_px"], row["cum_qty"], row["leaves_qty"], row["avg_px"],
        row["exec_ref_id"], row["reject_reason"], _moment(row["transact_time"]),
    )  # fmt: skip


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value).astimezone(UTC)


def between_epochs(site: Site) -> frozenset[str]:
    """Orders whose reports are kept under several epochs, and were told in several by an exchange that numbers anew.

    A repeat leaves the row as it was, and a row counts by its epoch, in the order in which epochs were first known:
    what the venue said before may be taken for its latest word (`docs/proof.md`).
    """
    epochs_of: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for report in reports(site):
        epochs_of[report.order_id, report.exec_id].add(report.epoch)
    found = set()
    for order_id, rows in site.database.tables.reports.executions.items():
        is_repeated = any(len(epochs_of[order_id, row["exec_id"]]) > 1 for row in rows.values())
        if is_repeated and len({row["epoch"] for row in rows.values()}) > 1:
            found.add(order_id)
    return frozenset(found)


def _of_forgotten(site: Site) -> frozenset[str]:
    """Orders of which the exchange has forgotten a report: what it says of them and what it has said differ."""
    if not site.exchange.times_gone_back:
        return frozenset()
    found = went_back(_lines(site))
    ids = found.forgotten | found.unsure
    return frozenset(report.order_id for report in reports(site) if (report.epoch, report.exec_id) in ids)


def _progress(tables: Tables, left_out: frozenset[str]) -> Mapping[str, Progress]:
    """What `GET /orders/{id}` says, by the service's own fold."""
    ranks = {epoch: rank for rank, (_, epoch) in enumerate(tables.reports.epochs)}
    return {id_: progress for id_, progress in _progress_of(tables, ranks) if id_ not in left_out}


def _progress_of(tables: Tables, ranks: Mapping[str, int]) -> Iterator[tuple[str, Progress]]:
    for order_id, trail in tables.orders.items():
        rows = [
            Execution(epoch_rank=ranks[row.epoch], **row._asdict())
            for row in map(_row, tables.reports.executions.get(order_id, {}).values())
        ]
        progress = fold_executions(rows, quantity=trail["INITIATED"]["quantity"])
        yield (
            order_id,
            Progress(
                progress.cum_qty, progress.leaves_qty, progress.avg_px, progress.is_live, progress.executions_complete
            ),
        )


def _positions(tables: Tables) -> Mapping[str, Position]:
    """What `GET /positions` says."""
    sums = summed_up(tables)
    nothing = (0, Decimal(0))
    return {
        instrument: Position(
            *_side(*sums.get((instrument, "buy"), nothing)), *_side(*sums.get((instrument, "sell"), nothing))
        )
        for instrument, _ in sums
    }


def _side(quantity: int, notional: Decimal) -> tuple[int, Decimal | None]:
    return quantity, average([(quantity, notional / quantity)]) if quantity else None

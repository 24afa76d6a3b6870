"""What the statements that compare executions do, in Python, on the tables of a simulation."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from ordertrail.storage.postgres import comparison_statements as statements
from tests.simulation.table_rows import Record, Tables

KIND = "execution_report"
_COMPARED = ("order_id", "exec_id", "seq", "exec_type", "last_qty", "last_px", "exec_ref_id")
_COMPARISON = (
    "venue", "epoch", "up_to_seq", "reports", "missing", "different", "unknown", "is_equal", "details",
)  # fmt: skip


def _rows(tables: Tables) -> Iterator[Record]:
    for rows in tables.reports.executions.values():
        yield from rows.values()


def _epoch_session(tables: Tables, now: datetime, venue: str, epoch: str) -> list[Record]:
    session = tables.reports.epochs.get((venue, epoch))
    return [] if session is None else [{"session": session, "at": now}]


def _is_on_page(row: Record, epoch: str, first: int, last: int) -> bool:
    return row["epoch"] == epoch and row["seq"] is not None and first <= row["seq"] <= last


def _kept(
    tables: Tables,
    _now: datetime,
    session: int,
    epoch: str,
    order_ids: Sequence[str],
    _least: str,
    _greatest: str,
    exec_ids: Sequence[str],
    first: int,
    last: int,
    begun_at: datetime,
) -> list[Record]:
    kept = []
    for order_id in sorted(set(order_ids)):
        for row in tables.reports.executions.get(order_id, {}).values():
            is_on_page = _is_on_page(row, epoch, first, last)
            if row["session"] == session and (row["exec_id"] in exec_ids or is_on_page):
                is_counted = is_on_page and row["recorded_at"] < begun_at
                kept.append({**{name: row[name] for name in _COMPARED}, "is_counted": is_counted})
    return kept


def _parked_seqs(tables: Tables, _now: datetime, venue: str, epoch: str, seqs: Sequence[int]) -> list[Record]:
    parked = {
        row["seq"]
        for row in tables.parked.values()
        if (row["venue"], row["epoch"], row["kind"]) == (venue, epoch, KIND) and row["seq"] in seqs
    }
    return [{"seq": seq} for seq in sorted(parked)]


def _count(
    tables: Tables,
    _now: datetime,
    after_order: str,
    after_session: int,
    after_exec: str,
    session: int,
    epoch: str,
    first: int,
    last: int,
    begun_at: datetime,
    limit: int,
) -> list[Record]:
    def key(row: Record) -> tuple[str, int, str]:
        return row["order_id"], row["session"], row["exec_id"]

    after = (after_order, after_session, after_exec)
    part = sorted((row for row in _rows(tables) if key(row) > after), key=key)[:limit]
    if not part:
        return []
    counted = [
        row
        for row in part
        if row["session"] == session and _is_on_page(row, epoch, first, last) and row["recorded_at"] < begun_at
    ]
    return [{"count": len(counted), **dict(zip(("order_id", "session", "exec_id"), key(part[-1]), strict=True))}]


def _keep(tables: Tables, now: datetime, *columns: Any) -> list[Record]:
    tables.reports.comparisons.append({**dict(zip(_COMPARISON, columns, strict=True)), "compared_at": now})
    return []


def _newest(tables: Tables, _now: datetime, venue: str) -> list[Record]:
    own = [row for row in tables.reports.comparisons if row["venue"] == venue]
    return [{name: value for name, value in row.items() if name != "is_equal"} for row in own[-1:]]


COMPARISON_STATEMENTS: dict[str, tuple[str, Callable[..., list[Record]]]] = {
    statements.EPOCH_SESSION: ("epoch_session", _epoch_session),
    statements.KEPT_EXECUTIONS: ("kept_executions", _kept),
    statements.PARKED_SEQS: ("parked_seqs", _parked_seqs),
    statements.COUNT_EXECUTIONS: ("count_executions", _count),
    statements.KEEP_COMPARISON: ("keep_comparison", _keep),
    statements.NEWEST_COMPARISON: ("newest_comparison", _newest),
}

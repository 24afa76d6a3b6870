"""What the statements that read the event log do, on the tables of a simulation."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ordertrail.storage.postgres import event_log_statements
from tests.simulation.table_rows import Record, Tables

_ORIGIN = 7
_PAGE = ("txid", "id", "nonce", "count", "order_ids", "statuses", "session", "execution_order_ids", "exec_ids")
_NO_ROW: Record = dict.fromkeys((*_PAGE, "order_statuses", "nonce_there"))


def _place(tables: Tables) -> Record:
    next_transaction = len(tables.log.rows) + 1
    return {
        "origin": _ORIGIN,
        "timeline": 1,
        "is_here": True,
        "bound_txid": 0,
        "bound_id": 0,
        "bound_nonce": 0,
        "oldest_running": next_transaction,
        "next_transaction": next_transaction,
    }


def _nonce_at(tables: Tables, txid: int, row_id: int) -> int | None:
    return next((row["nonce"] for row in tables.log.rows if (row["txid"], row["id"]) == (txid, row_id)), None)


def _read_log(tables: Tables, _now: datetime, txid: int, row_id: int, rows_max: int, events_max: int) -> list[Record]:
    place = _place(tables) | {"nonce_there": _nonce_at(tables, txid, row_id)}
    page: list[Record] = []
    events = 0
    for row in tables.log.rows:
        if (row["txid"], row["id"]) > (txid, row_id) and len(page) < rows_max and events < events_max:
            page.append(place | row | {"order_statuses": row["statuses"]})
            events += row["count"]
    return page or [_NO_ROW | place]


def _newest(tables: Tables, _now: datetime) -> list[Record]:
    newest = tables.log.rows[-1] if tables.log.rows else _NO_ROW
    return [_place(tables) | {name: newest[name] for name in ("txid", "id", "nonce")}]


def _find(tables: Tables, _now: datetime, txids: Sequence[int], ids: Sequence[int]) -> list[Record]:
    return [
        _place(tables) | {"number": number, "nonce_there": _nonce_at(tables, *place)}
        for number, place in enumerate(zip(txids, ids, strict=True), 1)
    ]


def _trail_rows(tables: Tables, _now: datetime, ids: Sequence[str], statuses: Sequence[str]) -> list[Record]:
    return [
        {**tables.orders[order_id][str(status)], "number": number}
        for number, (order_id, status) in enumerate(zip(ids, statuses, strict=True), 1)
    ]


def _executions(
    tables: Tables, _now: datetime, order_ids: Sequence[str], sessions: Sequence[int], exec_ids: Sequence[str]
) -> list[Record]:
    ranks = {epoch: rank for rank, (_, epoch) in enumerate(tables.reports.epochs, 1)}
    found = []
    for number, (order_id, session, exec_id) in enumerate(zip(order_ids, sessions, exec_ids, strict=True), 1):
        row = tables.reports.executions[order_id][session, exec_id]
        found.append({**row, "epoch_rank": ranks[row["epoch"]], "number": number})
    return found


LOG_STATEMENTS: Mapping[str, tuple[str, Callable[..., Any]]] = {
    event_log_statements.READ_LOG: ("read_log", _read_log),
    event_log_statements.NEWEST_IN_LOG: ("newest_in_log", _newest),
    event_log_statements.FIND_IN_LOG: ("find_in_log", _find),
    event_log_statements.LOGGED_TRAIL_ROWS: ("logged_trail_rows", _trail_rows),
    event_log_statements.LOGGED_EXECUTIONS: ("logged_executions", _executions),
}

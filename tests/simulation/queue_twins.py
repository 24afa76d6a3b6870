"""What the statements of the queue of orders do, on the tables of a simulation."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ordertrail.domain.reason import CANCELED, TOO_LATE, proved
from ordertrail.storage.order_queue_rows import FIRST_SEND
from ordertrail.storage.postgres import order_queue_statements
from tests.simulation.table_rows import ORDER_COLUMNS, Attempt, Record, Tables, insert_row, plain

_SHOWN = (*ORDER_COLUMNS, "created_at", "client_order_id", "place_by")


def put_in_queue(tables: Tables, now: datetime, rows: Sequence[Record]) -> None:
    """New orders, whose INITIATED is written by the same statement."""
    for row in rows:
        tables.queue[row["id"]] = (row["instrument"], now, row["start_by"])
    _count(tables, len(rows))


def take_out(tables: Tables, order_ids: Sequence[str]) -> list[str]:
    """Those that were in the queue, and are not any more."""
    taken = [order_id for order_id in order_ids if tables.queue.pop(order_id, None) is not None]
    _count(tables, -len(taken))
    return taken


def cancel_queued(tables: Tables, now: datetime, order_id: str) -> bool:
    """Whether the order was waiting, and is over at once."""
    taken = take_out(tables, [order_id])
    _end(tables, now, taken, proved(CANCELED).text)
    return bool(taken)


def _count(tables: Tables, delta: int) -> None:
    if delta:
        tables.queue_sums.append(delta)


def _end(tables: Tables, now: datetime, order_ids: Sequence[str], reason: str) -> None:
    for order_id in sorted(order_ids):
        fields = {name: tables.orders[order_id]["INITIATED"][name] for name in ORDER_COLUMNS}
        insert_row(tables, {**fields, "status": "NOT_PLACED", "reason": reason, "created_at": plain(now)})


def _claim(
    tables: Tables,
    now: datetime,
    orders_max: int,
    excluded: Sequence[str],
    probing: Sequence[str],
    claimed_by: str,
    send_seconds: float,
    answer_seconds: float,
    review_seconds: float,
) -> list[Record]:
    if tables.is_halted:
        return []
    waiting = [(order_id, *tables.queue[order_id]) for order_id in sorted(tables.queue)]
    oldest = [each for each in waiting if each[3] > now and each[1] not in excluded][:orders_max]
    probed: set[str] = set()
    claimed = []
    for order_id, instrument, queued_at, start_by in oldest:
        if instrument in probing and instrument in probed:
            continue
        probed.add(instrument)
        send_by = min(now + timedelta(seconds=send_seconds), start_by)
        accept_by = send_by + timedelta(seconds=answer_seconds)
        tables.attempts.setdefault(order_id, {})[FIRST_SEND] = Attempt(
            0, claimed_by, now, send_by, accept_by, next(tables.moments)
        )
        shown = {name: tables.orders[order_id]["INITIATED"][name] for name in _SHOWN}
        seconds_left = (send_by - now).total_seconds()
        claimed.append(
            {
                **shown,
                "waited_seconds": (now - queued_at).total_seconds(),
                "accept_by": accept_by,
                "seconds_left": seconds_left,
            }
        )
    ids = [record["id"] for record in claimed]
    take_out(tables, ids)
    if ids:
        tables.batches[next(tables.batch_ids)] = (now + timedelta(seconds=review_seconds), ids)
    return claimed


def _expire(tables: Tables, now: datetime, orders_max: int) -> list[Record]:
    due = sorted((start_by, order_id) for order_id, (_, _, start_by) in tables.queue.items() if start_by <= now)
    taken = take_out(tables, [order_id for _, order_id in due[:orders_max]])
    _end(tables, now, taken, proved(TOO_LATE).text)
    return [{"id": order_id} for order_id in sorted(taken)]


def _depth(tables: Tables, now: datetime) -> list[Record]:
    oldest = min(tables.queue, default=None)
    seconds = 0.0 if oldest is None else (now - tables.queue[oldest][1]).total_seconds()
    return [{"orders": sum(tables.queue_sums), "oldest_seconds": seconds}]


def _compact(tables: Tables, _now: datetime, rows_max: int, rows_min: int) -> list[Record]:
    if len(tables.queue_sums) >= rows_min:
        joined = sum(tables.queue_sums[:rows_max])
        tables.queue_sums[:rows_max] = []
        tables.queue_sums.append(joined)
    return []


def _notify(_tables: Tables, _now: datetime) -> list[Record]:
    return []


QUEUE_STATEMENTS: Mapping[str, tuple[str, Callable[..., Any]]] = {
    order_queue_statements.CLAIM_QUEUED: ("claim_queued", _claim),
    order_queue_statements.EXPIRE_QUEUED: ("expire_queued", _expire),
    order_queue_statements.NOTIFY_WORKERS: ("notify_workers", _notify),
    order_queue_statements.QUEUE_DEPTH: ("queue_depth", _depth),
    order_queue_statements.COMPACT_QUEUE_SUMS: ("compact_queue_sums", _compact),
}

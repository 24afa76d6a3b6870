"""`EventLog` and `EventLogKeeping` in PostgreSQL."""

from collections.abc import Iterator, Sequence
from typing import Any

from ordertrail.domain.trail import OrderStatus
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.event_rows import (
    Event,
    ExecutionEvent,
    HorizonHolder,
    LogKept,
    LogMark,
    LogPage,
    LogRow,
    MarkGone,
    OrderEvent,
)
from ordertrail.storage.postgres import event_log_statements as statements
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.execution_reads import execution_of
from ordertrail.storage.postgres.orders import trail_row

_log = get_logger()

ROWS_MAX = 256
DAYS_AHEAD = 7
DROPS_MAX = 32
MISPLACED_MAX = 10_000

_OLDER = "it is older than what is kept of the event log"
_ELSEWHERE = "it is of another database, or of this one before it was restored"
_LOST = "what it follows was lost when a standby took over"
_NOT_THERE = "what it follows is not in the event log, as after a restore"
# As PostgreSQL names it where something is missing that should have been made first.
_NOT_RENEWED = "55000"
_NO_PRIVILEGE = "42501"


class _Horizon:
    """For how long the oldest transaction has been running, as far as this process has noticed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._oldest_running = 0
        self._since = 0.0

    def seconds_of(self, oldest_running: int, next_transaction: int) -> float:
        now = self._clock.monotonic()
        if oldest_running != self._oldest_running or oldest_running >= next_transaction:
            self._oldest_running, self._since = oldest_running, now
        return now - self._since


class PostgresEventLog:
    """The log of one database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        # Kept apart: what is read at one time may be answered in another order.
        self._read_horizon = _Horizon(clock)
        self._horizon = _Horizon(clock)

    async def newest(self) -> LogMark:
        [record] = await self._database.fetch(statements.NEWEST_IN_LOG)
        _require_here(record)
        bound = _bound(record)
        return bound if record["txid"] is None else max(_mark(record, record), bound, key=_place_of)

    async def oldest(self) -> LogMark:
        [record] = await self._database.fetch(statements.NEWEST_IN_LOG)
        _require_here(record)
        return _bound(record)

    async def read(self, after: LogMark, *, events_max: int) -> LogPage | MarkGone:
        records = await self._database.fetch(statements.READ_LOG, after.txid, after.id, ROWS_MAX, events_max)
        first = records[0]
        gone = _why_gone(after, first)
        if gone is not None:
            return gone
        horizon_seconds = self._read_horizon.seconds_of(first["oldest_running"], first["next_transaction"])
        if first["txid"] is None:
            return LogPage((), has_more=False, horizon_seconds=horizon_seconds)
        events = await self._events(records)
        rows = [LogRow(_mark(first, record), tuple(its)) for record, its in zip(records, events, strict=True)]
        is_full = len(records) == ROWS_MAX or sum(record["count"] for record in records) >= events_max
        return LogPage(rows, has_more=is_full, horizon_seconds=horizon_seconds)

    async def are_there(self, marks: Sequence[LogMark]) -> list[MarkGone | None]:
        if not marks:
            return []
        records = await self._database.fetch(
            statements.FIND_IN_LOG, [mark.txid for mark in marks], [mark.id for mark in marks]
        )
        return [_why_gone(mark, record) for mark, record in zip(marks, records, strict=True)]

    async def horizon_holder(self) -> HorizonHolder | None:
        record = (await self._oldest_running_record())[0]
        _require_here(record)
        if record["oldest_running"] >= record["next_transaction"]:
            return None
        noticed = self._horizon.seconds_of(record["oldest_running"], record["next_transaction"])
        return HorizonHolder(
            record["pid"], record["database"], record["prepared"], seconds=max(noticed, record["seconds"] or 0.0)
        )

    async def _oldest_running_record(self) -> Sequence[Any]:
        try:
            return await self._database.fetch(statements.HORIZON)
        except StatementFailed as error:
            if error.code != _NO_PRIVILEGE:
                raise
            return await self._database.fetch(statements.HORIZON_UNNAMED)

    async def keep(self, *, kept_days: float) -> LogKept:
        [record] = await self._database.fetch(statements.RENEW_LOG)
        if record["is_renewed"]:
            _log.warning("the event log begins anew: its rows were restored from another server")
        await self._database.fetch(statements.MAKE_LOG_PARTITIONS, DAYS_AHEAD)
        dropped = 0
        while dropped < DROPS_MAX and (await self._database.fetch(statements.DROP_LOG_PARTITION, kept_days))[0]["name"]:
            dropped += 1
        [record] = await self._database.fetch(statements.DROP_LOG_DEFAULT, kept_days)
        dropped += record["is_dropped"]
        [record] = await self._database.fetch(statements.COUNT_MISPLACED_IN_LOG, MISPLACED_MAX)
        return LogKept(dropped=dropped, misplaced=record["count"])

    async def _events(self, records: Sequence[Any]) -> list[Iterator[Event]]:
        """What the rows of the log name, of each its events: executions, and then what they led to."""
        trail = [
            (order_id, status)
            for record in records
            for order_id, status in zip(record["order_ids"] or (), record["order_statuses"] or (), strict=True)
        ]
        executions = [
            (order_id, record["session"], exec_id)
            for record in records
            for order_id, exec_id in zip(record["execution_order_ids"] or (), record["exec_ids"] or (), strict=True)
        ]
        order_events = await self._order_events(trail)
        execution_events = await self._execution_events(executions)
        return [
            iter(
                [
                    *_taken(execution_events, len(record["exec_ids"] or ())),
                    *_taken(order_events, len(record["order_ids"] or ())),
                ]
            )
            for record in records
        ]

    async def _order_events(self, rows: Sequence[tuple[str, str]]) -> Iterator[Event | None]:
        if not rows:
            return iter(())
        records = await self._database.fetch(
            statements.LOGGED_TRAIL_ROWS, [row[0] for row in rows], [OrderStatus(row[1]) for row in rows]
        )
        found = {record["number"]: OrderEvent(record["id"], trail_row(record)) for record in records}
        return iter([found.get(number) for number in range(1, len(rows) + 1)])

    async def _execution_events(self, rows: Sequence[tuple[str, int, str]]) -> Iterator[Event | None]:
        if not rows:
            return iter(())
        records = await self._database.fetch(statements.LOGGED_EXECUTIONS, *map(list, zip(*rows, strict=True)))
        found = {
            record["number"]: ExecutionEvent(
                rows[record["number"] - 1][0], execution_of(rows[record["number"] - 1][0], record)
            )
            for record in records
        }
        return iter([found.get(number) for number in range(1, len(rows) + 1)])


def _taken(events: Iterator[Event | None], number: int) -> Iterator[Event]:
    """So many of them, without those whose rows are not there: nothing takes rows away but a person."""
    for _ in range(number):
        event = next(events)
        if event is None:
            metrics.INVARIANTS_BROKEN.labels("logged_row_missing").inc()
            _log.error("the event log names a row that is not there")
        else:
            yield event


def _require_here(record: Any) -> None:
    if not record["is_here"]:
        raise StatementFailed(_NOT_RENEWED, "the event log was restored from another server, and has not begun anew")


def _mark(place: Any, row: Any) -> LogMark:
    return LogMark(place["origin"], place["timeline"], row["txid"], row["id"], row["nonce"])


def _bound(record: Any) -> LogMark:
    return LogMark(
        record["origin"], record["timeline"], record["bound_txid"], record["bound_id"], record["bound_nonce"]
    )


def _place_of(mark: LogMark) -> tuple[int, int]:
    return mark.txid, mark.id


def _why_gone(mark: LogMark, record: Any) -> MarkGone | None:
    """Why what follows the mark cannot be known, by what stands at its place."""
    _require_here(record)
    bound = _bound(record)
    if mark.database != bound.database:
        return MarkGone(_ELSEWHERE)
    if _place_of(mark) <= _place_of(bound):
        is_bound = (mark.txid, mark.id, mark.check) == (bound.txid, bound.id, bound.check)
        return None if is_bound else MarkGone(_OLDER)
    if record["nonce_there"] == mark.check:
        return None
    return MarkGone(_NOT_THERE if mark.timeline == bound.timeline else _LOST)

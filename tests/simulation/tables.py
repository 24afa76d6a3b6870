"""The database of a simulation: what each of our SQL statements does, in Python, on tables in memory.

It stands below the operations on rows: those run as they are, statement by statement, and each statement is a
transaction of its own, as in PostgreSQL. That this one does what PostgreSQL does is for the conformance suite to
show. Times are the `now` of the transaction, aware, UTC, but `created_at`, which is a plain timestamp in UTC.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from ordertrail.domain.deadlines import RETRIED_TYPES
from ordertrail.domain.execution import REJECTED, TERMINAL_ORD_STATUSES, proves_acceptance
from ordertrail.domain.order import QUANTITY_MAX
from ordertrail.domain.trail import OrderStatus
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_queue_rows import FIRST_SEND
from ordertrail.storage.postgres import (
    doubt_statements,
    feed_statements,
    order_statements,
    parked_statements,
    sweep_statements,
    switch_statements,
)
from ordertrail.storage.postgres.order_statements import Variant
from tests.simulation.comparison_twins import COMPARISON_STATEMENTS
from tests.simulation.execution_twins import EXECUTION_STATEMENTS
from tests.simulation.log_twins import LOG_STATEMENTS
from tests.simulation.queue_twins import QUEUE_STATEMENTS, cancel_queued, put_in_queue, take_out
from tests.simulation.table_rows import (
    NOT_PLACED,
    ORDER_COLUMNS,
    PLACED,
    RANK,
    UNRESOLVED,
    Attempt,
    DoubtRecord,
    Record,
    Tables,
    insert_row,
    plain,
    reopen_doubt,
    reports_of,
    was_accepted,
)

T = TypeVar("T")


class Connection(Protocol):
    """How a transaction reaches the database; a simulation may delay it, refuse it or lose its answer."""

    async def transact(self, name: str, work: Callable[[datetime], T]) -> T:
        """Run `work` at the other end, whole or not at all."""
        ...


class SimulatedDatabase:
    """The server: one set of tables."""

    def __init__(self) -> None:
        self.tables = Tables()

    def session(self, connection: Connection) -> "Session":
        """A process's way to it, in the place of `postgres.database.Database`."""
        return Session(self.tables, connection)


class Session:
    """What the operations on rows need of a database."""

    def __init__(self, tables: Tables, connection: Connection) -> None:
        self._tables = tables
        self._connection = connection

    async def fetch(self, sql: str, *arguments: Any) -> list[Record]:
        """One statement, one transaction."""
        name, run = STATEMENTS[sql]

        def work(now: datetime) -> list[Record]:
            _bind(arguments)
            return self._run(run, now, arguments)

        return await self._connection.transact(name, work)

    async def fetch_in_order(self, *calls: tuple[str, Sequence[Any]]) -> list[Record]:
        """Several statements in one transaction; returns what the last one does."""
        chosen = [(STATEMENTS[sql], arguments) for sql, arguments in calls]

        def work(now: datetime) -> list[Record]:
            records: list[Record] = []
            # Every statement refuses what it refuses before it writes anything, so that there is nothing to roll back.
            # What the later ones of a transaction may refuse is all in their arguments.
            for _, arguments in chosen:
                _bind(arguments)
            for (_, run), arguments in chosen:
                records = self._run(run, now, arguments)
            return records

        return await self._connection.transact(chosen[-1][0][0], work)

    def _run(self, run: Callable[..., list[Record]], now: datetime, arguments: Sequence[Any]) -> list[Record]:
        self._tables.statements += 1
        self._tables.log.begin()
        records = run(self._tables, now, *arguments)
        self._tables.log.end()
        return records


def _bind(arguments: Sequence[Any]) -> None:
    """Refuse values that PostgreSQL cannot have."""
    for argument in arguments:
        for value in argument if isinstance(argument, list) else (argument,):
            if isinstance(value, str):
                _bind_text(value)
            # Of the integers in arrays only fences are wider, and no run gets so far.
            elif isinstance(value, int) and isinstance(argument, list) and not -QUANTITY_MAX <= value <= QUANTITY_MAX:
                raise StatementFailed("22000", "value out of int32 range")


def _bind_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise StatementFailed("22000", f"invalid input for query argument: {error}") from error
    if "\x00" in text:
        raise StatementFailed("22021", 'invalid byte sequence for encoding "UTF8": 0x00')


def _need_distinct(ids: Sequence[str]) -> None:
    if len(set(ids)) < len(ids):
        raise StatementFailed("21000", "ON CONFLICT DO UPDATE command cannot affect row a second time")


def _need_limit(limit: int) -> None:
    if limit < 0:
        raise StatementFailed("2201W", "LIMIT must not be negative")


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _rank(tables: Tables, order_id: str) -> int:
    return max((RANK[status] for status in tables.orders.get(order_id, ())), default=-1)


def _append(tables: Tables, now: datetime, order_id: str, status: str, reason: Any, exchange_order_id: Any) -> bool:
    """A row beside INITIATED, with its fields."""
    initiated = tables.orders.get(order_id, {}).get("INITIATED")
    if initiated is None:
        return False
    fields = {name: initiated[name] for name in ORDER_COLUMNS}
    reported = {"status": str(status), "reason": reason, "exchange_order_id": exchange_order_id}
    return insert_row(tables, {**fields, **reported, "created_at": plain(now)})


def _claim_keys(tables: Tables, keys: Sequence[tuple[str | None, str]]) -> set[str]:
    """The orders that have claimed their keys just now."""
    claimed = set()
    for key, order_id in sorted((key, order_id) for key, order_id in keys if key is not None):
        if key not in tables.keys:
            tables.keys[key] = order_id
            claimed.add(order_id)
    return claimed


def _has_open_claim(tables: Tables, order_id: str) -> bool:
    return any(
        tables.answers.get((order_id, number), ("",))[0] not in {"refused", "not_sent"}
        for number in tables.attempts.get(order_id, ())
    )


def _default_place_by(now: datetime, order_type: str, retry_seconds: float | None) -> datetime | None:
    return now + _seconds(retry_seconds) if order_type in RETRIED_TYPES and retry_seconds is not None else None


def _insert_queued(variant: Variant) -> Callable[..., list[Record]]:
    def insert(
        tables: Tables, now: datetime, queue_seconds: float, retry_seconds: float | None, *columns: Sequence[Any]
    ) -> list[Record]:
        recorded = _insert_first_rows(tables, now, variant, columns, retry_seconds, {})
        place_bys: Sequence[Any] = columns[-1] if variant.has_place_by else [None] * len(columns[0])
        wanted = dict(zip(columns[0], place_bys, strict=True))
        for row in recorded:
            row["start_by"] = wanted[row["id"]] or now + _seconds(queue_seconds)
        put_in_queue(tables, now, recorded)
        return [{"id": row["id"], "at": now} for row in recorded]

    return insert


def _insert_first_rows(
    tables: Tables,
    now: datetime,
    variant: Variant,
    columns: Sequence[Sequence[Any]],
    retry_seconds: float | None,
    deadlines: Record,
) -> list[Record]:
    """INITIATED of those new orders whose keys are free, in the order of their ids."""
    ids, types, sides, instruments, prices, quantities, keys_or_null, place_bys_or_null = columns
    keys: Sequence[Any] = keys_or_null if variant.has_keys else [keys_or_null] * len(ids)
    place_bys: Sequence[Any] = place_bys_or_null if variant.has_place_by else [place_bys_or_null] * len(ids)
    claimed = _claim_keys(tables, list(zip(keys, ids, strict=True)))
    recorded = []
    for index in sorted(range(len(ids)), key=lambda index: ids[index]):
        if keys[index] is not None and ids[index] not in claimed:
            continue
        row = {
            "id": ids[index],
            "created_at": plain(now),
            "type": str(types[index]),
            "side": str(sides[index]),
            "instrument": instruments[index],
            "limit_price": prices[index],
            "quantity": quantities[index],
            "status": "INITIATED",
            "client_order_id": keys[index],
            "place_by": place_bys[index] or _default_place_by(now, types[index], retry_seconds),
            **deadlines,
        }
        if insert_row(tables, row):
            recorded.append(tables.orders[ids[index]]["INITIATED"])
            tables.initiated_at_moment[ids[index]] = next(tables.moments)
    return recorded


def _insert_initiated(variant: Variant) -> Callable[..., list[Record]]:
    def insert(
        tables: Tables,
        now: datetime,
        send_seconds: float,
        accept_seconds: float,
        review_seconds: float,
        retry_seconds: float | None,
        *columns: Sequence[Any],
    ) -> list[Record]:
        deadlines = {"send_by": now + _seconds(send_seconds), "accept_by": now + _seconds(accept_seconds)}
        rows = _insert_first_rows(tables, now, variant, columns, retry_seconds, deadlines)
        recorded = [row["id"] for row in rows]
        if recorded:
            tables.batches[next(tables.batch_ids)] = (now + _seconds(review_seconds), recorded)
        return [{"id": order_id, "at": now, "is_halted": tables.is_halted} for order_id in recorded]

    return insert


def _hold(tables: Tables, now: datetime, ids: Sequence[str]) -> list[Record]:
    _need_distinct(ids)
    take_out(tables, ids)
    for order_id in sorted(ids):
        if order_id in tables.doubts:
            reopen_doubt(tables, now, order_id)
        else:
            tables.doubts[order_id] = DoubtRecord(now, now, settled_at=now)
    return []


def _insert_late_initiated(tables: Tables, now: datetime, *columns: Any) -> list[Record]:
    ids, types, sides, instruments, prices, quantities, keys, place_bys, retry_seconds = columns
    claimed = _claim_keys(tables, list(zip(keys, ids, strict=True)))
    for index in sorted(range(len(ids)), key=lambda index: str(ids[index])):
        order_id, key = ids[index], keys[index]
        if key is not None and order_id not in claimed and tables.keys.get(key) != order_id:
            continue
        row = {
            "id": order_id,
            "created_at": plain(now),
            "type": str(types[index]),
            "side": str(sides[index]),
            "instrument": instruments[index],
            "limit_price": prices[index],
            "quantity": quantities[index],
            "status": "INITIATED",
            "client_order_id": key,
            "place_by": place_bys[index] or _default_place_by(now, types[index], retry_seconds),
            "send_by": now,
        }
        insert_row(tables, row)
    return []


def _insert_never_sent(tables: Tables, now: datetime, ids: Sequence[str], reason: str) -> list[Record]:
    for order_id in sorted(ids):
        if not tables.attempts.get(order_id):
            _append(tables, now, order_id, "DATABASE_PERSISTENCE_FAILED", reason, None)
    return []


def _replay(tables: Tables, now: datetime, *columns: Any) -> list[Record]:
    ids, types, sides, instruments, prices, quantities, keys, _, statuses, reasons, exchange_ids, steps_at, *more = (
        columns
    )
    not_recorded, step_seconds_max = more
    # What one statement inserts, its other parts do not see.
    first_rows = {order_id: tables.orders.get(order_id, {}).get("INITIATED") for order_id in ids}
    first = [
        (key, order_id) for key, order_id, status in zip(keys, ids, statuses, strict=True) if status == "INITIATED"
    ]
    claimed = _claim_keys(tables, first)
    replayed = set()
    was_sent_later = {order_id: bool(tables.attempts.get(order_id)) for order_id in ids}
    for index in sorted(range(len(ids)), key=lambda index: (str(ids[index]), RANK[str(statuses[index])])):
        order_id, status = ids[index], str(statuses[index])
        if reasons[index] == not_recorded and was_sent_later[order_id]:
            continue
        is_first = status == "INITIATED"
        created_at = _step_time(now, steps_at[index], first_rows[order_id], step_seconds_max)
        row = {
            "id": order_id,
            "created_at": created_at,
            "recorded_at": None if created_at == plain(now) else plain(now),
            "type": str(types[index]),
            "side": str(sides[index]),
            "instrument": instruments[index],
            "limit_price": prices[index],
            "quantity": quantities[index],
            "status": status,
            "reason": reasons[index],
            "exchange_order_id": exchange_ids[index],
            "client_order_id": keys[index] if is_first and order_id in claimed else None,
            "send_by": now if is_first else None,
        }
        if insert_row(tables, row):
            replayed.add(order_id)
            _answer_first_claim(tables, order_id, status, reasons[index], exchange_ids[index])
    for order_id in sorted(replayed):
        reopen_doubt(tables, now, order_id)
    return []


def _step_time(now: datetime, step_at: datetime | None, first_row: Record | None, seconds_max: float) -> datetime:
    """The time of a spooled row: its step's, where that can be."""
    if step_at is None or not now - _seconds(seconds_max) < step_at < now:
        return plain(now)
    step = plain(step_at.astimezone(UTC))
    return min(plain(now), step if first_row is None else max(step, first_row["created_at"]))


def _key_owners(tables: Tables, _now: datetime, keys: Sequence[str]) -> list[Record]:
    found = dict.fromkeys(key for key in keys if key in tables.keys)
    return [{"client_order_id": key, "order_id": tables.keys[key]} for key in found]


def _initiated_times(tables: Tables, _now: datetime, ids: Sequence[str]) -> list[Record]:
    found = [tables.orders[order_id] for order_id in dict.fromkeys(ids) if order_id in tables.orders]
    return [
        {
            "id": rows["INITIATED"]["id"],
            "created_at": _written_at(rows["INITIATED"]),
            "is_halted": tables.is_halted,
        }
        for rows in found
        if "INITIATED" in rows
    ]


def _insert_completed(tables: Tables, now: datetime, ids: Sequence[str], exchange_ids: Sequence[str]) -> list[Record]:
    rows = sorted(zip(ids, exchange_ids, strict=True), key=lambda row: row[0])
    return [
        {"id": order_id} for order_id, reported in rows if _append(tables, now, order_id, "COMPLETED", None, reported)
    ]


def _insert_initiated_and_completed(variant: Variant) -> Callable[..., list[Record]]:
    insert_initiated = _insert_initiated(variant)

    def insert(tables: Tables, now: datetime, *arguments: Any) -> list[Record]:
        *initiated, ids, exchange_ids = arguments
        # What one statement inserts, its other parts do not see.
        completed = _insert_completed(tables, now, ids, exchange_ids)
        recorded = insert_initiated(tables, now, *initiated)
        tables.log.is_initiated_first = True
        return [{"initiated": len(recorded), "completed": len(completed), "at": now, "is_halted": tables.is_halted}]

    return insert


def _answer_first_claim(tables: Tables, order_id: str, status: str, reason: str | None, exchange_order_id: Any) -> None:
    """What the row of a queued order's first send says is the answer to its claim."""
    is_about_it = RANK["INITIATED"] < RANK[status] < UNRESOLVED
    if not is_about_it or FIRST_SEND not in tables.attempts.get(order_id, {}):
        return
    text = reason or ""
    kinds = {"accepted": text == "accepted", "refused": text.startswith("refused:")}
    kinds["not_sent"] = text.startswith("not_sent:")
    answer = next((kind for kind, is_so in kinds.items() if is_so), "unknown")
    tables.answers.setdefault((order_id, FIRST_SEND), (answer, reason, exchange_order_id))


def _insert_trail_rows(tables: Tables, now: datetime, *columns: Any) -> list[Record]:
    rows = sorted(zip(*columns, strict=True), key=lambda row: (row[0], RANK[str(row[1])]))
    recorded = []
    for order_id, status, reason, exchange_order_id in rows:
        if not _append(tables, now, order_id, status, reason, exchange_order_id):
            continue
        recorded.append({"id": order_id})
        _answer_first_claim(tables, order_id, str(status), reason, exchange_order_id)
        # A reason that is null is neither like nor unlike anything.
        is_open = reason is not None and not reason.startswith("refused:")
        if RANK[str(status)] < UNRESOLVED and is_open and order_id not in tables.doubts:
            tables.doubts[order_id] = DoubtRecord(now, now + _seconds(1))
    return recorded


def _trail_rows_there(tables: Tables, _now: datetime, ids: Sequence[str], statuses: Sequence[str]) -> list[Record]:
    return [
        {"id": order_id, "status": str(status)}
        for order_id, status in zip(ids, statuses, strict=True)
        if str(status) in tables.orders.get(order_id, {})
    ]


def _never_sent_rows_there(tables: Tables, _now: datetime, ids: Sequence[str], reason: str) -> list[Record]:
    return [
        {"id": order_id}
        for order_id in ids
        if tables.orders.get(order_id, {}).get("DATABASE_PERSISTENCE_FAILED", {}).get("reason") == reason
    ]


def _by_time(rows: dict[str, Record]) -> list[Record]:
    return sorted(rows.values(), key=lambda row: (_written_at(row), RANK[row["status"]]))


def _written_at(row: Record) -> datetime:
    moment: datetime = row["recorded_at"] or row["created_at"]
    return moment


def _read_order(tables: Tables, now: datetime, order_id: str) -> list[Record]:
    more = {
        "read_at": now,
        "has_open_claim": _has_open_claim(tables, order_id),
        "is_forbidden": order_id in tables.cancels,
        "is_queued": order_id in tables.queue,
    }
    return [{**row, **more, "send_by": _send_by(tables, row)} for row in _by_time(tables.orders.get(order_id, {}))]


def _send_by(tables: Tables, row: Record) -> datetime | None:
    if row["start_by"] is None:
        send_by: datetime | None = row["send_by"]
        return send_by
    claim = tables.attempts.get(row["id"], {}).get(FIRST_SEND)
    return None if claim is None else claim.send_by


def _enqueue_due_batches(tables: Tables, now: datetime, batches_max: int) -> list[Record]:
    _need_limit(batches_max)
    due = sorted((due_at, number) for number, (due_at, _) in tables.batches.items() if due_at <= now)[:batches_max]
    unsettled = set()
    for _, number in due:
        for order_id in tables.batches.pop(number)[1]:
            rows = tables.orders.get(order_id, {})
            reports = tables.reports.executions.get(order_id, {}).values()
            if "REJECTED" not in rows and any(row["ord_status"] == REJECTED for row in reports):
                unsettled.add(order_id)
            if "COMPLETED" in rows:
                continue
            failed = rows.get("DATABASE_PERSISTENCE_FAILED")
            is_accepted = failed is not None and failed["reason"] == "accepted"
            is_accepted |= _rank(tables, order_id) > PLACED
            if "NOT_PLACED" not in rows or is_accepted:
                unsettled.add(order_id)
    for order_id in sorted(unsettled):
        doubt = tables.doubts.get(order_id)
        if doubt is None:
            tables.doubts[order_id] = DoubtRecord(now, now)
        elif doubt.settled_at is not None:
            doubt.settled_at = None
            doubt.next_at = now
    return [{"batches": len(due)}]


def _lease(tables: Tables, now: datetime, doubts_max: int, lease_seconds: float) -> list[Record]:
    _need_limit(doubts_max)
    due = sorted(
        (doubt.next_at, number, order_id)
        for number, (order_id, doubt) in enumerate(tables.doubts.items())
        if doubt.settled_at is None
        and doubt.next_at <= now
        and (doubt.leased_until is None or doubt.leased_until <= now)
    )
    taken = []
    for _, _, order_id in due[:doubts_max]:
        doubt = tables.doubts[order_id]
        doubt.fence += 1
        doubt.tries += 1
        doubt.leased_until = now + _seconds(lease_seconds)
        taken.append({"order_id": order_id, "fence": doubt.fence, "tries": doubt.tries - 1})
    return taken


def _load(tables: Tables, now: datetime, ids: Sequence[str]) -> list[Record]:
    records = []
    for order_id in sorted(set(ids)):
        for row in _by_time(tables.orders.get(order_id, {})):
            attempts = None
            if row["status"] == "INITIATED" and tables.attempts.get(order_id):
                attempts = [
                    (number, each.send_by, each.accept_by, *tables.answers.get((order_id, number), (None, None, None)))
                    for number, each in sorted(tables.attempts[order_id].items())
                ]
            more = {
                "read_at": now,
                "is_cancel_wanted": order_id in tables.cancels,
                "observed_exchange_order_id": tables.sightings.get(order_id),
                "attempts": attempts,
                "is_queued": order_id in tables.queue,
                "word": _word(tables, order_id) if row["status"] == "INITIATED" else None,
            }
            records.append({**row, **more})
    return records


def _apply_verdicts(
    tables: Tables,
    now: datetime,
    ids: Sequence[str],
    fences: Sequence[int],
    settled: Sequence[bool],
    seconds: Sequence[float],
    shown: Sequence[str],
    *rows: Sequence[Any],
) -> list[Record]:
    held: dict[str, tuple[DoubtRecord, list[Any]]] = {}
    for order_id, fence, *verdict in zip(ids, fences, settled, seconds, shown, strict=True):
        doubt = tables.doubts.get(order_id)
        if doubt is not None and doubt.fence == fence and doubt.settled_at is None:
            held[order_id] = (doubt, verdict)
    for order_id, status, reason, exchange_order_id in zip(*rows, strict=True):
        if order_id in held:
            _append(tables, now, order_id, status, reason, exchange_order_id)
    for doubt, (is_settled, next_seconds, what) in held.values():
        doubt.settled_at = now if is_settled else None
        doubt.next_at = now + _seconds(next_seconds)
        doubt.leased_until = None
        doubt.last_seen = what
    return [{"order_id": order_id} for order_id in held]


def _claim_sends(
    tables: Tables,
    now: datetime,
    ids: Sequence[str],
    fences: Sequence[int],
    send_by_maxima: Sequence[datetime | None],
    claimed_by: str,
    send_seconds: float,
    answer_seconds: float,
) -> list[Record]:
    claims: dict[str, Attempt] = {}
    for order_id, fence, send_by_max in sorted(zip(ids, fences, send_by_maxima, strict=True), key=lambda each: each[0]):
        doubt = tables.doubts.get(order_id)
        rows = tables.orders.get(order_id, {})
        initiated = rows.get("INITIATED")
        attempts = tables.attempts.get(order_id, {})
        if doubt is None or doubt.fence != fence or doubt.settled_at is not None or initiated is None:
            continue
        place_by = initiated["place_by"]
        if place_by is None or now >= place_by or (send_by_max is not None and now >= send_by_max):
            continue
        is_final = _rank(tables, order_id) >= NOT_PLACED or any(
            (row["reason"] or "").startswith("refused:") or (row["reason"] or "").endswith(":not_recorded")
            for row in rows.values()
        )
        is_claimed = any(attempt.fence == fence for attempt in attempts.values())
        if order_id in tables.cancels or order_id in tables.queue or tables.is_halted or is_claimed or is_final:
            continue
        limits = [now + _seconds(send_seconds), place_by] + ([] if send_by_max is None else [send_by_max])
        if order_id in claims:
            raise StatementFailed("23505", "two claims to the same number")
        send_by = min(limits)
        accept_by = send_by + _seconds(answer_seconds)
        claims[order_id] = Attempt(fence, claimed_by, now, send_by, accept_by, next(tables.moments))
    records = []
    for order_id, claim in claims.items():
        attempts = tables.attempts.setdefault(order_id, {})
        number = 1 + max(attempts, default=1)
        attempts[number] = claim
        records.append(
            {
                "order_id": order_id,
                "number": number,
                "send_by": claim.send_by,
                "accept_by": claim.accept_by,
                "seconds_left": (claim.send_by - now).total_seconds(),
            }
        )
    return records


def _record_answers(tables: Tables, _now: datetime, *columns: Any) -> list[Record]:
    answers = list(zip(*columns, strict=True))
    for order_id, number, *_ in answers:
        if number not in tables.attempts.get(order_id, {}):
            raise StatementFailed("23503", "the answer has no attempt")
    for order_id, number, answer, reason, exchange_order_id in answers:
        tables.answers.setdefault((order_id, number), (str(answer), reason, exchange_order_id))
    return []


def _make_due(tables: Tables, now: datetime, doubts_max: int) -> list[Record]:
    _need_limit(doubts_max)
    waiting = [
        doubt
        for doubt in tables.doubts.values()
        if doubt.settled_at is None and doubt.next_at > now and doubt.tries > 0
    ][:doubts_max]
    for doubt in waiting:
        doubt.next_at = now
        doubt.tries = 0
    return [{} for _ in waiting]


def _reopen_all(tables: Tables, now: datetime, ids: Sequence[str]) -> list[Record]:
    _need_distinct(ids)
    for order_id in sorted(ids):
        reopen_doubt(tables, now, order_id)
    return [{} for _ in ids]


def _request_cancel(tables: Tables, now: datetime, order_id: str) -> list[Record]:
    if "INITIATED" not in tables.orders.get(order_id, {}):
        return []
    if order_id not in tables.cancels:
        tables.cancels[order_id] = now
        tables.canceled_at_moment[order_id] = next(tables.moments)
        is_over = cancel_queued(tables, now, order_id)
        if not is_over:
            reopen_doubt(tables, now, order_id, fence=1)
    return [{"id": order_id}]


def _word(tables: Tables, order_id: str) -> tuple[str, bool, str | None] | None:
    reports = reports_of(tables, order_id)
    if not reports:
        return None
    proves = any(proves_acceptance(row["exec_type"], row["ord_status"]) for row in reports)
    names = [row["exchange_order_id"] for row in reports if row["exchange_order_id"] is not None]
    return (reports[-1]["ord_status"], proves, names[-1] if names else None)


def _venue_word(tables: Tables, _now: datetime, order_id: str) -> list[Record]:
    return [{"word": _word(tables, order_id)}]


def _counts(tables: Tables, now: datetime) -> list[Record]:
    open_doubts = [(order_id, doubt) for order_id, doubt in tables.doubts.items() if doubt.settled_at is None]
    oldest = min((doubt.since for _, doubt in open_doubts), default=now)
    return [
        {
            "count": len(open_doubts),
            "unresolved": sum(is_unresolved(tables, order_id) for order_id, _ in open_doubts),
            "oldest_seconds": (now - oldest).total_seconds(),
            "open_orphans": sum(orphan["closed_at"] is None for orphan in tables.orphans.values()),
        }
    ]


def _oldest(tables: Tables, now: datetime, limit: int) -> list[Record]:
    _need_limit(limit)
    statuses = list(RANK)
    doubts = sorted((doubt.since, order_id) for order_id, doubt in tables.doubts.items() if doubt.settled_at is None)[
        :limit
    ]
    return [
        {
            "order_id": order_id,
            "since": since,
            "age_seconds": (now - since).total_seconds(),
            "tries": tables.doubts[order_id].tries,
            "last_observation": tables.doubts[order_id].last_seen,
            "next_at": tables.doubts[order_id].next_at,
            "status": statuses[_rank(tables, order_id)] if order_id in tables.orders else None,
            "is_unresolved": is_unresolved(tables, order_id),
            **_terms(tables, order_id),
        }
        for since, order_id in doubts
    ]


def _lease_sweep(tables: Tables, now: datetime, venue: str, lease_seconds: float) -> list[Record]:
    epoch, seq, leased_until = tables.sweeps.get(venue, ("", 0, None))
    if leased_until is not None and leased_until > now:
        return []
    tables.sweeps[venue] = (epoch, seq, now + _seconds(lease_seconds))
    return [{"epoch": epoch, "seq": seq}]


def _move_sweep(tables: Tables, _now: datetime, venue: str, epoch: str, seq: int) -> list[Record]:
    if venue in tables.sweeps:
        before, at, leased_until = tables.sweeps[venue]
        tables.sweeps[venue] = (epoch, max(at, seq) if before == epoch else seq, leased_until)
    return []


def _end_sweep(tables: Tables, now: datetime, venue: str, rest_seconds: float) -> list[Record]:
    if venue in tables.sweeps:
        epoch, seq, _ = tables.sweeps[venue]
        tables.sweeps[venue] = (epoch, seq, now + _seconds(rest_seconds))
    return []


def _note_epoch(tables: Tables, now: datetime, venue: str, epoch: str) -> list[Record]:
    tables.epochs.setdefault((venue, epoch), now)
    begun = [begun_at for (name, _), begun_at in tables.epochs.items() if name == venue]
    return [{"begun_at": max(begun)}] if len(begun) > 1 else []


def _statuses_of(tables: Tables, _now: datetime, ids: Sequence[str]) -> list[Record]:
    known = [order_id for order_id in dict.fromkeys(ids) if order_id in tables.orders]
    return [{"id": order_id, "statuses": list(tables.orders[order_id])} for order_id in known]


def _keep_observations(tables: Tables, now: datetime, ids: Sequence[str], exchange_ids: Sequence[str]) -> list[Record]:
    kept = []
    for order_id, exchange_order_id in sorted(zip(ids, exchange_ids, strict=True)):
        if order_id in tables.sightings:
            continue
        tables.sightings[order_id] = exchange_order_id
        kept.append({"order_id": order_id})
        if order_id in tables.doubts or tables.orders.get(order_id, {}).keys() - {"INITIATED"}:
            reopen_doubt(tables, now, order_id)
    return kept


def _terms(tables: Tables, order_id: str) -> Record:
    """What an order is, by its first row."""
    rows = tables.orders.get(order_id, {})
    first: Record = min(rows.values(), key=lambda row: RANK[row["status"]], default={})
    return {name: first.get(name) for name in ("instrument", "side", "quantity", "client_order_id")}


def _keep_orphans(tables: Tables, now: datetime, venue: str, epoch: str, *columns: Sequence[Any]) -> list[Record]:
    fresh = []
    for order_id, exchange_order_id, *terms in zip(*columns, strict=True):
        known = dict(zip(("instrument", "side", "quantity"), terms, strict=True))
        key = (venue, epoch, order_id, exchange_order_id)
        if key not in tables.orphans:
            names = dict(zip(("venue", "epoch", "client_order_id", "exchange_order_id"), key, strict=True))
            kept = {"id": len(tables.orphans) + 1, "shown_at": now, **names, **known, "closed_at": None}
            tables.orphans[key] = {**kept, "closed_by": None, "evidence": None}
            fresh.append({"client_order_id": order_id})
        elif tables.orphans[key]["closed_at"] is None and tables.orphans[key]["instrument"] is None:
            tables.orphans[key].update(known)
    return fresh


def _list_orphans(tables: Tables, _now: datetime, limit: int, is_open: bool) -> list[Record]:
    _need_limit(limit)
    return [dict(each) for each in tables.orphans.values() if not is_open or each["closed_at"] is None][:limit]


def _read_orphan(tables: Tables, _now: datetime, orphan_id: int) -> list[Record]:
    return [dict(each) for each in tables.orphans.values() if each["id"] == orphan_id]


def _close_orphan(
    tables: Tables, now: datetime, orphan_id: int, operator: str, origin: str, evidence: str
) -> list[Record]:
    found = [each for each in tables.orphans.values() if each["id"] == orphan_id and each["closed_at"] is None]
    for orphan in found:
        orphan.update(closed_at=now, closed_by=operator, evidence=evidence)
        before = {name: orphan[name] for name in ("venue", "client_order_id", "exchange_order_id")}
        _act(tables, "close_orphan", operator, origin, evidence, subject=str(orphan_id), before=before)
    return [{"id": orphan_id} for _ in found]


def _park(
    tables: Tables,
    now: datetime,
    venue: str,
    kinds: Sequence[str],
    fields: Sequence[str | None],
    reasons: Sequence[str],
    raws: Sequence[bytes],
    fingerprints: Sequence[bytes],
    order_ids: Sequence[str | None],
    epochs: Sequence[str | None],
    seqs: Sequence[int | None],
    new_max: int,
    open_max: int,
) -> list[Record]:
    open_now = sum(row["closed_at"] is None for row in tables.parked.values())
    room = min(new_max, max(open_max - open_now, 0))
    things = {
        row[4]: dict(
            zip(("kind", "field", "reason", "raw", "fingerprint", "order_id", "epoch", "seq"), row, strict=True)
        )
        for row in reversed(list(zip(kinds, fields, reasons, raws, fingerprints, order_ids, epochs, seqs, strict=True)))
    }
    known = things.keys() & tables.parked.keys()
    kept = sorted(things.keys() - known)[:room]
    for fingerprint in kept:
        opened = {"id": next(tables.parked_ids), "parked_at": now, "venue": venue, "closed_at": None}
        tables.parked[fingerprint] = {**opened, **things[fingerprint], "closed_by": None, "evidence": None}
    return [
        *({"fingerprint": fingerprint, "is_new": True} for fingerprint in kept),
        *({"fingerprint": fingerprint, "is_new": False} for fingerprint in known),
    ]


def _count_parked(tables: Tables, _now: datetime, limit: int) -> list[Record]:
    return [{"count": min(sum(row["closed_at"] is None for row in tables.parked.values()), limit)}]


def _shown(row: Record) -> Record:
    return {name: value for name, value in row.items() if name != "fingerprint"}


def _list_parked(tables: Tables, _now: datetime, limit: int, is_open: bool) -> list[Record]:
    _need_limit(limit)
    rows = sorted(tables.parked.values(), key=lambda row: row["id"])
    return [_shown(row) for row in rows if not is_open or row["closed_at"] is None][:limit]


def _read_parked(tables: Tables, _now: datetime, parked_id: int) -> list[Record]:
    return [_shown(row) for row in tables.parked.values() if row["id"] == parked_id]


def _close_parked(
    tables: Tables, now: datetime, parked_id: int, operator: str, origin: str, evidence: str
) -> list[Record]:
    row = next((row for row in tables.parked.values() if row["id"] == parked_id), None)
    if row is None or row["closed_at"] is not None:
        return []
    row.update(closed_at=now, closed_by=operator, evidence=evidence)
    _act(tables, "close_parked", operator, origin, evidence, order_id=row["order_id"], subject=str(parked_id))
    return [{"id": parked_id}]


def _is_over(tables: Tables, order_id: str) -> bool:
    ends = [
        row for status, row in tables.orders.get(order_id, {}).items() if RANK[status] >= RANK[OrderStatus.REJECTED]
    ]
    if any((row["reason"] or "").startswith("operator:") for row in ends):
        return True
    word = _word(tables, order_id)
    return bool(ends) if word is None else word[0] in TERMINAL_ORD_STATUSES


def _live_orders(tables: Tables, _now: datetime, after: str, limit: int) -> list[Record]:
    placed = sorted(order_id for order_id, rows in tables.orders.items() if order_id > after and "COMPLETED" in rows)
    return [{"id": order_id, "is_live": not _is_over(tables, order_id)} for order_id in placed[:limit]]


def is_unresolved(tables: Tables, order_id: str) -> bool:
    """Whether an order in doubt waits for a person: it is marked so, and its rows do not settle it by themselves."""
    rows = tables.orders.get(order_id, {})
    if "UNRESOLVED" not in rows:
        return False
    if "COMPLETED" in rows and (order_id not in tables.cancels or _is_over(tables, order_id)):
        return False
    return "NOT_PLACED" not in rows or was_accepted(tables, order_id)


def _lock_doubt(tables: Tables, _now: datetime, order_id: str) -> list[Record]:
    return [{}] if order_id in tables.doubts else []


def _act(tables: Tables, action: str, operator: str, origin: str, reason: str, **about: Any) -> None:
    """Keep an operator's action other than a turn of the switch."""
    nothing = dict.fromkeys(("order_id", "subject", "before", "after"))
    what = {"action": action, "operator": operator, "origin": str(origin), "reason": reason}
    tables.actions.append({**what, **nothing, **about})


def _resolve(
    tables: Tables, now: datetime, order_id: str, statuses: Sequence[str], reason: str, *action: Any
) -> list[Record]:
    doubt = tables.doubts.get(order_id)
    if doubt is None:
        return []
    rows = tables.orders.get(order_id, {})
    names = [str(status) for status in statuses]
    is_counted = doubt.settled_at is None and is_unresolved(tables, order_id)
    is_accepted = was_accepted(tables, order_id)
    is_placed = "COMPLETED" in rows
    is_being_sent = any(
        (order_id, number) not in tables.answers and attempt.send_by >= now
        for number, attempt in tables.attempts.get(order_id, {}).items()
    )
    is_refused = (is_accepted and "NOT_PLACED" in names) or (is_placed and names == ["COMPLETED"])
    is_taken = is_counted and not is_being_sent and not is_refused
    operator, origin, evidence, filled_quantity, filled_price = action
    if is_taken:
        filled = {} if filled_price is None else {"filled_quantity": filled_quantity, "filled_price": filled_price}
        _act(
            tables,
            "resolve",
            operator,
            origin,
            evidence,
            order_id=order_id,
            before={"status": list(RANK)[_rank(tables, order_id)]},
            after={"statuses": names, **filled},
        )
        reported = [row["exchange_order_id"] for row in rows.values() if row["exchange_order_id"] is not None]
        fields = {name: rows["UNRESOLVED"][name] for name in ORDER_COLUMNS}
        for name in names:
            row = {"status": name, "reason": reason, "exchange_order_id": max(reported, default=None)}
            insert_row(tables, {**fields, **row, "created_at": plain(now)})
        doubt.settled_at = None if names == ["COMPLETED"] else now
        doubt.next_at = now
        doubt.fence += 1
        doubt.leased_until = None
        doubt.last_seen = reason
    facts = {"is_unresolved": is_counted, "was_accepted": is_accepted, "is_placed": is_placed}
    return [{**facts, "is_being_sent": is_being_sent, "is_taken": is_taken}]


def _read_switch(tables: Tables, _now: datetime) -> list[Record]:
    return [
        {
            "is_halted": turn["action"] == "halt",
            "turned_at": turn["acted_at"],
            "operator": turn["operator"],
            "reason": turn["reason"],
            "id": turn["id"],
        }
        for turn in tables.turns[-1:]
    ]


def _turn(tables: Tables, now: datetime, action: str, operator: str, origin: str, reason: str | None) -> Record:
    what = {"action": action, "operator": operator, "origin": str(origin), "reason": reason}
    turn = {**what, "acted_at": now, "id": next(tables.moments)}
    tables.turns.append(turn)
    return turn


def _halt(tables: Tables, now: datetime, *action: Any) -> list[Record]:
    turn = _turn(tables, now, "halt", *action)
    return [{"turned_at": now, "transaction": str(turn["id"])}]


def _lock_switch(_tables: Tables, _now: datetime) -> list[Record]:
    return [{}]


def _resume(
    tables: Tables, now: datetime, operator: str, origin: str, reason: str | None, before: int | None
) -> list[Record]:
    if (tables.turns[-1]["id"] if tables.turns else None) != before:
        return []
    _turn(tables, now, "resume", operator, origin, reason)
    return [{}]


def _halt_under_way(tables: Tables, now: datetime, _transaction: str) -> list[Record]:
    # A statement here is done in one moment, so that each has seen what was committed before it.
    recorded = [
        _send_by(tables, tables.orders[order_id]["INITIATED"])
        for _, ids in tables.batches.values()
        for order_id in ids
        if tables.orders[order_id].keys() == {"INITIATED"}
    ]
    claimed = [
        attempt.send_by
        for order_id, doubt in tables.doubts.items()
        if doubt.settled_at is None
        for number, attempt in tables.attempts.get(order_id, {}).items()
        if (order_id, number) not in tables.answers
    ]
    startable = [send_by for send_by in (*recorded, *claimed) if send_by is not None and send_by > now]
    return [
        {
            "at": now,
            "has_earlier_statements": False,
            "startable": len(startable),
            "last_send_by": max(startable, default=None),
            "unanswered": len(recorded) + len(claimed),
        }
    ]


STATEMENTS: dict[str, tuple[str, Callable[..., list[Record]]]] = {
    **{
        sql: ("insert_initiated", _insert_initiated(variant))
        for variant, sql in order_statements.INSERT_INITIATED.items()
    },
    **{
        sql: ("insert_initiated_and_completed", _insert_initiated_and_completed(variant))
        for variant, sql in order_statements.INSERT_INITIATED_AND_COMPLETED.items()
    },
    order_statements.HOLD: ("hold", _hold),
    order_statements.INSERT_LATE_INITIATED: ("insert_late_initiated", _insert_late_initiated),
    order_statements.INSERT_NEVER_SENT: ("insert_never_sent", _insert_never_sent),
    order_statements.REPLAY: ("replay", _replay),
    order_statements.KEY_OWNERS: ("key_owners", _key_owners),
    order_statements.INITIATED_TIMES: ("initiated_times", _initiated_times),
    order_statements.INSERT_COMPLETED: ("insert_completed", _insert_completed),
    order_statements.INSERT_TRAIL_ROWS: ("insert_trail_rows", _insert_trail_rows),
    order_statements.TRAIL_ROWS_THERE: ("trail_rows_there", _trail_rows_there),
    order_statements.NEVER_SENT_ROWS_THERE: ("never_sent_rows_there", _never_sent_rows_there),
    order_statements.READ_ORDER: ("read_order", _read_order),
    doubt_statements.ENQUEUE_DUE_BATCHES: ("enqueue_due_batches", _enqueue_due_batches),
    doubt_statements.LEASE: ("lease", _lease),
    doubt_statements.LOAD: ("load", _load),
    doubt_statements.APPLY_VERDICTS: ("apply_verdicts", _apply_verdicts),
    doubt_statements.CLAIM_SENDS: ("claim_sends", _claim_sends),
    doubt_statements.RECORD_ANSWERS: ("record_answers", _record_answers),
    doubt_statements.MAKE_DUE: ("make_due", _make_due),
    doubt_statements.REOPEN: ("reopen", _reopen_all),
    doubt_statements.REQUEST_CANCEL: ("request_cancel", _request_cancel),
    doubt_statements.VENUE_WORD: ("venue_word", _venue_word),
    doubt_statements.COUNTS: ("counts", _counts),
    doubt_statements.OLDEST: ("oldest", _oldest),
    sweep_statements.LEASE_SWEEP: ("lease_sweep", _lease_sweep),
    sweep_statements.MOVE_SWEEP: ("move_sweep", _move_sweep),
    sweep_statements.END_SWEEP: ("end_sweep", _end_sweep),
    sweep_statements.NOTE_EPOCH: ("note_epoch", _note_epoch),
    sweep_statements.STATUSES_OF: ("statuses_of", _statuses_of),
    sweep_statements.KEEP_OBSERVATIONS: ("keep_observations", _keep_observations),
    sweep_statements.KEEP_ORPHANS: ("keep_orphans", _keep_orphans),
    sweep_statements.LIST_ORPHANS: ("list_orphans", _list_orphans),
    sweep_statements.READ_ORPHAN: ("read_orphan", _read_orphan),
    sweep_statements.CLOSE_ORPHAN: ("close_orphan", _close_orphan),
    parked_statements.PARK: ("park", _park),
    parked_statements.COUNT_PARKED: ("count_parked", _count_parked),
    parked_statements.LIST_PARKED: ("list_parked", _list_parked),
    parked_statements.READ_PARKED: ("read_parked", _read_parked),
    parked_statements.CLOSE_PARKED: ("close_parked", _close_parked),
    doubt_statements.LOCK_DOUBT: ("lock_doubt", _lock_doubt),
    doubt_statements.RESOLVE: ("resolve", _resolve),
    switch_statements.READ_SWITCH: ("read_switch", _read_switch),
    switch_statements.HALT: ("halt", _halt),
    switch_statements.LOCK_SWITCH: ("lock_switch", _lock_switch),
    switch_statements.RESUME: ("resume", _resume),
    switch_statements.HALT_UNDER_WAY: ("halt_under_way", _halt_under_way),
    feed_statements.LIVE_ORDERS: ("live_orders", _live_orders),
    **EXECUTION_STATEMENTS,
    **COMPARISON_STATEMENTS,
    **LOG_STATEMENTS,
    **QUEUE_STATEMENTS,
    **{sql: ("insert_queued", _insert_queued(variant)) for variant, sql in order_statements.INSERT_QUEUED.items()},
}

__all__ = ["STATEMENTS", "Connection", "Session", "SimulatedDatabase", "Tables", "is_unresolved"]

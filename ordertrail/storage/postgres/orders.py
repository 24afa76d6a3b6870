"""The operations on the rows of orders, in SQL: one statement, one commit, many orders.

Rows and keys are inserted in sorted order, so that two processes that share some of them wait for each other
instead of deadlocking.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ordertrail.domain.deadlines import Deadlines
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.reason import NOT_RECORDED
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.order_rows import (
    STEP_AGE_MAX,
    KeyTaken,
    NeverSent,
    NewTrailRow,
    Recorded,
    SentLater,
    SpooledTrail,
)
from ordertrail.storage.postgres import order_statements
from ordertrail.storage.postgres.database import Database


class PostgresRows:
    """`ordertrail.storage.order_rows.Rows` on PostgreSQL."""

    def __init__(self, database: Database, deadlines: Deadlines) -> None:
        self._database = database
        self._deadlines = deadlines

    async def insert_initiated(self, orders: Sequence[Order]) -> list[Recorded | KeyTaken]:
        variant, arguments = self._initiated(orders)
        records = await self._database.fetch(order_statements.INSERT_INITIATED[variant], *arguments)
        if len(records) == len(orders):
            recorded: Recorded | KeyTaken = Recorded(records[0]["at"], records[0]["is_halted"])
            return [recorded] * len(orders)
        fresh = {record["id"]: Recorded(record["at"], record["is_halted"]) for record in records}
        return await self._with_what_was_there(orders, fresh)

    async def insert_initiated_and_completed(
        self, orders: Sequence[Order], completed: Sequence[NewTrailRow]
    ) -> tuple[list[Recorded | KeyTaken], list[bool]]:
        variant, arguments = self._initiated(orders)
        [record] = await self._database.fetch(
            order_statements.INSERT_INITIATED_AND_COMPLETED[variant],
            *arguments,
            [row.order_id for row in completed],
            [row.exchange_order_id for row in completed],
        )
        recorded: list[Recorded | KeyTaken] = [Recorded(record["at"], record["is_halted"])] * len(orders)
        if record["initiated"] < len(orders):
            recorded = await self._with_what_was_there(orders, {})
        are_there = [True] * len(completed)
        if record["completed"] < len(completed):
            are_there = await self._are_there(completed)
        return recorded, are_there

    def _initiated(self, orders: Sequence[Order]) -> tuple[order_statements.Variant, list[Any]]:
        """Which of the statements, and its arguments."""
        deadlines = self._deadlines
        variant, columns = _new_columns(orders)
        return variant, [
            deadlines.send_seconds,
            deadlines.accept_seconds,
            deadlines.review_seconds,
            deadlines.default_retry_seconds,
            *columns,
        ]

    async def insert_queued(self, orders: Sequence[Order]) -> list[Recorded | KeyTaken]:
        variant, columns = _new_columns(orders)
        records = await self._database.fetch(
            order_statements.INSERT_QUEUED[variant],
            self._deadlines.queue_seconds,
            self._deadlines.default_retry_seconds,
            *columns,
        )
        fresh = {record["id"]: Recorded(record["at"]) for record in records}
        if len(fresh) == len(orders):
            return [fresh[order.id] for order in orders]
        return await self._with_what_was_there(orders, fresh)

    async def insert_never_sent(self, orders: Sequence[Order]) -> list[NeverSent | SentLater | KeyTaken]:
        ids = list(dict.fromkeys(order.id for order in orders))
        await self._database.fetch_in_order(
            (order_statements.INSERT_LATE_INITIATED, [*_columns(orders), self._deadlines.default_retry_seconds]),
            (order_statements.HOLD, [ids]),
            (order_statements.INSERT_NEVER_SENT, [ids, NOT_RECORDED.text]),
        )
        there = await self._with_what_was_there(orders, {})
        records = await self._fetch_after_insert(order_statements.NEVER_SENT_ROWS_THERE, ids, NOT_RECORDED.text)
        never_sent = {record["id"] for record in records}
        return [
            result
            if isinstance(result, KeyTaken)
            else NeverSent(result.created_at)
            if order.id in never_sent
            else SentLater()
            for order, result in zip(orders, there, strict=True)
        ]

    async def _with_what_was_there(
        self, orders: Sequence[Order], fresh: dict[str, Recorded]
    ) -> list[Recorded | KeyTaken]:
        """Results for orders of which some were not inserted just now: repeated by us, or their key was taken."""
        missing = [order for order in orders if order.id not in fresh]
        keys = [order.client_order_id for order in missing if order.client_order_id is not None]
        owners: dict[str, str] = {}
        if keys:
            records = await self._fetch_after_insert(order_statements.KEY_OWNERS, keys)
            owners = {record["client_order_id"]: record["order_id"] for record in records}
        ours = [order.id for order in missing]
        records = await self._fetch_after_insert(order_statements.INITIATED_TIMES, ours)
        times = {record["id"]: Recorded(utc(record["created_at"]), record["is_halted"]) for record in records}
        results: list[Recorded | KeyTaken] = []
        for order in orders:
            owner = owners.get(order.client_order_id) if order.client_order_id is not None else None
            if order.id in fresh:
                results.append(fresh[order.id])
            elif owner is not None and owner != order.id:
                results.append(KeyTaken(owner))
            else:
                results.append(times[order.id])
        return results

    async def insert_trail_rows(self, rows: Sequence[NewTrailRow]) -> list[bool]:
        ids = [row.order_id for row in rows]
        if all(row.status is OrderStatus.COMPLETED and row.reason is None for row in rows):
            records = await self._database.fetch(
                order_statements.INSERT_COMPLETED, ids, [row.exchange_order_id for row in rows]
            )
        else:
            records = await self._database.fetch(
                order_statements.INSERT_TRAIL_ROWS,
                ids,
                [row.status for row in rows],
                [row.reason for row in rows],
                [row.exchange_order_id for row in rows],
            )
        if len(records) == len(rows):
            return [True] * len(rows)
        return await self._are_there(rows)

    async def _are_there(self, rows: Sequence[NewTrailRow]) -> list[bool]:
        """Results for rows of which some were not inserted just now: they were before, or there is no INITIATED."""
        records = await self._fetch_after_insert(
            order_statements.TRAIL_ROWS_THERE, [row.order_id for row in rows], [row.status for row in rows]
        )
        there = {(record["id"], record["status"]) for record in records}
        return [(row.order_id, row.status.value) in there for row in rows]

    async def _fetch_after_insert(self, sql: str, *arguments: object) -> list[Any]:
        """Read what an insert has left; that this fails does not say that the insert did."""
        try:
            return await self._database.fetch(sql, *arguments)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            raise StatementOutcomeUnknown(str(error), may_have_happened=True) from error

    async def replay(self, trails: Sequence[SpooledTrail]) -> None:
        rows = [(trail.order, row) for trail in trails for row in trail.rows]
        first = [(order, row) for order, row in rows if row.status is OrderStatus.INITIATED]
        ids = list(dict.fromkeys(trail.order.id for trail in trails))
        await self._database.fetch_in_order(
            (order_statements.REPLAY, _replay(first)),
            (order_statements.HOLD, [ids]),
            (order_statements.REPLAY, _replay(rows)),
        )

    async def owner_of(self, key: str) -> str | None:
        records = await self._database.fetch(order_statements.KEY_OWNERS, [key])
        return records[0]["order_id"] if records else None

    async def read(self, order_id: str) -> StoredOrder | None:
        records = await self._database.fetch(order_statements.READ_ORDER, order_id)
        return stored_order(records)


def _replay(rows: Sequence[tuple[Order, TrailRow]]) -> list[Any]:
    """The arguments of REPLAY."""
    return [
        *_columns([order for order, _ in rows]),
        [row.status for _, row in rows],
        [row.reason for _, row in rows],
        [row.exchange_order_id for _, row in rows],
        [row.created_at for _, row in rows],
        NOT_RECORDED.text,
        STEP_AGE_MAX.total_seconds(),
    ]


def _new_columns(orders: Sequence[Order]) -> tuple[order_statements.Variant, list[Any]]:
    """Which of the statements that record new orders, and their columns for it."""
    keys = [order.client_order_id for order in orders]
    place_by = [order.place_by for order in orders]
    variant = order_statements.Variant(has_keys=any(keys), has_place_by=any(place_by))
    return variant, [
        [order.id for order in orders],
        [order.type for order in orders],
        [order.side for order in orders],
        [order.instrument for order in orders],
        [None if order.limit_price is None else float(order.limit_price) for order in orders],
        [order.quantity for order in orders],
        keys if variant.has_keys else None,
        place_by if variant.has_place_by else None,
    ]


def _columns(orders: Sequence[Order]) -> tuple[list[Any], ...]:
    """An order's columns as arrays, one element an order."""
    return (
        [order.id for order in orders],
        [order.type for order in orders],
        [order.side for order in orders],
        [order.instrument for order in orders],
        [None if order.limit_price is None else float(order.limit_price) for order in orders],
        [order.quantity for order in orders],
        [order.client_order_id for order in orders],
        [order.place_by for order in orders],
    )


def stored_order(records: Sequence[Any]) -> StoredOrder | None:
    """An order from its rows, oldest first; None where there is none.

    The row to read the order itself from is INITIATED; every row carries the same fields, so any will do where a
    trail lacks it. Claims and cancels come along where the statement asked for them; reconciliation, which decides
    by the claims themselves, does not.
    """
    if not records:
        return None
    first = next((r for r in records if r["status"] == OrderStatus.INITIATED), records[0])
    return StoredOrder(
        order=order_of(first),
        created_at=utc(first["created_at"]),
        send_by=first["send_by"],
        rows=tuple(trail_row(record) for record in records),
        read_at=first["read_at"],
        has_open_claim=bool(first.get("has_open_claim")),
        is_forbidden=bool(first.get("is_forbidden")),
        is_queued=bool(first.get("is_queued")),
    )


def order_of(record: Any) -> Order:
    """The order itself, from its INITIATED row."""
    price = record["limit_price"]
    return Order(
        id=record["id"],
        type=OrderType(record["type"]),
        side=Side(record["side"]),
        instrument=record["instrument"],
        limit_price=None if price is None else price_from_column(price),
        quantity=record["quantity"],
        client_order_id=record["client_order_id"],
        place_by=record["place_by"],
    )


def trail_row(record: Any) -> TrailRow:
    """One row of the trail."""
    return TrailRow(
        status=OrderStatus(record["status"]),
        reason=record["reason"],
        exchange_order_id=record["exchange_order_id"],
        created_at=utc(record["created_at"]),
        recorded_at=None if record["recorded_at"] is None else utc(record["recorded_at"]),
    )


def price_from_column(price: float) -> Decimal:
    """The decimal that went into the column: exact within the bounds that `price_problem` keeps."""
    return Decimal(repr(price))


def utc(moment: datetime) -> datetime:
    """A time of the table of orders, which is in UTC and does not say so."""
    return moment.replace(tzinfo=UTC)

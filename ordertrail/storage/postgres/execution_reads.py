"""The reads of executions in SQL: what the API shows of an order, its executions in pages, positions."""

from collections.abc import Iterator, Mapping
from typing import Any

import asyncpg

from ordertrail.domain.execution import Execution, LatestReport, Position, progress_of
from ordertrail.domain.stored_order import ExecutedOrder
from ordertrail.storage.execution_reads import InstrumentPosition, Positions
from ordertrail.storage.order_reads import is_storable
from ordertrail.storage.postgres import execution_read_statements as statements
from ordertrail.storage.postgres import fragments, position_statements
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.orders import stored_order

_NO_POSITION = (None,) * 5


class PostgresExecutionReads:
    """`ordertrail.storage.execution_reads.ExecutionReads` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def order(self, order_id: str) -> ExecutedOrder | None:
        if not is_storable(order_id):
            return None
        records = await self._database.fetch(statements.READ_EXECUTED_ORDER, order_id)
        stored = stored_order(records)
        if stored is None:
            return None
        record = next(each for each in records if each["executed_qty"] is not None)
        ord_status = record["word_ord_status"]
        return ExecutedOrder(
            stored=stored,
            progress=progress_of(
                quantity=stored.order.quantity,
                cum_qty=int(record["executed_qty"]),
                avg_px=record["executed_avg_px"],
                busted=record["is_busted"],
                word=None if ord_status is None else LatestReport(ord_status, record["word_cum_qty"]),
            ),
            executions=tuple(_newest(order_id, record)),
            cancel_requested_at=record["cancel_requested_at"],
        )

    async def executions(self, order_id: str, *, limit: int, after: Position | None) -> list[Execution] | None:
        if not is_storable(order_id):
            return None
        records = await self._database.fetch(statements.LIST_EXECUTIONS, order_id, limit, *(after or _NO_POSITION))
        if not records:
            return None
        return [execution_of(order_id, record) for record in records if record["exec_id"] is not None]

    async def positions(self, *, limit: int, after: str) -> Positions:
        records = await self._database.fetch(position_statements.LIST_POSITIONS, limit, after)
        return Positions(
            positions=tuple(_position(record) for record in records if record["instrument"] is not None),
            as_of=records[0]["as_of"],
        )


def _newest(order_id: str, record: asyncpg.Record) -> Iterator[Execution]:
    """From one array a column, which are null where there are none."""
    arrays = [record[f"executions_{column}"] or () for column in fragments.EXECUTION_COLUMNS]
    for values in zip(*arrays, strict=True):
        yield execution_of(order_id, dict(zip(fragments.EXECUTION_COLUMNS, values, strict=True)))


def execution_of(order_id: str, record: Mapping[str, Any] | asyncpg.Record) -> Execution:
    """An execution from its row, which has more columns, too."""
    return Execution(order_id=order_id, **{column: record[column] for column in fragments.EXECUTION_COLUMNS})


def _position(record: asyncpg.Record) -> InstrumentPosition:
    return InstrumentPosition(
        instrument=record["instrument"],
        buy_qty=int(record["buy_qty"]),
        buy_avg_px=record["buy_avg_px"],
        sell_qty=int(record["sell_qty"]),
        sell_avg_px=record["sell_avg_px"],
    )

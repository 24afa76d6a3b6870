"""`ComparisonRows` in PostgreSQL."""

import json
from collections.abc import Sequence
from datetime import datetime

from ordertrail.storage.comparison_rows import ComparedRange, Comparison, ExecutionKey, KeptExecution
from ordertrail.storage.postgres import comparison_statements as statements
from ordertrail.storage.postgres.database import Database

WALK_ROWS = 20_000


class PostgresComparisons:
    """Executions as a comparison reads them, and what comparisons came to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def epoch_session(self, venue: str, epoch: str) -> tuple[int, datetime] | None:
        records = await self._database.fetch(statements.EPOCH_SESSION, venue, epoch)
        return (records[0]["session"], records[0]["at"]) if records else None

    async def kept(
        self, compared: ComparedRange, *, order_ids: Sequence[str], exec_ids: Sequence[str], first: int, last: int
    ) -> list[KeptExecution]:
        records = await self._database.fetch(
            statements.KEPT_EXECUTIONS,
            compared.session,
            compared.epoch,
            list(order_ids),
            min(order_ids, default=""),
            max(order_ids, default=""),
            list(exec_ids),
            first,
            last,
            compared.begun_at,
        )
        return [KeptExecution(**dict(record)) for record in records]

    async def parked_seqs(self, compared: ComparedRange, seqs: Sequence[int]) -> set[int]:
        records = await self._database.fetch(statements.PARKED_SEQS, compared.venue, compared.epoch, list(seqs))
        return {record["seq"] for record in records}

    async def count_kept(self, compared: ComparedRange, after: ExecutionKey) -> tuple[int, ExecutionKey | None]:
        records = await self._database.fetch(
            statements.COUNT_EXECUTIONS,
            after.order_id,
            after.session,
            after.exec_id,
            compared.session,
            compared.epoch,
            compared.first,
            compared.last,
            compared.begun_at,
            WALK_ROWS,
        )
        if not records:
            return 0, None
        [record] = records
        return record["count"], ExecutionKey(record["order_id"], record["session"], record["exec_id"])

    async def keep_comparison(self, comparison: Comparison) -> None:
        await self._database.fetch(
            statements.KEEP_COMPARISON,
            comparison.venue,
            comparison.epoch,
            comparison.up_to_seq,
            comparison.reports,
            comparison.missing,
            comparison.different,
            comparison.unknown,
            comparison.is_equal,
            json.dumps(comparison.details),
        )

    async def newest_comparison(self, venue: str) -> Comparison | None:
        records = await self._database.fetch(statements.NEWEST_COMPARISON, venue)
        if not records:
            return None
        fields = dict(records[0])
        return Comparison(**{**fields, "details": json.loads(fields["details"] or "{}")})

"""`OrderQueueRows` in PostgreSQL."""

from collections.abc import Sequence

from ordertrail.domain.deadlines import Deadlines
from ordertrail.storage.order_queue_rows import ClaimedOrder, QueueDepth
from ordertrail.storage.postgres import order_queue_statements as statements
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.orders import order_of, utc

COMPACTED_MIN, COMPACTED_MAX = 64, 5_000


class PostgresOrderQueue:
    """The queue of orders of one database; `deadlines` are reckoned from each claim."""

    def __init__(self, database: Database, deadlines: Deadlines) -> None:
        self._database = database
        self._deadlines = deadlines

    async def claim(
        self, *, orders_max: int, claimed_by: str, excluded: Sequence[str] = (), probing: Sequence[str] = ()
    ) -> list[ClaimedOrder]:
        deadlines = self._deadlines
        records = await self._database.fetch(
            statements.CLAIM_QUEUED,
            orders_max,
            list(excluded),
            list(probing),
            claimed_by,
            deadlines.send_seconds,
            deadlines.accept_seconds - deadlines.send_seconds,
            deadlines.review_seconds,
        )
        return [
            ClaimedOrder(
                order=order_of(record),
                created_at=utc(record["created_at"]),
                waited_seconds=record["waited_seconds"],
                accept_by=record["accept_by"],
                seconds_left=record["seconds_left"],
            )
            for record in records
        ]

    async def expire(self, *, orders_max: int) -> list[str]:
        return [record["id"] for record in await self._database.fetch(statements.EXPIRE_QUEUED, orders_max)]

    async def notify(self) -> None:
        await self._database.fetch(statements.NOTIFY_WORKERS)

    async def depth(self) -> QueueDepth:
        [record] = await self._database.fetch(statements.QUEUE_DEPTH)
        return QueueDepth(record["orders"], record["oldest_seconds"])

    async def compact(self) -> None:
        await self._database.fetch(statements.COMPACT_QUEUE_SUMS, COMPACTED_MAX, COMPACTED_MIN)

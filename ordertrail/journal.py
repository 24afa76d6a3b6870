"""The journal: the only writer of trails.

Each kind of row has a lane of shared commits. A call returns once its row is committed, and raises
DatabaseAnswered (it is not written) or DatabaseLost (it may be).
"""

import asyncio
from collections.abc import Awaitable
from typing import cast

from ordertrail.clock import Clock
from ordertrail.domain.errors import DatabaseAnswered
from ordertrail.domain.order import Order
from ordertrail.domain.trail import OrderStatus
from ordertrail.rows import KeyTaken, Recorded, Rows, StepRow, StoredOrder, Unsent
from ordertrail.shared_commits import Limits, SharedCommits


class Journal:
    """Trails, written with shared commits."""

    def __init__(self, rows: Rows, clock: Clock, limits: Limits) -> None:
        self._rows = rows
        self._initiated = SharedCommits("initiated", rows.insert_initiated, clock, limits)
        self._completed = SharedCommits("completed", rows.insert_steps, clock, limits)
        self._failed = SharedCommits("failed", rows.insert_steps, clock, limits)
        self._unsent = SharedCommits("unsent", rows.insert_unsent, clock, limits)

    @property
    def is_full(self) -> bool:
        """Whether a new order would have to be turned away."""
        return self._initiated.is_full or self._completed.is_full or self._failed.is_full

    def initiated(self, order: Order) -> "Awaitable[Recorded | KeyTaken]":
        """Claim the caller's key and append INITIATED."""
        return cast("Awaitable[Recorded | KeyTaken]", self._initiated.submit(order))

    async def completed(self, order_id: str, exchange_order_id: str) -> None:
        """Append a plain COMPLETED."""
        row = StepRow(order_id, OrderStatus.COMPLETED, None, exchange_order_id)
        _require(await self._completed.submit(row))

    async def step(self, row: StepRow) -> None:
        """Append a row that says why."""
        assert row.reason is not None or row.status is OrderStatus.COMPLETED
        _require(await self._failed.submit(row))

    def unsent(self, order: Order) -> "Awaitable[Unsent | KeyTaken]":
        """Append INITIATED and the row that says the order was never sent, together."""
        return cast("Awaitable[Unsent | KeyTaken]", self._unsent.submit(order))

    async def read(self, order_id: str) -> StoredOrder | None:
        """One order with its trail."""
        return await self._rows.read(order_id)

    async def close(self) -> None:
        """Wait until everything submitted is written or failed."""
        lanes = (self._initiated, self._completed, self._failed, self._unsent)
        await asyncio.gather(*(lane.close() for lane in lanes))


def _require(is_there: bool) -> None:
    if not is_there:
        raise DatabaseAnswered("02000", "the order has no INITIATED row to append to")

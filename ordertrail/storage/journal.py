"""The journal: the only writer of trails.

Rows of concurrent requests share commits. A call returns once its row is committed, and raises StatementFailed (it is
not written) or StatementOutcomeUnknown (it may be). What the database does not take goes to the spool.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

from ordertrail.domain.order import Order
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import Batcher, GroupCommit, Limits
from ordertrail.storage.order_rows import KeyTaken, NeverSent, NewTrailRow, Recorded, Rows, SentLater, SpooledTrail
from ordertrail.storage.placing_batcher import PlacingBatcher
from ordertrail.storage.spool import Spool, SpoolFailed
from ordertrail.storage.trail_writer import TrailWriter

_log = get_logger()

REPLAY_TRAILS_MAX = 100


class Journal:
    """Trails, written with shared commits."""

    def __init__(self, rows: Rows, spool: Spool, clock: Clock, limits: Limits) -> None:
        self._rows = rows
        self._spool = spool
        writer = TrailWriter(rows)
        self._placing = PlacingBatcher(writer, clock, limits)
        self._queued = Batcher("queued", writer.write_queued, clock, limits)
        self._failed = Batcher("failed", writer.write_steps, clock, limits)
        self._never_sent = Batcher("unsent", writer.write_never_sent, clock, limits)
        self._spooled = Batcher("spool", spool.append, clock, limits)

    @property
    def is_full(self) -> bool:
        """Whether a new order would have to be shed."""
        return self._placing.is_full or self._failed.is_full or self._queued.is_full

    def initiated(self, order: Order) -> Awaitable[Recorded | KeyTaken]:
        """Claim the caller's key and append INITIATED."""
        return self._placing.initiated(order)

    def queued(self, order: Order) -> Awaitable[Recorded | KeyTaken]:
        """Claim the caller's key, append INITIATED, and put the order in the queue."""
        return self._queued.submit(order)

    async def completed(self, order_id: str, exchange_order_id: str) -> None:
        """Append a plain COMPLETED."""
        _require(await self._placing.completed(NewTrailRow(order_id, OrderStatus.COMPLETED, None, exchange_order_id)))

    async def step(self, row: NewTrailRow) -> None:
        """Append a row that says why."""
        assert row.reason is not None or row.status is OrderStatus.COMPLETED
        _require(await self._failed.submit(row))

    def never_sent(self, order: Order) -> Awaitable[NeverSent | SentLater | KeyTaken]:
        """Append INITIATED and the row that says the order was never sent, together."""
        return self._never_sent.submit(order)

    async def spooled(self, order: Order, rows: tuple[TrailRow, ...]) -> bool:
        """Keep on disk a trail that the database does not take; False: not even that can be done."""
        try:
            await self._spooled.submit(SpooledTrail(order, rows))
        except (SpoolFailed, StatementOutcomeUnknown) as error:
            _log.error("the spool did not take a trail", order_id=order.id, error=str(error))
            return False
        return True

    async def replay(self) -> int:
        """Write what the spool has kept, ours and what dead processes left; returns how many trails."""
        count = 0
        with self._spool.adopted() as files:
            # Reading, locking and deleting files take as long as the disk likes: not in the event loop.
            while (adopted := await asyncio.to_thread(next, files, None)) is not None:
                path, trails = adopted
                for start in range(0, len(trails), REPLAY_TRAILS_MAX):
                    await self._replay(path, trails[start : start + REPLAY_TRAILS_MAX])
                count += len(trails)
        if count:
            metrics.REPLAYED.inc(count)
            _log.warning("the spool was replayed", trails=count)
        return count

    async def _replay(self, path: Path, trails: Sequence[SpooledTrail]) -> None:
        try:
            await self._rows.replay(trails)
        except StatementFailed as error:
            if not error.is_about_the_data:
                raise
            if len(trails) > 1:
                for trail in trails:
                    await self._replay(path, [trail])
                return
            # One that the database will never take must not keep the others back.
            self._spool.set_aside(path, trails[0])
            metrics.INVARIANTS_BROKEN.labels("spooled_trail_refused").inc()
            _log.error("the database refuses a spooled trail", order_id=trails[0].order.id, error=str(error))

    async def owner_of(self, key: str) -> str | None:
        """Which order a caller's key belongs to; None: it is free."""
        return await self._rows.owner_of(key)

    async def read(self, order_id: str) -> StoredOrder | None:
        """One order with its trail."""
        return await self._rows.read(order_id)

    async def close(self) -> None:
        """Wait until everything submitted is written or failed."""
        await asyncio.gather(*(batcher.close() for batcher in self._batchers()))

    def publish(self) -> None:
        """Tell the metrics how many rows wait."""
        for batcher in self._batchers():
            metrics.COMMIT_QUEUE.labels(batcher.batcher).set(batcher.waiting)

    def _batchers(self) -> Sequence[GroupCommit[Any]]:
        return self._placing, self._queued, self._failed, self._never_sent, self._spooled


def _require(is_there: bool) -> None:
    if not is_there:
        raise StatementFailed("02000", "the order has no INITIATED row to append to")

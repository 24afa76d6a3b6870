"""The journal: the only writer of trails.

Each kind of row has a lane of shared commits. A call returns once its row is committed, and raises
StatementFailed (it is not written) or StatementOutcomeUnknown (it may be). What the database does not take goes
to the spool.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from ordertrail.domain.order import Order
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import Batcher, Limits
from ordertrail.storage.order_rows import KeyTaken, NeverSent, NewTrailRow, Recorded, Rows, SentLater, SpooledTrail
from ordertrail.storage.spool import Spool, SpoolFailed

_log = get_logger()

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

REPLAY_TRAILS_MAX = 100


class Journal:
    """Trails, written with shared commits."""

    def __init__(self, rows: Rows, spool: Spool, clock: Clock, limits: Limits) -> None:
        self._rows = rows
        self._spool = spool
        self._spooled = Batcher("spool", spool.append, clock, limits)
        # Both rows of an order that is placed share one lane: half the commits of two lanes.
        self._placing = Batcher("placing", unexpected_error_as_lost(self._write_placing), clock, limits)
        self._failed = Batcher("failed", unexpected_error_as_lost(rows.insert_trail_rows), clock, limits)
        self._never_sent = Batcher("unsent", unexpected_error_as_lost(rows.insert_never_sent), clock, limits)

    @property
    def is_full(self) -> bool:
        """Whether a new order would have to be turned away."""
        return self._placing.is_full or self._failed.is_full

    def initiated(self, order: Order) -> "Awaitable[Recorded | KeyTaken]":
        """Claim the caller's key and append INITIATED."""
        return cast("Awaitable[Recorded | KeyTaken]", self._placing.submit(order))

    async def completed(self, order_id: str, exchange_order_id: str) -> None:
        """Append a plain COMPLETED."""
        row = NewTrailRow(order_id, OrderStatus.COMPLETED, None, exchange_order_id)
        # The order is at the exchange: as many may wait as there are orders in flight.
        _require(cast("bool", await self._placing.submit(row, bypass_limit=True)))

    async def step(self, row: NewTrailRow) -> None:
        """Append a row that says why."""
        assert row.reason is not None or row.status is OrderStatus.COMPLETED
        _require(await self._failed.submit(row))

    def never_sent(self, order: Order) -> "Awaitable[NeverSent | SentLater | KeyTaken]":
        """Append INITIATED and the row that says the order was never sent, together."""
        return cast("Awaitable[NeverSent | SentLater | KeyTaken]", self._never_sent.submit(order))

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

    async def read(self, order_id: str) -> StoredOrder | None:
        """One order with its trail."""
        return await self._rows.read(order_id)

    async def _write_placing(self, items: Sequence[Order | NewTrailRow]) -> Sequence[Recorded | KeyTaken | bool]:
        orders = [item for item in items if type(item) is Order]
        completed = [item for item in items if type(item) is NewTrailRow]
        if not completed:
            return await self._rows.insert_initiated(orders)
        if not orders:
            return await self._rows.insert_trail_rows(completed)
        recorded, are_there = await self._rows.insert_initiated_and_completed(orders, completed)
        next_recorded, next_is_there = iter(recorded), iter(are_there)
        return [next(next_recorded) if type(item) is Order else next(next_is_there) for item in items]

    async def close(self) -> None:
        """Wait until everything submitted is written or failed."""
        await asyncio.gather(*(batcher.close() for batcher in self._batchers()))

    def publish(self) -> None:
        """Tell the metrics how many rows wait."""
        for batcher in self._batchers():
            metrics.COMMIT_QUEUE.labels(batcher.batcher).set(batcher.waiting)

    def _batchers(self) -> Sequence[Batcher[Any, Any]]:
        return self._placing, self._failed, self._never_sent, self._spooled


def _require(is_there: bool) -> None:
    if not is_there:
        raise StatementFailed("02000", "the order has no INITIATED row to append to")


def unexpected_error_as_lost(
    write: Callable[[Sequence[_Item]], Awaitable[Sequence[_Result]]],
) -> Callable[[Sequence[_Item]], Awaitable[Sequence[_Result]]]:
    """`write`, with anything but its two errors taken for a lost answer: a bug of ours must not lose a trail."""

    async def told(items: Sequence[_Item]) -> Sequence[_Result]:
        try:
            return await write(items)
        except (StatementFailed, StatementOutcomeUnknown):
            raise
        except Exception as error:
            metrics.INVARIANTS_BROKEN.labels("write_raised").inc()
            _log.exception("writing rows raised")
            raise StatementOutcomeUnknown(f"{type(error).__name__}: {error}", may_have_happened=True) from error

    return told

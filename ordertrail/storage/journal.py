"""The journal: the only writer of trails.

Each kind of row has a lane of shared commits. A call returns once its row is committed, and raises
DatabaseAnswered (it is not written) or DatabaseLost (it may be). What the database does not take goes to the spool.
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
from ordertrail.storage.errors import DatabaseAnswered, DatabaseLost
from ordertrail.storage.group_commit import Limits, SharedCommits
from ordertrail.storage.order_rows import KeyTaken, Recorded, Rows, SentLater, SpooledTrail, StepRow, Unsent
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
        self._spooled = SharedCommits("spool", spool.append, clock, limits)
        # Both rows of an order that is placed share one lane: half the commits of two lanes.
        self._placing = SharedCommits("placing", _surely_told(self._write_placing), clock, limits)
        self._failed = SharedCommits("failed", _surely_told(rows.insert_steps), clock, limits)
        self._unsent = SharedCommits("unsent", _surely_told(rows.insert_unsent), clock, limits)

    @property
    def is_full(self) -> bool:
        """Whether a new order would have to be turned away."""
        return self._placing.is_full or self._failed.is_full

    def initiated(self, order: Order) -> "Awaitable[Recorded | KeyTaken]":
        """Claim the caller's key and append INITIATED."""
        return cast("Awaitable[Recorded | KeyTaken]", self._placing.submit(order))

    async def completed(self, order_id: str, exchange_order_id: str) -> None:
        """Append a plain COMPLETED."""
        row = StepRow(order_id, OrderStatus.COMPLETED, None, exchange_order_id)
        # The order is at the exchange: as many may wait as there are orders in flight.
        _require(cast("bool", await self._placing.submit(row, even_if_full=True)))

    async def step(self, row: StepRow) -> None:
        """Append a row that says why."""
        assert row.reason is not None or row.status is OrderStatus.COMPLETED
        _require(await self._failed.submit(row))

    def unsent(self, order: Order) -> "Awaitable[Unsent | SentLater | KeyTaken]":
        """Append INITIATED and the row that says the order was never sent, together."""
        return cast("Awaitable[Unsent | SentLater | KeyTaken]", self._unsent.submit(order))

    async def spooled(self, order: Order, rows: tuple[TrailRow, ...]) -> bool:
        """Keep on disk a trail that the database does not take; False: not even that can be done."""
        try:
            await self._spooled.submit(SpooledTrail(order, rows))
        except (SpoolFailed, DatabaseLost) as error:
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
        except DatabaseAnswered as error:
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

    async def _write_placing(self, items: Sequence[Order | StepRow]) -> Sequence[Recorded | KeyTaken | bool]:
        orders = [item for item in items if type(item) is Order]
        completed = [item for item in items if type(item) is StepRow]
        if not completed:
            return await self._rows.insert_initiated(orders)
        if not orders:
            return await self._rows.insert_steps(completed)
        recorded, are_there = await self._rows.insert_both(orders, completed)
        next_recorded, next_is_there = iter(recorded), iter(are_there)
        return [next(next_recorded) if type(item) is Order else next(next_is_there) for item in items]

    async def close(self) -> None:
        """Wait until everything submitted is written or failed."""
        await asyncio.gather(*(lane.close() for lane in self._lanes()))

    def publish(self) -> None:
        """Tell the metrics how many rows wait."""
        for lane in self._lanes():
            metrics.COMMIT_QUEUE.labels(lane.lane).set(lane.waiting)

    def _lanes(self) -> Sequence[SharedCommits[Any, Any]]:
        return self._placing, self._failed, self._unsent, self._spooled


def _require(is_there: bool) -> None:
    if not is_there:
        raise DatabaseAnswered("02000", "the order has no INITIATED row to append to")


def _surely_told(
    write: Callable[[Sequence[_Item]], Awaitable[Sequence[_Result]]],
) -> Callable[[Sequence[_Item]], Awaitable[Sequence[_Result]]]:
    """`write`, with anything but its two errors taken for a lost answer: a bug of ours must not lose a trail."""

    async def told(items: Sequence[_Item]) -> Sequence[_Result]:
        try:
            return await write(items)
        except (DatabaseAnswered, DatabaseLost):
            raise
        except Exception as error:
            metrics.INVARIANTS_BROKEN.labels("write_raised").inc()
            _log.exception("writing rows raised")
            raise DatabaseLost(f"{type(error).__name__}: {error}", may_have_happened=True) from error

    return told

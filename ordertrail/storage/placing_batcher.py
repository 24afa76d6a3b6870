"""The two rows of an order that is placed: INITIATED of new orders and COMPLETED of others share their commits.

That halves the commits of two queues. A row of either kind waits in the same line and keeps its own kind of result.
"""

import asyncio
from collections.abc import Sequence

from typing_extensions import override

from ordertrail.domain.order import Order
from ordertrail.runtime.clock import Clock
from ordertrail.storage.group_commit import GroupCommit, Limits, Pending, give_results
from ordertrail.storage.order_rows import KeyTaken, NewTrailRow, Recorded
from ordertrail.storage.trail_writer import TrailWriter


class _New(Pending[Order, Recorded | KeyTaken]):
    __slots__ = ()


class _Completed(Pending[NewTrailRow, bool]):
    __slots__ = ()


class PlacingBatcher(GroupCommit[_New | _Completed]):
    """The group commit of placing."""

    def __init__(self, writer: TrailWriter, clock: Clock, limits: Limits) -> None:
        super().__init__("placing", clock, limits)
        self._writer = writer

    def initiated(self, order: Order) -> "asyncio.Future[Recorded | KeyTaken]":
        """Write INITIATED with the next batch."""
        pending = _New(order)
        self._enqueue(pending)
        return pending.done

    def completed(self, row: NewTrailRow) -> "asyncio.Future[bool]":
        """Write a plain COMPLETED with the next batch; False: the order has no INITIATED row."""
        pending = _Completed(row)
        # The order is at the exchange: as many may wait as there are orders in flight.
        self._enqueue(pending, bypass_limit=True)
        return pending.done

    @override
    async def _commit(self, batch: Sequence[_New | _Completed]) -> None:
        new = [pending for pending in batch if type(pending) is _New]
        completed = [pending for pending in batch if type(pending) is _Completed]
        recorded, are_there = await self._writer.write_placing(
            [pending.item for pending in new], [pending.item for pending in completed]
        )
        if new:
            give_results(new, recorded)
        if completed:
            give_results(completed, are_there)

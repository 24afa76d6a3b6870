"""Takes orders for the queue: recorded and queued in one commit, and then workers are told that there is something.

What if we die between the two: workers look by themselves, only less soon.
"""

import asyncio
from collections.abc import Callable

from ordertrail.domain.order import Order
from ordertrail.placement.place_order import Failed, Placing, Queued, Repeated
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.buffered import BufferedCounter
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.order_queue_rows import OrderQueueRows

_log = get_logger()

# Workers are told at most so often; not in the commit, for the database's commits that notify come one by one.
NOTIFY_SECONDS = 0.05
DEPTH_SECONDS = 1.0


class OrderIntake:
    """One process's door to the queue. `wake_up_worker`: the worker in this process, where there is one."""

    def __init__(
        self,
        placing: Placing,
        queue: OrderQueueRows,
        clock: Clock,
        *,
        orders_max: int,
        wake_up_worker: Callable[[], None] = lambda: None,
    ) -> None:
        self._placing = placing
        self._queue = queue
        self._clock = clock
        self._orders_max = orders_max
        self._wake_up_worker = wake_up_worker
        self._depth = 0
        self._begun = 0
        self._begun_before_depth = 0
        self._queued = BufferedCounter(metrics.QUEUED)
        self._has_new = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether as many orders wait as may: as the queue was read last, and with what was begun here since."""
        return self._depth + self._begun - self._begun_before_depth >= self._orders_max

    async def enqueue(self, order: Order) -> Queued | Failed | Repeated:
        """Record a valid order for the workers; must run to its end once begun."""
        self._begun += 1
        placement = await self._placing.enqueue(order)
        if isinstance(placement, Queued):
            self._queued.add()
            self._has_new.set()
            self._wake_up_worker()
        return placement

    async def repeat(self, order_id: str) -> Repeated:
        """The present truth about an order."""
        return await self._placing.repeat(order_id)

    async def notify_workers(self) -> None:
        """Tell workers in other processes that orders were queued, for ever; cancel to end."""
        while True:
            await self._has_new.wait()
            self._has_new.clear()
            try:
                await self._queue.notify()
            except (StatementFailed, StatementOutcomeUnknown) as error:
                _log.debug("workers could not be told of queued orders", error=str(error))
            await self._clock.sleep(NOTIFY_SECONDS)

    async def watch_depth(self) -> None:
        """Read how the queue stands, for ever; cancel to end."""
        while True:
            await self.read_depth()
            await self._clock.sleep(DEPTH_SECONDS)

    async def read_depth(self) -> None:
        """Read how the queue stands, and join what is noted of it; what cannot be read stays as it was."""
        # What is begun while it is read may be in it or not: it is counted, so that never more wait than may.
        begun = self._begun
        try:
            depth = await self._queue.depth()
            await self._queue.compact()
        except (StatementFailed, StatementOutcomeUnknown) as error:
            metrics.QUEUE_ORDERS.unread()
            metrics.QUEUE_OLDEST_SECONDS.unread()
            _log.debug("the queue's depth could not be read", error=str(error))
            return
        self._depth, self._begun_before_depth = depth.orders, begun
        metrics.QUEUE_ORDERS.set(depth.orders)
        metrics.QUEUE_OLDEST_SECONDS.set(depth.oldest_seconds)

"""Queued orders whose time is up: taken out, and said to be not placed; nobody had begun to send them."""

from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.order_queue_rows import OrderQueueRows

_log = get_logger()

EXPIRE_ORDERS_MAX = 1000


async def expire_queued(queue: OrderQueueRows) -> int:
    """End all queued orders whose time is up, many in a statement; returns how many."""
    count = 0
    while expired := await queue.expire(orders_max=EXPIRE_ORDERS_MAX):
        count += len(expired)
        metrics.QUEUE_EXPIRED.inc(len(expired))
        for order_id in expired:
            _log.warning("a queued order was not sent in time", order_id=order_id)
        if len(expired) < EXPIRE_ORDERS_MAX:
            break
    return count

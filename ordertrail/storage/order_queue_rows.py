"""The operations on the queue of orders, each one transaction; PostgreSQL implements them.

An order that waits is in the queue and nowhere else: a transaction that takes it out says in the same commit why, and
a claim is one such. So of a claim, a cancel and the end of its time exactly one gets it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ordertrail.domain.order import Order

ORDER_QUEUE_CHANNEL = "order_queue"
"""Who listens to it is told when orders are queued."""

FIRST_SEND = 1
"""The number of the claim to send a queued order for the first time."""


@dataclass(frozen=True, slots=True)
class ClaimedOrder:
    """An order that was taken out of the queue to be sent, by its claimer alone.

    `order.place_by` is what its row says. `waited_seconds`: in the queue. `accept_by` is by the database's clock;
    `seconds_left`: for so long after the claim's statement has begun the send may start.
    """

    order: Order
    created_at: datetime
    waited_seconds: float
    accept_by: datetime
    seconds_left: float


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many orders wait, and for how long the oldest of them has."""

    orders: int
    oldest_seconds: float


class OrderQueueRows(Protocol):
    """What workers need of a database."""

    async def claim(
        self, *, orders_max: int, claimed_by: str, excluded: Sequence[str] = (), probing: Sequence[str] = ()
    ) -> list[ClaimedOrder]:
        """Take out the oldest orders whose time is not up, and commit the claims to send them.

        None of the `excluded` instruments, and of each of the `probing` ones at most one. Nothing while placing is
        halted. Must not be repeated after a lost answer: what it has claimed is the reconciler's then.
        """
        ...

    async def expire(self, *, orders_max: int) -> list[str]:
        """Take out orders whose time is up, and append NOT_PLACED to each; returns their ids."""
        ...

    async def notify(self) -> None:
        """Tell who listens to ORDER_QUEUE_CHANNEL that there may be orders."""
        ...

    async def depth(self) -> QueueDepth:
        """How the queue stands."""
        ...

    async def compact(self) -> None:
        """Join what transactions have noted of the queue's depth."""
        ...

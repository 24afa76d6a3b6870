"""The operations on the rows of orders, each one transaction; PostgreSQL implements them, a simulation may too.

Every insert is harmless twice: repeated after a lost answer it changes nothing and returns the same result.
Errors are `StatementFailed` (nothing of the call remains) and `StatementOutcomeUnknown` (it may have happened).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ordertrail.domain.order import Order
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow

# A process's clock may say anything, the spool may have waited long; older than this is not believed.
STEP_AGE_MAX = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Recorded:
    """INITIATED is committed; `created_at` is its own time (aware, UTC). `is_halted`: it must not be sent now."""

    created_at: datetime
    is_halted: bool = False


@dataclass(frozen=True, slots=True)
class KeyTaken:
    """The caller's key belongs to this order already; nothing was written."""

    order_id: str


@dataclass(frozen=True, slots=True)
class NeverSent:
    """INITIATED and the row that says it was never sent are both there."""

    created_at: datetime


@dataclass(frozen=True, slots=True)
class SentLater:
    """INITIATED was there all the time, and reconciliation has sent the order since: its rows say what came of it."""


@dataclass(frozen=True, slots=True)
class NewTrailRow:
    """A row to append to an order that has its INITIATED row."""

    order_id: str
    status: OrderStatus
    reason: str | None = None
    exchange_order_id: str | None = None


@dataclass(frozen=True, slots=True)
class SpooledTrail:
    """A trail that the database could not take when it happened; `order.place_by` is only the caller's own.

    Each row's `created_at` is the time of its step, by the process's clock but where the database had said it already;
    None: it was spooled by a release that did not keep it.
    """

    order: Order
    rows: tuple[TrailRow, ...]


class Rows(Protocol):
    """What the journal needs of a database."""

    async def insert_initiated(self, orders: Sequence[Order]) -> list[Recorded | KeyTaken]:
        """Claim the callers' keys and append INITIATED, for each order whose key is free."""
        ...

    async def insert_queued(self, orders: Sequence[Order]) -> list[Recorded | KeyTaken]:
        """Claim the callers' keys, append INITIATED, and put in the queue, for each order whose key is free."""
        ...

    async def insert_trail_rows(self, rows: Sequence[NewTrailRow]) -> list[bool]:
        """Append one row to each order; False where the order has no INITIATED row to append to."""
        ...

    async def insert_initiated_and_completed(
        self, orders: Sequence[Order], completed: Sequence[NewTrailRow]
    ) -> tuple[list[Recorded | KeyTaken], list[bool]]:
        """INITIATED for `orders` and plain COMPLETED for others, in one commit."""
        ...

    async def insert_never_sent(self, orders: Sequence[Order]) -> list[NeverSent | SentLater | KeyTaken]:
        """Append INITIATED and DATABASE_PERSISTENCE_FAILED `not_sent:not_recorded`; what is there stays.

        Such an order is never sent from then on; where a reconciler may have sent it, the second row is left out. If it
        waits in the queue after all, it is taken out.
        """
        ...

    async def replay(self, trails: Sequence[SpooledTrail]) -> None:
        """Append what a spool kept; what is there already stays, and a key that another order has stays its own.

        `not_sent:not_recorded` is left out where reconciliation has sent the order since. A row keeps the time of its
        step where that can be: not after now, not before the order's first row, not STEP_AGE_MAX ago. No deadline is
        reckoned from it.
        """
        ...

    async def owner_of(self, key: str) -> str | None:
        """Which order a caller's key belongs to; None: it is free."""
        ...

    async def read(self, order_id: str) -> StoredOrder | None:
        """One order with its trail."""
        ...

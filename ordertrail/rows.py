"""The operations on the rows of orders, each one transaction; PostgreSQL implements them, a simulation may too.

Every insert is harmless twice: repeated after a lost answer it changes nothing and returns the same result.
Errors are `DatabaseAnswered` (nothing of the call remains) and `DatabaseLost` (it may have happened).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ordertrail.domain.order import Order, OrderType
from ordertrail.domain.trail import (
    OrderStatus,
    Outcome,
    TrailRow,
    fold_exchange_order_id,
    fold_outcome,
    fold_status,
)


@dataclass(frozen=True, slots=True)
class Windows:
    """How long after its INITIATED row an order may be sent, accepted, looked after and retried, in seconds.

    Deadlines are reckoned from the row's own time, by the database's clock.
    """

    send_seconds: float
    accept_seconds: float
    review_seconds: float
    retry_seconds: float

    def retry_seconds_of(self, order: Order) -> float | None:
        """How long an order without a `place_by` of the caller's may be sent again; None: only the first send.

        A market order's price is stale soon: whether to send it again is the caller's choice, not ours.
        """
        if order.type is OrderType.MARKET or self.retry_seconds <= 0:
            return None
        return self.retry_seconds

    def place_by(self, order: Order, created_at: datetime) -> datetime | None:
        """Until when the order may be sent again."""
        if order.place_by is not None:
            return order.place_by
        seconds = self.retry_seconds_of(order)
        return None if seconds is None else created_at + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Recorded:
    """INITIATED is committed; `created_at` is its own time (aware, UTC)."""

    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyTaken:
    """The caller's key belongs to this order already; nothing was written."""

    order_id: str


@dataclass(frozen=True, slots=True)
class Unsent:
    """INITIATED and the row that says it was never sent are both there."""

    created_at: datetime


@dataclass(frozen=True, slots=True)
class SentLater:
    """INITIATED was there all the time, and reconciliation has sent the order since: its rows tell what came of it."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """A row to append to an order that has its INITIATED row."""

    order_id: str
    status: OrderStatus
    reason: str | None = None
    exchange_order_id: str | None = None


@dataclass(frozen=True, slots=True)
class SpooledTrail:
    """A trail that the database could not take when it happened; `order.place_by` is only the caller's own."""

    order: Order
    rows: tuple[TrailRow, ...]


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order with its trail, as one transaction saw it. Times are aware, UTC, by the database's clock."""

    order: Order
    created_at: datetime
    send_by: datetime | None
    rows: tuple[TrailRow, ...]
    read_at: datetime
    has_open_claim: bool = False
    is_forbidden: bool = False

    @property
    def status(self) -> OrderStatus:
        """The present status."""
        return fold_status(self.rows)

    @property
    def outcome(self) -> Outcome:
        """What can be said of its placement now."""
        return fold_outcome(
            self.rows,
            may_send_again=self.order.place_by is not None and not self.is_forbidden,
            has_open_claim=self.has_open_claim,
        )

    @property
    def exchange_order_id(self) -> str | None:
        """The exchange's id, where a row has it."""
        return fold_exchange_order_id(self.rows)

    def is_being_placed(self, *, seconds_after_send_by: float) -> bool:
        """Whether the request that brought it may still be placing it."""
        if {row.status for row in self.rows} != {OrderStatus.INITIATED} or self.send_by is None:
            return False
        return self.read_at < self.send_by + timedelta(seconds=seconds_after_send_by)


class Rows(Protocol):
    """What the journal needs of a database."""

    async def insert_initiated(self, orders: Sequence[Order]) -> list[Recorded | KeyTaken]:
        """Claim the callers' keys and append INITIATED, for each order whose key is free."""
        ...

    async def insert_steps(self, rows: Sequence[StepRow]) -> list[bool]:
        """Append one row to each order; False where the order has no INITIATED row to append to."""
        ...

    async def insert_both(
        self, orders: Sequence[Order], completed: Sequence[StepRow]
    ) -> tuple[list[Recorded | KeyTaken], list[bool]]:
        """INITIATED for `orders` and plain COMPLETED for others, in one commit."""
        ...

    async def insert_unsent(self, orders: Sequence[Order]) -> list[Unsent | SentLater | KeyTaken]:
        """Append INITIATED and DATABASE_PERSISTENCE_FAILED `not_sent:not_recorded`; what is there stays.

        Nobody sends such an order from then on; where somebody may have, the second row is left out.
        """
        ...

    async def replay(self, trails: Sequence[SpooledTrail]) -> None:
        """Append what a spool kept; what is there already stays, and a key that another order has stays its own.

        `not_sent:not_recorded` is left out where reconciliation has sent the order since.
        """
        ...

    async def read(self, order_id: str) -> StoredOrder | None:
        """One order with its trail."""
        ...

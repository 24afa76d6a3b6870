"""An order with its trail as one transaction saw it, and what follows from both."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ordertrail.domain.order import Order
from ordertrail.domain.trail import (
    REPORTED_STATUSES,
    Certainty,
    OrderStatus,
    Outcome,
    TrailRow,
    fold,
    fold_exchange_order_id,
    fold_outcome,
    fold_status,
)


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
    def certainty(self) -> Certainty | None:
        """How well it is known that it is not placed; None: it may be."""
        return fold(self.rows).certainty if self.outcome is Outcome.NOT_PLACED else None

    @property
    def exchange_order_id(self) -> str | None:
        """The exchange's id, where a row has it."""
        return fold_exchange_order_id(self.rows)

    @property
    def is_completed(self) -> bool:
        """Whether the row is there that says that the exchange has accepted it."""
        return any(row.status is OrderStatus.COMPLETED for row in self.rows)

    @property
    def is_reported(self) -> bool:
        """Whether a row says what the exchange reported of it, and COMPLETED is still to be written."""
        return not self.is_completed and any(row.status in REPORTED_STATUSES for row in self.rows)

    def is_being_placed(self, *, seconds_after_send_by: float) -> bool:
        """Whether the request that brought it may still be placing it."""
        if {row.status for row in self.rows} != {OrderStatus.INITIATED} or self.send_by is None:
            return False
        return self.read_at < self.send_by + timedelta(seconds=seconds_after_send_by)

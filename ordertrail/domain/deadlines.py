"""How long after it was recorded an order may be sent, accepted, looked after and retried."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ordertrail.domain.order import Order, OrderType


@dataclass(frozen=True, slots=True)
class Deadlines:
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

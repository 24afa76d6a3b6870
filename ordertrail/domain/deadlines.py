"""How long after it was recorded an order may be sent, accepted, reviewed and sent again."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ordertrail.domain.order import Order, OrderType

# The types of orders that are sent again also without a `place_by` of the caller's. A market order's price is stale
# soon: whether to send it again is the caller's choice, not ours.
RETRIED_TYPES = (OrderType.LIMIT,)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long after its INITIATED row an order may be sent, accepted, reviewed and sent again, in seconds.

    Deadlines are reckoned from the row's own time, by the database's clock; of an order that is queued, whose first
    send may start within `queue_seconds` where its caller gave no `place_by`, the first three from the claim's.
    """

    send_seconds: float
    accept_seconds: float
    review_seconds: float
    retry_seconds: float
    queue_seconds: float = 60

    @property
    def default_retry_seconds(self) -> float | None:
        """How long an order of RETRIED_TYPES is sent again where the caller gave no `place_by`; None: not at all."""
        return self.retry_seconds if self.retry_seconds > 0 else None

    def place_by(self, order: Order, created_at: datetime) -> datetime | None:
        """Until when the order may be sent again; None: only the first send.

        What PostgreSQL does with the same rule stands in `storage.postgres.fragments.place_by`.
        """
        if order.place_by is not None:
            return order.place_by
        seconds = self.default_retry_seconds
        if order.type not in RETRIED_TYPES or seconds is None:
            return None
        return created_at + timedelta(seconds=seconds)

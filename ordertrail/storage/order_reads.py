"""The reads of orders as the API needs them; PostgreSQL implements them. They never write."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ordertrail.domain.errors import OrdertrailError
from ordertrail.domain.order import Side
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, Outcome

WALKED_ROWS_MAX = 500_000
"""So many rows of trails are read for a page of a list that no index tells; then it ends, and the next goes on."""


class TooSlow(OrdertrailError):
    """The database gave up: too many orders had to be read for those that the filters leave."""


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders: all that is given must hold. Statuses and outcome are the folds, not what some row says.

    `statuses`: any of them; none: whatever it is.

    `created_after` and `created_before` (both aware) are on INITIATED, and neither includes its own moment.
    """

    statuses: tuple[OrderStatus, ...] = ()
    outcome: Outcome | None = None
    instrument: str | None = None
    side: Side | None = None
    client_order_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Some orders of a list, and the `before_id` of the page after it; None: there are no more.

    It may be short, or empty, and go on all the same, where so many rows had to be read that it would take too long.
    """

    orders: tuple[StoredOrder, ...]
    next_before_id: str | None


class OrderReads(Protocol):
    """Each call sees one moment of the database. Errors are `StatementFailed` and `StatementOutcomeUnknown`."""

    async def one(self, order_id: str) -> StoredOrder | None:
        """One order with its trail; None where there is none, whatever the text is."""
        ...

    async def many(self, wanted: OrderFilter, *, limit: int, before_id: str | None) -> OrderPage:
        """Up to `limit` orders with an id less than `before_id`, by falling id. Raises TooSlow.

        Our ids begin with the time, so falling ids are newest first.
        """
        ...


def is_storable(text: str) -> bool:
    """Whether a database could have this text at all: no NUL, and nothing that UTF-8 cannot say."""
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False

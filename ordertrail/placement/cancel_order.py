"""Canceling one order: the wish is committed, and reconciliation keeps at it until the order is over.

What if we die after the commit: the wish is a row that forbids further sends at once, and any reconciler finds it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, Outcome, WhyNotPlaced, fold
from ordertrail.domain.venue_word import end_of
from ordertrail.storage.doubt_rows import DoubtRows
from ordertrail.storage.order_rows import Rows

ORDER_ID_LENGTH_MAX = 255


@dataclass(frozen=True, slots=True)
class NoSuchOrder:
    """No order has this id."""


@dataclass(frozen=True, slots=True)
class OrderIsOver:
    """There is nothing to cancel: the exchange is done with the order, or it was never placed and never will be."""

    status: OrderStatus


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The wish is committed; `stored` is the order as it is since."""

    stored: StoredOrder


Cancellation = NoSuchOrder | OrderIsOver | CancelRequested


class Canceling:
    """Takes wishes to cancel; `wake_up_reconciler` has the reconciler cancel at the exchange at once."""

    def __init__(self, rows: Rows, doubts: DoubtRows, wake_up_reconciler: Callable[[], None]) -> None:
        self._rows = rows
        self._doubts = doubts
        self._wake_up_reconciler = wake_up_reconciler

    async def request(self, order_id: str) -> Cancellation:
        """Commit the wish to cancel; harmless if repeated. Raises StatementFailed and StatementOutcomeUnknown."""
        if not _may_be_an_id(order_id):
            return NoSuchOrder()
        stored = await self._rows.read(order_id)
        if stored is None:
            return NoSuchOrder()
        end = end_of(stored.rows, await self._doubts.venue_word(order_id))
        if end is OrderStatus.CANCELED and stored.is_forbidden:
            # Repeated, the wish has the same answer, also once it is fulfilled.
            return CancelRequested(stored)
        if end is not None:
            return OrderIsOver(end)
        if _never_was(stored):
            return OrderIsOver(stored.status)
        await self._doubts.request_cancel(order_id)
        stored = await self._rows.read(order_id)
        assert stored is not None, "rows are never deleted"
        self._wake_up_reconciler()
        return CancelRequested(stored)


def _may_be_an_id(text: str) -> bool:
    return "\x00" not in text and len(text) <= ORDER_ID_LENGTH_MAX and text.isascii()


def _never_was(stored: StoredOrder) -> bool:
    """Not placed, and not because of a wish to cancel; of a refused order that cannot be said."""
    if stored.outcome is not Outcome.NOT_PLACED:
        return False
    return not stored.is_forbidden or fold(stored.rows).why is WhyNotPlaced.REFUSED

"""The Protocol of a venue. Every adapter passes `tests/conformance`.

An adapter never retries, never raises for what a venue does, and maps every failure to one of the answers:
what is not proof is `Unknown` or `NoAnswer`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import CancelAnswer, NoAnswer, PlaceAnswer, VenueOrder, Verification


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """All orders open at the venue as of `as_of` (the venue's clock)."""

    orders: tuple[VenueOrder, ...]
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution report, as far as a sweep needs it: which order it proves to be there."""

    seq: int
    exec_id: str
    exec_type: str
    client_order_id: str
    exchange_order_id: str


@dataclass(frozen=True, slots=True)
class ExecutionPage:
    """Execution reports after a position; `head` is the newest position of `epoch`."""

    epoch: str
    executions: tuple[Execution, ...]
    head: int


class Venue(Protocol):
    """One exchange. All times called `…_at` or `…_by` are monotonic seconds unless they are datetimes."""

    @property
    def name(self) -> str:
        """A short name for logs and metrics."""
        ...

    async def open(self) -> None:
        """Make ready; must not fail because the venue is out of reach."""
        ...

    async def close(self) -> None:
        """Let go of connections; called once, after the last call has ended."""
        ...

    async def capabilities(self, *, timeout_seconds: float) -> Capabilities | NoAnswer:
        """What the venue promises; NoAnswer while it is out of reach."""
        ...

    async def place(
        self, order: Order, *, send_by: float, timeout_seconds: float, accept_by: datetime | None
    ) -> PlaceAnswer:
        """Send the order once under `order.id`.

        No byte leaves after `send_by` (monotonic seconds, compared directly before the write): `NotSent`.
        `accept_by` is passed to venues that honour it.
        """
        ...

    async def query(self, order_id: str, *, timeout_seconds: float) -> Verification:
        """Query one order by the id we gave it; where several have it, any of them, and an accepted one if it can."""
        ...

    async def cancel(self, order_id: str, *, timeout_seconds: float) -> CancelAnswer:
        """Have the venue cancel the order; harmless if repeated."""
        ...

    async def open_orders(self, *, timeout_seconds: float) -> OpenOrders | NoAnswer:
        """Every open order; a truncated list is `NoAnswer`."""
        ...

    async def executions(self, *, after: int, limit: int, timeout_seconds: float) -> ExecutionPage | NoAnswer:
        """Execution reports with `seq` > `after`, in order, at most `limit`."""
        ...

"""The Protocol of a venue. Every adapter passes `tests/conformance`.

An adapter never retries, never raises for what a venue does, and maps every failure to one of the answers:
what is not proof is `Unknown` or `NoAnswer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import CancelAnswer, NoAnswer, PlaceAnswer, VenueOrder, Verification

RAW_BYTES_MAX = 8 * 1024


class ThingKind(StrEnum):
    """What an element of a list would have been; other sources have kinds of their own."""

    OPEN_ORDER = "open_order"
    EXECUTION = "execution_report"


@dataclass(frozen=True, slots=True)
class UnreadableElement:
    """An element of a list that cannot be understood: why, as it came, and what of it can be read all the same.

    `raw` has at most RAW_BYTES_MAX of it, `field` is "" where it is about none in particular. Nothing follows from it.
    """

    kind: str
    field: str
    why: str
    raw: bytes
    seq: int | None = None
    client_order_id: str | None = None
    exchange_order_id: str | None = None


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """All orders open at the venue as of `as_of` (the venue's clock), as far as they can be understood.

    `orders` may be hundreds of thousands, and may be decoded only when they are looked at: take them by the slice.
    `dropped`: so many more could not be, and are not even kept. That an order is not among them proves its absence
    only if `is_complete`.
    """

    orders: Sequence[VenueOrder]
    as_of: datetime | None
    unreadable: tuple[UnreadableElement, ...] = ()
    dropped: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every element could be understood."""
        return not self.unreadable and not self.dropped


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution report, as far as a sweep needs it: which order it proves to be there.

    `exchange_order_id` is None only for a rejected one.
    """

    seq: int
    exec_id: str
    exec_type: str
    client_order_id: str
    exchange_order_id: str | None


@dataclass(frozen=True, slots=True)
class ExecutionPage:
    """Execution reports after a position; `head` is the newest position of `epoch`.

    `reached`: the position that the page comes to, where that is not the last of `executions`.
    """

    epoch: str
    executions: tuple[Execution, ...]
    head: int
    unreadable: tuple[UnreadableElement, ...] = ()
    reached: int | None = field(default=None, compare=False)

    def position_after(self, after: int) -> int:
        """The position that has been passed with this page, which was queried after another one."""
        if self.reached is not None:
            return self.reached
        return self.executions[-1].seq if self.executions else after


@dataclass(frozen=True, slots=True)
class Reports:
    """Execution reports of one frame or page, as they came: `body` is a JSON array in the form of our protocol.

    `first`, `last`: the lowest and highest `seq`. `is_contiguous`: each `seq` between them is there, once. Where it is
    not, `first` and `last` are what could be read, or None. `count`: how many elements the array has.
    """

    body: bytes
    count: int
    first: int | None
    last: int | None
    is_contiguous: bool


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The venue is alive; its newest report is `head`."""

    epoch: str
    head: int


@dataclass(frozen=True, slots=True)
class UnreadableFrame:
    """A frame that is none of the protocol's, as it came, cut to RAW_BYTES_MAX."""

    why: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class OtherEpoch:
    """The venue is in another epoch than the one that was named; there its newest report is `head`."""

    epoch: str
    head: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """The venue does not keep what was wanted any more; the oldest report that it has is `oldest`."""

    oldest: int


class Following(Protocol):
    """A connection over which a venue sends its execution reports, open already."""

    @property
    def epoch(self) -> str:
        """The epoch of everything that comes over it."""
        ...

    @property
    def head(self) -> int:
        """The venue's newest report when the connection began."""
        ...

    async def receive(self) -> Reports | Heartbeat | UnreadableFrame | NoAnswer:
        """The next frame, once there is one; NoAnswer: the connection has ended, or nothing came for too long.

        What is not received stays in the socket, so that the venue is held back. May be cancelled.
        """
        ...

    async def close(self) -> None:
        """End it; never raises."""
        ...


class ExecutionSource(Protocol):
    """The part of a venue that sends execution reports; a capability says whether it can replay (`Capabilities`)."""

    async def follow(
        self, *, after: int, epoch: str | None, timeout_seconds: float
    ) -> Following | OtherEpoch | Compacted | NoAnswer:
        """Open a connection over which all reports after `after` come, and go on coming."""
        ...

    async def report_page(
        self, *, after: int, limit: int, epoch: str, timeout_seconds: float
    ) -> Reports | OtherEpoch | Compacted | NoAnswer:
        """Reports after a position, as they are; of none `count` is 0."""
        ...


class Venue(ExecutionSource, Protocol):
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
        """Every open order; a truncated list is `NoAnswer`, an order that cannot be understood spoils no other."""
        ...

    async def executions(self, *, after: int, limit: int, timeout_seconds: float) -> ExecutionPage | NoAnswer:
        """Execution reports with `seq` > `after`, in order, at most `limit`; one that is unreadable spoils no other."""
        ...

"""The operations on orders in doubt, each one transaction, below reconciliation; PostgreSQL implements them.

An order in doubt has one row on which claims, cancels and settling serialise. A lease raises its fence; a reconciler
with an older fence changes nothing any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ordertrail.domain.operator_action import Operator
from ordertrail.domain.operator_word import FillByHand
from ordertrail.domain.order_in_doubt import OrderInDoubt, SendAnswer
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.domain.venue_word import VenueWord


@dataclass(frozen=True, slots=True)
class Lease:
    """An order in doubt, leased for a while; `tries` counts the reviews before this one."""

    order_id: str
    fence: int
    tries: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Rows that no order of ours has; `why` is for a person."""

    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a review came to: rows to append, whether the order is settled, else when to review it again."""

    lease: Lease
    rows: tuple[TrailRow, ...]
    is_settled: bool
    next_seconds: float
    observation: str


@dataclass(frozen=True, slots=True)
class WantedSend:
    """A send that its holder wants to make; it must start before `send_by_max`, where there is one."""

    lease: Lease
    send_by_max: datetime | None


@dataclass(frozen=True, slots=True)
class AnsweredSend:
    """What came of a claimed send."""

    order_id: str
    number: int
    answer: SendAnswer
    reason: str | None
    exchange_order_id: str | None


@dataclass(frozen=True, slots=True)
class ClaimedSend:
    """A send that no other process may make; `send_by` and `accept_by` by the database's clock."""

    number: int
    send_by: datetime
    accept_by: datetime
    seconds_left: float


@dataclass(frozen=True, slots=True)
class DoubtView:
    """An order in doubt, for a person."""

    order_id: str
    since: datetime
    age_seconds: float
    tries: int
    last_observation: str | None
    next_at: datetime
    status: str | None
    is_unresolved: bool
    instrument: str | None
    side: str | None
    quantity: int | None
    client_order_id: str | None


@dataclass(frozen=True, slots=True)
class OperatorRuling:
    """What an operator's word comes to: rows with these statuses and this reason.

    The evidence, who gave it and what was filled are kept beside the trail, among the operators' actions.
    """

    statuses: tuple[OrderStatus, ...]
    reason: str
    operator: Operator
    evidence: str
    fill: FillByHand | None = None


@dataclass(frozen=True, slots=True)
class Resolvable:
    """What an order was when an operator's word came for it, and whether the word was taken."""

    is_unresolved: bool
    was_accepted: bool
    is_placed: bool
    is_being_sent: bool
    is_taken: bool


@dataclass(frozen=True, slots=True)
class DoubtCounts:
    """How many orders are in doubt, how many of them wait for a person, for how long the oldest has been in doubt.

    `open_orphans`: those that no person has closed; of very many 10,000.
    """

    count: int
    unresolved: int
    oldest_seconds: float
    open_orphans: int


@dataclass(frozen=True, slots=True)
class ShownOrder:
    """An order that the exchange has shown; what it is stands in its list of open orders, and not in its reports."""

    exchange_order_id: str
    instrument: str | None = None
    side: str | None = None
    quantity: int | None = None


@dataclass(frozen=True, slots=True)
class OrphanView:
    """An order at the exchange that was never recorded here, for a person; the last three once it is closed."""

    id: int
    shown_at: datetime
    venue: str
    epoch: str
    client_order_id: str
    exchange_order_id: str
    instrument: str | None
    side: str | None
    quantity: int | None
    closed_at: datetime | None
    closed_by: str | None
    evidence: str | None


class DoubtRows(Protocol):
    """What reconciliation needs of a database."""

    async def enqueue_due_batches(self, *, batches_max: int) -> int:
        """Make doubts of the orders of due batches that are not settled; returns how many batches."""
        ...

    async def lease(self, *, doubts_max: int, lease_seconds: float) -> list[Lease]:
        """Lease orders in doubt that are due and not leased."""
        ...

    async def load(self, order_ids: Sequence[str]) -> dict[str, OrderInDoubt | Unreadable]:
        """The orders with their rows and sends."""
        ...

    async def apply(self, verdicts: Sequence[Verdict]) -> list[bool]:
        """Carry out the verdicts whose fence is still the newest; returns for each whether it was."""
        ...

    async def claim_sends(
        self, wanted: Sequence[WantedSend], *, claimed_by: str, send_seconds: float, answer_seconds: float
    ) -> list[ClaimedSend | None]:
        """Commit the claims to send once more.

        None where another has leased the order, or it is canceled, halted, final, too late, or claimed by us already.
        """
        ...

    async def record_answers(self, answers: Sequence[AnsweredSend]) -> list[None]:
        """Record what came of claimed sends."""
        ...

    async def make_due(self, *, doubts_max: int) -> int:
        """Make so many waiting doubts due now, as if never reviewed: the venue answers again."""
        ...

    async def reopen(self, order_ids: Sequence[str]) -> int:
        """Make doubts of these orders, settled or not, due now."""
        ...

    async def request_cancel(self, order_id: str) -> bool:
        """Commit the wish to cancel and forbid further sends; False: there is no such order."""
        ...

    async def venue_word(self, order_id: str) -> VenueWord | None:
        """What the exchange reported of an order; None: nothing."""
        ...

    async def resolve(self, order_id: str, ruling: OperatorRuling) -> Resolvable | None:
        """Settle an unresolved order by an operator's word, and keep who said so.

        Returns what the order was then; None: it was never in doubt.
        """
        ...

    async def note_epoch(self, venue: str, epoch: str) -> datetime | None:
        """Keep that the venue is in this epoch; since when, if another was known before it."""
        ...

    async def counts(self) -> DoubtCounts:
        """Orders in doubt now."""
        ...

    async def oldest(self, *, limit: int) -> list[DoubtView]:
        """Orders in doubt, oldest first."""
        ...


class SweepRows(Protocol):
    """What the reverse sweep needs of a database."""

    async def lease_sweep(self, venue: str, *, lease_seconds: float) -> tuple[str, int] | None:
        """Take the turn: the epoch and the position up to which executions were compared, ("", 0) at first.

        None: another has the turn, or has just had it.
        """
        ...

    async def move_sweep(self, venue: str, epoch: str, seq: int) -> None:
        """Move the position forward, or to another epoch."""
        ...

    async def end_sweep(self, venue: str, *, rest_seconds: float) -> None:
        """Give the turn to the next that comes after `rest_seconds`."""
        ...

    async def statuses_of(self, order_ids: Sequence[str]) -> dict[str, frozenset[OrderStatus]]:
        """The statuses of those orders that have a trail."""
        ...

    async def keep_observations(self, observations: Mapping[str, str]) -> list[str]:
        """Keep that the exchange has shown these orders (id: exchange order id); returns those not kept before.

        They become doubts that are due now, unless the request that brought them may still be placing them.
        """
        ...

    async def keep_orphans(self, venue: str, epoch: str, orphans: Mapping[str, ShownOrder]) -> list[str]:
        """Keep orders (by client order id) that have none; returns those not kept before.

        What is known of one that is kept already is filled in, as long as it is open.
        """
        ...


class OrphanRows(Protocol):
    """What a person needs of a database to end orphans."""

    async def orphans(self, *, limit: int, is_open: bool = True) -> list[OrphanView]:
        """Those that are open, or all, oldest first."""
        ...

    async def orphan(self, orphan_id: int) -> OrphanView | None:
        """One, open or closed."""
        ...

    async def close_orphan(self, orphan_id: int, *, operator: Operator, evidence: str) -> bool:
        """Close it and keep who said why; False: there is none that is open."""
        ...

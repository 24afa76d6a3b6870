"""An order with its trail and its executions as one transaction saw them, and what follows from all of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ordertrail.domain.execution import Execution, Progress
from ordertrail.domain.order import Order
from ordertrail.domain.trail import (
    REPORTED_STATUSES,
    TERMINAL_AT_EXCHANGE,
    Certainty,
    OrderStatus,
    Outcome,
    TrailRow,
    fold,
    fold_exchange_order_id,
    fold_outcome,
    fold_status,
)
from ordertrail.domain.venue_word import end_by_operator


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
    is_queued: bool = False

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
            is_queued=self.is_queued,
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
        """Whether it is queued, or the request that brought it, or a worker that claimed it, may be placing it."""
        if self.is_queued:
            return True
        if {row.status for row in self.rows} != {OrderStatus.INITIATED} or self.send_by is None:
            return False
        return self.read_at < self.send_by + timedelta(seconds=seconds_after_send_by)


@dataclass(frozen=True, slots=True)
class ExecutedOrder:
    """An order, and what was executed of it.

    `progress` is what its executions come to, all of them; `executions` are the newest of these, oldest first.
    Where the venue has reported nothing of the order yet, its trail says whether it is live. A person's word that it is
    over stands, for it is written where the venue can say no more.
    """

    stored: StoredOrder
    progress: Progress
    executions: tuple[Execution, ...]
    cancel_requested_at: datetime | None

    @property
    def is_live(self) -> bool | None:
        """Whether it is open at the venue, by its latest word; None: nobody knows."""
        if end_by_operator(self.stored.rows) is not None:
            return False
        if self.progress.is_live is not None:
            return self.progress.is_live
        match self.stored.outcome:
            case Outcome.PLACED:
                return self.stored.status not in TERMINAL_AT_EXCHANGE
            case Outcome.UNKNOWN:
                return None
            case Outcome.NOT_PLACED | Outcome.PENDING:
                return False

    @property
    def leaves_qty(self) -> int:
        """How much may still be filled: 0 once it is over, or settled as not placed."""
        is_over = self.is_live is False and self.stored.outcome is not Outcome.PENDING
        return 0 if is_over else self.progress.leaves_qty

    @property
    def executions_complete(self) -> bool:
        """Whether our sum is the venue's own; not so where it told of executions in another way than by reports."""
        is_untold = self.progress.is_live is None and self.stored.status in REPORTED_STATUSES
        return self.progress.executions_complete and not is_untold

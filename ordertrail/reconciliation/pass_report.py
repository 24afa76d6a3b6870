"""What a pass of the reconciler did, counted in one place."""

from dataclasses import dataclass, field

from ordertrail.domain.trail import OrderStatus
from ordertrail.domain.venue_answer import NoAnswer, Verification
from ordertrail.reconciliation.review import Reviewed, ReviewEvent
from ordertrail.storage.doubt_rows import Verdict


@dataclass(slots=True)
class PassReport:
    """What a pass did."""

    batches: int = 0
    reviewed: int = 0
    settled: int = 0
    completed: int = 0
    not_placed: int = 0
    unresolved: int = 0
    resent: int = 0
    canceled: int = 0
    answered: int = 0
    unanswered: int = 0
    waiting: int = 0
    errors: int = 0
    has_more: bool = False
    observations: list[tuple[str, str]] = field(default_factory=list)

    def is_silent(self, *, queries: int) -> bool:
        """Whether the venue has left so many queries unanswered, and has answered none."""
        return self.unanswered >= queries and not self.answered

    def add_query(self, verification: Verification) -> None:
        """Count a query as soon as its answer is there: the pass goes by it."""
        if isinstance(verification, NoAnswer):
            self.unanswered += 1
        else:
            self.answered += 1

    def add(self, reviewed: Reviewed) -> None:
        """Count a review that has ended."""
        for event in reviewed.events:
            match event:
                case ReviewEvent.RESENT:
                    self.resent += 1
                case ReviewEvent.RESEND_ACCEPTED:
                    self.completed += 1
                case ReviewEvent.CANCELED:
                    self.canceled += 1
                case ReviewEvent.FAILED:
                    self.errors += 1
        if reviewed.verdict is not None:
            self._add_verdict(reviewed.verdict)

    def _add_verdict(self, verdict: Verdict) -> None:
        statuses = {row.status for row in verdict.rows}
        self.settled += verdict.is_settled
        self.waiting += not verdict.is_settled
        self.completed += OrderStatus.COMPLETED in statuses
        self.not_placed += OrderStatus.NOT_PLACED in statuses
        self.unresolved += OrderStatus.UNRESOLVED in statuses
        self.observations.append((verdict.lease.order_id, verdict.observation))

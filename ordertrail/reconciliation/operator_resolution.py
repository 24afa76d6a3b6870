"""Settling an order by an operator's word: what reconciliation can never find out, a person has found out elsewhere."""

from dataclasses import dataclass

from ordertrail.domain.reason import by_operator
from ordertrail.domain.trail import OrderStatus
from ordertrail.storage.doubt_rows import DoubtRows

EVIDENCE_LENGTH_MAX = 1000


@dataclass(frozen=True, slots=True)
class Evidence:
    """How the operator knows, as `read_evidence` gives it."""

    text: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """The order is settled, and has this status now."""

    status: OrderStatus


@dataclass(frozen=True, slots=True)
class NotResolvable:
    """The order is not UNRESOLVED, or is being sent just now; nothing was changed."""


Resolution = Resolved | NotResolvable


def read_evidence(text: str) -> Evidence | None:
    """Evidence in the operator's words; None unless it is one line of 1 to EVIDENCE_LENGTH_MAX visible characters."""
    text = text.strip()
    return Evidence(text) if 0 < len(text) <= EVIDENCE_LENGTH_MAX and text.isprintable() else None


async def resolve(
    doubts: DoubtRows, order_id: str, *, is_placed: bool, evidence: Evidence, operator: str
) -> Resolution:
    """Settle an UNRESOLVED order; the operator's name and evidence become the reason of a row of its trail.

    Raises StatementFailed and StatementOutcomeUnknown.
    """
    status = OrderStatus.COMPLETED if is_placed else OrderStatus.NOT_PLACED
    is_settled = await doubts.resolve(order_id, status, by_operator(operator, evidence.text).text)
    return Resolved(status) if is_settled else NotResolvable()

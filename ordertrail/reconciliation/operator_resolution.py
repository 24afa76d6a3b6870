"""Settling an order by an operator's word: what reconciliation can never find out, a person has found out elsewhere."""

from dataclasses import dataclass
from enum import Enum, auto

from ordertrail.domain.operator_action import Operator
from ordertrail.domain.operator_word import FillByHand, OperatorWord, statuses_of
from ordertrail.domain.order_in_doubt import OrderInDoubt
from ordertrail.domain.reason import by_operator
from ordertrail.domain.trail import OrderStatus
from ordertrail.storage.doubt_rows import DoubtRows, OperatorRuling, Resolvable

EVIDENCE_LENGTH_MAX = 1000


@dataclass(frozen=True, slots=True)
class Evidence:
    """How the operator knows, as `read_evidence` gives it."""

    text: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """The order is settled, and has this status now."""

    status: OrderStatus


class NotResolvable(Enum):
    """Why the word was not taken; nothing was changed."""

    NOT_UNRESOLVED = auto()
    """The order is not in doubt, its rows settle it, or reconciliation still can."""
    BEING_SENT = auto()
    """It is being sent just now."""
    ACCEPTED = auto()
    """The exchange has accepted it, so that it cannot be settled as not placed."""
    PLACED_ALREADY = auto()
    """Its rows say already that it is placed; what is missing is how it ended."""
    FILL_MISSING = auto()
    """It is said to be filled, and not how much at which price."""
    FILL_OF_NOTHING = auto()
    """A fill goes with an order that is over at the exchange, and with no other word."""
    FILL_DIFFERS = auto()
    """Filled is the whole quantity; a part of it goes with how the rest ended."""


Resolution = Resolved | NotResolvable


def read_evidence(text: str) -> Evidence | None:
    """Evidence in the operator's words; None unless it is one line of 1 to EVIDENCE_LENGTH_MAX visible characters."""
    text = text.strip()
    return Evidence(text) if 0 < len(text) <= EVIDENCE_LENGTH_MAX and text.isprintable() else None


async def resolve(
    doubts: DoubtRows,
    order_id: str,
    word: OperatorWord,
    evidence: Evidence,
    *,
    operator: Operator,
    fill: FillByHand | None,
) -> Resolution:
    """Settle an unresolved order; the operator's name and evidence become the reason of the rows of its trail.

    `fill`: what was traded before the order ended. Raises StatementFailed and StatementOutcomeUnknown.
    """
    wrong = _wrong_fill(word, fill, (await doubts.load([order_id])).get(order_id))
    if wrong is not None:
        return wrong
    is_partly_filled = fill is not None and word is not OperatorWord.FILLED
    statuses = statuses_of(word, is_partly_filled=is_partly_filled)
    reason = by_operator(operator.name, evidence.text).text
    found = await doubts.resolve(order_id, OperatorRuling(statuses, reason, operator, evidence.text, fill))
    if found is not None and found.is_taken:
        return Resolved(statuses_of(word)[-1])
    return _why_not(found)


def _wrong_fill(word: OperatorWord, fill: FillByHand | None, doubt: object) -> NotResolvable | None:
    if fill is None:
        return NotResolvable.FILL_MISSING if word is OperatorWord.FILLED else None
    if word in (OperatorWord.PLACED, OperatorWord.NOT_PLACED):
        return NotResolvable.FILL_OF_NOTHING
    if not isinstance(doubt, OrderInDoubt):
        return None
    ordered = doubt.order.quantity
    is_as_said = fill.quantity == ordered if word is OperatorWord.FILLED else fill.quantity < ordered
    return None if is_as_said else NotResolvable.FILL_DIFFERS


def _why_not(found: Resolvable | None) -> NotResolvable:
    if found is None or not found.is_unresolved:
        return NotResolvable.NOT_UNRESOLVED
    if found.is_being_sent:
        return NotResolvable.BEING_SENT
    return NotResolvable.PLACED_ALREADY if found.is_placed else NotResolvable.ACCEPTED

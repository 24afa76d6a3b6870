"""What a client is told of an order that is not placed: all fields of the answer with one voice."""

from collections.abc import Iterable
from dataclasses import dataclass

from ordertrail.api.advice import Advice, advice_of
from ordertrail.api.problems import PROBLEMS, TYPE_OF
from ordertrail.domain.reason import ABSENT, ACCEPTED, Reason, ReasonKind
from ordertrail.domain.trail import Certainty, Outcome, Proof, Standing, TrailRow, WhyNotPlaced, fold

_WITHOUT_KEY = "It has no key, so a repeat would be another order: read Location instead."


@dataclass(frozen=True, slots=True)
class FailedOrder:
    """One answer about one order; `problem` is its type."""

    problem: str
    detail: str
    outcome: Outcome
    certainty: Certainty | None
    is_retryable: bool
    advice: Advice


def failed_order(
    rows: Iterable[TrailRow],
    outcome: Outcome,
    *,
    has_key: bool,
    has_open_claim: bool = False,
    is_forbidden: bool = False,
    may_be_recorded: bool = False,
) -> FailedOrder:
    """What is told of an order with these rows and this outcome; `is_forbidden`: it is to be canceled.

    `may_be_recorded`: whether its first row, or another order under its key, is there cannot be read.
    """
    standing = fold(rows)
    problem = _problem_of(standing, outcome, is_canceled=is_forbidden)
    if problem == "not-placed":
        title, sentence = PROBLEMS[problem].title, _how_it_was_settled(standing, is_canceled=is_forbidden)
    else:
        reason = ACCEPTED if outcome is Outcome.PLACED else standing.reason
        title = PROBLEMS[problem].title + _in_brackets(reason)
        sentence = _what_is_known(
            problem,
            standing,
            outcome,
            has_open_claim=has_open_claim,
            unread=_unread(has_key=has_key) if may_be_recorded else None,
        )
    certainty = standing.certainty if outcome is Outcome.NOT_PLACED else None
    return answer_of(problem, f"{title}. {sentence}".strip(), outcome, certainty, has_key=has_key)


def answer_of(
    problem: str, detail: str, outcome: Outcome, certainty: Certainty | None = None, *, has_key: bool
) -> FailedOrder:
    """The answer in these words; they go on where a repeat would be another order."""
    is_retryable = outcome is not Outcome.NOT_PLACED
    if is_retryable and not has_key:
        detail = f"{detail} {_WITHOUT_KEY}"
    advice = advice_of(problem, has_key=has_key, outcome=outcome, certainty=certainty)
    return FailedOrder(problem, detail, outcome, certainty, is_retryable, advice)


def _problem_of(standing: Standing, outcome: Outcome, *, is_canceled: bool) -> str:
    """By the rows, where these alone decide the outcome."""
    if outcome is Outcome.PLACED:
        return "not-recorded"
    assert standing.why is not None, "where a row says that it is placed, the outcome is placed"
    problem = TYPE_OF[standing.why]
    if outcome is Outcome.UNKNOWN and standing.why is not WhyNotPlaced.NOT_RECORDED:
        return "outcome-unknown"
    if outcome is Outcome.NOT_PLACED and is_canceled and standing.proof is Proof.NOT_SENT:
        return "not-placed"
    return problem


def _what_is_known(
    problem: str, standing: Standing, outcome: Outcome, *, has_open_claim: bool, unread: str | None
) -> str:
    """What the title of the problem leaves open."""
    match outcome:
        case Outcome.PLACED:
            return "The exchange has accepted it, and the row that says so is still to be written."
        case Outcome.PENDING:
            return "It was not sent, and is sent again until `place_by`."
        case Outcome.UNKNOWN if unread is not None:
            return f"Nothing was sent for this request; {unread} cannot be read just now."
        case Outcome.UNKNOWN if has_open_claim:
            return "It was sent again, and what came of that is not known yet."
        case Outcome.UNKNOWN:
            return "It may have reached the exchange." if problem == "not-recorded" else ""
        case Outcome.NOT_PLACED:
            if standing.reason is not None and standing.reason.innermost.kind is ReasonKind.REFUSED:
                return "" if problem == "exchange-refused" else "The exchange has refused it."
            return "It was not sent, and never will be."


def _unread(*, has_key: bool) -> str:
    return "whether its first row was written" + (", or its key has another order," if has_key else "")


def _how_it_was_settled(standing: Standing, *, is_canceled: bool) -> str:
    reason = standing.reason
    if reason is None:
        return "Another program has settled it."
    shown = _in_brackets(reason)
    if is_canceled and reason.innermost.kind is ReasonKind.NOT_SENT:
        return f"It was canceled before it was sent{shown}."
    if reason.kind is ReasonKind.PRESUMED:
        return f"The exchange does not know it, and can prove no more{shown}."
    if reason.kind is ReasonKind.PROVED and reason.innermost == ABSENT:
        return f"The exchange has not got it, and had to show it by now if it had{shown}."
    if reason.kind is ReasonKind.PROVED:
        return f"It could not be sent in time{shown}."
    # The note is the operator's own, as is what another program has written.
    return "A person has settled it." if reason.kind is ReasonKind.OPERATOR else "Another program has settled it."


def _in_brackets(reason: Reason | None) -> str:
    return "" if reason is None or reason.kind is ReasonKind.OPERATOR else f" ({reason})"

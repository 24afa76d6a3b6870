"""Why a row says what it says: each reason and each cause that we write, in one grammar with one parser.

A reason stands as text in the rows of a trail and in the answers of resends, and clients are shown it. It is KIND or
KIND:DETAIL, and what is proved, presumed or verified may have a whole reason for its detail. What fits none of this
was written by another program: it has a kind of its own and is kept letter for letter.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from typing_extensions import override

UNSPECIFIED = "unspecified"
"""The code of a refusal for which the venue gives none that can stand in a row."""


class _Word(StrEnum):
    """A word that stands in rows, with its meaning for people."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member


class Cause(_Word):
    """Why an order was not sent, or why nothing was learned: the words that adapters, the gate and we use.

    They are no closed set: `http_cause` makes one of any status, and an adapter may bring its own.
    """

    THROTTLED = "throttled", "The exchange wants fewer calls: it said so to this one, or to one before."
    CLOSED = "closed", "The exchange takes no orders now, and has done nothing with this one."
    WINDOW_PASSED = "send_window_passed", "The moment came after which the call was not to begin any more."
    CIRCUIT_OPEN = "circuit_open", "The exchange has failed too often of late: calls wait for a probe to succeed."
    RATE_LIMITED = "rate_limited", "Our own limit of calls a second left no room before the deadline."
    QUEUE_FULL = "queue_full", "Too many calls were waiting for their turn already."
    HALTED = "halted", "The operator has halted placing."
    CONNECT_FAILED = "connect_failed", "No connection could be made, or it was gone before the first byte."
    CONNECT_TIMEOUT = "connect_timeout", "There was no connection in time, neither a free one nor a new one."
    NOT_RECORDED = "not_recorded", "The database did not take the order's first row, so it is never sent."
    TOO_LATE = "too_late", "It waited in the queue until its time was up, and nobody had begun to send it."
    NEVER = "never", "Nothing is recorded of any send."
    TIMEOUT = "timeout", "There was no whole answer in time."
    CONNECTION_LOST = "connection_lost", "The connection broke before there was a whole answer."
    UNREADABLE = "unreadable", "There was an answer, and it was none of the protocol's."
    TOO_LARGE = "too_large", "The answer was longer than any that is read."
    ANOTHER_ORDER = "another_order", "The answer was about another order."
    DIFFERS_AT_EXCHANGE = "differs_at_exchange", "The exchange has another order under the id of this one."
    REDIRECT = "redirect", "The answer named another address, and none is followed."
    EXCHANGE_BROKEN = "exchange_broken", "The simulated exchange in our own process cannot write its log."
    ADAPTER_RAISED = "adapter_raised", "The venue's adapter has a bug: it raised instead of answering."


def http_cause(status: int) -> str:
    """The cause where all that is known is the status of an HTTP response."""
    return f"http_{status}"


class ReasonKind(_Word):
    """What a reason says; the detail, where the kind has one, says of what or why."""

    ACCEPTED = "accepted", "The exchange has said that it has the order."
    REFUSED = "refused", "The exchange has examined the order and said no: it is not there and never will be."
    NOT_SENT = "not_sent", "No byte of the order left, or the exchange has said that it did nothing with it."
    UNKNOWN = "unknown", "It was sent, and no answer came that proves anything."
    PROVED = "proved", "What follows proves that the exchange has not got the order."
    PRESUMED = "presumed", "What follows speaks for it that the exchange has not got the order; no more can be known."
    CANCELED = "canceled", "It was canceled while it waited in the queue: nobody had begun to send it."
    ABSENT = "absent", "The exchange does not know the order, when all that was under way must have arrived."
    VERIFIED = "verified", "The exchange has shown the order, or how it ended, when it was queried."
    EXECUTION = "execution", "The exchange's own reports or its list of open orders have shown the order."
    RESENT = "resent", "The exchange has accepted the order when it was sent again."
    OPERATOR = "operator", "A person has settled the order by hand."
    DIFFERS_AT_EXCHANGE = "differs_at_exchange", "The exchange has another order under the id of this one."
    REFUSED_ONE_OF_SEVERAL = (
        "refused_one_of_several",
        "The exchange shows one send of the order as refused, and that may hide another that it accepted.",
    )
    ACCEPTED_AND_ABSENT = "accepted_and_absent", "The exchange accepted the order, and does not know it any more."
    EXCHANGE_FORGOT = "exchange_forgot", "The exchange has begun a new epoch, and may have forgotten the order."
    ABSENCE_CANNOT_BE_PROVED = (
        "absence_cannot_be_proved",
        "The exchange does not know the order, and by what it promises that may never prove anything.",
    )
    HIDDEN_FROM_CANCEL = (
        "hidden_from_cancel",
        "The order was accepted and is to be canceled, and a refused send of it hides it from cancels and queries.",
    )
    FOREIGN = "foreign", "Another program has written it; nothing is read into it."


class Observation(_Word):
    """What the last review of an order in doubt came to, for people: shown by `ordertrail doubts`, read by no program.

    It stands alone or before a colon and a detail. A review that appended rows shows the last one instead: its status
    and reason, or the reason alone where the order waits for a person.
    """

    NO_ANSWER = (
        "no answer",
        "The exchange has not answered, or the gate let no query through; behind it the cause.",
    )
    ABSENCE_TOO_SOON = (
        "absence does not count yet",
        "The exchange does not know the order, and what was sent may still arrive.",
    )
    NOT_SHOWN_YET = (
        "accepted, and not shown yet",
        "The exchange accepted the order, and has time left in which it need not show it.",
    )
    QUEUED = "waits in the queue", "Nobody has begun to send it: it is the workers' until its time is up."
    CAPABILITIES_UNKNOWN = (
        "the venue's capabilities are not known",
        "Nothing is sent, and no absence counts, before the exchange has said what it promises.",
    )
    UNKNOWN_ORD_STATUS = (
        "unknown ord_status",
        "The exchange shows it with a status that is none of the protocol's.",
    )
    NOT_RESENT = "not resent", "The order may be sent again, and was not; behind it why."
    RESENT = "resent", "The order was sent again; behind it what came of that."
    RESENT_AND_ACCEPTED = "resent and accepted", "The order was sent again, and accepted."
    CANCEL_NOT_ANSWERED = (
        "cancel not answered",
        "The exchange has not said that it will cancel the order.",
    )
    CANCEL_ACCEPTED = (
        "cancel accepted, not over yet",
        "The exchange has taken the cancel; how it ended is to come.",
    )
    CANCEL_TOO_LATE = (
        "cancel too late, not over yet",
        "The exchange says that the order is over, and has not shown yet how it ended.",
    )
    CANCELED = "canceled", "The cancel was taken, and the exchange has shown how the order ended."
    CANCELED_AND_GONE = (
        "canceled, and not shown any more",
        "The cancel was taken, and an exchange that shows open orders alone does not show this one.",
    )
    CANCELED_AND_HIDDEN = (
        "canceled, and hidden by a send that was refused",
        "The cancel was taken, and a query by the order's id shows another send of it, which was refused.",
    )
    SETTLED = "settled", "What the exchange has shown ends the order, and its rows say so already."
    SETTLED_BY_ROWS = "settled by its rows", "Its rows end the order; nobody had to be asked."
    NO_SUCH_ORDER = "no such order", "There is no row of it."
    UNREADABLE = "unreadable", "Its rows are none that we write; behind it why."
    ERROR = "error", "The review failed by a bug of ours; behind it which."

    def about(self, detail: str) -> str:
        """With a detail behind it."""
        return f"{self}: {detail}"


_KINDS = {kind.value: kind for kind in ReasonKind}
_ABOUT_ANOTHER = frozenset({ReasonKind.PROVED, ReasonKind.PRESUMED, ReasonKind.VERIFIED})
_WITH_DETAIL = _ABOUT_ANOTHER | {ReasonKind.REFUSED, ReasonKind.NOT_SENT, ReasonKind.UNKNOWN, ReasonKind.OPERATOR}
_ALONE = frozenset(ReasonKind) - _WITH_DETAIL - {ReasonKind.FOREIGN} | {ReasonKind.VERIFIED}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason; `parse` reads what `text` writes. Of a foreign one the detail is the whole text."""

    kind: ReasonKind
    detail: str | None = None

    @property
    def text(self) -> str:
        """As it stands in a row."""
        if self.kind is ReasonKind.FOREIGN:
            assert self.detail is not None
            return self.detail
        return self.kind.value if self.detail is None else f"{self.kind}:{self.detail}"

    @override
    def __str__(self) -> str:
        return self.text

    @property
    def innermost(self) -> "Reason":
        """What is proved, presumed or verified by it; itself where it is about no other reason."""
        reason = self
        while reason.kind in _ABOUT_ANOTHER and reason.detail is not None:
            reason = parse(reason.detail)
        return reason


def parse(text: str) -> Reason:
    """Read a reason, whichever program wrote it; never raises, and loses no letter."""
    word, colon, detail = text.partition(":")
    kind = _KINDS.get(word)
    if kind not in (_WITH_DETAIL if colon else _ALONE):
        return Reason(ReasonKind.FOREIGN, text)
    return Reason(kind, detail if colon else None)


def refused(code: str) -> Reason:
    """With the venue's own code: an open set."""
    return Reason(ReasonKind.REFUSED, code)


def not_sent(cause: str) -> Reason:
    """With a `Cause`, an `http_cause`, or an adapter's own."""
    return Reason(ReasonKind.NOT_SENT, cause)


def unknown(cause: str) -> Reason:
    """With a `Cause`, an `http_cause`, or an adapter's own."""
    return Reason(ReasonKind.UNKNOWN, cause)


def proved(by: Reason) -> Reason:
    """Not at the exchange, and this proves it."""
    return Reason(ReasonKind.PROVED, by.text)


def presumed(by: Reason) -> Reason:
    """Not at the exchange, as far as can be known, and this speaks for it."""
    return Reason(ReasonKind.PRESUMED, by.text)


def verified(found: Reason) -> Reason:
    """Shown by the exchange as what it was not before: refused after it was accepted."""
    return Reason(ReasonKind.VERIFIED, found.text)


def by_operator(name: str, evidence: str) -> Reason:
    """By the word of a person, who says how they know."""
    return Reason(ReasonKind.OPERATOR, f"{name}: {evidence}")


ACCEPTED = Reason(ReasonKind.ACCEPTED)
CANCELED = Reason(ReasonKind.CANCELED)
ABSENT = Reason(ReasonKind.ABSENT)
VERIFIED = Reason(ReasonKind.VERIFIED)
EXECUTION = Reason(ReasonKind.EXECUTION)
RESENT = Reason(ReasonKind.RESENT)
NOT_RECORDED = not_sent(Cause.NOT_RECORDED)
"""The first row could not be written, so nothing was sent; such an order is never sent later either."""
TOO_LATE = not_sent(Cause.TOO_LATE)
DIFFERS_AT_EXCHANGE = Reason(ReasonKind.DIFFERS_AT_EXCHANGE)
REFUSED_ONE_OF_SEVERAL = Reason(ReasonKind.REFUSED_ONE_OF_SEVERAL)
ACCEPTED_AND_ABSENT = Reason(ReasonKind.ACCEPTED_AND_ABSENT)
EXCHANGE_FORGOT = Reason(ReasonKind.EXCHANGE_FORGOT)
ABSENCE_CANNOT_BE_PROVED = Reason(ReasonKind.ABSENCE_CANNOT_BE_PROVED)
HIDDEN_FROM_CANCEL = Reason(ReasonKind.HIDDEN_FROM_CANCEL)

"""The reasons and causes that can stand in a row, as a page for people: what each means, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ordertrail.domain.reason import (
    ABSENCE_CANNOT_BE_PROVED,
    ABSENT,
    ACCEPTED,
    ACCEPTED_AND_ABSENT,
    CANCELED,
    DIFFERS_AT_EXCHANGE,
    EXCHANGE_FORGOT,
    EXECUTION,
    HIDDEN_FROM_CANCEL,
    REFUSED_ONE_OF_SEVERAL,
    RESENT,
    VERIFIED,
    Cause,
    Observation,
    Reason,
    ReasonKind,
    by_operator,
    not_sent,
    parse,
    presumed,
    proved,
    refused,
    unknown,
    verified,
)
from ordertrail.domain.trail import OrderStatus

C = Cause
W = Observation
K = ReasonKind
S = OrderStatus

_FIRST_SEND = (S.EXCHANGE_CREATION_FAILED, S.DATABASE_PERSISTENCE_FAILED)
_SHOWN = (S.COMPLETED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED)

_PLACEMENT = "placement"
_RECONCILER = "the reconciler"
_ADAPTER = "the adapter"
_GATE = "the gate"
_ADAPTER_OR_GATE = "the adapter or the gate"

_NOTHING = "Nothing."
_BY_ITS_CAUSE = "See the cause."
_RESOLVE = "Compare it with the exchange's own records, then `ordertrail order resolve`."
_CHECK = "Look at the exchange and the way to it."
_CHECK_WHERE_IT_LASTS = "Nothing; where it lasts, look at the exchange and the way to it."
_COMPARE = "Compare the venue's protocol with the adapter's."


@dataclass(frozen=True, slots=True)
class ReasonLine:
    """One form of a reason, in rows of these statuses; words in capitals stand for what varies."""

    reason: Reason
    statuses: Sequence[OrderStatus]
    writer: str
    to_do: str = _NOTHING


@dataclass(frozen=True, slots=True)
class CauseLine:
    """A cause, the kind of reason that it stands behind, and who says it."""

    cause: Cause
    behind: ReasonKind
    source: str
    to_do: str


REASON_LINES = (
    ReasonLine(ACCEPTED, (S.DATABASE_PERSISTENCE_FAILED,), _PLACEMENT, "Nothing; the reconciler writes COMPLETED."),
    ReasonLine(ACCEPTED, (S.COMPLETED,), _RECONCILER),
    ReasonLine(refused("CODE"), _FIRST_SEND, _PLACEMENT, "Nothing; CODE is the venue's own word."),
    ReasonLine(not_sent("CAUSE"), _FIRST_SEND, _PLACEMENT, _BY_ITS_CAUSE),
    ReasonLine(
        unknown("CAUSE"),
        (S.EXCHANGE_OUTCOME_UNKNOWN, S.DATABASE_PERSISTENCE_FAILED),
        _PLACEMENT,
        "Nothing; the reconciler queries the exchange. Do not place it again under another key.",
    ),
    ReasonLine(proved(refused("CODE")), (S.NOT_PLACED,), _RECONCILER),
    ReasonLine(proved(not_sent("CAUSE")), (S.NOT_PLACED,), _RECONCILER, _BY_ITS_CAUSE),
    ReasonLine(proved(ABSENT), (S.NOT_PLACED,), _RECONCILER),
    ReasonLine(proved(CANCELED), (S.NOT_PLACED,), "the cancel of an order that waits in the queue"),
    ReasonLine(
        presumed(ABSENT),
        (S.NOT_PLACED,),
        _RECONCILER,
        "Look at the exchange before it is placed anew: it may still arrive, which is counted and logged.",
    ),
    ReasonLine(VERIFIED, _SHOWN, _RECONCILER),
    ReasonLine(verified(refused("CODE")), (S.REJECTED,), _RECONCILER, "Nothing; the exchange had accepted it before."),
    ReasonLine(EXECUTION, (S.COMPLETED, S.REJECTED), _RECONCILER),
    ReasonLine(RESENT, (S.COMPLETED,), _RECONCILER),
    ReasonLine(
        by_operator("NAME", "EVIDENCE"),
        (S.COMPLETED, S.NOT_PLACED, S.PARTIALLY_FILLED, S.EXPIRED, S.CANCELED, S.FILLED),
        "a person, by `ordertrail order resolve`",
        "Ask NAME.",
    ),
    ReasonLine(DIFFERS_AT_EXCHANGE, (S.UNRESOLVED,), _RECONCILER, _RESOLVE),
    ReasonLine(REFUSED_ONE_OF_SEVERAL, (S.UNRESOLVED,), _RECONCILER, _RESOLVE),
    ReasonLine(
        ACCEPTED_AND_ABSENT,
        (S.UNRESOLVED,),
        _RECONCILER,
        "Find out at the exchange how it ended, then `ordertrail order resolve` with canceled, expired or filled; with"
        " placed, if it is still open there.",
    ),
    ReasonLine(EXCHANGE_FORGOT, (S.UNRESOLVED,), _RECONCILER, _RESOLVE),
    ReasonLine(ABSENCE_CANNOT_BE_PROVED, (S.UNRESOLVED,), _RECONCILER, _RESOLVE),
    ReasonLine(
        HIDDEN_FROM_CANCEL, (S.UNRESOLVED,), _RECONCILER, "Cancel it at the exchange, by its exchange order id."
    ),
    ReasonLine(parse("TEXT"), (*S,), "another program", "Find out who else writes to the database."),
)

CAUSE_LINES = (
    CauseLine(
        C.THROTTLED,
        K.NOT_SENT,
        _ADAPTER_OR_GATE,
        "Nothing; where it lasts, set `ORDERTRAIL_PLACE_PER_SECOND` to what the venue allows.",
    ),
    CauseLine(C.CLOSED, K.NOT_SENT, _ADAPTER, _CHECK_WHERE_IT_LASTS),
    CauseLine(
        C.WINDOW_PASSED, K.NOT_SENT, _ADAPTER_OR_GATE, "Nothing; where it lasts, more comes than can be sent in time."
    ),
    CauseLine(C.CIRCUIT_OPEN, K.NOT_SENT, _GATE, _CHECK),
    CauseLine(C.RATE_LIMITED, K.NOT_SENT, _GATE, "Raise `ORDERTRAIL_PLACE_PER_SECOND` as far as the venue allows."),
    CauseLine(C.QUEUE_FULL, K.NOT_SENT, _GATE, "Raise `ORDERTRAIL_PLACE_IN_FLIGHT_MAX` as far as the venue allows."),
    CauseLine(C.HALTED, K.NOT_SENT, "placement or the gate", "`ordertrail resume`, once it may go on."),
    CauseLine(C.CONNECT_FAILED, K.NOT_SENT, _ADAPTER, _CHECK),
    CauseLine(C.CONNECT_TIMEOUT, K.NOT_SENT, _ADAPTER, _CHECK),
    CauseLine(C.NOT_RECORDED, K.NOT_SENT, _PLACEMENT, "Look at the database."),
    CauseLine(
        C.TOO_LATE,
        K.NOT_SENT,
        "workers and the reconciler",
        "Start more workers (`ordertrail place`), or see what slows them: the exchange, a halt, the limits.",
    ),
    CauseLine(C.NEVER, K.NOT_SENT, _RECONCILER, _NOTHING),
    CauseLine(C.TIMEOUT, K.UNKNOWN, _ADAPTER, _CHECK_WHERE_IT_LASTS),
    CauseLine(C.CONNECTION_LOST, K.UNKNOWN, _ADAPTER, _CHECK_WHERE_IT_LASTS),
    CauseLine(C.UNREADABLE, K.UNKNOWN, _ADAPTER, _COMPARE),
    CauseLine(C.TOO_LARGE, K.UNKNOWN, _ADAPTER, _COMPARE),
    CauseLine(C.ANOTHER_ORDER, K.UNKNOWN, _ADAPTER, "Tell the venue: it mixes up its answers."),
    CauseLine(C.DIFFERS_AT_EXCHANGE, K.UNKNOWN, _ADAPTER, "Find out who else uses our ids at the exchange."),
    CauseLine(C.REDIRECT, K.UNKNOWN, _ADAPTER, "Correct `ORDERTRAIL_EXCHANGE_URL`."),
    CauseLine(C.EXCHANGE_BROKEN, K.UNKNOWN, _ADAPTER, "Make room on the disk, and start the process again."),
    CauseLine(C.ADAPTER_RAISED, K.UNKNOWN, "the gateway", "Report it: it is a bug."),
)


@dataclass(frozen=True, slots=True)
class ObservationLine:
    """What the last review of an order came to; `detail` in capitals where there is one."""

    observation: Observation
    detail: str | None
    to_do: str = _NOTHING


OBSERVATION_LINES = (
    ObservationLine(W.NO_ANSWER, "CAUSE", "See the cause; nothing is lost. Where it lasts, look at the exchange."),
    ObservationLine(W.ABSENCE_TOO_SOON, None),
    ObservationLine(W.NOT_SHOWN_YET, None),
    ObservationLine(W.CAPABILITIES_UNKNOWN, None, _CHECK_WHERE_IT_LASTS),
    ObservationLine(W.UNKNOWN_ORD_STATUS, "STATUS", _COMPARE),
    ObservationLine(W.NOT_RESENT, "CAUSE", "See the cause: the gate, a halt, a cancel, or the time is up."),
    ObservationLine(W.RESENT, "REASON", "See the reason, above."),
    ObservationLine(W.RESENT_AND_ACCEPTED, None),
    ObservationLine(W.CANCEL_NOT_ANSWERED, "CAUSE", _CHECK_WHERE_IT_LASTS),
    ObservationLine(W.CANCEL_ACCEPTED, None),
    ObservationLine(W.CANCEL_TOO_LATE, None),
    ObservationLine(W.QUEUED, None),
    ObservationLine(W.CANCELED, None),
    ObservationLine(W.CANCELED_AND_GONE, None),
    ObservationLine(W.CANCELED_AND_HIDDEN, None),
    ObservationLine(W.SETTLED, None),
    ObservationLine(W.SETTLED_BY_ROWS, None),
    ObservationLine(W.NO_SUCH_ORDER, None, "Find out what made the doubt: another program, or a restored database."),
    ObservationLine(W.UNREADABLE, "WHY", "Find out who else writes to the database; the other orders go on."),
    ObservationLine(W.ERROR, "WHY", "Report it: it is a bug; the other orders go on."),
)

_INTRODUCTION = """# Reasons and causes

Made from `ordertrail/domain/reason.py` by `make documents`; not written by hand.

Every row of a trail but INITIATED and a plain COMPLETED has a `reason`, and so has every recorded answer of a resend
(`accepted`, `refused:CODE`, `not_sent:CAUSE`, `unknown:CAUSE`). It is a kind alone, or a kind, a colon and a detail;
behind `proved:`, `presumed:` and `verified:` the detail is a reason itself. Words in capitals stand for what varies.
"""

_CAUSES = """## Causes

They stand behind `not_sent:` and `unknown:`. The set is open: an adapter may have words of its own, and `http_STATUS`
is made of any status. What became of a query stands in no row: `ordertrail doubts` shows its cause, `no answer: CAUSE`.
"""

_OBSERVATIONS = """## Observations

What the last review of an order in doubt came to: `ordertrail doubts` shows it, and `not asked yet` before the first
review. A review that appended rows shows the status and the reason of the last one; an order that waits for a person
shows its reason. After a person's word it is that word.
"""


def reasons_page() -> str:
    """The whole page, as Markdown."""
    reasons = _table(
        ("reason", "with status", "written by", "means", "what a person does"),
        (
            (f"`{line.reason}`", _statuses(line.statuses), line.writer, _meaning(line.reason), line.to_do)
            for line in REASON_LINES
        ),
    )
    causes = _table(
        ("cause", "behind", "said by", "means", "what a person does"),
        [
            *(
                (f"`{line.cause}`", f"`{line.behind}:`", line.source, line.cause.meaning, line.to_do)
                for line in CAUSE_LINES
            ),
            (
                "`http_STATUS`",
                f"`{K.UNKNOWN}:`",
                _ADAPTER,
                "The answer's status, which proves nothing.",
                _CHECK_WHERE_IT_LASTS,
            ),
        ],
    )
    observations = _table(
        ("observation", "means", "what a person does"),
        (
            (
                f"`{line.observation if line.detail is None else line.observation.about(line.detail)}`",
                line.observation.meaning,
                line.to_do,
            )
            for line in OBSERVATION_LINES
        ),
    )
    return f"{_INTRODUCTION}\n{reasons}\n{_CAUSES}\n{causes}\n{_OBSERVATIONS}\n{observations}"


def _statuses(statuses: Sequence[OrderStatus]) -> str:
    return "any" if len(statuses) == len(S) else ", ".join(statuses)


def _meaning(reason: Reason) -> str:
    """What its kind means, and that of the reason inside of it."""
    kinds = dict.fromkeys((reason.kind, reason.innermost.kind))
    return " ".join(kind.meaning for kind in kinds)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))

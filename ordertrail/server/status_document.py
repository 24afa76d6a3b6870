"""The status of an installation as one document: what is, and what a person should do about it.

Pure: values in, a document out; `/status` answers with it, and `ordertrail status` shows it. A section whose figures
have not been read says null, never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ordertrail.events.log_upkeep import HELD_BACK_SECONDS_MAX
from ordertrail.queues.registry import queue_title
from ordertrail.server.queue_depth import QueueDepth
from ordertrail.storage.event_rows import HorizonHolder
from ordertrail.storage.postgres.status import StatusFigures
from ordertrail.venues.gate.breaker import State
from ordertrail.venues.gate.denial import CallBudgetState

SECTIONS = (
    "ready",
    "database",
    "exchange",
    "gate",
    "halted",
    "doubts",
    "parked",
    "orphans",
    "late_arrivals",
    "executions",
    "order_queue",
    "events",
    "spool",
    "log",
    "invariants",
)
Document = dict[str, Any]

# A counter never falls: what to do about it is said for so long after it was noticed to have risen.
RISE_IS_SAID_FOR = timedelta(hours=1)

# A standby takes the feed over in less; and so long a report may wait in the queue before a person should look.
FEED_MAY_REST_SECONDS = 15.0
QUEUE_MAY_WAIT_SECONDS = 60.0
# As long as an order waits that has no end of its own; by then nobody works them off.
ORDERS_MAY_WAIT_SECONDS = 30.0
# So many the statement counts.
INBOX_COUNTED_MAX = 10_000

_EXECUTIONS = (
    "is_fed",
    "feed",
    "epoch",
    "tail",
    "applied_up_to",
    "behind",
    "queue",
    "queue_frames",
    "queue_frames_are",
    "queue_problem",
    "oldest_seconds",
    "parked_reports",
    "last_trade_applied_at",
)
_WHY_STOPPED = {
    State.CLOSED: None,
    State.HALF_OPEN: "it was stopped, and lets one call through at a time to learn whether the exchange is back",
    State.THROTTLED: "the exchange wants fewer calls",
    State.OPEN: "the exchange has failed too often of late",
}


@dataclass(frozen=True, slots=True)
class SpoolState:
    """The spool's folder: trails that wait, bytes of the limit, and files that nothing reads again."""

    trails: int
    bytes: int
    bytes_max: int
    files_for_a_person: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class EventsHorizon:
    """What keeps events from readers, as it was read; `holder` None: nothing does."""

    holder: HorizonHolder | None


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What one process knows by itself, at one moment.

    `silent_since`: since when the exchange has answered nothing at all. `counters` are summed over all workers of the
    process group since they were started; None: they could not be read. The last two: when a rise was noticed last.
    """

    now: datetime
    worker: str
    problems: Sequence[str]
    database_problem: str | None
    database_since: datetime | None
    venue: str
    silent_since: datetime | None
    last_trouble: str | None
    last_trouble_at: datetime | None
    is_halted: bool
    budgets: Sequence[CallBudgetState]
    spool: SpoolState
    log_records_dropped: int | None
    late_arrivals_counted: int | None
    invariants_broken: Mapping[str, int] | None
    log_dropped_at: datetime | None = None
    invariants_broken_at: datetime | None = None


def status_document(
    process: ProcessState,
    figures: StatusFigures | None,
    queue: QueueDepth | None = None,
    horizon: EventsHorizon | None = None,
) -> Document:
    """What `/status` answers; `figures` are the newest that were read, None: none were; `queue`: of a broker.

    `horizon`: None: it could not be read.
    """
    sections: Document = {
        "ready": _ready(process),
        "database": _database(process, figures),
        "exchange": _exchange(process),
        "gate": _gate(process),
        **figures_sections(
            figures,
            queue,
            horizon,
            is_halted=process.is_halted,
            late_arrivals_counted=process.late_arrivals_counted,
        ),
        "spool": _spool(process.spool),
        "log": _log(process),
        "invariants": _invariants(process),
    }
    head = {
        "as_of": text_of(process.now),
        "worker": process.worker,
        "figures_as_of": figures and text_of(figures.read_at),
    }
    return {**head, "to_do": to_do(sections), **sections}


def figures_sections(
    figures: StatusFigures | None,
    queue: QueueDepth | None = None,
    horizon: EventsHorizon | None = None,
    *,
    is_halted: bool | None = None,
    late_arrivals_counted: int | None = None,
) -> Document:
    """The sections that database and broker tell; `is_halted` is what the process obeys where the database is away."""
    return {
        "halted": _halted(figures, is_halted),
        "doubts": _doubts(figures),
        "parked": _open(
            None if figures is None else figures.parked,
            "Read what could not be understood: `ordertrail parked list`; close each with what you found.",
        ),
        "orphans": _open(
            None if figures is None else figures.orphans,
            "The exchange has orders that were never recorded here: `ordertrail orphans` lists them; find out whose "
            "they are, then close each with what you found.",
        ),
        "late_arrivals": _late_arrivals(figures, late_arrivals_counted),
        "executions": _executions(figures, queue or _inbox(figures)),
        "order_queue": _order_queue(figures),
        "events": _events(figures, horizon),
    }


def to_do(sections: Document) -> list[str]:
    """Every sentence that says what to do, in the order of the sections."""
    return [sections[name]["to_do"] for name in SECTIONS if name in sections and sections[name]["to_do"]]


def text_of(moment: datetime) -> str:
    """RFC 3339, in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ready(process: ProcessState) -> Document:
    problems = list(process.problems)
    # What another section says is not said twice.
    alone = [each for each in problems if each not in (process.database_problem, process.spool.problem)]
    return {"is_ready": not problems, "problems": problems, "to_do": " ".join(alone) or None}


def _database(process: ProcessState, figures: StatusFigures | None) -> Document:
    is_up = process.database_problem is None
    return {
        "is_up": is_up,
        "since": _text(process.database_since),
        "schema": figures and figures.schema_version,
        "problem": process.database_problem,
        "to_do": None
        if is_up
        else "Bring the database back: no order can be placed without it; this process goes on by itself then.",
    }


def _exchange(process: ProcessState) -> Document:
    return {
        "venue": process.venue,
        "silent_since": _text(process.silent_since),
        "last_trouble": process.last_trouble,
        "last_trouble_at": _text(process.last_trouble_at),
        "to_do": None
        if process.silent_since is None
        else "Look at the exchange and the way to it: it answers nothing. Orders in doubt wait for it.",
    }


def _gate(process: ProcessState) -> Document:
    budgets: Document = {budget.budget.value: _budget(process.now, budget) for budget in process.budgets}
    stopped = [name for name, budget in budgets.items() if budget["until"] is not None]
    sentences = []
    if stopped:
        sentences.append(
            f"The gate stops calls of the kind {', '.join(stopped)}: look at the exchange; it opens by itself."
        )
    if any(budget.instruments_open for budget in process.budgets):
        sentences.append("Instruments are stopped, and the others go on: ask the exchange whether it has closed them.")
    return {"worker": process.worker, "budgets": budgets, "to_do": " ".join(sentences) or None}


def _budget(now: datetime, budget: CallBudgetState) -> Document:
    is_stopped = budget.denied_seconds > 0
    return {
        "breaker": budget.breaker.value,
        "why": _WHY_STOPPED[budget.breaker],
        "until": text_of(now + timedelta(seconds=budget.denied_seconds)) if is_stopped else None,
        "instruments_open": budget.instruments_open,
        "open_instruments": [
            {
                "instrument": each.instrument,
                "breaker": each.breaker.value,
                "until": text_of(now + timedelta(seconds=each.denied_seconds)) if each.denied_seconds > 0 else None,
            }
            for each in budget.open_instruments
        ],
        "calls": budget.calls,
        "troubles": budget.troubles,
        "in_flight": budget.in_flight,
        "waiting": budget.waiting,
    }


def _halted(figures: StatusFigures | None, is_halted: bool | None) -> Document:
    halted = is_halted if figures is None else figures.is_halted
    by_whom = figures is not None and figures.is_halted
    return {
        "is_halted": halted,
        "by": figures.halt_operator if figures is not None and by_whom else None,
        "at": _text(figures.halt_acted_at) if figures is not None and by_whom else None,
        "why": figures.halt_reason if figures is not None and by_whom else None,
        "to_do": "Placing is halted: `ordertrail resume`, once it may go on." if halted else None,
    }


def _doubts(figures: StatusFigures | None) -> Document:
    if figures is None:
        return {"count": None, "unresolved": None, "oldest_seconds": None, "to_do": None}
    return {
        "count": figures.doubts,
        "unresolved": figures.unresolved,
        "oldest_seconds": round(figures.oldest_seconds, 1),
        "to_do": "Orders wait for your word: `ordertrail doubts` marks them; `ordertrail order resolve` ends them."
        if figures.unresolved
        else None,
    }


def _open(count: int | None, sentence: str) -> Document:
    return {"open": count, "to_do": sentence if count else None}


def _late_arrivals(figures: StatusFigures | None, counted: int | None) -> Document:
    """From the rows where they were read, else from the counter of this process group."""
    if figures is None:
        return {"count": counted, "from": "the counter", "live": [], "to_do": None}
    live = figures.live_late_arrivals
    sentence = f"Live at the exchange after they were settled as not placed: {', '.join(live)}; cancel, or tell whose."
    return {
        "count": figures.late_arrivals,
        "from": "the rows of 24 hours",
        "live": live,
        "to_do": sentence if live else None,
    }


def _inbox(figures: StatusFigures | None) -> QueueDepth | None:
    """The queue in the database, whose frames are counted up to a limit."""
    if figures is None:
        return None
    return QueueDepth(queue_title(None), figures.inbox_frames, is_exact=figures.inbox_frames < INBOX_COUNTED_MAX)


def _executions(figures: StatusFigures | None, queue: QueueDepth | None) -> Document:
    """What the exchange reports of orders: whose the feed is, what waits, and up to where it is applied."""
    of_rows = dict.fromkeys(_EXECUTIONS) if figures is None else _of_rows(figures)
    of_queue = {} if queue is None else _of_queue(queue)
    sentences = [] if figures is None else _executions_to_do(figures)
    if queue is not None and queue.problem is not None:
        sentences.append("The queue of execution reports cannot be reached: look at it; none is lost meanwhile.")
    return {**of_rows, **of_queue, "to_do": " ".join(sentences) or None}


def _of_queue(queue: QueueDepth) -> Document:
    return {
        "queue": queue.queue,
        "queue_frames": queue.frames,
        "queue_frames_are": None if queue.frames is None else "exact" if queue.is_exact else "approximate",
        "queue_problem": queue.problem,
    }


def _of_rows(figures: StatusFigures) -> Document:
    tail, applied, oldest = figures.feed_seq, figures.applied_up_to or 0, figures.inbox_oldest_seconds
    values = (
        None if figures.feed_venue is None else bool(figures.feed_is_owned),
        figures.feed_holder,
        figures.feed_epoch,
        tail,
        figures.applied_up_to,
        None if tail is None else max(0, tail - applied),
        *(None,) * 4,  # the queue's
        None if oldest is None else round(oldest, 1),
        figures.parked_reports,
        _text(figures.last_trade_applied_at),
    )
    return dict(zip(_EXECUTIONS, values, strict=True))


def _executions_to_do(figures: StatusFigures) -> list[str]:
    """Where reports have never been fed, nothing is missed: the sweep reads them."""
    sentences = []
    if figures.feed_is_owned is False and (figures.feed_free_seconds or 0) > FEED_MAY_REST_SECONDS:
        sentences.append("Nobody feeds execution reports: start `ordertrail feed`, or look why it does not run.")
    if (figures.inbox_oldest_seconds or 0) > QUEUE_MAY_WAIT_SECONDS:
        sentences.append("Execution reports wait: start `ordertrail process`, more of them, or look why they fail.")
    return sentences


def _order_queue(figures: StatusFigures | None) -> Document:
    """Orders that wait for a worker."""
    oldest = None if figures is None else figures.queued_oldest_seconds
    sentence = None
    if figures is not None and oldest is not None and oldest > ORDERS_MAY_WAIT_SECONDS:
        why = (
            "placing is halted"
            if figures.is_halted
            else "start more workers (`ordertrail place`), or see what slows them"
        )
        sentence = f"{figures.queued_orders} orders wait in the queue, the oldest for {oldest:.0f} s: {why}."
    return {
        "orders": figures and figures.queued_orders,
        "oldest_seconds": None if oldest is None else round(oldest, 1),
        "to_do": sentence,
    }


def _events(figures: StatusFigures | None, horizon: EventsHorizon | None) -> Document:
    """From when on events can be read again, and what keeps new ones from being read."""
    holder = None if horizon is None else horizon.holder
    sentences = []
    if figures is not None and figures.events_misplaced:
        sentences.append("Rows of the event log are in no day's partition: look at the database's clock.")
    if holder is not None and holder.seconds > HELD_BACK_SECONDS_MAX:
        sentences.append(f"Events are held back: {_what_to_end(holder)}")
    return {
        "oldest_day": figures and figures.events_oldest_day,
        "misplaced": figures and figures.events_misplaced,
        "horizon_seconds": None if horizon is None else 0.0 if holder is None else round(holder.seconds, 1),
        "held_by": None
        if holder is None
        else {"pid": holder.pid, "database": holder.database, "prepared": holder.prepared},
        "to_do": " ".join(sentences) or None,
    }


def _what_to_end(holder: HorizonHolder) -> str:
    whose = f"database {holder.database} has been open for {holder.seconds:.0f} s"
    if holder.prepared is not None:
        return f"the prepared transaction {holder.prepared} in {whose}; commit it there, or roll it back."
    if holder.pid is not None:
        return f"a transaction in {whose}; ask its owner, or `SELECT pg_terminate_backend({holder.pid})`."
    return f"a transaction has been open for {holder.seconds:.0f} s; this role may not see whose."


def _spool(spool: SpoolState) -> Document:
    sentence = None
    if spool.problem is not None:
        sentence = f"{spool.problem} Make room: until then no order is taken."
    elif spool.files_for_a_person:
        sentence = "Files `*.refused` or `*.broken` lie in the spool: look into them, then delete them."
    return {
        "trails": spool.trails,
        "bytes": spool.bytes,
        "bytes_max": spool.bytes_max,
        "files_for_a_person": spool.files_for_a_person,
        "to_do": sentence,
    }


def _log(process: ProcessState) -> Document:
    risen_at = process.log_dropped_at
    sentence = "Log records were lost: look at the disk, or at what reads the log."
    return {
        "records_dropped": process.log_records_dropped,
        "risen_at": _text(risen_at),
        "to_do": sentence if _is_recent(risen_at, process.now) else None,
    }


def _invariants(process: ProcessState) -> Document:
    broken, risen_at = process.invariants_broken, process.invariants_broken_at
    sentence = "Things happened that never must: read the log for them, and report them; each is a bug."
    return {
        "broken": None if broken is None else dict(broken),
        "risen_at": _text(risen_at),
        "to_do": sentence if _is_recent(risen_at, process.now) else None,
    }


def _is_recent(risen_at: datetime | None, now: datetime) -> bool:
    return risen_at is not None and now - risen_at < RISE_IS_SAID_FOR


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else text_of(moment)

"""The event log: what each commit has written of trails and executions, in an order that no reader can miss a row of.

One row of the log is one commit. Rows come in the order of their marks, and only once nothing can come before them any
more; rows of one order that were written one after the other come in that order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ordertrail.domain.execution import Execution
from ordertrail.domain.trail import TrailRow


@dataclass(frozen=True, slots=True)
class LogMark:
    """A row of the log, or the newest of those that are gone: what follows it is what is kept.

    `database` names the database's own log, anew after a restore; `timeline` is the server's, anew where a standby has
    taken over. `txid` and `id` say where the row stands. `check` is the row's own number, drawn by chance: a row that
    was lost, and whose place another has taken, is not taken for it.
    """

    database: int
    timeline: int
    txid: int
    id: int
    check: int


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """A row of an order's trail was written."""

    order_id: str
    row: TrailRow


@dataclass(frozen=True, slots=True)
class ExecutionEvent:
    """An execution report was written."""

    order_id: str
    execution: Execution


Event = OrderEvent | ExecutionEvent


@dataclass(frozen=True, slots=True)
class LogRow:
    """What one commit has written, and its mark."""

    mark: LogMark
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class LogPage:
    """Rows in order; `has_more`: others follow that may be read now.

    `horizon_seconds`: for how long the oldest transaction has been open that may still write a row before those that
    cannot be read yet; 0: none is.
    """

    rows: Sequence[LogRow]
    has_more: bool
    horizon_seconds: float


@dataclass(frozen=True, slots=True)
class MarkGone:
    """What follows the mark cannot be known: it is older than what is kept, of another database, or was lost when a
    standby took over. `why` is a sentence for a person."""

    why: str


@dataclass(frozen=True, slots=True)
class HorizonHolder:
    """The oldest transaction that may still write: rows that were committed since cannot be read while it is open.

    `pid` of the server's process, or the name under which it was `prepared`, and its `database`; all None where the
    role may not see whose it is. Where it may not see since when, `seconds` count from when this process noticed it.
    """

    pid: int | None
    database: str | None
    prepared: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class LogKept:
    """`dropped`: partitions that were older than what is kept. `misplaced`: rows that no partition was made for."""

    dropped: int
    misplaced: int


class EventLog(Protocol):
    """What readers need of a database; raises StatementFailed and StatementOutcomeUnknown."""

    async def newest(self) -> LogMark:
        """The last row that can be read now: what follows it comes from now on."""
        ...

    async def oldest(self) -> LogMark:
        """The place before the first row that is kept."""
        ...

    async def read(self, after: LogMark, *, events_max: int) -> LogPage | MarkGone:
        """What follows a mark, at least one row where there is one, and no further row once there are `events_max`.

        The mark itself is looked up with it: MarkGone where its row is not there as it was.
        """
        ...

    async def are_there(self, marks: Sequence[LogMark]) -> list[MarkGone | None]:
        """Of each mark whether what follows it can be read: None, or why not."""
        ...


class EventLogKeeping(Protocol):
    """What keeps the log in order; any number of processes may do so at once."""

    async def keep(self, *, kept_days: float) -> LogKept:
        """Make room for the days to come, drop those that are older than `kept_days`, begin anew after a restore."""
        ...

    async def horizon_holder(self) -> HorizonHolder | None:
        """Which transaction keeps rows from being read; None: none does.

        Raises StatementFailed where the log has to begin anew first, too: see `keep`.
        """
        ...

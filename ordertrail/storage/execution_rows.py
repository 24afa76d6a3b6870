"""The operations on execution reports and their feed, each one transaction; PostgreSQL implements them.

All of them are idempotent, and independent of order: reports that come again, late or shuffled lead to the same rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ordertrail.queues.queue import ExecIdScope, Frame, Position

INBOX_FRAMES_MAX = 64
INBOX_CHANNEL = "execution_inbox"
"""Who listens to it is told the venue whenever a frame is put in its inbox."""

REPORT_KIND = "execution_report"
PARKED_RETRY_SECONDS = (1, 10, 60)
"""After these, one by one, a report of an unknown order is applied again; then it is an orphan."""

STRAY_SECONDS, STRAY_PAUSE_SECONDS = 60, 10
"""So long readers of positions look for the trade of a bust or correction; then processors do, with pauses."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of some reports.

    `reports`: how many there were, with repeats. `inserted`: those that are rows now and were not before.
    `parked`: those kept for a person or for later. `late`: orders that were settled as not placed and are there.
    `overfilled`, `after_end`, `busted`: orders of which that is so since this transaction; for alerts.
    `contradicting`: orders whose executions a report contradicts; it is parked. `waited_seconds`: how long the oldest
    frame was in the inbox, by the database's clock; None: it did not come from there.
    """

    reports: int
    inserted: int
    parked: int
    late: tuple[str, ...] = ()
    overfilled: tuple[str, ...] = ()
    after_end: tuple[str, ...] = ()
    busted: tuple[str, ...] = ()
    contradicting: tuple[str, ...] = ()
    waited_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of reports that were parked for want of their order, and were due to be tried again.

    `applied`: how many are rows now. `late`: as of `Applied`. `orphaned`: the order ids that were tried for the last
    time, and are orphans since.
    """

    applied: int = 0
    late: tuple[str, ...] = ()
    orphaned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Coverage:
    """What has been applied or parked of a venue's epoch, as ranges of `seq`, both ends included, rising, apart."""

    ranges: tuple[tuple[int, int], ...]

    @property
    def contiguous(self) -> int:
        """Up to here nothing is missing; 0: the first is."""
        return self.ranges[0][1] if self.ranges and self.ranges[0][0] <= 1 else 0

    def gaps(self, *, up_to: int) -> tuple[tuple[int, int], ...]:
        """What is missing of 1 to `up_to`."""
        missing, next_wanted = [], 1
        for first, last in self.ranges:
            if next_wanted < first and next_wanted <= up_to:
                missing.append((next_wanted, min(first - 1, up_to)))
            next_wanted = max(next_wanted, last + 1)
        if next_wanted <= up_to:
            missing.append((next_wanted, up_to))
        return tuple(missing)


@dataclass(frozen=True, slots=True)
class FeedLease:
    """This process owns a venue's feed until `seconds` from when it asked; its fence is higher than all before."""

    fence: int


@dataclass(frozen=True, slots=True)
class FeedView:
    """A venue's feed, for people and for the sweep. `is_owned`: whether its lease counts still.

    `unowned_seconds`: for how long nobody has owned it; 0 while it is owned.
    """

    venue: str
    holder: str | None
    is_owned: bool
    position: Position | None
    changed_at: datetime
    unowned_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LivePage:
    """Orders that are placed and, by the venue's latest word, open. `last`: the next page is after this; None: none."""

    order_ids: tuple[str, ...]
    last: str | None


class FeedRows(Protocol):
    """What a feed needs of a database."""

    async def lease_feed(self, venue: str, *, holder: str, lease_seconds: float) -> FeedLease | None:
        """Take the venue's feed, or keep it; None: another process owns it."""
        ...

    async def release_feed(self, venue: str, *, holder: str) -> None:
        """Give it up at once, so that a standby need not wait."""
        ...

    async def feed(self, venue: str) -> FeedView | None:
        """How it stands; None: there has never been one."""
        ...

    async def begin_epoch(self, venue: str, epoch: str, scope: ExecIdScope) -> None:
        """Keep that the venue is in this epoch, and which session its exec ids belong to."""
        ...

    async def coverage(self, venue: str, epoch: str) -> Coverage:
        """What has been applied."""
        ...

    async def newest_epoch(self, venue: str) -> str | None:
        """The epoch that was first known last."""
        ...

    async def live_orders(self, *, after: str, limit: int) -> LivePage:
        """Those among the `limit` placed orders that follow on an id, which is "" before the first."""
        ...


class InboxRows(Protocol):
    """The queue that lives in the database."""

    async def inbox_tail(self, venue: str) -> Position | None:
        """The position after the newest chained frame."""
        ...

    async def put_in_inbox(self, frame: Frame, *, after: Position | None) -> bool:
        """Keep a frame, and wake the processors. Chained, it moves the tail, and only from `after`.

        False: the tail is elsewhere.
        """
        ...

    async def inbox_depth(self, venue: str) -> int:
        """How many frames there are, counted up to 100,000."""
        ...

    async def inbox_bytes(self, *, beyond: int) -> int:
        """How much room the inbox takes on the disk; from `beyond` on, how much its frames take."""
        ...

    async def peek_inbox(self, venue: str, *, frames_max: int) -> list[tuple[int, Frame]]:
        """The oldest frames with their numbers, left where they are."""
        ...

    async def drop_from_inbox(self, numbers: Sequence[int]) -> None:
        """Delete frames whose reports are applied or parked."""
        ...


class ExecutionRows(Protocol):
    """What processors need of a database."""

    async def apply_reports(self, frames: Sequence[Frame]) -> Applied:
        """Apply the reports of frames of one epoch.

        StatementFailed of class 22 or 23: a value among them breaks the statement, and none of them is applied.
        """
        ...

    async def apply_inbox(self, venue: str, *, reports_max: int) -> Applied | None:
        """Take the oldest frames that no other process is taking, of one epoch, and apply them; None: there are none.

        StatementFailed as above; then the frames stay.
        """
        ...

    async def park_report(
        self, frame: Frame, raw: bytes, *, reason: str, field: str | None = None, seq: int | None = None
    ) -> bool:
        """Keep a report that breaks the statement, as it came, with its place among those applied.

        Returns whether it is new.
        """
        ...

    async def retry_parked(self, venue: str, *, limit: int) -> Retried:
        """Apply again what was parked for want of its order, where that is due.

        What has been tried often enough becomes an orphan of its order id, and stays parked.
        """
        ...

    async def replay_parked(self, parked_id: int) -> str | None:
        """Apply one parked report now: what became of it, for a person; None: there is none that is open."""
        ...

    async def compact(self, venue: str) -> None:
        """Join what many transactions have noted: coverage, sums of positions."""
        ...

    async def ensure_partitions(self) -> int:
        """Make the partitions that the executions of the next months will want, if they are not there.

        Returns how many executions are in none of a month, counted up to 10,000. StatementFailed, which does not matter
        before the month has come: without the right to, or where such executions are in the way.
        """
        ...

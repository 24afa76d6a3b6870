"""One venue's feed: of several processes one owns it, follows the venue, and puts its reports into the queue.

It keeps nothing: killed anywhere, the next owner goes on from the queue's tail, or, where the queue has none, from what
is applied. The lease only saves work. What keeps a feed that has slept from writing is the queue's chain; and a queue
without one may take everything twice, which the rows do not mind.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.executions.feed_connection import FeedConnection, FeedParts, QueueLost, Start
from ordertrail.executions.feed_parking import FeedParking
from ordertrail.executions.gap_watch import GapWatch
from ordertrail.executions.live_queries import LiveQueries
from ordertrail.executions.trouble import is_database_away, kind_of
from ordertrail.queues.queue import ExecIdScope, Overtaken, Position, Queue, QueueUnavailable
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.tasks import run_together
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.execution_reads import ExecutionReads
from ordertrail.storage.execution_rows import FeedRows
from ordertrail.storage.parked_rows import ParkedRows
from ordertrail.venues.venue import Compacted, Following, OtherEpoch, Venue

_log = get_logger()

# A venue that came back with less than we have is read again from so many reports before its end.
BEHIND_OVERLAP = 10_000
# An epoch and a compacted log may stand in the way of one connection, each once.
TRIES_MAX = 4

DatabaseTrouble = (StatementFailed, StatementOutcomeUnknown)


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """A standby asks for the lease every `renew_seconds`, and an owner renews it as often."""

    lease_seconds: float = 3.0
    renew_seconds: float = 1.0
    timeout_seconds: float = 5.0
    pause_seconds_min: float = 0.1
    pause_seconds_max: float = 2.0
    release_seconds: float = 1.0


class Feed:
    """The feed of one process.

    `holder` tells it from all others, of this machine and of others, and is another one after a restart. Venue and
    queue are opened and closed by whoever made them. `reads`: for venues whose socket cannot replay, of which the open
    orders are queried; without, they are not. `run` is a task that ends only when it is cancelled.
    """

    def __init__(
        self,
        queue: Queue,
        rows: FeedRows,
        parked: ParkedRows,
        venue: Venue,
        clock: Clock,
        *,
        holder: str,
        reads: ExecutionReads | None = None,
        limits: FeedLimits | None = None,
    ) -> None:
        self._queue = queue
        self._rows = rows
        self._venue = venue
        self._clock = clock
        self._holder = holder
        self._limits = limits or FeedLimits()
        self._live = None
        if reads is not None:
            self._live = LiveQueries(venue, rows, reads, clock, timeout_seconds=self._limits.timeout_seconds)
        self._parking = FeedParking(parked, venue=venue.name)
        self._parts = FeedParts(
            venue, queue, rows, self._parking, clock, venue.name, (limits or FeedLimits()).timeout_seconds
        )
        self._begun: set[str] = set()
        self._trouble: str | None = None
        self.is_owner = False

    async def run(self) -> None:
        """Own the feed as often as it is free, until cancelled; then give it up at once."""
        try:
            while True:
                await self._wait_for_lease()
                self._set_owner(is_owner=True)
                await run_together(self._keep_lease(), self._feed())
                self._set_owner(is_owner=False)
        finally:
            if self.is_owner:
                self._set_owner(is_owner=False)
                await self._release()

    # Whose it is

    async def _wait_for_lease(self) -> None:
        while not await self._lease(if_unknown=False):
            await self._clock.sleep(self._limits.renew_seconds)

    async def _keep_lease(self) -> None:
        """Until another has it. A database that cannot be reached takes nothing away: the chain is the fence."""
        while True:
            await self._clock.sleep(self._limits.renew_seconds)
            failpoints.reach("before_feed_lease")
            if not await self._lease(if_unknown=True):
                return

    async def _lease(self, *, if_unknown: bool) -> bool:
        lease_seconds = self._limits.lease_seconds
        try:
            lease = await self._rows.lease_feed(self._venue.name, holder=self._holder, lease_seconds=lease_seconds)
        except DatabaseTrouble as error:
            self._report(error)
            return if_unknown
        return lease is not None

    async def _release(self) -> None:
        with contextlib.suppress(TimeoutError, *DatabaseTrouble):
            async with asyncio.timeout(self._limits.release_seconds):
                await self._rows.release_feed(self._venue.name, holder=self._holder)

    def _set_owner(self, *, is_owner: bool) -> None:
        self.is_owner = is_owner
        metrics.FEED_OWNER.set(is_owner)
        _log.info("this process feeds execution reports" if is_owner else "another process feeds execution reports")

    # What an owner does

    async def _feed(self) -> None:
        """One connection after the other; until the lease is another's."""
        pause = self._limits.pause_seconds_min
        while True:
            try:
                if await self._follow_once():
                    pause = self._limits.pause_seconds_min
                    self._trouble = None
            except Overtaken as error:
                self._report(error)
                if not await self._lease(if_unknown=True):
                    return
            except Exception as error:  # noqa: BLE001 - said and counted, and begun anew: nothing is kept here
                self._report(error)
            await self._clock.sleep(pause)
            pause = min(2 * pause, self._limits.pause_seconds_max)

    async def _follow_once(self) -> bool:
        """From one connection to its end; whether reports came over it."""
        promised = await self._venue.capabilities(timeout_seconds=self._limits.timeout_seconds)
        if isinstance(promised, NoAnswer):
            metrics.FEED_CONNECTIONS.labels("no_answer").inc()
            return False
        opened = await self._open(promised)
        if opened is None:
            return False
        following, start = opened
        try:
            metrics.FEED_CONNECTIONS.labels("opened").inc()
            scope, replays = promised.exec_id_unique, promised.replays_executions
            connection = FeedConnection(self._parts, following, start, scope=scope, replays=replays)
            await self._begin_epoch(following.epoch, scope)
            work = [connection.receive(), connection.publish()]
            if replays:
                work.append(GapWatch(self._parts, connection).run())
            elif self._live is not None:
                work.append(self._live.run(connection))
            await run_together(*work)
            return connection.has_received
        except QueueLost:
            _log.error("the queue has lost its tail; going on from what is applied", venue=self._venue.name)
            return False
        finally:
            await following.close()

    # Where it goes on

    async def _position(self) -> tuple[Position | None, Position | None]:
        """The queue's tail, and from where the venue is to be followed; None: nothing has ever been taken in."""
        tail = await self._queue.tail()
        if tail is not None:
            return tail, tail
        epoch = await self._rows.newest_epoch(self._venue.name)
        if epoch is None:
            return None, None
        coverage = await self._rows.coverage(self._venue.name, epoch)
        return None, Position(epoch, coverage.contiguous)

    async def _open(self, promised: Capabilities) -> tuple[Following, Start] | None:
        """A connection from the position on, or from where the venue lets it begin; None: there is none."""
        tail, position = await self._position()
        epoch, after, reached = None, Position("", 0), 0
        if position is not None:
            epoch, after, reached = position.epoch, position, position.seq
        for _ in range(TRIES_MAX):
            opened = await self._venue.follow(
                after=reached if promised.replays_executions else 0,
                epoch=epoch,
                timeout_seconds=self._limits.timeout_seconds,
            )
            match opened:
                case NoAnswer():
                    metrics.FEED_CONNECTIONS.labels("no_answer").inc()
                    self._say("the venue's execution reports cannot be followed", opened.text)
                    return None
                case OtherEpoch():
                    metrics.FEED_CONNECTIONS.labels("other_epoch").inc()
                    _log.warning("the venue is in another epoch", was=epoch, epoch=opened.epoch, head=opened.head)
                    epoch, after, reached = opened.epoch, Position(opened.epoch, 0), 0
                case Compacted():
                    metrics.FEED_CONNECTIONS.labels("compacted").inc()
                    first, last = max(reached, after.seq) + 1, opened.oldest - 1
                    # What a venue that was never followed has forgotten is nothing of ours.
                    if epoch is not None and first <= last:
                        await self._parking.park_gap(epoch=epoch, first=first, last=last)
                    reached = last
                case following if promised.replays_executions and following.head < reached:
                    await following.close()
                    reached = self._reached_of(following.head, reached)
                case following:
                    if not after.epoch:
                        after = Position(following.epoch, 0)
                    metrics.FEED_BEHIND.set(max(0, after.seq - following.head))
                    return following, Start(tail, after, reached)
        return None

    def _reached_of(self, head: int, reached: int) -> int:
        """The venue has less than was taken in: nothing of that is taken back, and what it sends again goes through."""
        metrics.FEED_BEHIND.set(reached - head)
        _log.critical(
            "the exchange came back with fewer execution reports than were taken in, in the same epoch",
            venue=self._venue.name,
            reached=reached,
            head=head,
        )
        return max(0, head - BEHIND_OVERLAP)

    async def _begin_epoch(self, epoch: str, scope: ExecIdScope) -> None:
        """Once for each; where the database cannot be reached, what applies its reports does it."""
        if epoch in self._begun:
            return
        try:
            await self._rows.begin_epoch(self._venue.name, epoch, scope)
            self._begun.add(epoch)
        except DatabaseTrouble as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        """Counted each time, and said once for each trouble."""
        metrics.FEED_FAILURES.labels(kind_of(error)).inc()
        text = str(error) or type(error).__name__
        if not isinstance(error, Overtaken | QueueUnavailable | StatementFailed | StatementOutcomeUnknown):
            metrics.INVARIANTS_BROKEN.labels("feed_raised").inc()
            if text != self._trouble:
                _log.error("the feed raised", venue=self._venue.name, exc_info=error)
            self._trouble = text
        elif not is_database_away(error):  # the process's watch says that
            self._say("the feed begins again", text)

    def _say(self, sentence: str, text: str) -> None:
        if text != self._trouble:
            self._trouble = text
            _log.warning(sentence, venue=self._venue.name, why=text)

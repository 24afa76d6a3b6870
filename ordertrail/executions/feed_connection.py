"""One connection to the venue: what comes over it goes to the queue, in order, and what does not come is fetched.

The reader decides what moves the queue's tail: what follows on all that was put in before. The rest goes there, too,
for a report that comes again may say something else. Nothing is taken back, and nothing is passed over but what the
venue itself does not keep.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.executions.feed_parking import FeedParking
from ordertrail.executions.frame_buffer import PIECE_BYTES_MAX, FrameBuffer, Piece, split_piece
from ordertrail.queues.queue import ExecIdScope, Frame, Overtaken, Position, Queue, QueueFull, QueueUnavailable
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.execution_rows import FeedRows
from ordertrail.venues.report_frames import join_reports, split_reports
from ordertrail.venues.venue import (
    RAW_BYTES_MAX,
    Compacted,
    ExecutionSource,
    Following,
    Heartbeat,
    OtherEpoch,
    Reports,
    UnreadableFrame,
)

_log = get_logger()

PAGE_REPORTS = 1000
# More is not fetched page by page where the socket can send it again.
PAGES_MAX = 20
STALL_SECONDS = 2.0
PAUSE_SECONDS_MIN = 0.05
PAUSE_SECONDS_MAX = 2.0


class QueueLost(Exception):
    """The queue has forgotten where it was."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a connection begins. `tail`: the queue's, as it told last. `after`: what the first chained frame names.

    `reached`: up to here the venue's reports have been put in already; the connection goes on from there.
    """

    tail: Position | None
    after: Position
    reached: int


@dataclass(frozen=True, slots=True)
class FeedParts:
    """What a feed works with; `venue` is the venue's name."""

    source: ExecutionSource
    queue: Queue
    rows: FeedRows
    parking: FeedParking
    clock: Clock
    venue: str
    timeout_seconds: float


class FeedConnection:
    """`replays`: the venue's reports are numbered, and can be read again."""

    def __init__(
        self, parts: FeedParts, following: Following, start: Start, *, scope: ExecIdScope, replays: bool
    ) -> None:
        self._source = parts.source
        self._queue = parts.queue
        self._parking = parts.parking
        self._clock = parts.clock
        self._timeout_seconds = parts.timeout_seconds
        self._venue = parts.venue
        self._following = following
        self._scope: ExecIdScope = scope
        self._replays = replays
        self._buffer = FrameBuffer()
        self._tail = start.tail
        self._after = start.after
        self._reached = start.reached
        self._chained_to = start.after.seq
        self._head = following.head
        self._stalled_since: float | None = None
        self.has_received = False

    @property
    def epoch(self) -> str:
        """The venue's, for as long as the connection lasts."""
        return self._following.epoch

    @property
    def published_to(self) -> int:
        """The queue's tail, as far as it has taken what was put in."""
        return self._after.seq

    async def receive(self) -> None:
        """Until the connection ends, and all that came over it is with the queue."""
        while await self._receive_one():
            pass
        if self._replays and not self.has_received:
            # Also a frame that the library refuses ends the connection, and would end each one after it.
            await self._fetch("unreadable", up_to=self._head)
        await self._buffer.drained()

    async def publish(self) -> None:
        """For ever. Overtaken, QueueLost."""
        while True:
            piece = await self._buffer.take()
            await self._publish(piece)
            self._buffer.done()

    async def put_page(self, page: Reports) -> None:
        """Reports that are missing below the tail, by their numbers."""
        await self._put(Piece(page.body, page.count, *_run_of(page), is_chained=False))

    async def put_unnumbered(self, reports: Sequence[bytes]) -> None:
        """Reports that we have made ourselves."""
        await self._put(Piece(join_reports(list(reports)), len(reports), None, None, is_chained=False))

    # What comes

    async def _receive_one(self) -> bool:
        """Whether the connection is still good."""
        received = await self._following.receive()
        failpoints.reach("after_feed_receive")
        match received:
            case Reports():
                return await self._take_reports(received)
            case Heartbeat():
                return await self._take_heartbeat(received)
            case UnreadableFrame():
                await self._parking.park_frame(received, epoch=self.epoch)
                return not self._replays or await self._fetch("unreadable", up_to=max(self._head, self._reached + 1))
            case NoAnswer():
                _log.info("the connection for execution reports has ended", venue=self._venue, why=received.text)
                return False
        assert_never(received)

    async def _take_reports(self, reports: Reports) -> bool:
        if not reports.count:
            return True
        self.has_received = True
        self._stalled_since = None
        if not self._replays or reports.first is None or reports.last is None:
            await self.put_page(reports)
            return True
        is_good = True
        if not reports.is_contiguous:
            await self.put_page(reports)
            if reports.last > self._reached:
                is_good = await self._fetch("unreadable", up_to=reports.last)
        else:
            if reports.first > self._reached + 1:
                is_good = await self._fetch("hole", up_to=reports.first - 1)
            if is_good:
                await self._put_in_order(reports, reports.first, reports.last)
            else:
                await self.put_page(reports)
        self._measure_lag()
        return is_good

    async def _take_heartbeat(self, heartbeat: Heartbeat) -> bool:
        if heartbeat.epoch != self.epoch:
            return False
        self._head = max(self._head, heartbeat.head)
        self._measure_lag()
        if not self._replays or heartbeat.head <= self._reached:
            self._stalled_since = None
            return True
        now = self._clock.monotonic()
        if self._stalled_since is None:
            self._stalled_since = now
        if now - self._stalled_since < STALL_SECONDS:
            return True
        self._stalled_since = None
        return await self._fetch("stall", up_to=heartbeat.head)

    async def _put_in_order(self, reports: Reports, first: int, last: int) -> None:
        """What follows on what was put in moves the tail; what the venue's own pages do not lead to moves nothing."""
        if first > self._reached + 1:
            _log.error("reports came that nothing leads to", venue=self._venue, first=first, reached=self._reached)
            await self.put_page(reports)
            return
        await self._put_run(Piece(reports.body, reports.count, first, last, is_chained=last > self._chained_to))
        self._reached = max(self._reached, last)

    # What does not come

    async def _fetch(self, found: str, *, up_to: int) -> bool:
        """Read from the venue's log what is missing after all that was put in; False: it must be followed anew."""
        if self._reached >= up_to:
            return True
        metrics.FEED_GAPS.labels(found).inc()
        limit = PAGE_REPORTS
        for _ in range(PAGES_MAX):
            if self._reached >= up_to:
                return True
            page = await self._source.report_page(
                after=self._reached, limit=limit, epoch=self.epoch, timeout_seconds=self._timeout_seconds
            )
            match page:
                case NoAnswer(cause=Cause.TOO_LARGE) if limit > 1:
                    limit = max(1, limit // 10)
                case NoAnswer() | OtherEpoch() | Compacted():
                    return False
                case Reports():
                    before = self._reached
                    await self._put_log(page)
                    self.has_received |= self._reached > before
                    if self._reached == before:
                        return True  # the venue has no more; what it said of itself is not true yet
                case _:
                    assert_never(page)
        return self._reached >= up_to

    async def _put_log(self, page: Reports) -> None:
        """A page of the venue's log after what we have. Where it leaves a number out there is none, by its own word."""
        if page.is_contiguous and page.first is not None and page.last is not None and page.first <= self._reached + 1:
            await self._put_in_order(page, page.first, page.last)
            return
        newest = max(self._head, self._reached + PAGE_REPORTS)
        numbered: dict[int, bytes] = {}
        others: list[bytes] = []
        for seq, raw in split_reports(page.body):
            if seq is not None and self._reached < seq <= newest and seq not in numbered:
                numbered[seq] = raw
            else:
                others.append(raw)
        if others:
            await self.put_unnumbered(others)
        runs = sorted(numbered.items())
        if runs and (runs[0][0] > self._reached + 1 or others):
            _log.error(
                "the venue's log of execution reports is not in order",
                venue=self._venue,
                epoch=self.epoch,
                after=self._reached,
            )
        for run in _runs_of(runs):
            first, last = run[0][0], run[-1][0]
            body = join_reports([raw for _, raw in run])
            await self._put_run(Piece(body, len(run), first, last, is_chained=last > self._chained_to))
            self._reached = last

    # To the queue

    async def _put_run(self, piece: Piece) -> None:
        self._chained_to = max(self._chained_to, piece.last or 0)
        await self._put(piece)

    async def _put(self, piece: Piece) -> None:
        for part in split_piece(piece):
            if len(part.body) <= PIECE_BYTES_MAX:
                await self._buffer.put(part)
                continue
            # No queue takes it, and what it says stands in no proportion; its number stays missing, and is seen.
            too_long = UnreadableFrame(f"a report of {len(part.body)} bytes", part.body[:RAW_BYTES_MAX])
            await self._parking.park_frame(too_long, epoch=self.epoch)

    async def _publish(self, piece: Piece) -> None:
        """Until the queue has it."""
        frame = Frame(self._venue, self.epoch, self._scope, piece.count, piece.first, piece.last, piece.body)
        after = self._after if piece.is_chained else None
        pause = PAUSE_SECONDS_MIN
        while True:
            failpoints.reach("before_feed_publish")
            try:
                await self._queue.publish(frame, after=after)
                break
            except QueueFull as error:
                metrics.FEED_QUEUE_REFUSALS.labels("full").inc()
                if pause == PAUSE_SECONDS_MIN:
                    _log.warning("the queue of execution reports is full", venue=self._venue, why=str(error))
            except QueueUnavailable as error:
                metrics.FEED_QUEUE_REFUSALS.labels("unavailable").inc()
                _log.warning("the queue did not take execution reports", venue=self._venue, error=str(error))
                if await self._was_taken(frame, after, pause):
                    break
            except Overtaken:
                metrics.FEED_QUEUE_REFUSALS.labels("overtaken").inc()
                raise
            await self._clock.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)
        failpoints.reach("after_feed_publish")
        order = "other" if after is None else "next"
        metrics.FEED_FRAMES.labels(order).inc()
        metrics.FEED_REPORTS.labels(order).inc(piece.count)
        if piece.is_chained:
            assert piece.last is not None
            self._tail = self._after = Position(self.epoch, piece.last)
            metrics.FEED_TAIL.set(piece.last)
            self._measure_lag()

    async def _was_taken(self, frame: Frame, after: Position | None, pause: float) -> bool:
        """Whether a queue that did not answer has the frame, by its tail. Overtaken, QueueLost."""
        while True:
            await self._clock.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)
            if after is None or not self._queue.is_chained:
                return False
            try:
                tail = await self._queue.tail()
            except QueueUnavailable:
                continue
            if tail == self._tail:
                return False
            assert frame.last is not None
            if tail == Position(frame.epoch, frame.last):
                return True
            if tail is None:
                raise QueueLost
            raise Overtaken

    def _measure_lag(self) -> None:
        self._head = max(self._head, self._reached)
        metrics.FEED_HEAD.set(self._head)
        metrics.FEED_LAG.set(max(0, self._head - self._after.seq))


def _run_of(reports: Reports) -> tuple[int | None, int | None]:
    return (reports.first, reports.last) if reports.is_contiguous else (None, None)


def _runs_of(elements: list[tuple[int, bytes]]) -> list[list[tuple[int, bytes]]]:
    """Runs of which no number is missing, of elements that rise."""
    runs: list[list[tuple[int, bytes]]] = []
    for element in elements:
        if runs and runs[-1][-1][0] + 1 == element[0]:
            runs[-1].append(element)
        else:
            runs.append([element])
    return runs

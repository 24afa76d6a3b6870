"""Whether all that was put into the queue is applied; what is not, and should be by now, is fetched again.

A queue may have been wiped or cut short, or a processor may sit on what it took: it does not matter which, for reports
that are applied twice are applied once.
"""

from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.executions.feed_connection import PAGE_REPORTS, FeedConnection, FeedParts
from ordertrail.queues.queue import QueueUnavailable
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.venues.venue import Compacted, OtherEpoch, Reports

_log = get_logger()

EVERY_SECONDS = 1.0
# What lies before something that is applied is as late as that.
INNER_SECONDS = 10.0
# So long has the queue been empty.
EMPTY_SECONDS = 3.0
# Where the queue cannot say.
UNKNOWN_SECONDS = 30.0
AGAIN_SECONDS_MIN = 10.0
AGAIN_SECONDS_MAX = 300.0
GAPS_MAX = 100
PAGES_MAX = 50


class GapWatch:
    """For the time of one connection."""

    def __init__(self, parts: FeedParts, connection: FeedConnection) -> None:
        self._parts = parts
        self._connection = connection
        self._oldest = 1
        self._empty_since: float | None = None
        # By the first number that is missing: since when, when it is fetched again, and after how long the next time.
        self._since: dict[int, float] = {}
        self._again: dict[int, tuple[float, float]] = {}

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._parts.clock.sleep(EVERY_SECONDS)
            await self._parts.parking.flush()
            try:
                await self.run_once()
            except (StatementFailed, StatementOutcomeUnknown, QueueUnavailable) as error:
                _log.info("what is applied cannot be compared with the queue", error=str(error))

    async def run_once(self) -> None:
        """Fetch what is missing for too long."""
        # In this order: what is applied later than it is read is no gap.
        depth = await self._parts.queue.depth()
        published_to = self._connection.published_to
        coverage = await self._parts.rows.coverage(self._parts.venue, self._connection.epoch)
        now = self._parts.clock.monotonic()
        if depth != 0:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        applied_to = coverage.ranges[-1][1] if coverage.ranges else 0
        gaps = [(max(f, self._oldest), last) for f, last in coverage.gaps(up_to=published_to) if last >= self._oldest]
        self._since = {first: self._since.get(first, now) for first, _ in gaps}
        self._again = {first: again for first, again in self._again.items() if first in self._since}
        pages = PAGES_MAX
        for first, last in gaps[:GAPS_MAX]:
            if pages > 0 and self._is_due(first, now, depth, is_inner=last < applied_to):
                pages -= await self._fetch(first, last, now, pages)

    def _is_due(self, first: int, now: float, depth: int | None, *, is_inner: bool) -> bool:
        if now < self._again.get(first, (now, 0.0))[0]:
            return False
        age = now - self._since[first]
        if is_inner and age >= INNER_SECONDS:
            return True
        if depth is None:
            return age >= UNKNOWN_SECONDS
        return self._empty_since is not None and min(now - self._empty_since, age) >= EMPTY_SECONDS

    async def _fetch(self, first: int, last: int, now: float, pages_max: int) -> int:
        """How many pages it took."""
        _, pause = self._again.get(first, (now, AGAIN_SECONDS_MIN))
        self._again[first] = (now + pause, min(2 * pause, AGAIN_SECONDS_MAX))
        metrics.FEED_GAPS.labels("coverage").inc()
        _log.warning("execution reports were published and are not applied; fetching them", first=first, last=last)
        after = first - 1
        for page_number in range(1, pages_max + 1):
            page = await self._parts.source.report_page(
                after=after,
                limit=min(PAGE_REPORTS, last - after),
                epoch=self._connection.epoch,
                timeout_seconds=self._parts.timeout_seconds,
            )
            match page:
                case Compacted(oldest=oldest):
                    self._oldest = max(self._oldest, oldest)
                    await self._parts.parking.park_gap(
                        epoch=self._connection.epoch, first=first, last=min(last, oldest - 1)
                    )
                    return page_number
                case NoAnswer() | OtherEpoch():
                    return page_number
                case Reports():
                    if page.count:
                        await self._connection.put_page(page)
                    if page.last is None or not after < page.last < last:
                        return page_number
                    after = page.last
        return pages_max

"""Whether a feed brings a venue's execution reports, and which of them have been missing for long.

The feed fetches what is missing by itself; that it does not is for a person.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.execution_rows import Coverage, FeedRows, FeedView

_log = get_logger()

# A feed that nobody owns is taken over within seconds; where nobody has owned it for so long there is none.
ABSENT_SECONDS_MAX = 60
# A feed fetches what is missing after some ten seconds, and a processor applies it.
GAP_SECONDS_MAX = 60
EXAMPLES_MAX = 10

Gap = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fed:
    """A feed brings the reports of this epoch; up to `applied_up_to` none is missing.

    `gap_reports`: so many have been missing for long.
    """

    epoch: str
    applied_up_to: int
    gap_reports: int


class FedReports:
    """One venue's, as one replica sees them: of one that has just started nothing has been missing for long."""

    def __init__(self, feeds: FeedRows, clock: Clock, *, venue: str) -> None:
        self._feeds = feeds
        self._clock = clock
        self._venue = venue
        self._epoch = ""
        self._missing_since: Mapping[Gap, float] = {}
        self._reported: frozenset[Gap] = frozenset()

    async def review(self) -> Fed | None:
        """How it stands; None: there is no feed, or it has brought nothing yet."""
        feed = await self._feeds.feed(self._venue)
        if feed is None or feed.unowned_seconds > ABSENT_SECONDS_MAX:
            return None
        epoch = await self._epoch_of(feed)
        if epoch is None:
            return None
        coverage = await self._feeds.coverage(self._venue, epoch)
        return Fed(epoch, coverage.contiguous, self._missing_for_long(epoch, coverage))

    async def _epoch_of(self, feed: FeedView) -> str | None:
        return feed.position.epoch if feed.position is not None else await self._feeds.newest_epoch(self._venue)

    def _missing_for_long(self, epoch: str, coverage: Coverage) -> int:
        """How many, of those before the last that is applied: what comes after it waits in the queue."""
        now = self._clock.monotonic()
        known = self._missing_since if epoch == self._epoch else {}
        gaps = coverage.gaps(up_to=coverage.ranges[-1][1]) if coverage.ranges else ()
        self._missing_since = {gap: _since(gap, known, now) for gap in gaps}
        self._epoch = epoch
        old = frozenset(gap for gap in gaps if now - self._missing_since[gap] >= GAP_SECONDS_MAX)
        reports = sum(last - first + 1 for first, last in old)
        metrics.EXECUTION_GAP_REPORTS.set(reports)
        if old - self._reported:
            ranges = sorted(old)[:EXAMPLES_MAX]
            _log.error(
                "execution reports are missing and were not fetched",
                venue=self._venue,
                epoch=epoch,
                reports=reports,
                ranges=[f"{first}-{last}" for first, last in ranges],
            )
        self._reported = old
        return reports


def _since(gap: Gap, known: Mapping[Gap, float], now: float) -> float:
    """What is left of a gap is as old as all of it was."""
    first, last = gap
    return min((since for (begin, end), since in known.items() if begin <= first and last <= end), default=now)

"""What the feed cannot pass on: frames that nobody can read, and reports that the venue does not keep any more.

Both are kept for a person, as far as the database can be reached; the metric and the log line come in any case.
"""

import asyncio
from collections import deque
from hashlib import blake2b

from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.parked_rows import ParkedRows, ParkedThing
from ordertrail.venues.venue import RAW_BYTES_MAX, UnreadableFrame

_log = get_logger()

FRAME, GAP = "frame", "execution_gap"
NEW_PER_STATEMENT_MAX = 100
# So many wait for a database that cannot be reached; of more only the count is left.
WAITING_MAX = 100
REMEMBERED_MAX = 1000


class FeedParking:
    """One feed's."""

    def __init__(self, rows: ParkedRows, *, venue: str) -> None:
        self._rows = rows
        self._venue = venue
        self._waiting: deque[ParkedThing] = deque()
        self._kept: deque[bytes] = deque(maxlen=REMEMBERED_MAX)
        self._flushing = asyncio.Lock()

    async def park_frame(self, frame: UnreadableFrame, *, epoch: str) -> None:
        """Keep it, and say so."""
        _log.error("a frame of execution reports cannot be read", venue=self._venue, epoch=epoch, why=frame.why)
        await self._park(self._thing(FRAME, frame.why, frame.raw[:RAW_BYTES_MAX], epoch))

    async def park_gap(self, *, epoch: str, first: int, last: int) -> None:
        """Reports that the venue has forgotten before they were taken in. The same range again is the same thing."""
        raw = b'{"epoch":"%s","first":%d,"last":%d}' % (epoch.encode(), first, last)
        thing = self._thing(GAP, "the venue does not keep these reports any more", raw, epoch, seq=first)
        if thing.fingerprint in self._kept or thing in self._waiting:
            return
        metrics.FEED_LOST_REPORTS.inc(last - first + 1)
        _log.critical(
            "execution reports are lost: the venue does not keep them any more",
            venue=self._venue,
            epoch=epoch,
            first=first,
            last=last,
        )
        await self._park(thing)

    async def flush(self) -> None:
        """Keep what could not be kept when it came; never raises for the database's sake."""
        # The connection and the watch for gaps both do it, and what one keeps the other must not count again.
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        things = list(self._waiting)
        if not things:
            return
        try:
            kept = await self._rows.park(self._venue, things, new_max=NEW_PER_STATEMENT_MAX)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            _log.warning("what the feed cannot pass on waits for the database", venue=self._venue, error=str(error))
            return
        for thing in things:
            self._waiting.remove(thing)
            self._kept.append(thing.fingerprint)
            if thing.fingerprint not in kept:
                metrics.PARKED_DROPPED.labels(thing.kind).inc()
            elif kept[thing.fingerprint]:
                kept[thing.fingerprint] = False  # the same thing twice is one
                metrics.PARKED.labels(thing.kind).inc()

    async def _park(self, thing: ParkedThing) -> None:
        if len(self._waiting) >= WAITING_MAX:
            metrics.PARKED_DROPPED.labels(thing.kind).inc()
            return
        self._waiting.append(thing)
        await self.flush()

    def _thing(self, kind: str, why: str, raw: bytes, epoch: str, *, seq: int | None = None) -> ParkedThing:
        mark = repr((self._venue, kind, epoch)).encode()
        fingerprint = blake2b(mark + b"\0" + raw, digest_size=20).digest()
        return ParkedThing(kind, None, why, raw, fingerprint, epoch=epoch, seq=seq)

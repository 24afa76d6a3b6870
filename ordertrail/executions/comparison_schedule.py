"""When executions are compared: once a day, by one of all replicas."""

from ordertrail.executions.compare import CannotCompare, ExecutionComparer, publish
from ordertrail.executions.trouble import Trouble
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.comparison_rows import ComparisonRows
from ordertrail.storage.doubt_rows import SweepRows
from ordertrail.storage.execution_rows import FeedRows

_log = get_logger()

EVERY_SECONDS = 24 * 3600.0
TURN_INTERVAL_SECONDS = 60.0
# One that dies in its turn leaves it to another after so long; a comparison takes as long as the venue's log is.
TURN_SECONDS = 3600.0
AGAIN_SECONDS = 600.0


class ComparisonSchedule:
    """One replica's; the turn is one of the sweep's kind, under a name of its own."""

    def __init__(
        self,
        comparer: ExecutionComparer,
        rows: ComparisonRows,
        turns: SweepRows,
        feeds: FeedRows,
        clock: Clock,
        *,
        venue: str,
    ) -> None:
        self._comparer = comparer
        self._rows = rows
        self._turns = turns
        self._feeds = feeds
        self._clock = clock
        self._venue = venue
        self._turn = f"{venue}: comparison of executions"
        self._trouble = Trouble("executions could not be compared with the exchange's")

    async def run(self) -> None:
        """Run for ever; cancel to end."""
        while True:
            await self._clock.sleep(TURN_INTERVAL_SECONDS)
            try:
                await self.run_once()
            except Exception as error:  # noqa: BLE001 - said and counted, and tried again
                self._trouble.report(error)
            else:
                self._trouble.is_over()

    async def run_once(self) -> None:
        """Compare, if there is a feed and it is our turn; and publish what the last comparison came to."""
        if await self._feeds.feed(self._venue) is not None:
            turn = await self._turns.lease_sweep(self._turn, lease_seconds=TURN_SECONDS)
            if turn is not None:
                await self._compare()
        newest = await self._rows.newest_comparison(self._venue)
        if newest is not None:
            publish(newest)

    async def _compare(self) -> None:
        rest_seconds = AGAIN_SECONDS
        try:
            await self._comparer.run_once()
            rest_seconds = EVERY_SECONDS
        except CannotCompare as error:
            _log.warning("executions could not be compared with the exchange's", venue=self._venue, error=str(error))
        finally:
            await self._turns.end_sweep(self._turn, rest_seconds=rest_seconds)

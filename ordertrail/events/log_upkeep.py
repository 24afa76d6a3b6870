"""Keeps the event log: room for the days to come, none for days that are over, and a word on what holds events back.

Any number of processes may do so at once; no order has anything to do with it.
"""

from ordertrail.events.trouble import Trouble
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.duties import Duty, perform
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.event_rows import EventLogKeeping, HorizonHolder

_log = get_logger()

KEEP_SECONDS = 3600.0
HORIZON_SECONDS = 5.0
# Our own transactions end by themselves before: see `session_settings`.
HELD_BACK_SECONDS_MAX = 30.0

Holder = tuple[int | None, str | None, str | None]


class LogUpkeep:
    """One process's; `kept_days` is for how long events can be read."""

    def __init__(self, log: EventLogKeeping, clock: Clock, *, kept_days: float) -> None:
        self._log = log
        self._clock = clock
        self._kept_days = kept_days
        self._keeping = Duty(self._keep, KEEP_SECONDS, Trouble("the event log could not be kept in order"))
        self._watching = Duty(
            self._read_horizon, HORIZON_SECONDS, Trouble("what holds events back could not be found out")
        )
        self._holder: Holder | None = None
        self._has_misplaced = False

    async def run(self) -> None:
        """Run for ever; cancel to end."""
        while True:
            await self.run_once()
            await self._clock.sleep(HORIZON_SECONDS)

    async def run_once(self) -> None:
        """What is due; a failure is said once, and what is seldom done is tried again soon."""
        await perform((self._keeping, self._watching), self._clock)

    async def _keep(self) -> None:
        kept = await self._log.keep(kept_days=self._kept_days)
        metrics.EVENT_LOG_MISPLACED.set(kept.misplaced)
        if kept.dropped:
            _log.info("days of the event log were dropped", days=kept.dropped)
        if kept.misplaced and not self._has_misplaced:
            _log.warning("rows of the event log are in no day's partition", rows=kept.misplaced)
        self._has_misplaced = kept.misplaced > 0

    async def _read_horizon(self) -> None:
        try:
            holder = await self._log.horizon_holder()
        except Exception:
            metrics.EVENT_LOG_HORIZON_SECONDS.unread()
            # Another database may be there when it is back, restored from a dump: its log has to begin anew.
            self._keeping.make_due()
            raise
        metrics.EVENT_LOG_HORIZON_SECONDS.set(0 if holder is None else holder.seconds)
        self._report(holder if holder is not None and holder.seconds > HELD_BACK_SECONDS_MAX else None)

    def _report(self, holder: HorizonHolder | None) -> None:
        """Each that holds events back for too long once, and the end once."""
        was, self._holder = self._holder, None if holder is None else (holder.pid, holder.database, holder.prepared)
        if holder is None:
            if was is not None:
                _log.info("events are not held back any more")
        elif self._holder != was:
            _log.warning(
                "an open transaction holds events back",
                pid=holder.pid,
                database=holder.database,
                prepared=holder.prepared,
                seconds=round(holder.seconds, 1),
            )

"""A flood of reports at a rate: it ends by itself, makes up for no time that it lost, and waits for slow readers."""

import asyncio

from simulated_exchange.exchange import Exchange
from simulated_exchange.following import Publisher
from simulated_exchange.log import Log
from simulated_exchange.occurrences import Load

# Reports beyond the slowest reader: what it has to catch up on stays within what is kept, and within memory.
AHEAD_MAX = 50_000
STEP_MAX = 5_000
BEHIND_SECONDS_MAX = 0.1
PAUSE_SECONDS = 0.001
BEHIND_PAUSE_SECONDS = 0.01  # a reader has tens of milliseconds of work before it then


class LoadPump:
    """Takes the turns of the exchange's flood."""

    def __init__(self, exchange: Exchange, log: Log, publisher: Publisher) -> None:
        self._exchange = exchange
        self._log = log
        self._publisher = publisher

    async def run(self, load: Load) -> None:
        """Until the flood is over; LogError where the log breaks."""
        self._publisher.flood_begins(load.frame)
        try:
            await self._run(load)
        finally:
            self._publisher.flood_ends()

    def _ahead_max(self) -> int:
        kept_max = self._exchange.executions_log.kept_max
        return AHEAD_MAX if kept_max is None else min(AHEAD_MAX, kept_max // 2)

    async def _run(self, load: Load) -> None:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        counted_from, taken = begun_at, 0
        # A whole frame at least, or a slow flood would never have one to send.
        behind_max = max(BEHIND_SECONDS_MAX, 2 * load.frame / load.reports_per_second)
        while (now := loop.time()) - begun_at < load.seconds and (load.reports is None or taken < load.reports):
            counted_from = max(counted_from, now - behind_max - taken / load.reports_per_second)
            due = int((now - counted_from) * load.reports_per_second) - taken
            count = min(due - due % load.frame, max(STEP_MAX - STEP_MAX % load.frame, load.frame))
            if load.reports is not None:
                count = min(count, load.reports - taken)
            if count <= 0:
                seconds = (taken + load.frame) / load.reports_per_second - (now - counted_from)
                await asyncio.sleep(min(max(seconds, PAUSE_SECONDS), begun_at + load.seconds - now))
            elif self._publisher.slowest_is_behind(self._ahead_max()):
                await asyncio.sleep(BEHIND_PAUSE_SECONDS)
            else:
                turns = self._exchange.load_turns(count)
                taken += turns
                if self._log.pending:
                    await self._log.durable()
                if turns < count:
                    return
                await asyncio.sleep(0)

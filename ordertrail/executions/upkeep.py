"""What a processor keeps in order beside its work: parked reports, what may be joined, partitions, its figures."""

from collections.abc import Awaitable, Callable

from ordertrail.executions.applied_reports import AppliedReports
from ordertrail.executions.trouble import Trouble
from ordertrail.queues.queue import Queue, QueueUnavailable
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.duties import Duty, perform
from ordertrail.runtime.telemetry import metrics
from ordertrail.storage.execution_rows import ExecutionRows

INTERVAL_SECONDS = 1.0
# A read of positions adds up all that is not joined yet.
COMPACT_SECONDS = 1.0
PARTITIONS_SECONDS = 24 * 3600.0
RETRIES_PER_TURN = 500


class Upkeep:
    """One processor's; several at once do not harm each other."""

    def __init__(self, rows: ExecutionRows, queue: Queue, clock: Clock, report: AppliedReports, *, venue: str) -> None:
        self._rows = rows
        self._queue = queue
        self._clock = clock
        self._report = report
        self._venue = venue
        self._duties = [
            _duty(self._ensure_partitions, PARTITIONS_SECONDS, "the partitions of executions could not be made"),
            _duty(self._retry, INTERVAL_SECONDS, "parked reports could not be tried again"),
            _duty(self._compact, COMPACT_SECONDS, "what was applied could not be joined"),
            _duty(self._read_depth, INTERVAL_SECONDS, "the queue's depth could not be read"),
        ]

    async def run(self) -> None:
        """Run for ever; cancel to end."""
        while True:
            await self.run_once()
            await self._clock.sleep(INTERVAL_SECONDS)

    async def run_once(self) -> None:
        """Everything that is due; what fails is said once and due again, and the rest is done all the same."""
        await perform(self._duties, self._clock)

    async def _retry(self) -> None:
        self._report.retried(await self._rows.retry_parked(self._venue, limit=RETRIES_PER_TURN))

    async def _compact(self) -> None:
        await self._rows.compact(self._venue)

    async def _ensure_partitions(self) -> None:
        metrics.EXECUTION_MISPLACED.set(await self._rows.ensure_partitions())

    async def _read_depth(self) -> None:
        try:
            depth = await self._queue.depth()
        except QueueUnavailable:
            metrics.EXECUTION_QUEUE_FRAMES.unread()
            raise
        if depth is not None:
            metrics.EXECUTION_QUEUE_FRAMES.set(depth)


def _duty(act: Callable[[], Awaitable[None]], every_seconds: float, sentence: str) -> Duty:
    return Duty(act, every_seconds, Trouble(sentence))

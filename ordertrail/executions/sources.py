"""Where a processor has its frames from: the inbox in the database, or a broker.

From the inbox, frames are taken and applied in one transaction. From a broker they are acknowledged after the commit.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ordertrail.executions.applying import Applying, poison_of
from ordertrail.queues.queue import Delivery, Frame, Queue
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import Clock
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.execution_rows import ExecutionRows, InboxRows

# So many are held in memory where one of them breaks the statement.
SUSPECT_FRAMES_MAX = 8
# So late the workers find a report at the most, where nothing wakes them, or what wakes them has failed unseen.
IDLE_SECONDS_MAX = 0.25
WOKEN_IDLE_SECONDS_MAX = 1.0
EXTEND_SECONDS = 5.0
TAKE_WAIT_SECONDS = 1.0
AFTER_TAKE_SECONDS = 0.01


class Source(Protocol):
    """What the workers of a processor call at once."""

    @property
    def idle_seconds_max(self) -> float:
        """How long a worker that found nothing may wait before it tries again."""
        ...

    async def work_once(self, *, reports_max: int) -> int | None:
        """Work off what waits, about so many reports; returns how many there were. None: nothing waits.

        StatementFailed, StatementOutcomeUnknown, QueueUnavailable: what was not applied will be delivered again.
        """
        ...


class InboxSource:
    """The queue in the database. `is_woken`: whether something wakes the workers when there are reports."""

    def __init__(
        self,
        rows: ExecutionRows,
        inbox: InboxRows,
        applying: Applying,
        *,
        venue: str,
        is_woken: Callable[[], bool] = lambda: False,
    ) -> None:
        self._rows = rows
        self._inbox = inbox
        self._applying = applying
        self._venue = venue
        self._is_woken = is_woken
        self._one_at_a_time = asyncio.Lock()

    @property
    def idle_seconds_max(self) -> float:
        return WOKEN_IDLE_SECONDS_MAX if self._is_woken() else IDLE_SECONDS_MAX

    async def work_once(self, *, reports_max: int) -> int | None:
        try:
            applied = await self._applying.commit(lambda: self._rows.apply_inbox(self._venue, reports_max=reports_max))
        except (StatementFailed, UnicodeDecodeError) as error:
            if poison_of(error) is None:
                raise
            return await self._work_one_by_one()
        return None if applied is None else applied.reports

    async def _work_one_by_one(self) -> int:
        """The oldest frames, one of which breaks the statement. Others may be at it, too: that changes nothing."""
        async with self._one_at_a_time:
            suspects = await self._inbox.peek_inbox(self._venue, frames_max=SUSPECT_FRAMES_MAX)
            for number, frame in suspects:
                await self._applying.apply([frame], _go_on)
                failpoints.reach("before_drop_from_inbox")
                await self._inbox.drop_from_inbox([number])
        return sum(frame.count for _, frame in suspects)


class BrokerSource:
    """A queue that delivers frames, and forgets them once they are acknowledged."""

    def __init__(self, queue: Queue, applying: Applying, clock: Clock) -> None:
        self._queue = queue
        self._applying = applying
        self._clock = clock

    @property
    def idle_seconds_max(self) -> float:
        return AFTER_TAKE_SECONDS  # `take` has waited

    async def work_once(self, *, reports_max: int) -> int | None:
        delivery = await self._queue.take(reports_max=reports_max, wait_seconds=TAKE_WAIT_SECONDS)
        if delivery is None:
            return None
        try:
            extension = _Extension(delivery, self._clock)
            for frames in batches_of(delivery.frames, reports_max=reports_max):
                await self._applying.apply(frames, extension.still_at_work)
                await extension.still_at_work()
            failpoints.reach("before_acknowledge")
        except BaseException:
            await delivery.give_back()
            raise
        await delivery.acknowledge()
        failpoints.reach("after_acknowledge")
        return sum(frame.count for frame in delivery.frames)


class _Extension:
    """Has the queue wait for a delivery that takes long."""

    def __init__(self, delivery: Delivery, clock: Clock) -> None:
        self._delivery = delivery
        self._clock = clock
        self._extended_at = clock.monotonic()

    async def still_at_work(self) -> None:
        now = self._clock.monotonic()
        if now - self._extended_at >= EXTEND_SECONDS:
            self._extended_at = now
            await self._delivery.extend()


def batches_of(frames: Sequence[Frame], *, reports_max: int) -> Iterator[list[Frame]]:
    """Frames of one epoch together, in their order, and about so many reports."""
    batch: list[Frame] = []
    count = 0
    for frame in frames:
        is_another = batch and (frame.venue, frame.epoch, frame.exec_id_scope) != (
            batch[0].venue,
            batch[0].epoch,
            batch[0].exec_id_scope,
        )
        if is_another or (batch and count + frame.count > reports_max):
            yield batch
            batch, count = [], 0
        batch.append(frame)
        count += frame.count
    if batch:
        yield batch


async def _go_on() -> None:
    """The inbox waits for nobody."""

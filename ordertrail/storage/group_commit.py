"""Shared commits: rows of concurrent requests wait while the commit before them is under way, then go together.

There is no timer: a batch is what has gathered. One bad row harms no other: a batch that the database refuses is
written again row by row. A lost answer is repeated, for every write is harmless twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.buffered import BufferedHistogram
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown

REPEAT_AFTER_SECONDS = 0.05

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """`timeout_seconds` bounds the wait for a batch's turn, and again its writing."""

    rows_max: int
    queue_max: int
    timeout_seconds: float


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    since: float
    done: "asyncio.Future[Result]"

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Batcher(Generic[Item, Result]):
    """One lane of writes: at most one batch is under way, the rest gathers behind it."""

    def __init__(
        self,
        batcher: str,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        clock: Clock,
        limits: Limits,
    ) -> None:
        self.batcher = batcher
        self._write = write
        self._clock = clock
        self._limits = limits
        self._waiting: list[_Waiting[Item, Result]] = []
        self._task: asyncio.Task[None] | None = None
        self._rows = BufferedHistogram(metrics.COMMIT_ROWS.labels(batcher))
        self._seconds = BufferedHistogram(metrics.COMMIT_SECONDS.labels(batcher))
        self._answered = metrics.DATABASE_FAILURES.labels("answered")
        self._lost = metrics.DATABASE_FAILURES.labels("lost")

    @property
    def waiting(self) -> int:
        """How many rows wait for the next batch."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether another row would have to be turned away."""
        return self.waiting >= self._limits.queue_max

    def submit(self, item: Item, *, bypass_limit: bool = False) -> "asyncio.Future[Result]":
        """Write `item` with the next batch.

        The future raises StatementFailed or StatementOutcomeUnknown; cancelling it does not take the row back.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        if self.is_full and not bypass_limit:
            done.set_exception(StatementOutcomeUnknown("too many rows wait for a commit", may_have_happened=False))
            return done
        self._waiting.append(_Waiting(item, self._clock.monotonic(), done))
        if self._task is None:
            self._task = loop.create_task(self._write_all())
        return done

    async def close(self) -> None:
        """Wait until everything submitted is written or failed."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._limits.rows_max]
                del self._waiting[: len(batch)]
                now = self._clock.monotonic()
                oldest = now - self._limits.timeout_seconds
                for waiting in batch:
                    if waiting.since < oldest:
                        waiting.fail(StatementOutcomeUnknown("waited too long for a commit", may_have_happened=False))
                batch = [waiting for waiting in batch if waiting.since >= oldest]
                if batch:
                    await self._write_batch(batch, deadline=now + self._limits.timeout_seconds)
        finally:
            self._task = None

    async def _write_batch(
        self, batch: list[_Waiting[Item, Result]], *, deadline: float, may_have_happened: bool = False
    ) -> None:
        items = [waiting.item for waiting in batch]
        while True:
            start = self._clock.monotonic()
            try:
                self._finish(batch, await self._write(items), start)
                return
            except StatementFailed as error:
                self._answered.inc()
                if len(batch) == 1:
                    # A repeat that is refused does not prove that the lost try before it wrote nothing.
                    batch[0].fail(
                        StatementOutcomeUnknown(str(error), may_have_happened=True) if may_have_happened else error
                    )
                    return
                for waiting in batch:
                    await self._write_batch([waiting], deadline=deadline, may_have_happened=may_have_happened)
                return
            except StatementOutcomeUnknown as error:
                self._lost.inc()
                may_have_happened |= error.may_have_happened
                if self._clock.monotonic() + REPEAT_AFTER_SECONDS > deadline:
                    for waiting in batch:
                        waiting.fail(StatementOutcomeUnknown(str(error), may_have_happened=may_have_happened))
                    return
                await asyncio.sleep(REPEAT_AFTER_SECONDS)
            except Exception as error:  # noqa: BLE001
                # A bug of ours: every waiter learns of it, and nothing is known of the rows.
                for waiting in batch:
                    waiting.fail(error)
                return

    def _finish(self, batch: list[_Waiting[Item, Result]], results: Sequence[Result], start: float) -> None:
        self._seconds.observe(self._clock.monotonic() - start)
        self._rows.observe(len(batch))
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(result)

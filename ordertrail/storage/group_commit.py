"""Group commit: rows of concurrent requests wait while the commit before them is under way, then go together.

There is no timer: a batch is what has gathered. One bad row harms no other: a batch that the database refuses is
written again row by row. A lost answer is repeated, for every write is harmless twice.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from typing_extensions import override

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


class Pending(Generic[Item, Result]):
    """An item that waits for its commit; `done` gets its result, or StatementFailed or StatementOutcomeUnknown."""

    __slots__ = ("done", "item", "since")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.since = 0.0
        self.done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """It is not written, or the outcome is unknown; a caller that has left hears nothing."""
        if not self.done.done():
            self.done.set_exception(error)


def give_results(pending: Sequence[Pending[Item, Result]], results: Sequence[Result]) -> None:
    """Give each its own result; a caller that has left gets none."""
    for each, result in zip(pending, results, strict=True):
        if not each.done.done():
            each.done.set_result(result)


AnyPending = TypeVar("AnyPending", bound=Pending[Any, Any])


class GroupCommit(ABC, Generic[AnyPending]):
    """One queue of what waits: at most one batch is under way, the rest gathers behind it.

    A subclass takes items of one kind or of several, and knows how a batch of them is written.
    """

    def __init__(self, batcher: str, clock: Clock, limits: Limits) -> None:
        self.batcher = batcher
        self._clock = clock
        self._limits = limits
        self._waiting: list[AnyPending] = []
        self._task: asyncio.Task[None] | None = None
        self._rows = BufferedHistogram(metrics.COMMIT_ROWS.labels(batcher))
        self._seconds = BufferedHistogram(metrics.COMMIT_SECONDS.labels(batcher))
        self._failed = metrics.DATABASE_FAILURES.labels("failed")
        self._outcome_unknown = metrics.DATABASE_FAILURES.labels("outcome_unknown")

    @abstractmethod
    async def _commit(self, batch: Sequence[AnyPending]) -> None:
        """Write these together, and give each its result; raises where none is known to be written."""

    @property
    def waiting(self) -> int:
        """How many rows wait for the next batch."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether another row would have to be shed."""
        return len(self._waiting) >= self._limits.queue_max

    def _enqueue(self, pending: AnyPending, *, bypass_limit: bool = False) -> None:
        """Write it with the next batch; where too many wait already it fails at once, unless it may `bypass_limit`."""
        if not bypass_limit and self.is_full:
            pending.fail(StatementOutcomeUnknown("too many rows wait for a commit", may_have_happened=False))
            return
        pending.since = self._clock.monotonic()
        self._waiting.append(pending)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_all())

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
                # They wait in the order in which they came: where the first is not late, none is.
                if batch[0].since < oldest:
                    batch = _without_late(batch, oldest)
                if batch:
                    await self._write_batch(batch, deadline=now + self._limits.timeout_seconds)
        finally:
            self._task = None

    async def _write_batch(self, batch: list[AnyPending], *, deadline: float, may_have_happened: bool = False) -> None:
        while True:
            start = self._clock.monotonic()
            try:
                await self._commit(batch)
                self._seconds.observe(self._clock.monotonic() - start)
                self._rows.observe(len(batch))
                return
            except StatementFailed as error:
                self._failed.inc()
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
                self._outcome_unknown.inc()
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


def _without_late(batch: Sequence[AnyPending], oldest: float) -> list[AnyPending]:
    """Those that came at `oldest` or later; the others fail."""
    for pending in batch:
        if pending.since < oldest:
            pending.fail(StatementOutcomeUnknown("waited too long for a commit", may_have_happened=False))
    return [pending for pending in batch if pending.since >= oldest]


class Batcher(GroupCommit[Pending[Item, Result]]):
    """The group commit of one kind of item: `write` gives each of a batch its result, in the same order."""

    def __init__(
        self,
        batcher: str,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        clock: Clock,
        limits: Limits,
    ) -> None:
        super().__init__(batcher, clock, limits)
        self._write = write

    def submit(self, item: Item) -> "asyncio.Future[Result]":
        """Write `item` with the next batch.

        The future raises StatementFailed or StatementOutcomeUnknown; cancelling it does not take the row back.
        """
        pending: Pending[Item, Result] = Pending(item)
        self._enqueue(pending)
        return pending.done

    @override
    async def _commit(self, batch: Sequence[Pending[Item, Result]]) -> None:
        give_results(batch, await self._write([pending.item for pending in batch]))

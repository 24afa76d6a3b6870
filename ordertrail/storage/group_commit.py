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
from ordertrail.storage.statement_deadline import answered_within

REPEAT_AFTER_SECONDS = 0.05
# A row is waited for and repeated for so long after it came, in times that one statement may take. A statement that
# has no answer uses one; what is left is for the repeat on another connection. Two rows in turn, an order's COMPLETED
# and the one that says why there is none, stay within the three that an order has after its `send_by`. A row that
# waited in the queue may end later, for its first try has a whole statement's time; reconciliation may then look at the
# order meanwhile, which the claims make harmless.
ROW_STATEMENTS = 1.5

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """`timeout_seconds`: how long one statement may take; a row may wait and be repeated a little longer than that."""

    rows_max: int
    queue_max: int
    timeout_seconds: float

    @property
    def row_seconds(self) -> float:
        """How long after it came a row is still waited for and repeated."""
        return self.timeout_seconds * ROW_STATEMENTS


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
        self._repeated = metrics.DATABASE_REPEATS_FAILED
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
                try:
                    waiting_still = self._without_late(batch, "waited too long for a commit", may_have_happened=False)
                    if waiting_still:
                        await self._write_batch(waiting_still)
                except Exception as error:  # noqa: BLE001
                    # A bug of ours: every waiter learns of it, nothing is known of the rows, and the next are written.
                    for waiting in batch:
                        waiting.fail(error)
        finally:
            self._task = None

    async def _write_batch(self, batch: list[AnyPending], *, may_have_happened: bool = False) -> None:
        seconds_left: float | None = None  # the first try has the statement's own limit
        is_repeat = False
        while True:
            start = self._clock.monotonic()
            try:
                if seconds_left is None:
                    await self._commit(batch)
                else:
                    with answered_within(seconds_left):
                        await self._commit(batch)
                self._seconds.observe(self._clock.monotonic() - start)
                self._rows.observe(len(batch))
                return
            except StatementFailed as error:
                if len(batch) == 1:
                    self._failed.inc()
                    # A repeat that is refused does not prove that the lost try before it wrote nothing.
                    batch[0].fail(
                        StatementOutcomeUnknown(str(error), may_have_happened=True) if may_have_happened else error
                    )
                    return
                for waiting in batch:
                    await self._write_batch([waiting], may_have_happened=may_have_happened)
                return
            except StatementOutcomeUnknown as error:
                (self._repeated if is_repeat else self._outcome_unknown).inc()
                is_repeat = True
                may_have_happened |= error.may_have_happened
                batch = self._without_late(
                    batch, str(error), may_have_happened=may_have_happened, after_seconds=REPEAT_AFTER_SECONDS
                )
                if not batch:
                    return
                await asyncio.sleep(REPEAT_AFTER_SECONDS)
                seconds_left = max(each.since for each in batch) + self._limits.row_seconds - self._clock.monotonic()
            except Exception as error:  # noqa: BLE001
                # A bug of ours: every waiter learns of it, and nothing is known of the rows.
                for waiting in batch:
                    waiting.fail(error)
                return

    def _without_late(
        self, batch: list[AnyPending], problem: str, *, may_have_happened: bool, after_seconds: float = 0
    ) -> list[AnyPending]:
        """Those whose time is not up after so many seconds; the others fail."""
        oldest = self._clock.monotonic() + after_seconds - self._limits.row_seconds
        # They wait in the order in which they came: where the first is not late, none is.
        if batch[0].since >= oldest:
            return batch
        for pending in batch:
            if pending.since < oldest:
                pending.fail(StatementOutcomeUnknown(problem, may_have_happened=may_have_happened))
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

"""Frames are applied together; where one report breaks the statement, they are halved until it stands alone.

It is parked as it came, and its neighbours go through. Each half is a transaction of its own: all of them are
idempotent, so that one that is applied again after a failure changes nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ordertrail.executions.applied_reports import AppliedReports
from ordertrail.executions.raw_reports import fault_of, frame_of, split_reports
from ordertrail.queues.queue import Frame
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import Clock
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.execution_rows import Applied, ExecutionRows

# A program's limit is one of data, too: a text that fits into no index, brackets nested a thousandfold.
_POISON_CLASSES = ("22", "23", "54")
_NOT_UTF8 = "is not UTF-8"


def poison_of(error: Exception) -> str | None:
    """Why a report in the statement's data breaks it; None: the error is about something else, and may pass."""
    if isinstance(error, UnicodeDecodeError):
        return _NOT_UTF8
    if isinstance(error, StatementFailed) and error.code[:2] in _POISON_CLASSES:
        return f"the database refuses it: {error.code}"
    return None


@dataclass(frozen=True, slots=True)
class _Part:
    """Some frames, or some reports of one."""

    frames: tuple[Frame, ...]

    def halves(self) -> "tuple[_Part, _Part] | None":
        """Two parts that are this one together; None: it is one report, or a frame that cannot be told apart."""
        if len(self.frames) > 1:
            middle = len(self.frames) // 2
            return _Part(self.frames[:middle]), _Part(self.frames[middle:])
        [frame] = self.frames
        reports = split_reports(frame.body)
        if reports is None or len(reports) < 2:
            return None
        middle = len(reports) // 2
        return _Part((frame_of(frame, reports[:middle]),)), _Part((frame_of(frame, reports[middle:]),))


class Applying:
    """What all workers of a processor apply frames with."""

    def __init__(self, rows: ExecutionRows, clock: Clock, report: AppliedReports) -> None:
        self._rows = rows
        self._clock = clock
        self._report = report

    async def apply(self, frames: Sequence[Frame], still_at_work: Callable[[], Awaitable[None]]) -> None:
        """Apply frames of one epoch or park what of them cannot be; `still_at_work` is awaited between statements.

        StatementFailed and StatementOutcomeUnknown: some may not be applied, and all of them are to be again.
        """
        waiting = [_Part(tuple(frames))]
        while waiting:
            part = waiting.pop()
            try:
                await self.commit(partial(self._rows.apply_reports, part.frames))
            except (StatementFailed, UnicodeDecodeError) as error:
                why = poison_of(error)
                if why is None:
                    raise
                halves = part.halves()
                if halves is None:
                    await self._park(part.frames[0], why)
                else:
                    waiting += reversed(halves)
            if waiting:
                await still_at_work()

    async def commit(self, statement: Callable[[], Awaitable[Applied | None]]) -> Applied | None:
        """Run a statement that applies reports, and tell what became of them."""
        failpoints.reach("before_apply_reports")
        began = self._clock.monotonic()
        applied = await statement()
        failpoints.reach("after_apply_reports")
        if applied is not None:
            self._report.applied(applied, seconds=self._clock.monotonic() - began)
        return applied

    async def _park(self, frame: Frame, why: str) -> None:
        reports = split_reports(frame.body)
        if reports is None:
            raw, field, reason, seq = frame.body, None, why if why == _NOT_UTF8 else "is no JSON array", None
        elif reports:
            raw = reports[0]
            fault = fault_of(raw, otherwise=why)
            field, reason, seq = fault.field, fault.why, fault.seq
        else:
            return
        is_new = await self._rows.park_report(frame, raw, reason=reason, field=field, seq=seq)
        failpoints.reach("after_park_report")
        self._report.parked(frame, reason=reason, field=field, seq=seq, is_new=is_new)

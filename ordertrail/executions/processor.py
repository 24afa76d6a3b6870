"""Turns execution reports into rows: several statements at once, none acknowledged before its commit, none given up.

Any number of processors work beside each other, in any number of processes. Whatever fails is tried again; what waits
meanwhile waits in the queue.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass

from ordertrail.executions.sources import Source
from ordertrail.executions.trouble import Trouble

BACK_OFF_SECONDS_MIN = 0.1
BACK_OFF_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class ProcessorLimits:
    """`reports_max`: about so many reports in one statement. `idle_seconds_min`: how long a worker that has just
    had some waits for more, and twice as long each time. `stop_seconds`: how long what is in flight may take.
    """

    statements_in_flight: int
    reports_max: int
    idle_seconds_min: float = 0.005
    stop_seconds: float = 15.0


class Processor:
    """One process's."""

    def __init__(self, source: Source, limits: ProcessorLimits) -> None:
        self._source = source
        self._limits = limits
        self._stop = asyncio.Event()
        self._idle: deque[asyncio.Event] = deque()
        self._woken_early = False
        self._trouble = Trouble("execution reports could not be applied")

    def wake_up(self) -> None:
        """There may be reports: one worker that is idle need not wait any longer."""
        if self._idle:
            self._idle.popleft().set()
        else:
            self._woken_early = True

    async def run(self) -> None:
        """Work until cancelled; then what is in flight is finished first, and nothing else is begun."""
        work = asyncio.gather(*(self._work() for _ in range(self._limits.statements_in_flight)))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stop.set()
            while self._idle:
                self._idle.popleft().set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.stop_seconds):
                    await work
            raise

    async def run_until_empty(self) -> int:
        """Work off what waits, and return how many reports that were; raises what went wrong."""
        count = 0
        while (worked := await self._source.work_once(reports_max=self._limits.reports_max)) is not None:
            count += worked
        return count

    async def _work(self) -> None:
        idle_seconds, back_off_seconds = self._limits.idle_seconds_min, BACK_OFF_SECONDS_MIN
        reports_max = self._limits.reports_max
        while not self._stop.is_set():
            try:
                count = await self._source.work_once(reports_max=reports_max)
            except Exception as error:  # noqa: BLE001 - said and counted, and tried again: nothing is given up
                self._trouble.report(error)
                # What took too long may be possible in smaller parts.
                reports_max = max(1, reports_max // 2)
                await self._rest(back_off_seconds, may_be_woken=False)
                back_off_seconds = min(2 * back_off_seconds, BACK_OFF_SECONDS_MAX)
                continue
            self._trouble.is_over()
            back_off_seconds = BACK_OFF_SECONDS_MIN
            if count is not None:
                idle_seconds = self._limits.idle_seconds_min
                if count >= reports_max // 2:
                    self.wake_up()
                reports_max = min(reports_max + reports_max // 8 + 1, self._limits.reports_max)
                continue
            await self._rest(idle_seconds, may_be_woken=True)
            idle_seconds = min(2 * idle_seconds, self._source.idle_seconds_max)

    async def _rest(self, seconds: float, *, may_be_woken: bool) -> None:
        """Wait until it is worth trying again, or the end."""
        if self._stop.is_set():
            return
        if may_be_woken and self._woken_early:
            self._woken_early = False
            return
        end = asyncio.Event() if may_be_woken else self._stop
        if may_be_woken:
            self._idle.append(end)
        try:
            async with asyncio.timeout(seconds):
                await end.wait()
        except TimeoutError:
            if end in self._idle:
                self._idle.remove(end)

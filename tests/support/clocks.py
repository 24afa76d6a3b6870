"""Clocks in a test's hands: time that stands still, goes on a little at each look, or lets nobody wake up by itself."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from typing_extensions import override

from ordertrail.runtime.clock import SystemClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HURRY = 60

Entry = tuple[float, int, Callable[[], None]]


class ManualClock:
    """Stands still until a test moves it; what is to be called later is called at its own time.

    `time` is the monotonic one; setting it lets time pass without any timer, as for a process that stood still.
    """

    def __init__(self, time: float = 1000.0, *, wall: datetime = NOON) -> None:
        self.time = time
        self.timers: list[Entry] = []
        self.armed = 0
        self._start = time
        self._wall = wall

    def now(self) -> datetime:
        return self._wall + timedelta(seconds=self.time - self._start)

    def now_us(self) -> int:
        """The wall clock in microseconds, as the simulated exchange counts."""
        return (self.now() - EPOCH) // timedelta(microseconds=1)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("time passes only where the test moves it")

    def later(self, seconds: float, call: Callable[[], None]) -> "Timer":
        self.armed += 1
        entry = (self.time + seconds, self.armed, call)
        self.timers.append(entry)
        return Timer(self, entry)

    def move(self, seconds: float) -> None:
        """Let time pass, and every timer ring at its own time."""
        end = self.time + seconds
        while due := sorted(t for t in self.timers if t[0] <= end):
            self.timers.remove(due[0])
            self.time = max(self.time, due[0][0])
            due[0][2]()
        self.time = end


@dataclass
class Timer:
    """Something that a clock calls later, unless it is cancelled."""

    clock: ManualClock
    entry: Entry

    def cancel(self) -> None:
        if self.entry in self.clock.timers:
            self.clock.timers.remove(self.entry)


class TickingClock:
    """Goes on by `step` whenever it is read, so that no two moments are the same."""

    def __init__(self, time: datetime, step: timedelta) -> None:
        self.time = time
        self._step = step

    def now(self) -> datetime:
        self.time += self._step
        return self.time


class PatientClock(SystemClock):
    """Real time, but nobody who sleeps wakes up by himself, and `hurry` makes patience end soon."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._hurries_since: float | None = None
        self.wall_wrong_by = timedelta(0)

    @override
    def now(self) -> datetime:
        return super().now() + self.wall_wrong_by

    @override
    def monotonic(self) -> float:
        now = super().monotonic()
        hurry = 0.0 if self._hurries_since is None else (now - self._hurries_since) * HURRY
        return now + self._ahead + hurry

    def hurry(self) -> None:
        """From now on time goes so much faster that nobody waits long for what does not come."""
        if self._hurries_since is None:
            self._hurries_since = super().monotonic()

    def skip(self, seconds: float) -> None:
        """So much time passes at once, as for a process that stood still."""
        self._ahead += seconds

    def take_time(self) -> None:
        """Time goes as it used to."""
        now = self.monotonic()
        self._hurries_since = None
        self._ahead = now - super().monotonic()

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.get_running_loop().create_future()

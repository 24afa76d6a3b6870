"""Answers held back for a fixed time; all of one millisecond share a timer, so that is cheap."""

import asyncio
from collections import deque

TIMER_SECONDS = 0.001


class Latency:
    """A first-in, first-out queue of waiters, each released a fixed time after it came.

    Never earlier, and at most a timer's tick later.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._has_timer = False

    def begin(self) -> asyncio.Future[None]:
        """A future that is done `seconds` from now."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append((loop.time() + self.seconds, done))
        if not self._has_timer:
            self._has_timer = True
            loop.call_later(self.seconds, self._release)
        return done

    def _release(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            _, done = self._waiting.popleft()
            if not done.done():
                done.set_result(None)
        self._has_timer = bool(self._waiting)
        if self._waiting:
            loop.call_later(max(self._waiting[0][0] - now, TIMER_SECONDS), self._release)

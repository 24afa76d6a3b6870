"""A sliding window of calls and troubles, in buckets of time: its cost does not grow with the traffic."""

BUCKETS = 10
_NEVER = float("-inf")


class Window:
    """The calls of the last `seconds`, to the nearest bucket; times are monotonic seconds."""

    __slots__ = (
        "_calls_before",
        "_ends_at",
        "_instrument_troubles_before",
        "_past",
        "_troubles_before",
        "_width",
        "calls",
        "instrument_troubles",
        "troubles",
    )

    def __init__(self, seconds: float) -> None:
        self._width = seconds / BUCKETS
        self.clear()

    def clear(self) -> None:
        """Forget all calls."""
        self.calls = 0
        self.troubles = 0
        self.instrument_troubles = 0
        # The bucket being filled is what the sums have gained since it began; the others are kept apart.
        self._calls_before = 0
        self._troubles_before = 0
        self._instrument_troubles_before = 0
        self._past = [(0, 0, 0)] * (BUCKETS - 1)
        self._ends_at = _NEVER

    def add(self, now: float, *, is_trouble: bool) -> None:
        """Count one call that ended at `now`."""
        if now >= self._ends_at:
            self.move_to(now)
        self.calls += 1
        self.troubles += is_trouble

    def add_instrument_trouble(self, now: float) -> None:
        """Count one call that ended at `now` with a trouble that may be its instrument's alone."""
        self.add(now, is_trouble=False)
        self.instrument_troubles += 1

    def move_to(self, now: float) -> None:
        """Let go of what is too old at `now`."""
        if now < self._ends_at:
            return
        behind = (now - self._ends_at) / self._width
        if behind >= BUCKETS - 1:
            self.clear()
            self._ends_at = now + self._width
            return
        for _ in range(int(behind) + 1):
            self._past.append(
                (
                    self.calls - self._calls_before,
                    self.troubles - self._troubles_before,
                    self.instrument_troubles - self._instrument_troubles_before,
                )
            )
            calls, troubles, instrument_troubles = self._past.pop(0)
            self.calls -= calls
            self.troubles -= troubles
            self.instrument_troubles -= instrument_troubles
            self._calls_before, self._troubles_before = self.calls, self.troubles
            self._instrument_troubles_before = self.instrument_troubles
            self._ends_at += self._width

"""The outbound rate: a token bucket, kept as the time at which it would be full again.

Pure: one number, moved by takings; it needs no ticks (GCRA, ITU-T I.371). In any stretch of t seconds it gives at
most `per_second` · t + `burst`.
"""

# A token that is due now must not be missed because a sum of floats came out a hair larger.
GRACE_SECONDS = 1e-6


class Bucket:
    """Gives `per_second` tokens a second, and up to `burst` at once after a quiet time; times are monotonic."""

    __slots__ = ("_full_at", "_interval", "_slack")

    def __init__(self, *, per_second: float, burst: float) -> None:
        assert per_second > 0 and burst >= 1
        self._interval = 1 / per_second
        self._slack = (burst - 1) * self._interval + GRACE_SECONDS
        self._full_at = float("-inf")

    def take(self, now: float) -> bool:
        """Take a token if there is one."""
        full_at = max(self._full_at, now)
        if full_at - self._slack > now:
            return False
        self._full_at = full_at + self._interval
        return True

    def give_back(self) -> None:
        """Give back a token that was taken and not used."""
        self._full_at -= self._interval

    def free_at(self, now: float, *, ahead: int = 0) -> float:
        """When there will be a token for one that has `ahead` others before it."""
        return max(max(self._full_at, now) + ahead * self._interval - self._slack, now)

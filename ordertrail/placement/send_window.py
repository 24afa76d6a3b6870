"""How many queued orders may be on their way at once: as many as the exchange takes, found out with few refusals.

It grows with each order that the exchange has dealt with, at first doubling in a round trip, and is halved once for
each round in which the exchange said that it wants fewer, or did not answer in time (additive increase, multiplicative
decrease: RFC 5681). How long nothing is sent at all is for the gate to say.
"""

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import NotSent, PlaceAnswer, Unknown

SENDS_AT_FIRST = 16
# Beyond so many it no longer doubles: an exchange that is swamped answers too late, and leaves orders in doubt.
DOUBLED_SENDS_MAX = 128
# What says that there are too many, of an answer that is none.
_CONGESTED = frozenset(
    {
        Cause.THROTTLED,
        Cause.TIMEOUT,
        Cause.CONNECT_TIMEOUT,
        Cause.CONNECT_FAILED,
        Cause.WINDOW_PASSED,
        Cause.RATE_LIMITED,
        Cause.QUEUE_FULL,
    }
)


class SendWindow:
    """One worker's; all times are monotonic seconds."""

    def __init__(self, *, sends_max: int) -> None:
        self._sends_max = sends_max
        self._size = float(min(SENDS_AT_FIRST, sends_max))
        self._threshold = float(min(DOUBLED_SENDS_MAX, sends_max))
        self._reduced_at = float("-inf")

    def room(self, *, in_flight: int) -> int:
        """How many more sends may begin."""
        return max(int(self._size) - in_flight, 0)

    def answered(self, answer: PlaceAnswer, *, began_at: float, now: float) -> None:
        """Learn from a send that began at a moment."""
        if not isinstance(answer, NotSent | Unknown):
            growth = 1.0 if self._size < self._threshold else 1.0 / self._size
            self._size = min(self._size + growth, self._sends_max)
        elif answer.cause in _CONGESTED and began_at > self._reduced_at:
            # What began before the last reduction says again what has been heard.
            self._reduced_at = now
            self._size = self._threshold = max(self._size / 2, 1.0)

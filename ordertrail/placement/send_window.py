"""How many queued orders may be on their way at once: as many as the exchange takes, found out with few refusals.

It grows with each order that the exchange has dealt with, at first doubling in a round trip, and is halved once for
each round in which the exchange said that it wants fewer (additive increase, multiplicative decrease: RFC 5681). Until
the moment that the exchange then names nothing is sent: an order that it throttles may have no other send.
"""

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import NotSent, PlaceAnswer

SENDS_AT_FIRST = 16
PAUSE_SECONDS_MAX = 60.0


class SendWindow:
    """One worker's; all times are monotonic seconds."""

    def __init__(self, *, sends_max: int) -> None:
        self._sends_max = sends_max
        self._size = float(min(SENDS_AT_FIRST, sends_max))
        self._threshold = float(sends_max)
        self._reduced_at = float("-inf")
        self._closed_until = float("-inf")

    def room(self, now: float, *, in_flight: int) -> int:
        """How many more sends may begin."""
        return 0 if now < self._closed_until else max(int(self._size) - in_flight, 0)

    def opens_in_seconds(self, now: float) -> float:
        """How long the exchange wants no send."""
        return max(self._closed_until - now, 0.0)

    def answered(self, answer: PlaceAnswer, *, began_at: float, now: float) -> None:
        """Learn from a send that began at a moment."""
        if not isinstance(answer, NotSent):
            growth = 1.0 if self._size < self._threshold else 1.0 / self._size
            self._size = min(self._size + growth, self._sends_max)
        elif answer.cause == Cause.THROTTLED:
            self._closed_until = max(
                self._closed_until, now + min(answer.retry_after_seconds or 0.0, PAUSE_SECONDS_MAX)
            )
            # What began before the last reduction says again what has been heard.
            if began_at > self._reduced_at:
                self._reduced_at = now
                self._size = self._threshold = max(self._size / 2, 1.0)

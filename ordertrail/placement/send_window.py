"""How many queued orders may be on their way at once: as many as the exchange takes, found out with few refusals.

It grows with each order that the exchange has dealt with, at first doubling in a round trip, and is halved once for
each round in which the exchange said that it wants fewer (additive increase, multiplicative decrease: RFC 5681). How
long nothing is sent at all is for the gate to say.
"""

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import NotSent, PlaceAnswer

SENDS_AT_FIRST = 16


class SendWindow:
    """One worker's; all times are monotonic seconds."""

    def __init__(self, *, sends_max: int) -> None:
        self._sends_max = sends_max
        self._size = float(min(SENDS_AT_FIRST, sends_max))
        self._threshold = float(sends_max)
        self._reduced_at = float("-inf")

    def room(self, *, in_flight: int) -> int:
        """How many more sends may begin."""
        return max(int(self._size) - in_flight, 0)

    def answered(self, answer: PlaceAnswer, *, began_at: float, now: float) -> None:
        """Learn from a send that began at a moment."""
        if not isinstance(answer, NotSent):
            growth = 1.0 if self._size < self._threshold else 1.0 / self._size
            self._size = min(self._size + growth, self._sends_max)
        elif answer.cause == Cause.THROTTLED and began_at > self._reduced_at:
            # What began before the last reduction says again what has been heard.
            self._reduced_at = now
            self._size = self._threshold = max(self._size / 2, 1.0)

"""Evidence that has been heard: the same answer to the same order says nothing new, however often it is sent again."""

from collections import OrderedDict

from ordertrail.venues.gate.health_signals import HealthSignal

REMEMBERED_MAX = 4096


class Repeats:
    """What orders were answered within the last `seconds`; beyond `REMEMBERED_MAX` the oldest are forgotten."""

    def __init__(self, seconds: float, remembered_max: int = REMEMBERED_MAX) -> None:
        self._seconds = seconds
        self._remembered_max = remembered_max
        self._counted_at: OrderedDict[tuple[str, HealthSignal], float] = OrderedDict()

    def is_repeat(self, order_id: str, signal: HealthSignal, now: float) -> bool:
        """Whether this has been counted within the time; what has not is counted from now on."""
        counted_at = self._counted_at
        key = (order_id, signal)
        if now - counted_at.get(key, float("-inf")) < self._seconds:
            return True
        counted_at[key] = now
        counted_at.move_to_end(key)
        if len(counted_at) > self._remembered_max:
            counted_at.popitem(last=False)
        return False

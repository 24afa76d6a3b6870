"""Metrics of the hot path, counted in plain integers and handed to the metrics library once a second.

With several workers the library keeps its values in shared files, and one observation costs microseconds there; an
order makes a dozen.
"""

from bisect import bisect_left

from prometheus_client import Counter, Histogram

_all: "list[BufferedCounter | BufferedHistogram]" = []


class BufferedCounter:
    """A counter that gathers before it counts."""

    __slots__ = ("_counter", "_pending")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._pending = 0
        _all.append(self)

    def add(self, number: int = 1) -> None:
        """Count `number` more."""
        self._pending += number

    def flush(self) -> None:
        """Hand over what has gathered."""
        if self._pending:
            number, self._pending = self._pending, 0
            self._counter.inc(number)


class BufferedHistogram:
    """A histogram that gathers before it observes."""

    __slots__ = ("_bounds", "_histogram", "_pending", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        # The library has no way in for several observations at once; a unit test holds it to this one.
        self._bounds = histogram._upper_bounds  # noqa: SLF001
        self._pending = [0] * len(self._bounds)
        self._sum = 0.0
        _all.append(self)

    def observe(self, amount: float) -> None:
        """One observation."""
        self._pending[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def flush(self) -> None:
        """Hand over what has gathered."""
        pending, total = self._pending, self._sum
        if not any(pending):
            return
        self._pending, self._sum = [0] * len(self._bounds), 0.0
        self._histogram._sum.inc(total)  # noqa: SLF001
        for value, number in zip(self._histogram._buckets, pending, strict=True):  # noqa: SLF001
            if number:
                value.inc(number)


def flush() -> None:
    """Hand over what has gathered in all of this process."""
    for buffered in _all:
        buffered.flush()

"""Several runs as one figure: the median, and how far they lie apart."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.measure import Run


@dataclass(frozen=True)
class Spread:
    """Median, least and most of the rounds."""

    median: float
    least: float
    most: float

    def show(self, form: str) -> str:
        if self.least == self.most:
            return format(self.median, form)
        return f"{self.median:{form}} ({self.least:{form}} to {self.most:{form}})"


def spread_of_rates(runs: Sequence[Run | None]) -> Spread | None:
    """Of the runs that could be run."""
    return _spread([run.per_second for run in runs if run is not None])


def ratios(dividends: Sequence[Run | None], divisors: Sequence[Run | None]) -> Spread | None:
    """Each round's own ratio: what disturbed the machine in a round disturbed both."""
    pairs = zip(dividends, divisors, strict=True)
    return _spread([a.per_second / b.per_second for a, b in pairs if a and b and b.per_second])


def _spread(values: list[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values)) if values else None

"""The same sentence a thousand times becomes one line with a count; the first hundred of ten seconds stay."""

from collections.abc import Callable

WINDOW_SECONDS = 10.0
LINES_MAX = 100
SENTENCES_MAX = 1000


class Repeats:
    """Counts sentences of a window; `report` is given each that came too often, once the window is over."""

    def __init__(self, report: Callable[[str, str, int], None]) -> None:
        """`report` gets level, sentence and how many lines were left out."""
        self._report = report
        self._counts: dict[tuple[str, str], int] = {}
        self._ends = 0.0

    def is_too_many(self, level: str, sentence: str, now: float) -> bool:
        """Count a line; whether it is to be left out. `now`: monotonic seconds."""
        if now >= self._ends:
            self.close_window(now)
        key = (level, sentence)
        count = self._counts.get(key, 0) + 1
        if count == 1 and len(self._counts) >= SENTENCES_MAX:
            return False
        self._counts[key] = count
        return count > LINES_MAX

    def close_window_if_over(self, now: float) -> None:
        """Report what a window that is over has left out, though nothing more is said."""
        if self._counts and now >= self._ends:
            self.close_window(now)

    def close_window(self, now: float) -> None:
        """Report what was left out since the last report, and begin anew."""
        counts, self._counts = self._counts, {}
        self._ends = now + WINDOW_SECONDS
        for (level, sentence), count in counts.items():
            if count > LINES_MAX:
                self._report(level, sentence, count - LINES_MAX)

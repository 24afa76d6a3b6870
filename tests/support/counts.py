"""What a run counted, said at the end of it also when all is green: a run in which nothing happened proves nothing.

A test hands its counts to `counted`; they travel with its report, so also from pytest-xdist's workers.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import pytest

COUNTED = "counted"

Count = Callable[[Mapping[str, int]], None]


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Count:
    """Adds to what is said of this test."""

    def add(counts: Mapping[str, int]) -> None:
        request.node.user_properties.append((COUNTED, dict(counts)))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each test that counted, and their sum."""
    lines: dict[str, Counter[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, counts in getattr(report, "user_properties", ()):
                if name == COUNTED and getattr(report, "when", "") == "call":
                    lines.setdefault(report.nodeid, Counter()).update(counts)
    if not lines:
        return
    terminalreporter.section("what happened")
    for nodeid, counts in sorted(lines.items()):
        terminalreporter.write_line(f"{nodeid.rpartition('/')[2]}: {_in_words(counts)}")
    total: Counter[str] = sum(lines.values(), Counter())
    terminalreporter.write_line(f"in all: {_in_words(total)}")


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count)

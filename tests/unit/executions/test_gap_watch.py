"""When a report that was published and is not applied counts as missing, what is read then, and how often again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.executions import gap_watch
from ordertrail.executions.feed_connection import FeedConnection, FeedParts
from ordertrail.executions.gap_watch import GapWatch
from ordertrail.storage.execution_rows import Coverage
from ordertrail.venues.venue import Compacted, OtherEpoch, Reports
from tests.support.clocks import ManualClock

Wanted = tuple[int, int]


def page(first: int, last: int, *, count: int | None = None) -> Reports:
    return Reports(b"[]", last - first + 1 if count is None else count, first, last, True)


@dataclass
class Watched:
    """Whatever the watch looks at. `wanted`: after which number pages were read, and how many reports at the most."""

    ranges: Sequence[tuple[int, int]] = ()
    waiting: int | None = 0
    published_to: int = 10
    pages: list[Any] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)
    put: list[Reports] = field(default_factory=list)
    gaps: list[Wanted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        parts = SimpleNamespace(clock=self.clock, queue=self, rows=self, source=self, parking=self)
        parts.venue, parts.timeout_seconds = "exchange", 2.0
        connection = SimpleNamespace(epoch="e1", put_page=self._put_page)
        self.watch = GapWatch(cast("FeedParts", parts), cast("FeedConnection", connection))
        self._connection = connection

    async def after(self, *seconds: float) -> list[Wanted]:
        """What was read once so much time had passed, looked at after each of these."""
        before = 0
        for each in seconds:
            self.clock.time += each
            before = len(self.wanted)
            self._connection.published_to = self.published_to
            await self.watch.run_once()
        return self.wanted[before:]

    async def _put_page(self, reports: Reports) -> None:
        self.put.append(reports)

    async def report_page(self, *, after: int, limit: int, epoch: str, timeout_seconds: float) -> Any:
        assert (epoch, timeout_seconds) == ("e1", 2.0)
        self.wanted.append((after, limit))
        return self.pages.pop(0) if self.pages else page(after + 1, after + limit)

    async def coverage(self, venue: str, epoch: str) -> Coverage:
        assert (venue, epoch) == ("exchange", "e1")
        return Coverage(tuple(self.ranges))

    async def depth(self) -> int | None:
        return self.waiting

    async def flush(self) -> None:
        raise _Flushed

    async def park_gap(self, *, epoch: str, first: int, last: int) -> None:
        assert epoch == "e1"
        self.gaps.append((first, last))


class _Flushed(Exception):
    """What could not be parked was tried again."""


@pytest.fixture
def watched() -> Watched:
    return Watched()


async def test_what_an_empty_queue_lacks_is_read_after_three_seconds(watched: Watched) -> None:
    assert await watched.after(0) == []
    assert await watched.after(2.9) == []
    assert await watched.after(0.1) == [(0, 10)]
    assert [(each.first, each.last) for each in watched.put] == [(1, 10)]


async def test_a_queue_that_was_full_meanwhile_begins_anew(watched: Watched) -> None:
    await watched.after(0, 2.5)
    watched.waiting = 3
    await watched.after(0.2)
    watched.waiting = 0

    assert await watched.after(0.2, 2.9) == []
    assert await watched.after(0.1) == [(0, 10)]


async def test_a_gap_that_is_younger_than_the_empty_queue_is_given_its_time(watched: Watched) -> None:
    watched.ranges = [(1, 10)]
    await watched.after(0, 60)
    watched.published_to = 12

    assert await watched.after(0, 2.9) == []
    assert await watched.after(0.1) == [(10, 2)]


async def test_what_lies_before_something_applied_is_late_after_ten_seconds_whatever_waits(watched: Watched) -> None:
    watched.waiting, watched.ranges = 5, [(1, 3), (6, 8)]

    assert await watched.after(0, 9.9) == []
    assert await watched.after(0.1) == [(3, 2)]


async def test_what_lies_behind_all_that_is_applied_waits_for_the_queue(watched: Watched) -> None:
    watched.waiting, watched.ranges = 5, [(1, 3)]

    assert await watched.after(0, 600) == []


async def test_a_queue_that_cannot_say_is_given_thirty_seconds(watched: Watched) -> None:
    watched.waiting = None

    assert await watched.after(0, 29.9) == []
    assert await watched.after(0.1) == [(0, 10)]


async def test_it_is_read_again_after_ten_seconds_and_after_twice_as_long_each_time(watched: Watched) -> None:
    watched.pages = [NoAnswer(Cause.TIMEOUT)] * 20
    await watched.after(0, 3)

    pauses = []
    for _ in range(8):
        pause = 0
        while not await watched.after(1):
            pause += 1
        pauses.append(pause + 1)

    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert watched.put == []


async def test_a_gap_that_was_filled_and_comes_again_is_a_new_one(watched: Watched) -> None:
    await watched.after(0, 3)
    watched.ranges = [(1, 10)]
    await watched.after(1)
    watched.ranges = []

    assert await watched.after(0, 2.9) == []
    assert await watched.after(0.1) == [(0, 10)]
    assert await watched.after(10) == [(0, 10)]


async def test_what_is_compacted_is_noted_once_and_what_is_kept_is_read(watched: Watched) -> None:
    watched.pages = [Compacted(oldest=6)]

    assert await watched.after(0, 3) == [(0, 10)]
    assert watched.gaps == [(1, 5)]
    assert await watched.after(0, 3) == [(5, 5)]
    watched.ranges = [(6, 10)]
    assert await watched.after(600, 600) == []
    assert watched.gaps == [(1, 5)]


async def test_a_gap_that_ends_with_the_oldest_report_is_read(watched: Watched) -> None:
    watched.pages = [Compacted(oldest=10)]
    await watched.after(0, 3)

    assert await watched.after(0, 3) == [(9, 1)]


async def test_of_a_gap_that_is_compacted_as_a_whole_no_more_is_noted_than_it_was(watched: Watched) -> None:
    watched.ranges, watched.pages = [(1, 3), (6, 10)], [Compacted(oldest=9)]

    await watched.after(0, 10)

    assert watched.gaps == [(4, 5)]


@pytest.mark.parametrize("answer", [NoAnswer(Cause.TIMEOUT), OtherEpoch("e2", 5), page(1, 0, count=0)])
async def test_no_page_is_read_for_after_one_that_did_not_come(watched: Watched, answer: Any) -> None:
    watched.pages = [answer]

    assert await watched.after(0, 3) == [(0, 10)]
    assert watched.put == []


async def test_pages_follow_on_each_other_until_the_last(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap_watch, "PAGE_REPORTS", 4)

    assert await watched.after(0, 3) == [(0, 4), (4, 4), (8, 2)]


@pytest.mark.parametrize("last", [None, 0, 10, 11])
async def test_a_page_that_does_not_lead_on_is_the_last(watched: Watched, last: int | None) -> None:
    watched.pages = [Reports(b"[]", 3, None, last, False)]

    assert await watched.after(0, 3) == [(0, 10)]
    assert len(watched.put) == 1


async def test_a_round_reads_so_many_pages_and_no_more(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap_watch, "PAGE_REPORTS", 1)
    monkeypatch.setattr(gap_watch, "PAGES_MAX", 3)
    watched.ranges, watched.published_to = [(3, 3), (6, 6)], 9

    assert await watched.after(0, 10) == [(0, 1), (1, 1), (3, 1)]
    assert await watched.after(1) == [(6, 1), (7, 1), (8, 1)]


async def test_a_round_reads_for_so_many_gaps_and_no_more(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap_watch, "GAPS_MAX", 2)
    watched.ranges = [(2, 2), (4, 4), (6, 10)]

    assert await watched.after(0, 10) == [(0, 1), (2, 1)]


async def test_each_round_tries_again_to_park_what_could_not_be(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(seconds: float) -> None:
        assert seconds == gap_watch.EVERY_SECONDS

    monkeypatch.setattr(watched.clock, "sleep", at_once, raising=False)

    with pytest.raises(_Flushed):
        await watched.watch.run()

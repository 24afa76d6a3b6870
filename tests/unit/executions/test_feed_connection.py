"""What one connection makes of all that comes over it: what moves the queue's tail, what is fetched, what is kept.

Venue, queue and parking say what the test has written down for them, in turn; time passes at once where one waits.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typing_extensions import override

from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.executions import feed_connection
from ordertrail.executions.feed_connection import FeedConnection, FeedParts, QueueLost, Start
from ordertrail.executions.frame_buffer import PIECE_BYTES_MAX
from ordertrail.queues.queue import Frame, Overtaken, Position, QueueFull, QueueUnavailable
from ordertrail.runtime.tasks import run_together
from ordertrail.runtime.telemetry import metrics
from ordertrail.venues.report_frames import read_frame, split_reports
from ordertrail.venues.venue import RAW_BYTES_MAX, Compacted, Following, Heartbeat, OtherEpoch, Reports, UnreadableFrame
from tests.support.clocks import ManualClock
from tests.support.executions import EPOCH, VENUE

CUT = NoAnswer("connection_lost")
GARBAGE = UnreadableFrame("no JSON", b"<html>")
SLEEPS_MAX = 100
SECONDS_MAX = 5


def body(*elements: int | bytes) -> bytes:
    """With blanks that a body made anew would not have."""
    return b"[ " + b" , ".join(b'{"seq":%d}' % each if isinstance(each, int) else each for each in elements) + b" ]"


def reports(*elements: int | bytes) -> Reports:
    read = read_frame(body(*elements))
    assert isinstance(read, Reports)
    return read


def run(first: int, last: int) -> Reports:
    return reports(*range(first, last + 1))


class PassingClock(ManualClock):
    """Time passes at once where somebody sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    @override
    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        assert len(self.slept) < SLEEPS_MAX, "it sleeps for ever"
        self.time += seconds
        await asyncio.sleep(0)


@dataclass
class Line:
    """A connection, with what is at both ends of it. `replays`: the venue has a log of numbered reports.

    `pages`: what the venue's log says, one after the other, None for so many reports as are wanted. `answers`: what
    the queue says to the next frames, None where it takes them. `tails`: what it says when it is asked for its tail.
    """

    reached: int = 0
    chained_to: int | None = None
    head: int = 0
    replays: bool = True
    tail_known: bool = True
    is_chained: bool = True
    pages: list[Any] = field(default_factory=list)
    answers: list[Exception | None] = field(default_factory=list)
    tails: list[Any] = field(default_factory=list)
    wanted: list[tuple[int, int]] = field(default_factory=list)
    tried: list[tuple[Frame, Position | None]] = field(default_factory=list)
    frames: list[tuple[Frame, Position | None]] = field(default_factory=list)
    parked: list[UnreadableFrame] = field(default_factory=list)
    tails_wanted: int = 0

    def __post_init__(self) -> None:
        self.epoch = EPOCH
        self.clock = PassingClock()
        parts = SimpleNamespace(source=self, queue=self, rows=self, parking=self, clock=self.clock)
        parts.venue, parts.timeout_seconds = VENUE, 2.0
        after = Position(EPOCH, self.reached if self.chained_to is None else self.chained_to)
        start = Start(after if self.tail_known else None, after, self.reached)
        self.connection = FeedConnection(
            cast("FeedParts", parts), cast("Following", self), start, scope="epoch", replays=self.replays
        )

    async def bring(self, *messages: Any) -> None:
        """All of them come, one after the other, and then the connection is cut; a number is time that passes."""
        self._messages = [*messages, *([] if CUT in messages else [CUT])]
        async with asyncio.timeout(SECONDS_MAX):
            await run_together(self.connection.receive(), self.connection.publish())
        assert self._messages == [], "the connection was given up before its end"
        assert self.pages == []

    async def put(self, putting: Any) -> None:
        """Something is put in while nothing comes."""
        await putting
        await self.bring()

    # The venue

    async def receive(self) -> Any:
        await _others_turn()
        while isinstance(self._messages[0], float):
            self.clock.time += self._messages.pop(0)
        message = self._messages.pop(0)
        return message() if callable(message) else message

    async def report_page(self, *, after: int, limit: int, epoch: str, timeout_seconds: float) -> Any:
        assert (epoch, timeout_seconds) == (EPOCH, 2.0)
        await _others_turn()
        self.wanted.append((after, limit))
        return self.pages.pop(0)

    # The queue

    async def publish(self, frame: Frame, *, after: Position | None) -> None:
        await asyncio.sleep(0)
        self.tried.append((frame, after))
        assert len(self.tried) < SLEEPS_MAX, "it tries for ever"
        if (answer := self.answers.pop(0) if self.answers else None) is not None:
            raise answer
        self.frames.append((frame, after))

    async def tail(self) -> Position | None:
        self.tails_wanted += 1
        if isinstance(tail := self.tails.pop(0), Exception):
            raise tail
        return cast("Position | None", tail)

    async def park_frame(self, frame: UnreadableFrame, *, epoch: str) -> None:
        assert epoch == EPOCH
        self.parked.append(frame)

    # What came of it

    @property
    def chain(self) -> list[tuple[int, int | None, int | None]]:
        """The frames that moved the tail: after what, and from where to where."""
        return [(after.seq, frame.first, frame.last) for frame, after in self.frames if after is not None]

    @property
    def others(self) -> list[list[int | None]]:
        """The numbers in those that moved nothing."""
        return [[seq for seq, _ in split_reports(frame.body)] for frame, after in self.frames if after is None]


async def _others_turn() -> None:
    """What was put in is published meanwhile."""
    for _ in range(5):
        await asyncio.sleep(0)


def gauge(of: metrics.ReadGauge) -> float:
    assert of._gauge is not None
    value: float = of._gauge._value.get()
    return value


def fetches(found: str) -> float:
    value: float = metrics.FEED_GAPS.labels(found)._value.get()
    return value


def taken(order: str) -> tuple[float, float]:
    """How many frames of this kind the queue has taken, and how many reports."""
    return (
        metrics.FEED_FRAMES.labels(order)._value.get(),
        metrics.FEED_REPORTS.labels(order)._value.get(),
    )


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences in the log."""
    sentences: list[str] = []

    class Log:
        def __getattr__(self, level: str) -> Callable[..., None]:
            return lambda sentence, **_fields: sentences.append(sentence)

    monkeypatch.setattr(feed_connection, "_log", Log())
    return sentences


# What comes in its order


async def test_reports_in_their_order_move_the_tail_and_reach_the_queue_as_they_came() -> None:
    line = Line()

    await line.bring(run(1, 3), run(4, 4))

    assert [frame for frame, _ in line.frames] == [
        Frame(VENUE, EPOCH, "epoch", 3, 1, 3, body(1, 2, 3)),
        Frame(VENUE, EPOCH, "epoch", 1, 4, 4, body(4)),
    ]
    assert [after for _, after in line.frames] == [Position(EPOCH, 0), Position(EPOCH, 3)]
    assert (line.connection.published_to, line.connection.epoch, line.wanted) == (4, EPOCH, [])


async def test_it_goes_on_from_where_it_was_left() -> None:
    line = Line(reached=6, head=8)

    await line.bring(run(7, 8))

    assert (line.chain, line.wanted) == ([(6, 7, 8)], [])


async def test_reports_that_come_again_go_through_and_move_nothing() -> None:
    line = Line()

    await line.bring(run(1, 3), run(1, 3), run(2, 2), run(4, 5))

    assert line.chain == [(0, 1, 3), (3, 4, 5)]
    assert line.others == [[1, 2, 3], [2]]


async def test_reports_of_which_some_are_new_move_the_tail() -> None:
    line = Line(reached=3)

    await line.bring(run(2, 5), run(6, 6))

    assert line.chain == [(3, 2, 5), (5, 6, 6)]


async def test_what_a_venue_that_came_back_with_less_sends_again_moves_nothing_up_to_the_tail() -> None:
    line = Line(reached=10, chained_to=20, head=12)

    await line.bring(run(11, 18), run(19, 20), run(21, 22))

    assert line.others == [list(range(11, 19)), [19, 20]]
    assert line.chain == [(20, 21, 22)]


async def test_an_empty_frame_is_nothing_and_ends_nothing() -> None:
    line = Line()

    await line.bring(reports(), run(1, 2))

    assert line.chain == [(0, 1, 2)]
    assert line.others == []


async def test_all_that_came_is_with_the_queue_when_the_connection_has_ended() -> None:
    line = Line(answers=[QueueFull()] * 3)

    await line.bring(run(1, 3), CUT)

    assert line.chain == [(0, 1, 3)]


async def test_head_and_lag_are_shown_before_the_queue_has_what_came_and_after() -> None:
    line = Line(answers=[QueueFull()])
    shown = []

    def note() -> Any:
        shown.append((gauge(metrics.FEED_HEAD), gauge(metrics.FEED_LAG)))
        return run(4, 4)

    held = _Held()
    line.clock.sleep = held  # type: ignore[method-assign]
    await line.bring(run(1, 3), note, held.let_go)

    assert shown == [(3, 3)]
    assert (gauge(metrics.FEED_HEAD), gauge(metrics.FEED_LAG), gauge(metrics.FEED_TAIL)) == (4, 0, 4)


class _Held:
    """A sleep that ends when the test says so."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        await self._event.wait()

    def let_go(self) -> Reports:
        self._event.set()
        return reports()


async def test_what_the_queue_took_is_counted_by_whether_it_moved_the_tail() -> None:
    before = taken("next"), taken("other")
    line = Line()

    await line.bring(run(1, 3), run(2, 3))

    after = taken("next"), taken("other")
    counted = [tuple(new - old for new, old in zip(*pair, strict=True)) for pair in zip(after, before, strict=True)]
    assert counted == [(1, 3), (1, 2)]


# What has no number


async def test_reports_without_numbers_go_through_and_move_nothing() -> None:
    line = Line(reached=3)

    await line.bring(reports(b'{"exec_id":"x"}'), run(4, 4))

    assert line.others == [[None]]
    assert (line.chain, line.wanted) == ([(3, 4, 4)], [])


async def test_numbers_of_a_venue_that_cannot_replay_move_nothing_and_nothing_is_fetched() -> None:
    line = Line(replays=False, head=9)

    await line.bring(run(5, 6), run(7, 7))

    assert line.others == [[5, 6], [7]]
    assert (line.chain, line.wanted) == ([], [])


async def test_connection_without_a_word_to_a_venue_that_cannot_replay_is_not_made_good() -> None:
    line = Line(replays=False, head=9)

    await line.bring(Heartbeat(EPOCH, 9), 60.0, Heartbeat(EPOCH, 10))

    assert line.wanted == []


async def test_garbage_of_a_venue_that_cannot_replay_is_kept_and_the_connection_goes_on() -> None:
    line = Line(replays=False, head=9)

    await line.bring(GARBAGE, run(5, 6))

    assert (line.parked, line.wanted, line.others) == ([GARBAGE], [], [[5, 6]])


async def test_reports_that_the_feed_has_made_itself_move_nothing() -> None:
    line = Line(replays=False)

    await line.put(line.connection.put_unnumbered([b'{"exec_id":"a"}', b'{"exec_id":"b"}']))

    assert line.frames == [
        (Frame(VENUE, EPOCH, "epoch", 2, None, None, b'[{"exec_id":"a"},{"exec_id":"b"}]'), None),
    ]


async def test_page_that_fills_a_gap_below_the_tail_moves_nothing_and_has_its_numbers() -> None:
    line = Line(reached=9)

    await line.put(line.connection.put_page(run(4, 5)))

    assert line.frames == [(Frame(VENUE, EPOCH, "epoch", 2, 4, 5, body(4, 5)), None)]


# What is missing


async def test_hole_is_fetched_first_and_over_the_same_connection() -> None:
    before = fetches("hole")
    line = Line(reached=3, pages=[run(4, 6)])

    await line.bring(run(7, 8), run(9, 9))

    assert line.wanted == [(3, 1000)]
    assert line.chain == [(3, 4, 8), (8, 9, 9)]
    assert (line.others, fetches("hole") - before) == ([], 1)


async def test_hole_of_one_report_is_one() -> None:
    line = Line(reached=3, pages=[run(4, 4)])

    await line.bring(run(5, 6))

    assert (line.wanted, line.chain) == ([(3, 1000)], [(3, 4, 6)])


async def test_hole_is_fetched_up_to_what_came_and_no_further() -> None:
    line = Line(pages=[run(1, 1), run(2, 2)])

    await line.bring(run(3, 4))

    assert line.wanted == [(0, 1000), (1, 1000)]


async def test_what_comes_after_a_hole_that_no_page_fills_goes_through_and_moves_nothing(said: list[str]) -> None:
    line = Line(reached=3, pages=[reports(), run(4, 5)])

    await line.bring(run(5, 6), run(6, 7))

    assert line.others == [[5, 6]]
    assert line.chain == [(3, 4, 7)]
    assert said[0] == "reports came that nothing leads to"


@pytest.mark.parametrize("answer", [NoAnswer("timeout"), OtherEpoch("e2", 9), Compacted(5)])
async def test_hole_that_cannot_be_fetched_ends_the_connection_and_what_came_is_kept(answer: Any) -> None:
    line = Line(reached=3, pages=[answer])

    with pytest.raises(AssertionError, match="given up"):
        await line.bring(run(7, 8))

    assert (line.chain, line.others) == ([], [[7, 8]])


async def test_reports_with_a_number_missing_among_them_are_kept_and_read_from_the_log() -> None:
    before = fetches("unreadable")
    line = Line(reached=3, pages=[run(4, 6)])

    await line.bring(reports(4, 6), run(7, 7))

    assert [(frame.first, frame.last) for frame, after in line.frames if after is None] == [(None, None)]
    assert line.others == [[4, 6]]
    assert line.chain == [(3, 4, 6), (6, 7, 7)]
    assert (line.wanted, fetches("unreadable") - before) == ([(3, 1000)], 1)


async def test_old_reports_with_a_number_missing_among_them_are_kept_and_nothing_is_read() -> None:
    line = Line(reached=6)

    await line.bring(reports(2, 4), run(7, 7))

    assert (line.others, line.chain, line.wanted) == ([[2, 4]], [(6, 7, 7)], [])


async def test_garbage_is_kept_and_the_log_is_read_up_to_the_venue_s_head() -> None:
    before = fetches("unreadable")
    line = Line(reached=3, pages=[run(4, 4), run(5, 5), run(6, 6)], head=4)

    await line.bring(Heartbeat(EPOCH, 6), GARBAGE, run(7, 7))

    assert line.parked == [GARBAGE]
    assert line.wanted == [(3, 1000), (4, 1000), (5, 1000)]
    assert line.chain[-1] == (6, 7, 7)
    assert fetches("unreadable") - before == 1


async def test_garbage_may_have_been_one_report_that_no_head_has_counted() -> None:
    line = Line(reached=3, head=3, pages=[run(4, 4)])

    await line.bring(GARBAGE, run(5, 5))

    assert line.wanted == [(3, 1000)]
    assert line.chain == [(3, 4, 4), (4, 5, 5)]


async def test_head_of_a_late_heartbeat_takes_nothing_back() -> None:
    line = Line(reached=3, head=6, pages=[run(4, 4), run(5, 6)])

    await line.bring(Heartbeat(EPOCH, 4), GARBAGE)

    assert line.wanted == [(3, 1000), (4, 1000)]


# The connection's end


async def test_connection_that_ended_without_a_report_is_made_good_from_the_log() -> None:
    before = fetches("unreadable")
    line = Line(reached=3, head=5, pages=[run(4, 5)])

    await line.bring(CUT)

    assert (line.chain, line.wanted) == ([(3, 4, 5)], [(3, 1000)])
    assert (line.connection.has_received, fetches("unreadable") - before) == (True, 1)


async def test_connection_that_brought_something_is_followed_anew_and_not_read() -> None:
    line = Line(reached=3, head=9)

    await line.bring(run(4, 5), CUT)

    assert (line.connection.has_received, line.wanted) == (True, [])


async def test_connection_to_a_venue_that_has_nothing_new_brings_nothing_and_misses_nothing() -> None:
    before = fetches("unreadable")
    line = Line(reached=3, head=3)

    await line.bring(CUT)

    assert (line.connection.has_received, line.frames, line.wanted) == (False, [], [])
    assert fetches("unreadable") == before


async def test_what_was_fetched_counts_as_received() -> None:
    line = Line(reached=3, head=9, pages=[run(4, 5), reports()])

    await line.bring(GARBAGE, CUT)

    assert (line.connection.has_received, line.wanted) == (True, [(3, 1000), (5, 1000)])


async def test_fetch_that_brought_nothing_does_not_count_as_received() -> None:
    line = Line(reached=3, head=9, pages=[reports(), reports()])

    await line.bring(GARBAGE, CUT)

    assert (line.connection.has_received, line.wanted) == (False, [(3, 1000), (3, 1000)])


async def test_heartbeat_of_another_epoch_ends_the_connection() -> None:
    line = Line(reached=3, head=3)

    with pytest.raises(AssertionError, match="given up"):
        await line.bring(Heartbeat("e2", 1), run(4, 4))

    assert line.frames == []


# A stall


async def test_gap_that_heartbeats_show_is_fetched_after_two_seconds() -> None:
    before = fetches("stall")
    line = Line(reached=3)

    with pytest.raises(IndexError):
        await line.bring(Heartbeat(EPOCH, 5), 1.9, Heartbeat(EPOCH, 5), 0.1, Heartbeat(EPOCH, 5))
    assert line.wanted == [(3, 1000)]

    line = Line(reached=3, pages=[run(4, 5)])
    await line.bring(Heartbeat(EPOCH, 5), 1.9, Heartbeat(EPOCH, 5), 0.1, Heartbeat(EPOCH, 5), run(6, 6))
    assert line.chain == [(3, 4, 5), (5, 6, 6)]
    assert fetches("stall") - before == 2


async def test_gap_that_heartbeats_show_is_given_two_seconds() -> None:
    line = Line(reached=3)

    await line.bring(Heartbeat(EPOCH, 5), 1.9, Heartbeat(EPOCH, 5), run(4, 5))

    assert line.wanted == []


async def test_stall_is_over_where_reports_come() -> None:
    line = Line(reached=3)

    await line.bring(Heartbeat(EPOCH, 9), 1.9, run(4, 5), 0.1, Heartbeat(EPOCH, 9), 1.9, Heartbeat(EPOCH, 9))

    assert line.wanted == []


async def test_stall_begins_when_the_venue_first_has_more_than_came() -> None:
    line = Line(reached=3)

    await line.bring(Heartbeat(EPOCH, 3), 2.0, Heartbeat(EPOCH, 5), 1.9, run(4, 5))

    assert line.wanted == []


async def test_stall_that_was_mended_meanwhile_is_over() -> None:
    line = Line(reached=3, pages=[run(4, 5)])

    beats = [1.0, Heartbeat(EPOCH, 5), 1.0, Heartbeat(EPOCH, 7)]
    await line.bring(Heartbeat(EPOCH, 5), GARBAGE, *beats, run(6, 7))

    assert line.wanted == [(3, 1000)]


async def test_stall_that_no_page_mends_is_fetched_again_two_seconds_later() -> None:
    line = Line(reached=3, pages=[reports(), run(4, 5)])
    beat = Heartbeat(EPOCH, 5)

    def nothing_was_read_since() -> Reports:
        assert line.wanted == [(3, 1000)]
        return reports()

    await line.bring(beat, 2.0, beat, 1.0, beat, 1.9, beat, nothing_was_read_since, 0.1, beat, run(6, 6))

    assert line.wanted == [(3, 1000), (3, 1000)]
    assert line.chain == [(3, 4, 5), (5, 6, 6)]


async def test_heartbeat_shows_head_and_lag() -> None:
    line = Line(reached=3)

    await line.bring(Heartbeat(EPOCH, 9), run(4, 4), lambda: _assert_shown(9, 5), run(5, 9))


def _assert_shown(head: int, lag: int) -> Reports:
    assert (gauge(metrics.FEED_HEAD), gauge(metrics.FEED_LAG)) == (head, lag)
    return reports()


async def test_heartbeat_shows_the_lag_at_once() -> None:
    line = Line(reached=3)

    await line.bring(Heartbeat(EPOCH, 4), Heartbeat(EPOCH, 9), lambda: _assert_shown(9, 6), run(4, 9))


# How much is fetched


async def test_twenty_pages_are_read_and_no_more_where_the_socket_can_send_it_again() -> None:
    line = Line(reached=0, pages=[run(each, each) for each in range(1, 21)])

    with pytest.raises(AssertionError, match="given up"):
        await line.bring(run(22, 22), run(23, 23))

    assert [after for after, _ in line.wanted] == list(range(20))
    assert line.others == [[22]]


async def test_gap_of_just_twenty_pages_is_mended() -> None:
    line = Line(reached=0, pages=[run(each, each) for each in range(1, 21)])

    await line.bring(run(21, 21), run(22, 22))

    assert line.chain[-2:] == [(19, 20, 21), (21, 22, 22)]


async def test_page_that_is_too_large_is_wanted_smaller_until_it_comes() -> None:
    line = Line(pages=[NoAnswer("too_large"), NoAnswer("too_large"), run(1, 4)])

    await line.bring(run(5, 5))

    assert line.wanted == [(0, 1000), (0, 100), (0, 10)]


async def test_report_that_is_too_large_by_itself_ends_the_connection() -> None:
    line = Line(pages=[NoAnswer("too_large")] * 4)

    with pytest.raises(AssertionError, match="given up"):
        await line.bring(run(5, 5))

    assert line.wanted == [(0, 1000), (0, 100), (0, 10), (0, 1)]


# The venue's log, where it is not in order


async def test_number_that_the_log_leaves_out_is_none_by_the_venue_s_own_word(said: list[str]) -> None:
    line = Line(reached=3, head=11, pages=[reports(4, 5, 6, 8, 10, 11)])

    await line.bring(GARBAGE, run(12, 12))

    assert line.chain == [(3, 4, 6), (6, 8, 8), (8, 10, 11), (11, 12, 12)]
    assert [frame.body for frame, _ in line.frames[:2]] == [b'[{"seq":4},{"seq":5},{"seq":6}]', b'[{"seq":8}]']
    assert [frame.count for frame, _ in line.frames] == [3, 1, 2, 1]
    assert line.others == []
    assert said == ["the connection for execution reports has ended"]


@pytest.mark.parametrize("first", [5, 6])
async def test_log_that_begins_later_than_it_should_is_said_and_passes(first: int, said: list[str]) -> None:
    line = Line(reached=3, head=8, pages=[run(first, 8)])

    await line.bring(GARBAGE, run(9, 9))

    assert line.chain == [(3, first, 8), (8, 9, 9)]
    assert said[0] == "the venue's log of execution reports is not in order"


async def test_page_of_the_log_that_follows_reaches_the_queue_as_it_came() -> None:
    line = Line(reached=3, head=6, pages=[run(4, 6)])

    await line.bring(GARBAGE)

    assert line.frames[0][0].body == body(4, 5, 6)


async def test_what_a_page_of_the_log_has_beside_its_run_moves_nothing(said: list[str]) -> None:
    element = json.dumps({"exec_id": "without"}).encode()
    page = reports(element, 3, 2, 4, 5, 1003, 1004)
    line = Line(reached=3, pages=[page])

    await line.bring(run(9, 9), run(1004, 1004))

    assert line.others == [[None, 3, 2, 1004], [9]]
    assert line.chain == [(3, 4, 5), (5, 1003, 1003), (1003, 1004, 1004)]
    assert said[0] == "the venue's log of execution reports is not in order"


async def test_log_may_go_on_to_the_head_however_far_that_is() -> None:
    line = Line(reached=3, head=5000, pages=[reports(4, 5000, 5001)])

    await line.bring(GARBAGE, run(5001, 5001))

    assert line.chain == [(3, 4, 4), (4, 5000, 5000), (5000, 5001, 5001)]
    assert line.others == [[5001]]


async def test_log_may_go_on_by_a_page_s_worth_beyond_the_head() -> None:
    line = Line(reached=3, head=10, pages=[reports(4, 12)])

    await line.bring(GARBAGE, run(13, 13))

    assert line.chain == [(3, 4, 4), (4, 12, 12), (12, 13, 13)]


async def test_page_of_the_log_without_any_number_is_kept_and_moves_nothing(said: list[str]) -> None:
    line = Line(reached=3, pages=[reports(b"{}", b"{}")])

    await line.bring(run(5, 5))

    assert (line.chain, line.others) == ([], [[None, None], [5]])
    assert "the venue's log of execution reports is not in order" not in said


async def test_report_that_a_page_of_the_log_has_twice_is_said_and_nothing_of_it_is_left_out(said: list[str]) -> None:
    other = b'{"seq":5,"last_qty":7}'
    line = Line(reached=3, head=5, pages=[reports(4, 5, other)])

    await line.bring(GARBAGE)

    assert [frame.body for frame, after in line.frames if after is None] == [b"[" + other + b"]"]
    assert [frame.body for frame, after in line.frames if after is not None] == [b'[{"seq":4},{"seq":5}]']
    assert said[0] == "the venue's log of execution reports is not in order"


async def test_log_of_a_venue_that_came_back_with_less_moves_nothing_up_to_the_tail() -> None:
    line = Line(reached=10, chained_to=20, head=21, pages=[reports(11, *range(13, 21), 22)])

    await line.bring(GARBAGE, run(23, 23))

    assert line.others == [[11], list(range(13, 21))]
    assert line.chain == [(20, 22, 22), (22, 23, 23)]


async def test_run_of_the_log_that_goes_beyond_the_tail_is_one_and_moves_it() -> None:
    line = Line(reached=10, chained_to=20, head=22, pages=[reports(11, *range(13, 23))])

    await line.bring(GARBAGE)

    assert (line.others, line.chain) == ([[11]], [(20, 13, 22)])


# What no queue takes


async def test_report_that_just_fits_in_a_message_goes_through_and_a_longer_one_is_parked() -> None:
    def long(seq: int, size: int) -> Reports:
        empty = b'[{"seq":%d,"text":""}]' % seq
        read = read_frame(empty.replace(b'""', b'"' + b"x" * (size - len(empty)) + b'"'))
        assert isinstance(read, Reports) and len(read.body) == size
        return read

    line = Line()

    await line.bring(long(1, PIECE_BYTES_MAX), long(2, PIECE_BYTES_MAX + 1))

    assert [(frame.first, len(frame.body)) for frame, _ in line.frames] == [(1, PIECE_BYTES_MAX)]
    [thing] = line.parked
    assert (len(thing.raw), thing.why) == (RAW_BYTES_MAX, f"a report of {PIECE_BYTES_MAX + 1} bytes")


# What the queue says


def refusals(why: str) -> float:
    value: float = metrics.FEED_QUEUE_REFUSALS.labels(why)._value.get()
    return value


def waits(first: float, count: int) -> Sequence[float]:
    return [round(min(first * 2**number, 2.0), 3) for number in range(count)]


async def test_full_queue_is_tried_again_after_longer_and_longer_and_it_is_said_once(said: list[str]) -> None:
    before = refusals("full")
    line = Line(answers=[QueueFull()] * 8)

    await line.bring(run(1, 2))

    assert line.clock.slept == waits(0.05, 8)
    assert line.clock.slept[-2:] == [2.0, 2.0]
    assert (line.chain, line.tails_wanted) == ([(0, 1, 2)], 0)
    assert said.count("the queue of execution reports is full") == 1
    assert refusals("full") - before == 8


async def test_frame_whose_answer_was_lost_is_not_put_in_twice() -> None:
    before = refusals("unavailable")
    line = Line(reached=3, answers=[QueueUnavailable("no answer")], tails=[Position(EPOCH, 5)])

    await line.bring(run(4, 5), run(6, 6))

    assert [(after and after.seq, frame.last) for frame, after in line.tried] == [(3, 5), (5, 6)]
    assert (line.clock.slept, refusals("unavailable") - before) == ([0.05], 1)


@pytest.mark.parametrize("tail_known", [True, False])
async def test_frame_that_did_not_come_to_the_queue_is_put_in_again(tail_known: bool) -> None:
    line = Line(reached=3, tail_known=tail_known, answers=[QueueUnavailable("died")])
    line.tails = [Position(EPOCH, 3) if tail_known else None]

    await line.bring(run(4, 5))

    assert [(after and after.seq, frame.last) for frame, after in line.tried] == [(3, 5), (3, 5)]
    assert line.chain == [(3, 4, 5)]


async def test_tail_is_what_the_queue_took_last() -> None:
    line = Line(answers=[None, QueueUnavailable("died")], tails=[Position(EPOCH, 3)])

    await line.bring(run(1, 3), run(4, 5))

    assert line.chain == [(0, 1, 3), (3, 4, 5)]


async def test_queue_that_does_not_say_its_tail_is_tried_again_after_longer_and_longer() -> None:
    line = Line(answers=[QueueUnavailable("away")], tails=[*[QueueUnavailable("away")] * 7, Position(EPOCH, 2)])

    await line.bring(run(1, 2))

    assert line.clock.slept == waits(0.05, 8)
    assert len(line.tried) == 1


async def test_queue_that_has_forgotten_everything_meanwhile_ends_the_connection() -> None:
    line = Line(reached=3, answers=[QueueUnavailable("died")], tails=[None])

    with pytest.raises(QueueLost):
        await line.bring(run(4, 5))


async def test_owner_who_lost_the_feed_meanwhile_puts_nothing_in() -> None:
    line = Line(reached=3, answers=[QueueUnavailable("died")], tails=[Position(EPOCH, 9)])

    with pytest.raises(Overtaken):
        await line.bring(run(4, 5))

    assert len(line.tried) == 1


async def test_overtaken_owner_does_not_try_again() -> None:
    before = refusals("overtaken")
    line = Line(reached=3, answers=[Overtaken()])

    with pytest.raises(Overtaken):
        await line.bring(run(4, 5))

    assert (len(line.tried), line.clock.slept, refusals("overtaken") - before) == (1, [], 1)


async def test_what_moves_no_tail_is_put_in_again_whatever_the_tail_is() -> None:
    line = Line(reached=9, answers=[QueueUnavailable("no answer")])

    await line.put(line.connection.put_page(run(4, 5)))

    assert (len(line.tried), line.others, line.tails_wanted) == (2, [[4, 5]], 0)


async def test_queue_without_a_chain_is_given_it_again_whatever_its_tail_is() -> None:
    line = Line(reached=3, is_chained=False, answers=[QueueUnavailable("no answer")])

    await line.bring(run(4, 5))

    assert (len(line.tried), line.chain, line.tails_wanted) == (2, [(3, 4, 5)], 0)
    assert line.clock.slept == [0.05, 0.05]

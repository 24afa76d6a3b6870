"""What a queue may do to a feed: be full, be away, answer nothing, forget; and what is done about gaps in the rows."""

import asyncio
from typing import Any

import pytest

from ordertrail.executions import feed_connection, frame_buffer
from ordertrail.queues.queue import Overtaken, Position, QueueFull, QueueUnavailable
from ordertrail.runtime.telemetry import metrics
from tests.support.feeding import House, play


def applied(house: House) -> None:
    for frame in house.queue.waiting:
        house.database.apply(frame)
    house.queue.waiting.clear()


@pytest.mark.parametrize(
    "answers",
    [
        [QueueFull()] * 5,
        [QueueUnavailable("away")] * 5,
        ["lost"],
        ["lost", QueueFull(), "lost"],
        [None, "lost", "lost", QueueUnavailable("away")],
        [Overtaken()],
    ],
    ids=["full", "away", "answer lost", "lost and full", "lost again and again", "overtaken for no reason"],
)
@pytest.mark.parametrize("is_chained", [True, False])
def test_each_report_is_in_the_queue_whatever_the_queue_says(answers: list[Any], is_chained: bool) -> None:
    async def main() -> None:
        house = House()
        house.queue.is_chained = is_chained
        house.queue.answers = answers
        house.venue.add(30)
        house.process_frames()
        house.start()

        await house.until_published()
        await house.until_applied()

    play(main())


def test_lost_answer_is_found_in_the_tail_and_nothing_is_put_in_twice() -> None:
    async def main() -> None:
        house = House()
        house.queue.answers = [None, "lost", None, "lost"]
        house.venue.add(30)
        house.start()

        await house.until_published()

        assert sum(frame.count for frame in house.queue.frames) == 30
        assert len(house.venue.follows) == 1

    play(main())


def test_full_queue_holds_the_socket_back_and_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_buffer.FrameBuffer.__init__, "__kwdefaults__", {"bytes_max": 10_000})

    async def main() -> None:
        house = House()
        house.venue.add(600)
        house.queue.answers = [QueueFull()] * 40
        house.start()
        await asyncio.sleep(40)
        read = house.venue.received

        house.queue.answers = []
        await house.until_published()

        assert 3 * read * len(house.venue.log[-1]) < 13_000

    play(main())


def test_full_queue_is_said_once_and_counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Log:
        def warning(self, sentence: str, **_fields: Any) -> None:
            said.append(sentence)

    monkeypatch.setattr(feed_connection, "_log", Log())
    before = metrics.FEED_QUEUE_REFUSALS.labels("full")._value.get()

    async def main() -> None:
        house = House()
        house.venue.add(10)
        house.queue.answers = [QueueFull()] * 7
        house.start()
        await house.until_published()

    play(main())
    assert said == ["the queue of execution reports is full"]
    assert metrics.FEED_QUEUE_REFUSALS.labels("full")._value.get() - before == 7


def test_queue_that_is_away_for_long_loses_nothing_and_the_connection_is_kept() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(10)
        house.start()
        await house.until_published()
        house.queue.is_away = True
        house.venue.add(10)
        await asyncio.sleep(60)
        house.queue.is_away = False

        await house.until_published()

        assert len(house.venue.follows) == 1

    play(main())


def test_queue_that_was_wiped_while_a_frame_was_under_way_is_filled_from_what_is_applied() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(10)
        house.start()
        await house.until_published()
        for frame in house.queue.waiting[:1]:
            house.database.apply(frame)
        first = house.queue.waiting[0].last
        house.queue.answers = [QueueUnavailable("died")]
        house.queue.wipe()
        house.venue.add(5)
        house.process_frames()

        await house.until_published()
        await house.until_applied()

        assert house.venue.follows[-1] == (first, "e1")

    play(main())


def test_queue_that_was_wiped_in_quiet_is_filled_by_the_watch() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(10)
        house.start()
        await house.until_published()
        applied(house)
        house.venue.add(5)
        await house.until_published()
        house.queue.wipe()

        await house.until(lambda: house.others, seconds=6)
        applied(house)

        assert house.is_applied()
        assert [(frame.first, frame.last) for frame in house.others] == [(11, 15)]

    play(main())


def test_queue_that_was_cut_short_is_filled_again() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(12)
        house.start()
        await house.until_published()
        for _ in range(2):
            house.queue.waiting.pop()
        house.queue.position = Position("e1", 6)
        house.venue.add(2)
        house.process_frames()

        await house.until_published()
        await house.until_applied()

    play(main())


def test_gap_before_what_is_applied_is_fetched_after_ten_seconds_and_then_less_often() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(9)
        house.start()
        await house.until_published()
        stuck = house.queue.waiting[1]
        house.queue.waiting.remove(stuck)
        applied(house)
        house.queue.waiting.append(stuck)  # a processor has it, and sleeps

        await asyncio.sleep(9)
        assert house.others == []
        await asyncio.sleep(291)

        assert 3 < len(house.others) < 8
        assert {(frame.first, frame.last) for frame in house.others} == {(stuck.first, stuck.last)}

    play(main())


def test_queue_that_has_just_become_empty_is_given_three_seconds() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(9)
        house.start()
        await house.until_published()
        last = house.queue.waiting.pop()
        applied(house)

        await asyncio.sleep(2.5)
        house.database.apply(last)
        await asyncio.sleep(60)

        assert house.others == []

    play(main())


def test_backlog_is_no_gap() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(50)
        house.start()
        await house.until_published()
        house.database.apply(house.queue.waiting.pop(0))

        await asyncio.sleep(300)

        assert house.others == []

    play(main())


def test_queue_that_cannot_say_its_depth_is_waited_for_longer() -> None:
    async def main() -> None:
        house = House()
        house.queue.knows_depth = False
        house.venue.add(5)
        house.start()
        await house.until_published()
        house.queue.waiting.clear()

        await asyncio.sleep(25)
        assert house.others == []
        await house.until(lambda: house.others, seconds=10)

    play(main())


def test_gap_that_the_venue_has_forgotten_is_for_a_person_once() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(9)
        house.start()
        await house.until_published()
        house.queue.waiting.clear()
        house.venue.compact(oldest=6)
        lost = metrics.FEED_LOST_REPORTS._value.get()

        await house.until(lambda: house.others, seconds=20)
        applied(house)
        await asyncio.sleep(600)

        assert {seq for _, seq in house.database.applied} == {6, 7, 8, 9}
        [thing] = house.database.things
        assert (thing.kind, thing.raw) == ("execution_gap", b'{"epoch":"e1","first":1,"last":5}')
        assert metrics.FEED_LOST_REPORTS._value.get() == lost + 5

    play(main())


def test_gap_wider_than_a_page_is_fetched_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ordertrail.executions.gap_watch.PAGE_REPORTS", 10)

    async def main() -> None:
        house = House()
        house.venue.add(95)
        house.start()
        await house.until_published()
        house.queue.waiting.clear()
        house.process_frames()

        await house.until_applied(seconds=10)

        assert len(house.venue.pages) == 10

    play(main())

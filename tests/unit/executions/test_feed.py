"""The feed's main way: from the venue's socket into the queue, in order, and from where it was left."""

import asyncio

from ordertrail.queues.queue import Position
from ordertrail.runtime.telemetry import metrics
from tests.support.feeding import House, play


def test_reports_reach_the_queue_as_they_came_and_in_order() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(10, note="  as it came ")
        house.start()

        await house.until_published()
        house.venue.add(5)
        await house.until_published()

        for frame in house.queue.frames:
            house.database.apply(frame)
        assert house.is_applied()
        assert house.others == []
        assert house.database.epochs == {"e1": "order"}

    play(main())


def test_small_frames_are_joined_while_the_queue_is_busy() -> None:
    async def main() -> None:
        house = House()
        house.venue.frame_reports = 1
        house.queue.seconds = 0.1
        house.venue.add(100)
        house.start()

        await house.until_published()

        assert len(house.queue.frames) < 10
        assert [frame.count for frame in house.queue.frames][1] > 50

    play(main())


def test_next_owner_goes_on_from_the_queue_s_tail() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(10)
        first = house.start()
        await house.until_published()
        house.kill(first)
        house.venue.add(10)

        house.start()
        await house.until_published()

        assert house.venue.follows == [(0, None), (10, "e1")]
        assert house.others == []

    play(main())


def test_without_a_tail_it_goes_on_from_what_is_applied() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(10)
        first = house.start()
        await house.until_published()
        for frame in house.queue.frames:
            house.database.apply(frame)
        del house.database.applied["e1", 7]
        house.kill(first)
        house.queue.wipe()

        house.start()
        await house.until(lambda: house.queue.position == Position("e1", 10))

        assert house.venue.follows[-1] == (6, "e1")

    play(main())


def test_lag_is_what_the_venue_has_and_the_queue_has_not() -> None:
    async def main() -> None:
        house = House()
        house.venue.frame_reports = 1
        house.queue.seconds = 0.5
        house.venue.add(10)
        house.start()
        await house.until(lambda: house.queue.position)
        await asyncio.sleep(0.1)
        assert metrics.FEED_LAG._gauge is not None
        first = metrics.FEED_LAG._gauge._value.get()
        await house.until_published()
        await asyncio.sleep(0.1)

        assert (first, metrics.FEED_LAG._gauge._value.get()) == (9, 0)

    play(main())


def test_feed_that_is_ended_gives_the_lease_up_at_once() -> None:
    async def main() -> None:
        house = House()
        house.start()
        task = house.task
        await house.until(lambda: house.feeds[0].is_owner)

        task.cancel()
        await asyncio.wait([task])

        assert house.database.holder is None

    play(main())

"""Whose the feed is: one at a time, the next within five seconds, and what a feed that has slept cannot do."""

import asyncio

import pytest

from ordertrail.queues.queue import Position
from ordertrail.runtime import failpoints
from ordertrail.storage.errors import StatementFailed
from tests.simulation.loop import Killed
from tests.support.feeding import House, loop, play


def test_standby_waits_and_takes_over_within_five_seconds() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(10)
        first = house.start()
        await house.until_published()
        house.start()
        await asyncio.sleep(20)
        assert [feed.is_owner for feed in house.feeds] == [True, False]
        house.kill(first)
        house.venue.add(10)

        await house.until_published(seconds=5)

        assert house.others == []

    play(main())


def test_feed_that_gave_it_up_is_followed_within_two_seconds() -> None:
    async def main() -> None:
        house = House()
        house.start()
        await house.until(lambda: house.feeds[0].is_owner)
        task = house.task
        house.start()

        task.cancel()
        await house.until(lambda: house.feeds[1].is_owner, seconds=2)

    play(main())


def test_feed_that_slept_writes_nothing_and_waits_for_its_turn() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(3)
        sleeper = house.start()
        await house.until_published()
        house.queue.held = asyncio.Event()
        house.venue.add(3)
        await asyncio.sleep(0.1)  # it publishes
        loop().stop_process(sleeper)
        house.queue.held.set()
        house.queue.held = None
        house.start()
        house.venue.add(3)
        await house.until_published(seconds=6)

        loop().continue_process(sleeper)
        house.venue.add(3)
        await house.until_published()
        await asyncio.sleep(5)

        assert [feed.is_owner for feed in house.feeds] == [False, True]
        house.process_frames()
        await house.until_applied()

    play(main())


def test_overtaken_feed_whose_lease_is_another_s_stands_by_at_once() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(3)
        house.start()
        await house.until_published()
        house.database.holder, house.database.leased_until = "another", 1e9
        house.queue.position = Position("e1", 6)
        house.venue.add(6)

        await house.until(lambda: not house.feeds[0].is_owner, seconds=0.5)

        assert len(house.venue.follows) == 1

    play(main())


def test_both_alive_on_a_queue_without_a_chain_take_everything_twice_at_most() -> None:
    async def main() -> None:
        house = House()
        house.queue.is_chained = False
        house.venue.add(9)
        sleeper = house.start()
        await house.until_published()
        loop().stop_process(sleeper)
        house.start()
        await house.until(lambda: house.feeds[1].is_owner, seconds=5)
        loop().continue_process(sleeper)
        house.venue.add(9)
        house.process_frames()

        await house.until_applied()
        await asyncio.sleep(3)

        assert [feed.is_owner for feed in house.feeds] == [False, True]

    play(main())


def test_database_that_is_away_ends_nothing() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(3)
        house.start()
        await house.until_published()
        house.database.is_away = True
        house.venue.add(30)
        await house.until_published()
        house.venue.restart(head=33)
        house.venue.add(3)
        await house.until_published()
        await asyncio.sleep(60)
        assert house.feeds[0].is_owner

        house.database.is_away = False
        house.venue.add(3)
        await house.until_published()

    play(main())


def test_feed_does_not_begin_without_the_database() -> None:
    async def main() -> None:
        house = House()
        house.database.is_away = True
        house.venue.add(3)
        house.start()
        await asyncio.sleep(30)
        assert house.venue.follows == []

        house.database.is_away = False
        await house.until_published(seconds=5)

    play(main())


@pytest.mark.parametrize(
    "place", ["after_feed_receive", "before_feed_publish", "after_feed_publish", "before_feed_lease"]
)
@pytest.mark.parametrize("number", [1, 3, 7])
def test_killed_anywhere_the_next_owner_does_right(place: str, number: int) -> None:
    async def main() -> None:
        house = House()
        house.queue.seconds = 0.05
        house.venue.frame_reports = 1
        house.venue.add(20)
        house.process_frames()
        passes = 0

        def die() -> None:
            nonlocal passes
            passes += 1
            if passes == number:
                house.kill(house.processes[0])
                raise Killed

        failpoints.arm(place, die)
        house.start()
        house.start()
        for _ in range(10):
            house.venue.add(3)
            await asyncio.sleep(1)

        await house.until_published(seconds=10)
        await house.until_applied()
        assert not house.processes[0].is_alive

    try:
        play(main())
    finally:
        failpoints.disarm()


def test_bug_is_counted_and_the_feed_goes_on() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(3)
        house.queue.answers = [LookupError("a bug"), StatementFailed("22P02", "another")]
        house.start()

        await house.until(lambda: house.queue.position == Position("e1", 3))

    play(main())

"""Epochs, and venues that came back with less than they had: what is taken in stays, and what comes goes through."""

import asyncio

from ordertrail.queues.queue import Position
from ordertrail.runtime.telemetry import metrics
from tests.support.feeding import House, play


def behind() -> float:
    gauge = metrics.FEED_BEHIND._gauge
    assert gauge is not None
    value: float = gauge._value.get()
    return value


def test_new_epoch_is_begun_and_followed_from_its_first_report() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(9)
        house.start()
        await house.until_published()
        house.venue.restart(epoch="e2")
        house.venue.add(4)

        await house.until_published()

        assert list(house.database.epochs) == ["e1", "e2"]
        assert house.venue.follows[-2:] == [(9, "e1"), (0, "e2")]
        assert house.others == []

    play(main())


def test_epoch_that_ended_unheard_is_passed_over() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(9)
        first = house.start()
        await house.until_published()
        house.kill(first)
        house.venue.restart(epoch="e2")
        house.venue.add(4)
        house.venue.restart(epoch="e3")
        house.venue.add(2)
        house.start()

        await house.until_published()

        assert list(house.database.epochs) == ["e1", "e3"]

    play(main())


def test_epoch_that_is_begun_and_has_no_report_yet_is_the_same_for_the_next_owner() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(9)
        first = house.start()
        await house.until_published()
        house.venue.restart(epoch="e2")
        await house.until(lambda: "e2" in house.database.epochs)
        house.kill(first)
        house.start()
        await house.until(lambda: house.feeds[1].is_owner)
        house.venue.add(4)

        await house.until_published()

    play(main())


def test_wiped_queue_and_a_new_epoch_at_once() -> None:
    async def main() -> None:
        house = House()
        house.process_frames()
        house.venue.add(9)
        first = house.start()
        await house.until_applied()
        house.kill(first)
        house.queue.wipe()
        house.venue.restart(epoch="e2")
        house.venue.add(4)
        house.start()

        await house.until_published()
        await house.until_applied()

    play(main())


def test_venue_that_came_back_with_less_alarms_and_what_it_sends_again_goes_through() -> None:
    async def main() -> None:
        house = House()
        house.process_frames()
        house.venue.add(20)
        house.start()
        await house.until_applied()
        house.venue.restart(head=12)
        await house.until(lambda: len(house.venue.follows) > 1)
        house.venue.add(5)
        await house.until(lambda: sum(frame.count for frame in house.others) == 17)
        assert behind() == 8
        house.venue.add(9)

        await house.until_published()

        # Nothing of what was taken in is taken back; all that is new is there to be compared.
        assert house.queue.position == Position("e1", 26)
        sent = b"".join(frame.body for frame in house.queue.frames)
        assert all(raw in sent for raw in house.venue.log)
        assert house.venue.follows[-1] == (0, "e1")

    play(main())


def test_gap_of_a_venue_that_came_back_with_less_is_noticed_below_the_tail_too() -> None:
    async def main() -> None:
        house = House()
        house.venue.frame_reports = 1
        house.venue.add(20)
        house.start()
        await house.until_published()
        house.venue.restart(head=12)
        await house.until(lambda: len(house.venue.follows) > 2)
        house.venue.alter = lambda data: [] if b'"seq": 14,' in data else [data]
        house.venue.add(4)

        await house.until(lambda: house.venue.pages)
        await asyncio.sleep(3)

        sent = b"".join(frame.body for frame in house.others)
        assert all(raw in sent for raw in house.venue.log)

    play(main())


def test_venue_that_is_not_behind_any_more_is_said_to_be_so() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(20)
        house.start()
        await house.until_published()
        house.venue.restart(head=12)
        await house.until(lambda: behind() == 8)
        house.venue.add(20)
        await house.until_published()
        house.venue.restart(head=house.venue.head)

        await house.until(lambda: behind() == 0)

    play(main())


def test_log_that_was_compacted_past_our_position_is_a_row_and_the_rest_goes_on() -> None:
    async def main() -> None:
        house = House()
        house.queue.holes_allowed = True
        house.venue.add(9)
        first = house.start()
        await house.until_published()
        house.kill(first)
        house.venue.add(20)
        house.venue.compact(oldest=15)
        lost = metrics.FEED_LOST_REPORTS._value.get()
        house.start()

        await house.until_published()

        [thing] = house.database.things
        assert (thing.kind, thing.seq, thing.raw) == ("execution_gap", 10, b'{"epoch":"e1","first":10,"last":14}')
        assert house.chained[-1][1] == 29
        assert (15, None) in [(first, None) for first, _ in house.chained]
        assert metrics.FEED_LOST_REPORTS._value.get() == lost + 5

    play(main())


def test_loss_is_counted_once_however_often_the_venue_is_followed() -> None:
    async def main() -> None:
        house = House()
        house.queue.holes_allowed = True
        house.venue.add(9)
        house.start()
        await house.until_published()
        house.venue.add(5)
        house.venue.compact(oldest=15)
        house.venue.restart(head=14)
        lost = metrics.FEED_LOST_REPORTS._value.get()
        for _ in range(3):
            await house.until(lambda: house.venue.follows[-1] == (14, "e1"))
            house.venue.follows.clear()
            house.venue.follows.append((0, None))
            house.venue.restart(head=14)
        house.venue.add(1)

        await house.until_published()

        assert metrics.FEED_LOST_REPORTS._value.get() == lost + 5
        assert len(house.database.things) == 1

    play(main())


def test_what_a_venue_had_forgotten_before_it_was_ever_followed_is_nothing_of_ours() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(9)
        house.venue.compact(oldest=7)
        house.queue.holes_allowed = True
        house.start()

        await house.until_published()

        assert house.database.things == []
        assert house.chained[0][0] == 7

    play(main())


def test_venue_out_of_reach_is_tried_again_and_again() -> None:
    async def main() -> None:
        house = House()
        house.venue.is_away = True
        house.start()
        await asyncio.sleep(120)
        house.venue.is_away = False
        house.venue.add(3)

        await house.until_published(seconds=5)

    play(main())

"""What a socket may do: leave frames out, repeat, shuffle and spoil them, stall, be cut; nothing is lost by it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from ordertrail.domain.capabilities import Capabilities
from ordertrail.executions import feed_connection
from ordertrail.queues.queue import Position
from ordertrail.venues.report_frames import split_reports
from tests.support.executions import report
from tests.support.feeding import Data, House, as_body, play


class Once:
    """Alters the frame with this number among those that the socket sends, and no other."""

    def __init__(self, number: int, alter: Callable[[bytes], list[Data]]) -> None:
        self.number = number
        self.alter = alter
        self.frames = 0

    def __call__(self, data: bytes) -> list[Data]:
        self.frames += 1
        return self.alter(data) if self.frames == self.number else [data]


def reversed_frame(data: bytes) -> bytes:
    return as_body([raw for _, raw in split_reports(data)][::-1])


def spoiled(data: bytes, element: bytes) -> bytes:
    """One of its reports is something else."""
    *others, _ = [raw for _, raw in split_reports(data)]
    return as_body([element, *others])


BEFORE = as_body([json.dumps(report(1)).encode()])

ALTERED: dict[str, Callable[[bytes], list[Data]]] = {
    "a frame is left out": lambda data: [],
    "a report is left out": lambda data: [as_body([raw for _, raw in split_reports(data)][1:])],
    "a report within is left out": lambda data: [as_body([raw for _, raw in split_reports(data)][::2])],
    "a frame comes twice": lambda data: [data, data],
    "an old frame comes again": lambda data: [data, BEFORE],
    "a frame is shuffled": lambda data: [reversed_frame(data)],
    "a report comes twice in a frame": lambda data: [as_body([raw for _, raw in split_reports(data) for _ in (1, 2)])],
    "the connection is cut": lambda data: [None],
    "the connection is cut after it": lambda data: [data, None],
    "a frame is garbage": lambda data: [b"\x00garbage"],
    "a frame is half": lambda data: [data[: len(data) // 2]],
    "a frame is another document": lambda data: [b'{"hello":"world"}'],
    "a frame is no UTF-8": lambda data: [data.replace(b"trade", b"tr\xffde")],
    "garbage comes between": lambda data: [b"garbage", data],
    "an element is no object": lambda data: [spoiled(data, b"7")],
    "an element has no seq": lambda data: [spoiled(data, b'{"exec_type":"trade"}')],
    "an element has another seq": lambda data: [spoiled(data, b'{"seq":9000000000000000000}')],
    "an empty frame comes": lambda data: [b"[]", data],
    "a frame from beyond": lambda data: [as_body([b'{"seq":9000000000000000000}']), data],
}


@pytest.mark.parametrize("how", ALTERED)
@pytest.mark.parametrize("number", [1, 2, 5])
def test_whatever_becomes_of_a_frame_the_queue_has_the_venue_s_log(how: str, number: int) -> None:
    async def main() -> None:
        house = House()
        house.venue.alter = Once(number, ALTERED[how])
        house.venue.add(13)
        house.process_frames()
        house.start()

        await house.until_published()
        house.venue.add(2)
        await house.until_published()
        await house.until_applied()

    play(main())


@pytest.mark.parametrize("how", ["a frame is left out", "a frame is garbage", "a report within is left out"])
def test_what_is_missing_is_fetched_at_once_and_over_the_same_connection(how: str) -> None:
    async def main() -> None:
        house = House()
        house.venue.alter = Once(2, ALTERED[how])
        house.venue.add(12)
        house.start()

        await house.until_published(seconds=0.2)

        assert len(house.venue.follows) == 1
        assert house.venue.pages[0] == 3

    play(main())


def test_garbage_after_which_nothing_comes_is_mended_at_once() -> None:
    async def main() -> None:
        house = House()
        house.venue.alter = Once(4, ALTERED["a frame is garbage"])
        house.venue.add(12)
        house.start()

        await house.until_published(seconds=0.3)

    play(main())


def test_what_comes_again_goes_through_and_moves_nothing() -> None:
    async def main() -> None:
        house = House()
        again = as_body([json.dumps(report(2, last_qty=77)).encode()])
        house.venue.alter = Once(3, lambda data: [data, again])
        house.venue.add(12)
        house.start()

        await house.until_published()
        await house.until(lambda: house.others)

        assert [frame.body for frame in house.others] == [again]

    play(main())


def test_unknown_word_passes_through_and_so_does_a_stranger() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(2, exec_type="a new word", ord_status=None)
        house.venue.add(1, client_order_id="a stranger")
        house.venue.log[0] = house.venue.log[0].replace(b'"last_px": "150.25"', b'"last_px": {"\\u0000": [1e999]}')
        house.process_frames()
        house.start()

        await house.until_published()
        await house.until_applied()

        assert house.others == []

    play(main())


def test_garbage_is_kept_for_a_person_with_its_bytes() -> None:
    async def main() -> None:
        house = House()
        house.venue.alter = Once(2, lambda data: [b"gar\x00bage", data])
        house.venue.add(9)
        house.start()

        await house.until_published()

        [thing] = house.database.things
        assert (thing.kind, thing.raw, thing.epoch) == ("frame", b"gar\x00bage", "e1")
        await asyncio.sleep(10)
        assert house.database.parkings == 1

    play(main())


def test_garbage_is_kept_also_where_the_database_comes_back_later() -> None:
    async def main() -> None:
        house = House()
        house.start()
        await house.until(lambda: house.venue.follows)
        house.database.is_away = True
        house.venue.alter = Once(1, lambda data: [b"garbage", data])
        house.venue.add(3)
        await house.until_published()
        assert house.database.things == []

        house.database.is_away = False
        await house.until(lambda: house.database.things)

    play(main())


def test_stall_is_noticed_by_the_heartbeat_s_head_and_the_log_is_read() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(3)
        house.start()
        await house.until_published()
        house.venue.is_stalled = True
        house.venue.add(5)

        await house.until_published(seconds=5)

        assert len(house.venue.follows) == 1
        assert house.venue.pages == [3]

    play(main())


def test_stall_of_more_than_some_pages_is_followed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_connection, "PAGE_REPORTS", 10)

    async def main() -> None:
        house = House()
        house.start()
        await house.until(lambda: house.venue.follows)
        house.venue.is_stalled = True
        house.venue.add(300)
        await house.until(lambda: len(house.venue.follows) > 1, seconds=10)
        house.venue.is_stalled = False

        await house.until_published()

        assert len(house.venue.pages) == 20
        assert house.venue.follows[1] == (200, "e1")

    play(main())


def test_venue_that_says_nothing_at_all_is_followed_anew() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(3)
        house.start()
        await house.until_published()
        house.venue.is_silent = True
        house.venue.add(3)
        await house.until(lambda: len(house.venue.follows) > 1, seconds=10)
        house.venue.is_silent = False

        await house.until_published()

    play(main())


def test_page_that_does_not_come_is_no_reason_to_pass_a_gap() -> None:
    async def main() -> None:
        house = House()
        house.venue.alter = Once(2, lambda data: [])
        house.venue.pages_fail = 1000
        house.venue.add(12)
        house.process_frames()
        house.start()

        await house.until_published()
        await house.until_applied()

        assert len(house.venue.follows) == 2

    play(main())


def test_hole_in_the_venue_s_own_log_holds_nothing_up() -> None:
    async def main() -> None:
        house = House()
        house.queue.holes_allowed = True
        house.venue.add(12)
        del house.venue.log[4]
        house.venue.log.insert(4, b'{"no":"seq"}')
        house.process_frames()
        house.start()

        await house.until_published()
        await house.until(lambda: house.database.unnumbered)

        assert {seq for _, seq in house.database.applied} == {*range(1, 13)} - {5}
        assert house.database.unnumbered[0] == b'{"no":"seq"}'

    play(main())


def test_report_that_no_queue_takes_is_parked_and_its_neighbours_pass() -> None:
    async def main() -> None:
        house = House()
        house.queue.holes_allowed = True
        house.venue.frame_reports = 5
        house.venue.add(5)
        house.venue.log[2] = json.dumps(report(3, text="x" * 600_000)).encode()
        house.process_frames()
        house.start()

        await house.until_published()

        assert [frame.count for frame in house.queue.chained] == [2, 2]
        [thing] = house.database.things
        assert (thing.kind, len(thing.raw)) == ("frame", 8192)

    play(main())


def test_long_frame_is_put_in_pieces() -> None:
    async def main() -> None:
        house = House()
        house.venue.frame_reports = 100
        house.venue.add(100, text="x" * 20_000)
        house.process_frames()
        house.start()

        await house.until_published()
        await house.until_applied()

        assert max(len(frame.body) for frame in house.queue.frames) <= 512 * 1024
        assert house.others == []

    play(main())


def test_frame_that_ends_every_connection_is_read_from_the_log() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(9)
        house.venue.alter = lambda data: [None] if b'"seq": 5,' in data else [data]
        house.start()

        await house.until_published(seconds=5)

        assert house.venue.pages

    play(main())


def test_pages_that_are_too_long_are_read_in_smaller_ones() -> None:
    async def main() -> None:
        house = House()
        house.venue.page_reports_max = 2
        house.venue.alter = Once(2, lambda data: [])
        house.venue.add(9)
        house.start()

        await house.until_published(seconds=0.5)

        assert len(house.venue.follows) == 1

    play(main())


def test_number_that_is_far_beyond_the_log_s_end_moves_nothing() -> None:
    async def main() -> None:
        house = House()
        house.queue.holes_allowed = True
        house.venue.add(9)
        house.venue.log[4] = json.dumps(report(9_000_000_000)).encode()
        house.process_frames()
        house.start()

        await house.until_published()
        await house.until(lambda: ("e1", 9_000_000_000) in house.database.applied)
        house.venue.add(3)
        await house.until(lambda: ("e1", 12) in house.database.applied)

        assert {seq for _, seq in house.database.applied} == {1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 9_000_000_000}

    play(main())


def test_reports_without_numbers_go_through_unchained() -> None:
    async def main() -> None:
        house = House()
        house.venue.promised = replace(Capabilities(), replays_executions=False)
        house.venue.alter = lambda data: [data.replace(b'"seq"', b'"number"')]
        house.venue.add(6)
        house.start()

        await house.until(lambda: sum(frame.count for frame in house.others) == 6)

        assert house.queue.position is None
        assert house.venue.pages == []

    play(main())


@pytest.mark.parametrize("seed", range(12))
def test_any_mixture_of_faults_leads_to_the_venue_s_log(seed: int) -> None:
    async def main() -> None:
        random = Random(seed)
        house = House()
        ways: list[Any] = list(ALTERED.values())
        house.venue.alter = lambda data: random.choice(ways)(data) if random.random() < 0.5 else [data]
        house.queue.seconds = random.choice([0.001, 0.05, 0.5])
        house.process_frames()
        house.start()
        for _ in range(30):
            house.venue.frame_reports = random.choice([1, 3, 10])
            house.venue.add(random.randrange(12))
            house.venue.is_stalled = random.random() < 0.2
            await asyncio.sleep(random.choice([0, 0.01, 0.3, 3]))
            if random.random() < 0.3:
                house.kill(house.processes[-1])
                house.start()
        house.venue.is_stalled = False
        house.venue.alter = lambda data: [data]
        house.venue.add(1)

        await house.until(lambda: house.queue.position == Position("e1", house.venue.head), seconds=300)
        await house.until_applied()

    play(main())

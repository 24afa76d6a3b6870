"""The feed's main way: from the venue's socket into the queue, in order, and from where it was left.

And how an owner begins: how long it waits for the lease and between two connections, and where each of these begins.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from typing_extensions import override

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.executions import feed as feed_module
from ordertrail.queues.queue import Frame, Overtaken, Position, QueueUnavailable
from ordertrail.runtime.telemetry import metrics
from ordertrail.storage.execution_rows import FeedLease, LivePage
from ordertrail.venues.venue import Compacted, OtherEpoch
from tests.support.executions import frame, report
from tests.support.feeding import FeedDatabase, FeedFollowing, FeedQueue, FeedVenue, House, play

CANNOT_REPLAY = Capabilities(replays_executions=False)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 1)


def failures(why: str) -> float:
    value: float = metrics.FEED_FAILURES.labels(why)._value.get()
    return value


@dataclass
class WatchedVenue(FeedVenue):
    """Knows when it was asked for a connection, and which ones it gave. `refuses`: it gives none."""

    refuses: bool = False
    tried_at: list[float] = field(default_factory=list)
    followed: list[FeedFollowing] = field(default_factory=list)

    @override
    async def capabilities(self, *, timeout_seconds: float) -> Capabilities | NoAnswer:
        self.tried_at.append(now())
        return await super().capabilities(timeout_seconds=timeout_seconds)

    @override
    async def follow(
        self, *, after: int, epoch: str | None, timeout_seconds: float
    ) -> FeedFollowing | OtherEpoch | Compacted | NoAnswer:
        if self.refuses:
            return NoAnswer("connect_failed", "no route")
        given = await super().follow(after=after, epoch=epoch, timeout_seconds=timeout_seconds)
        if isinstance(given, FeedFollowing):
            self.followed.append(given)
        return given

    @property
    def waits(self) -> list[float]:
        """How long it was left alone, each time."""
        return [round(later - before, 1) for before, later in zip(self.tried_at, self.tried_at[1:], strict=False)]

    @property
    def open(self) -> list[FeedFollowing]:
        return [each for each in self.followed if not each.is_closed]


@dataclass
class WatchedQueue(FeedQueue):
    """Knows on what each chained frame was said to follow."""

    afters: list[Position] = field(default_factory=list)

    @override
    async def publish(self, frame: Frame, *, after: Position | None) -> None:
        if after is not None:
            self.afters.append(after)
        await super().publish(frame, after=after)


@dataclass
class WatchedDatabase(FeedDatabase):
    """Knows when it was asked for the lease, and for live orders."""

    leases_at: list[float] = field(default_factory=list)
    live_orders_at: list[float] = field(default_factory=list)

    @override
    async def lease_feed(self, venue: str, *, holder: str, lease_seconds: float) -> FeedLease | None:
        self.leases_at.append(now())
        return await super().lease_feed(venue, holder=holder, lease_seconds=lease_seconds)

    async def live_orders(self, *, after: str, limit: int) -> LivePage:
        self.live_orders_at.append(now())
        return LivePage((), None)


@dataclass
class WatchedHouse(House):
    venue: WatchedVenue = field(default_factory=WatchedVenue)
    queue: WatchedQueue = field(default_factory=WatchedQueue)
    database: WatchedDatabase = field(default_factory=WatchedDatabase)

    def applied_before(self, *seqs: int) -> None:
        """What earlier owners fed and processors applied."""
        self.database.apply(frame(*[report(seq) for seq in seqs]))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences in the feed's log that are warnings or worse."""
    sentences: list[str] = []

    class Log:
        def info(self, sentence: str, **_fields: Any) -> None: ...

        def __getattr__(self, level: str) -> Callable[..., None]:
            return lambda sentence, **_fields: sentences.append(sentence)

    monkeypatch.setattr(feed_module, "_log", Log())
    return sentences


def test_reports_reach_the_queue_as_they_came_and_in_order() -> None:
    async def main() -> None:
        house = House()
        house.venue.add(10, note="  as it came ")
        house.start()

        await house.until_published()
        house.venue.add(5)
        await house.until_published()

        for each in house.queue.frames:
            house.database.apply(each)
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
        for each in house.queue.frames:
            house.database.apply(each)
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


# The lease


def test_standby_asks_for_the_lease_once_a_second() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.database.holder, house.database.leased_until = "another", 4.5
        house.start()

        await house.until(lambda: house.feeds[0].is_owner, seconds=6)

        assert house.database.leases_at == [0, 1, 2, 3, 4, 5]

    play(main(), seconds_max=10)


def test_owner_renews_the_lease_once_a_second() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.start()
        await asyncio.sleep(4.5)

        assert house.database.leases_at == [0, 1, 2, 3, 4]
        assert house.feeds[0].is_owner

    play(main(), seconds_max=10)


def test_without_the_database_nobody_begins_to_own_and_it_is_counted() -> None:
    async def main() -> None:
        before = failures("statement_outcome_unknown")
        house = WatchedHouse()
        house.database.is_away = True
        house.start()
        await asyncio.sleep(3.5)

        assert not house.feeds[0].is_owner
        assert house.database.leases_at == [0, 1, 2, 3]
        assert failures("statement_outcome_unknown") - before == 4

    play(main(), seconds_max=10)


def test_owner_remains_it_while_the_database_is_away() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.start()
        await house.until(lambda: house.venue.followed)
        house.database.is_away = True
        await asyncio.sleep(10)

        assert house.feeds[0].is_owner
        assert (len(house.venue.followed), len(house.venue.open)) == (1, 1)

    play(main(), seconds_max=20)


def test_owner_whose_lease_is_another_s_leaves_the_venue() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.venue.add(3)
        house.start()
        await house.until_published()
        house.database.holder, house.database.leased_until = "another", 1e9

        await house.until(lambda: not house.feeds[0].is_owner, seconds=1.5)

        assert (len(house.venue.followed), house.venue.open) == (1, [])

    play(main(), seconds_max=10)


def test_owner_who_is_overtaken_while_the_database_is_away_remains_it() -> None:
    async def main() -> None:
        before = failures("overtaken")
        house = WatchedHouse()
        house.venue.add(3)
        house.start()
        await house.until_published()
        house.database.is_away = True
        house.queue.answers = [Overtaken()]
        house.venue.add(3)

        await house.until_published(seconds=1)

        assert house.feeds[0].is_owner
        assert failures("overtaken") - before == 1

    play(main(), seconds_max=10)


# Between two connections


@pytest.mark.parametrize("how", ["is_away", "refuses"])
def test_venue_that_gives_no_connection_is_tried_less_and_less_often_and_it_is_said_once(
    how: str, said: list[str]
) -> None:
    async def main() -> None:
        house = WatchedHouse()
        setattr(house.venue, how, True)
        house.start()
        await asyncio.sleep(9)

        assert house.venue.waits == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
        assert said == (["the venue's execution reports cannot be followed"] if how == "refuses" else [])

    play(main(), seconds_max=10)


def test_connection_that_brought_reports_begins_the_waits_anew() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.venue.refuses = True
        house.start()
        await asyncio.sleep(9)
        house.venue.refuses = False
        house.venue.add(3)
        await house.until_published()
        house.venue.tried_at.clear()
        for _ in range(2):
            house.venue.restart(head=house.venue.head)
            house.venue.add(1)
            await house.until_published()

        assert house.venue.waits == [0.1]

    play(main(), seconds_max=20)


def test_connections_that_bring_nothing_are_made_less_and_less_often() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.venue.add(3)
        house.start()
        await house.until_published()
        for _ in range(50):
            house.venue.restart(head=3)
            await asyncio.sleep(0.1)

        assert house.venue.waits == sorted(house.venue.waits)
        assert house.venue.waits[-1] > 1.5
        assert len(house.venue.open) <= 1

    play(main(), seconds_max=20)


def test_trouble_that_comes_again_after_reports_came_is_said_again(said: list[str]) -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.venue.refuses = True
        house.start()
        await asyncio.sleep(5)
        house.venue.refuses = False
        house.venue.add(3)
        await house.until_published()
        house.venue.refuses = True
        house.venue.restart(head=3)
        await asyncio.sleep(5)

        assert said == ["the venue's execution reports cannot be followed"] * 2

    play(main(), seconds_max=20)


def test_queue_that_loses_its_tail_again_and_again_is_tried_less_and_less_often() -> None:
    class QueueWithoutItsTail(WatchedQueue):
        """Has a tail whenever a connection begins, and none when it is asked what became of a frame."""

        @override
        async def publish(self, frame: Frame, *, after: Position | None) -> None:
            self.position = None
            raise QueueUnavailable("died")

        @override
        async def tail(self) -> Position | None:
            tail, self.position = self.position, Position("e1", 3)
            return tail

    async def main() -> None:
        house = WatchedHouse(queue=QueueWithoutItsTail(position=Position("e1", 3)))
        house.venue.add(6)
        house.start()
        await asyncio.sleep(9)

        assert house.venue.waits == sorted(house.venue.waits)
        assert house.venue.waits[-1] > 1.5

    play(main(), seconds_max=20)


def test_bug_is_counted_and_the_next_connection_waits() -> None:
    async def main() -> None:
        before = failures("other")
        house = WatchedHouse()
        house.queue.answers = [LookupError("a bug")] * 3
        house.venue.add(3)
        house.start()
        await house.until(lambda: house.queue.position == Position("e1", 3), seconds=2)

        assert failures("other") - before == 3
        assert house.venue.waits == [0.1, 0.2, 0.4]
        assert len(house.venue.open) == 1

    play(main(), seconds_max=10)


# Where a connection begins


def test_first_frame_of_all_follows_on_the_beginning_of_the_venue_s_epoch() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.venue.add(3)
        house.start()

        await house.until_published()

        assert house.venue.follows == [(0, None)]
        assert house.queue.afters == [Position("e1", 0)]

    play(main(), seconds_max=10)


def test_next_owner_s_first_frame_follows_on_the_queue_s_tail() -> None:
    async def main() -> None:
        house = WatchedHouse(queue=WatchedQueue(position=Position("e1", 6)))
        house.applied_before(1, 2, 3)
        house.venue.add(9)
        house.start()

        await house.until_published()

        assert house.venue.follows == [(6, "e1")]
        assert house.queue.afters == [Position("e1", 6)]

    play(main(), seconds_max=10)


def test_first_frame_of_a_new_epoch_follows_on_its_beginning() -> None:
    async def main() -> None:
        house = WatchedHouse(queue=WatchedQueue(position=Position("e1", 6)))
        house.venue.restart(epoch="e2")
        house.venue.add(3)
        house.start()

        await house.until_published()

        assert house.venue.follows == [(6, "e1"), (0, "e2")]
        assert house.queue.afters == [Position("e2", 0)]
        assert house.database.epochs == {"e2": "order"}

    play(main(), seconds_max=10)


def test_venue_that_cannot_replay_is_followed_from_now_on_whatever_is_applied() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.applied_before(*range(1, 10))
        house.venue.promised = CANNOT_REPLAY
        house.venue.add(3)
        house.start()

        await house.until(lambda: house.others)
        await asyncio.sleep(1)

        assert house.venue.follows == [(0, "e1")]
        assert (house.chained, house.venue.pages) == ([], [])

    play(main(), seconds_max=10)


@pytest.mark.parametrize("last", [4, 5])
def test_log_compacted_past_our_position_is_lost_up_to_the_oldest_that_is_left(last: int) -> None:
    async def main() -> None:
        house = WatchedHouse(queue=WatchedQueue(position=Position("e1", 3), holes_allowed=True))
        house.venue.add(9)
        house.venue.compact(oldest=last + 1)
        lost = metrics.FEED_LOST_REPORTS._value.get()
        house.start()

        await house.until_published()

        assert [thing.raw for thing in house.database.things] == [b'{"epoch":"e1","first":4,"last":%d}' % last]
        assert metrics.FEED_LOST_REPORTS._value.get() - lost == last - 3
        assert house.venue.follows == [(3, "e1"), (last, "e1")]
        assert house.queue.afters[0] == Position("e1", 3)

    play(main(), seconds_max=10)


def test_what_was_taken_in_before_the_venue_lost_and_compacted_it_is_not_lost() -> None:
    async def main() -> None:
        house = WatchedHouse(queue=WatchedQueue(position=Position("e1", 20)))
        house.venue.add(12)
        house.venue.compact(oldest=5)
        house.start()

        await house.until(lambda: sum(each.count for each in house.others) == 8)

        assert house.database.things == []
        assert house.venue.follows == [(20, "e1"), (0, "e1"), (4, "e1")]
        assert len(house.venue.followed) == 2
        assert len(house.venue.open) == 1

    play(main(), seconds_max=10)


def test_venue_that_came_back_with_less_is_read_again_from_some_reports_before_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "BEHIND_OVERLAP", 5)

    async def main() -> None:
        house = WatchedHouse(queue=WatchedQueue(position=Position("e1", 20)))
        house.venue.add(12)
        house.start()

        await house.until(lambda: sum(each.count for each in house.others) == 5)

        assert house.venue.follows == [(20, "e1"), (7, "e1")]
        assert len(house.venue.open) == 1

    play(main(), seconds_max=10)


def test_venue_that_came_back_with_hardly_any_is_read_again_from_its_first() -> None:
    async def main() -> None:
        house = WatchedHouse(queue=WatchedQueue(position=Position("e1", 20)))
        house.venue.add(12)
        house.start()

        await house.until(lambda: sum(each.count for each in house.others) == 12)

        assert house.venue.follows == [(20, "e1"), (0, "e1")]

    play(main(), seconds_max=10)


def test_venue_that_has_just_what_was_taken_in_is_not_read_again() -> None:
    async def main() -> None:
        house = WatchedHouse(queue=WatchedQueue(position=Position("e1", 12)))
        house.venue.add(12)
        house.start()
        await asyncio.sleep(3)

        assert house.venue.follows == [(12, "e1")]
        assert house.queue.frames == []

    play(main(), seconds_max=10)


# What runs beside


def test_what_the_queue_has_lost_is_watched_for_where_the_venue_can_replay() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.venue.add(3)
        house.start(reads=cast("Any", house.database))
        await house.until_published()
        house.queue.waiting.clear()

        await house.until(lambda: house.others, seconds=6)

        assert house.database.live_orders_at == []

    play(main(), seconds_max=10)


def test_live_orders_are_queried_where_the_venue_cannot_replay() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.venue.promised = CANNOT_REPLAY
        house.venue.add(3)
        house.start(reads=cast("Any", house.database))
        await asyncio.sleep(59)

        assert len(house.database.live_orders_at) == 1
        assert house.venue.pages == []

    play(main(), seconds_max=100)


def test_live_orders_are_not_queried_where_they_cannot_be_read() -> None:
    async def main() -> None:
        house = WatchedHouse()
        house.venue.promised = CANNOT_REPLAY
        house.venue.add(3)
        house.start()
        await asyncio.sleep(59)

        assert [each.count for each in house.others] == [3]
        assert house.database.live_orders_at == []
        assert len(house.venue.followed) == 1

    play(main(), seconds_max=100)

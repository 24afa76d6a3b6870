"""The feed over a real socket to the simulated exchange, with all that its socket can do wrong at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ordertrail.domain.order import Side
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.executions.feed import Feed
from ordertrail.queues.queue import Position
from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.inbox_queue import InboxQueue
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.storage.postgres.parked import PostgresParked
from ordertrail.venues.http.client import HttpVenue
from ordertrail.venues.simulated.translation import new_order
from ordertrail.venues.venue import Heartbeat, Reports
from simulated_exchange.capabilities import Profile
from simulated_exchange.faults import Faults, SocketFaults
from simulated_exchange.occurrences import EpochChange
from simulated_exchange.service import ExchangeService
from tests.conformance.subjects import Simulated, over_http
from tests.support.feeding import FeedDatabase, FeedQueue
from tests.support.payloads import RECORDED_ORDER

WAIT_SECONDS = 60


@dataclass
class Fed:
    """An exchange behind a socket, and a feed that is being run."""

    exchange: ExchangeService
    queue: FeedQueue
    database: FeedDatabase

    async def trade(self, first: int, count: int) -> None:
        """So many pairs of orders, each matched."""
        for number in range(first, first + count):
            for side in Side:
                order = replace(RECORDED_ORDER, id=f"order-{number}-{side}", side=side)
                await self.exchange.place(new_order(order, None))

    def set_faults(self, **probabilities: float) -> None:
        self.exchange.exchange.set_faults(Faults(socket=SocketFaults(stall_seconds=0.2, **probabilities)))

    def log(self) -> list[bytes]:
        return self.exchange.exchange.executions_log.encoded(0, 1_000_000)

    def is_all_there(self) -> bool:
        """Processors have applied the exchange's log, to the letter, and the tail is its head."""
        epoch, log = self.exchange.exchange.epoch, self.log()
        for frame in self.queue.waiting:
            self.database.apply(frame)
        self.queue.waiting.clear()
        applied = [self.database.applied.get((epoch, seq)) for seq in range(1, len(log) + 1)]
        return applied == log and self.queue.position == Position(epoch, len(log))


@asynccontextmanager
async def fed(folder: Path) -> AsyncIterator[Fed]:
    async with over_http(folder, Profile()) as subject:
        assert isinstance(subject.other_side, Simulated)
        queue, database = FeedQueue(), FeedDatabase()
        rows: Any = database
        feed = Feed(queue, rows, rows, subject.venue, SystemClock(), holder="feed-1")
        task = asyncio.create_task(feed.run())
        try:
            yield Fed(subject.other_side._service, queue, database)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_so():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.02)


async def test_socket_with_every_fault_at_once_leads_to_the_exchange_s_log(tmp_path: Path) -> None:
    async with fed(tmp_path) as it:
        it.set_faults(
            gap=0.1, duplicate=0.1, shuffle=0.1, stall=0.02, cut=0.05, garbage=0.1, unknown_type=0.1, stranger=0.1
        )
        for number in range(0, 60, 2):
            await it.trade(number, 2)
            await asyncio.sleep(0.01)
        it.set_faults()
        await it.trade(60, 1)

        await until(it.is_all_there)

        assert it.queue.faults == []
        assert len(it.log()) > 240


async def test_new_epoch_is_followed_and_the_old_one_stays(tmp_path: Path) -> None:
    async with fed(tmp_path) as it:
        await it.trade(0, 3)
        await until(it.is_all_there)
        before = dict(it.database.applied)

        await it.exchange.occur(EpochChange(forget=True))
        await it.trade(0, 2)
        await until(it.is_all_there)

        assert before.items() <= it.database.applied.items()
        assert len(it.database.epochs) == 2


async def test_inbox_takes_what_the_feed_gives_through_faults_epochs_and_a_compacted_log(
    tmp_path: Path, database_url: str
) -> None:
    database = Database(database_url, timeout_seconds=WAIT_SECONDS, connections_max=4)
    await database.open()
    rows, clock = PostgresExecutions(database), SystemClock()
    async with over_http(tmp_path, Profile()) as subject:
        assert isinstance(subject.other_side, Simulated)
        venue = subject.venue
        it = Fed(subject.other_side._service, FeedQueue(), FeedDatabase())
        queue = InboxQueue(rows, clock, venue=venue.name, bytes_max=2**30)

        async def applied_to() -> int:
            while await rows.apply_inbox(venue.name, reports_max=1000) is not None:
                pass
            return (await rows.coverage(venue.name, it.exchange.exchange.epoch)).contiguous

        async def feed_until_applied(*, first: int = 1) -> None:
            feed = Feed(queue, rows, PostgresParked(database), venue, clock, holder=f"feed-{first}")
            task = asyncio.create_task(feed.run())
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    head = it.exchange.exchange.executions_log.head
                    await applied_to()
                    coverage = await rows.coverage(venue.name, it.exchange.exchange.epoch)
                    if coverage.gaps(up_to=head) == (() if first == 1 else ((1, first - 1),)):
                        break
                    await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])

        it.set_faults(gap=0.2, duplicate=0.2, shuffle=0.2, cut=0.1, garbage=0.2)
        await it.trade(0, 20)
        await feed_until_applied()
        it.set_faults()
        await it.trade(20, 2)
        await feed_until_applied()
        await it.exchange.occur(EpochChange(forget=True))
        await it.trade(0, 5)
        subject.other_side.compact(oldest=9)
        await feed_until_applied(first=9)
        view = await rows.feed(venue.name)
    await database.close()

    assert view is not None and not view.is_owned
    assert view.position == Position(it.exchange.exchange.epoch, it.exchange.exchange.executions_log.head)


async def test_what_is_not_received_is_not_read_from_the_socket(tmp_path: Path) -> None:
    """It stays in the kernel's buffers, and with the exchange."""
    async with over_http(tmp_path, Profile()) as subject:
        assert isinstance(subject.other_side, Simulated) and isinstance(subject.venue, HttpVenue)
        service = subject.other_side._service
        following: Any = await subject.venue.follow(after=0, epoch=None, timeout_seconds=WAIT_SECONDS)
        held = following._socket._reader
        for number in range(8000):
            service.exchange.place(new_order(replace(RECORDED_ORDER, id=f"order-{number}"), None))
        log = service.exchange.executions_log
        await until(lambda: held._size > 0 and held._protocol._reading_paused)

        assert 3 * held._size < len(b"".join(log.encoded(0, 8000)))

        reached = 0
        while reached < log.head:
            received = await following.receive()
            assert isinstance(received, Reports | Heartbeat), received
            if isinstance(received, Reports):
                assert received.first == reached + 1
                reached = received.last or 0
        await following.close()
        assert isinstance(await following.receive(), NoAnswer)

"""The inbox as a queue: the database's failures are the queue's, and what is full takes nothing."""

from collections.abc import Sequence

import pytest
from typing_extensions import override

from ordertrail.queues.queue import Frame, Overtaken, Position, QueueFull, QueueUnavailable
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.inbox_queue import InboxQueue
from tests.support.clocks import ManualClock
from tests.support.executions import EPOCH, VENUE, MemoryRows, frame, report

BEGINNING = Position(EPOCH, 0)


class Inbox(MemoryRows):
    """Refuses what a test says."""

    error: Exception | None = None
    is_at_tail = True

    @override
    async def put_in_inbox(self, frame: Frame, *, after: Position | None) -> bool:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self.is_at_tail and await super().put_in_inbox(frame, after=after)

    @override
    async def inbox_depth(self, venue: str) -> int:
        if self.error is not None:
            raise self.error
        return await super().inbox_depth(venue)

    @override
    async def drop_from_inbox(self, numbers: Sequence[int]) -> None:
        if self.error is not None:
            raise self.error
        await super().drop_from_inbox(numbers)


def queue(inbox: Inbox, clock: ManualClock | None = None, *, bytes_max: int = 10**6) -> InboxQueue:
    return InboxQueue(inbox, clock or ManualClock(), venue=VENUE, bytes_max=bytes_max)


@pytest.mark.parametrize(
    "error", [StatementOutcomeUnknown("cut", may_have_happened=True), StatementFailed("53100", "disk full")]
)
async def test_a_database_that_fails_is_a_queue_that_is_unavailable(error: Exception) -> None:
    inbox = Inbox()
    made = queue(inbox)

    inbox.error = error
    with pytest.raises(QueueUnavailable):
        await made.publish(frame(report(1)), after=BEGINNING)
    inbox.error = error
    with pytest.raises(QueueUnavailable):
        await made.depth()


async def test_a_tail_that_is_elsewhere_says_that_another_feed_has_written() -> None:
    inbox = Inbox()
    inbox.is_at_tail = False

    with pytest.raises(Overtaken):
        await queue(inbox).publish(frame(report(1)), after=BEGINNING)


async def test_a_full_inbox_takes_nothing_until_there_is_room() -> None:
    inbox = Inbox()
    clock = ManualClock()
    made = queue(inbox, clock, bytes_max=500)
    await made.publish(frame(report(1), report(2)), after=BEGINNING)
    clock.move(1)

    with pytest.raises(QueueFull):
        await made.publish(frame(report(3)), after=None)
    delivery = await made.take(reports_max=10, wait_seconds=0)
    assert delivery is not None
    await delivery.acknowledge()
    clock.move(1)
    await made.publish(frame(report(3)), after=None)

    assert await made.depth() == 1


async def test_bytes_that_no_text_can_have_are_put_in_so_that_a_person_can_read_them() -> None:
    inbox = Inbox()
    inbox.error = StatementFailed("22021", "invalid byte sequence")

    await queue(inbox).publish(frame(body=b'[{"a": "\xff\x00"}, {"b": 1}]'), after=None)

    [kept] = inbox.inbox.values()
    assert kept.body == b'[{"a": "\\xff\\x00"}, {"b": 1}]'

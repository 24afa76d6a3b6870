"""What every queue does; where one promises less, its subject says so."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from ordertrail.queues.nats import NatsQueue
from ordertrail.queues.queue import Delivery, Frame, Overtaken, Position, Queue, QueueFull, QueueUnavailable
from ordertrail.queues.sqs import SqsQueue
from tests.conformance.queues.subjects import HOLD_SECONDS, QueueSubject
from tests.support.queues import frame

Client = Callable[..., Queue]

SOON_SECONDS = 10.0
AT_ONCE_SECONDS = 0.2
FRAMES_MAX = 10_000

BEGINNING = Position("e1", 0)


def at(seq: int, epoch: str = "e1") -> Position:
    return Position(epoch, seq)


async def publish(queue: Queue, *frames: Frame) -> None:
    """One after the other, chained."""
    for each in frames:
        assert each.first is not None
        await queue.publish(each, after=Position(each.epoch, each.first - 1))


async def published_until_full(queue: Queue) -> int:
    """The seq that was not taken any more."""
    filler = Random(1).randbytes(10_000).hex()  # rows are compressed
    for seq in range(1, FRAMES_MAX):
        try:
            await publish(queue, frame(seq, seq, filler=filler))
        except QueueFull:
            return seq
    raise AssertionError("it never is full")


async def take(queue: Queue, *, reports_max: int = 1_000) -> Delivery:
    delivery = await queue.take(reports_max=reports_max, wait_seconds=SOON_SECONDS)
    assert delivery is not None
    return delivery


async def take_when_possible(queue: Queue) -> Delivery:
    async with asyncio.timeout(2 * SOON_SECONDS):
        while True:
            with contextlib.suppress(QueueUnavailable):
                if delivery := await queue.take(reports_max=1_000, wait_seconds=1):
                    return delivery


async def work_off(queue: Queue) -> list[Frame]:
    """All that is there, acknowledged."""
    frames: list[Frame] = []
    while delivery := await queue.take(reports_max=1_000, wait_seconds=AT_ONCE_SECONDS):
        frames += delivery.frames
        await delivery.acknowledge()
    return frames


async def until_it_answers(queue: Queue) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            with contextlib.suppress(QueueUnavailable):
                await queue.depth()
                return


# Frames


async def test_a_frame_is_delivered_as_it_was_published(queue: Queue) -> None:
    published = frame(1, 3)

    await queue.publish(published, after=BEGINNING)
    delivery = await take(queue)

    assert list(delivery.frames) == [published]


@pytest.mark.parametrize(
    "body",
    [
        b'[{"seq":1,"text":"\xff\xfe"}]',
        b"[]",
        b"no array",
        b'[{"seq":1,"text":"a\x00b"}]',
        "[{'ä': '\u2028'}]".encode(),
    ],
    ids=["invalid UTF-8", "empty", "unreadable", "NUL", "beyond ASCII"],
)
async def test_a_body_is_delivered_byte_for_byte(subject: QueueSubject, queue: Queue, body: bytes) -> None:
    # Where only texts are kept, bytes that no text can have are escaped, so that the report is parked and not lost.
    escaped = body.decode(errors="backslashreplace").replace("\0", "\\x00").encode()
    published = replace(frame(1, 1), body=body)

    await queue.publish(published, after=BEGINNING)

    assert [each.body for each in (await take(queue)).frames] == [body if subject.takes_bytes else escaped]


async def test_a_frame_without_numbers_keeps_its_scope_and_a_strange_epoch(queue: Queue) -> None:
    published = Frame("simulated", 'a:b "ü"\n\r', "epoch", 2, None, None, b'[{"a":1},{"a":2}]')

    await queue.publish(published, after=None)

    assert list((await take(queue)).frames) == [published]


async def test_frames_come_oldest_first(queue: Queue) -> None:
    await publish(queue, *(frame(seq, seq) for seq in range(1, 21)))

    taken = await work_off(queue)

    assert sorted(taken, key=lambda each: each.first or 0) == [frame(seq, seq) for seq in range(1, 21)]


async def test_about_as_many_reports_are_taken_as_wanted(queue: Queue) -> None:
    await publish(queue, *(frame(100 * n + 1, 100 * n + 100) for n in range(20)))
    await (await take(queue, reports_max=200)).give_back()

    counts = []
    for _ in range(3):
        delivery = await take(queue, reports_max=200)
        counts.append(sum(each.count for each in delivery.frames))

    assert all(100 <= count <= 1000 for count in counts)


async def test_a_frame_larger_than_wanted_is_taken(queue: Queue) -> None:
    await publish(queue, frame(1, 100))

    assert sum(each.count for each in (await take(queue, reports_max=10)).frames) == 100


async def test_a_large_frame_comes_whole_or_in_parts_that_follow_on_each_other(queue: Queue) -> None:
    # 12 MB: more than any broker's message.
    large = frame(1, 12_000, filler="x" * 1_000)
    await publish(queue, large)

    taken = sorted(await work_off(queue), key=lambda each: each.first or 0)

    assert sum(each.count for each in taken) == 12_000
    assert taken[0].first == 1
    assert taken[-1].last == 12_000
    assert all(one.last is not None and one.last + 1 == other.first for one, other in itertools.pairwise(taken))
    assert sum(each.body.count(b'"seq"') for each in taken) == 12_000


# Taking


async def test_nothing_comes_of_an_empty_queue(queue: Queue) -> None:
    assert await queue.take(reports_max=10, wait_seconds=AT_ONCE_SECONDS) is None
    assert await queue.take(reports_max=10, wait_seconds=0) is None


async def test_a_taker_that_waits_gets_the_frame_that_comes(client: Client) -> None:
    waiting = asyncio.create_task(take(client()))

    await publish(client(), frame(1, 2))

    assert list((await waiting).frames) == [frame(1, 2)]


async def test_what_is_acknowledged_never_comes_again(subject: QueueSubject, client: Client) -> None:
    queue = client()
    await publish(queue, frame(1, 2), frame(3, 4))
    for _ in await work_off(queue):
        pass

    await subject.let_pass()

    assert await client().take(reports_max=10, wait_seconds=subject.lapse_seconds) is None
    assert await queue.depth() in {0, None}


async def test_what_is_given_back_comes_again_at_once(client: Client) -> None:
    one, other = client(), client()
    await publish(one, frame(1, 2))

    await (await take(one)).give_back()

    assert list((await take(other)).frames) == [frame(1, 2)]


async def test_what_is_neither_acknowledged_nor_given_back_comes_again(subject: QueueSubject, client: Client) -> None:
    queue = client()
    await publish(queue, frame(1, 2))
    await take(queue)

    await subject.let_pass()

    assert list((await take(client())).frames) == [frame(1, 2)]


async def test_a_frame_is_never_given_up(subject: QueueSubject, client: Client) -> None:
    queue = client()
    await publish(queue, frame(1, 2))

    for _ in range(12):
        await (await take(queue)).give_back()

    assert list((await take(queue)).frames) == [frame(1, 2)]


async def test_a_late_acknowledgement_is_no_error(subject: QueueSubject, client: Client) -> None:
    one, other = client(), client()
    await publish(one, frame(1, 2))
    early = await take(one)
    await subject.let_pass()
    late = await take(other)

    await early.acknowledge()
    await late.acknowledge()

    assert await work_off(other) == []


async def test_acknowledged_twice_is_no_error(queue: Queue) -> None:
    await publish(queue, frame(1, 2))
    delivery = await take(queue)

    await delivery.acknowledge()
    await delivery.acknowledge()


async def test_what_is_taken_is_offered_to_no_other(subject: QueueSubject, client: Client) -> None:
    if not subject.holds:
        pytest.skip("it holds nothing back from other takers: a frame leaves it in the transaction that applies it")
    takers = [client() for _ in range(8)]
    await publish(client(), *(frame(seq, seq) for seq in range(1, 41)))
    for taker in takers:
        await taker.depth()  # it is connected

    deliveries = await asyncio.gather(*(taker.take(reports_max=5, wait_seconds=0) for taker in takers))

    taken = [each.first for delivery in deliveries if delivery for each in delivery.frames]
    assert taken
    assert len(taken) == len(set(taken))


async def test_what_is_extended_is_offered_to_no_other(subject: QueueSubject, client: Client) -> None:
    if not subject.holds:
        pytest.skip("it holds nothing back from other takers: a frame leaves it in the transaction that applies it")
    one, other = client(), client()
    await other.depth()
    await publish(one, frame(1, 2))
    delivery = await take(one)

    for _ in range(3):
        await subject.let_pass(HOLD_SECONDS / 2)
        assert await other.take(reports_max=10, wait_seconds=subject.lapse_seconds / 2) is None
        await delivery.extend()

    assert await other.take(reports_max=10, wait_seconds=0) is None
    await delivery.acknowledge()


async def test_many_takers_work_off_all_of_it(client: Client) -> None:
    await publish(client(), *(frame(seq, seq) for seq in range(1, 41)))

    worked_off = await asyncio.gather(*(work_off(client()) for _ in range(4)))

    assert {each.first for frames in worked_off for each in frames} == set(range(1, 41))


async def test_depth_counts_what_waits_and_what_is_being_worked_on(subject: QueueSubject, queue: Queue) -> None:
    await publish(queue, *(frame(seq, seq) for seq in range(1, 6)))
    delivery = await take(queue, reports_max=2)
    held = len(delivery.frames)

    assert await queue.depth() == 5

    await delivery.acknowledge()
    assert await queue.depth() == 5 - held


async def test_who_cannot_count_says_so(queue: Queue) -> None:
    assert queue.is_depth_exact is not isinstance(queue, SqsQueue)


# The chain


@pytest.fixture
def chained(queue: Queue) -> Queue:
    if not queue.is_chained:
        pytest.skip("it promises no chain: two feeds may both write, and the rows do not mind")
    return queue


async def test_a_queue_of_which_nothing_is_known_has_no_tail(queue: Queue) -> None:
    assert await queue.tail() is None


async def test_the_tail_is_the_newest_chained_frame(chained: Queue, client: Client) -> None:
    await publish(chained, frame(1, 2), frame(3, 7))

    assert await chained.tail() == at(7)
    assert await client().tail() == at(7)


async def test_a_frame_that_does_not_follow_on_the_tail_is_refused(chained: Queue, client: Client) -> None:
    await publish(chained, frame(1, 5))

    for queue in (chained, client()):
        with pytest.raises(Overtaken):
            await queue.publish(frame(7, 8), after=at(6))
        with pytest.raises(Overtaken):
            await queue.publish(frame(4, 8), after=at(3))

    assert await chained.tail() == at(5)
    assert await chained.depth() == 1


async def test_the_first_chained_frame_may_begin_anywhere(chained: Queue) -> None:
    await chained.publish(frame(501, 502), after=at(500))

    assert await chained.tail() == at(502)


async def test_a_feed_that_was_overtaken_is_refused(chained: Queue, client: Client) -> None:
    stale = client()
    await publish(stale, frame(1, 2))
    await chained.tail()
    await publish(chained, frame(3, 4))

    with pytest.raises(Overtaken):
        await publish(stale, frame(3, 3))
    assert await stale.tail() == at(4)
    await publish(stale, frame(5, 5))

    assert await chained.tail() == at(5)


async def test_of_two_feeds_that_begin_one_is_refused(chained: Queue, client: Client) -> None:
    other = client()
    await chained.tail()
    await other.tail()
    await publish(other, frame(1, 10))

    with pytest.raises(Overtaken):
        await publish(chained, frame(1, 3))

    assert await chained.tail() == at(10)


async def test_a_filling_moves_no_tail(chained: Queue, client: Client) -> None:
    await publish(chained, frame(1, 10))

    await chained.publish(frame(3, 4), after=None)

    assert await chained.tail() == at(10)
    assert await client().tail() == at(10)
    await publish(chained, frame(11, 11))
    assert await client().tail() == at(11)
    assert await chained.depth() == 3


async def test_a_filling_of_a_feed_that_has_read_no_tail_hides_none(chained: Queue, client: Client) -> None:
    await publish(chained, frame(1, 10))

    await client().publish(frame(3, 4), after=None)

    assert await client().tail() == at(10)


async def test_the_same_filling_again_is_taken_again(queue: Queue) -> None:
    await queue.publish(frame(3, 4), after=None)
    first = await work_off(queue)

    await queue.publish(frame(3, 4), after=None)

    assert [*first, *await work_off(queue)] == [frame(3, 4)] * 2


async def test_another_epoch_begins_at_0(chained: Queue) -> None:
    await publish(chained, frame(1, 10), frame(1, 4, epoch="e2"))

    assert await chained.tail() == at(4, "e2")
    with pytest.raises(Overtaken):
        await chained.publish(frame(11, 12), after=at(10))
    with pytest.raises(Overtaken):
        await publish(chained, frame(1, 3, epoch="e2"))


async def test_the_chain_goes_on_when_all_is_worked_off(chained: Queue, client: Client) -> None:
    stale = client()
    await stale.tail()
    await publish(chained, frame(1, 5))
    await work_off(chained)

    with pytest.raises(Overtaken):
        await publish(stale, frame(1, 3))
    await publish(chained, frame(6, 7))

    assert await chained.tail() == at(7)


async def test_a_newer_frame_that_is_worked_off_first_does_not_stop_the_chain(chained: Queue, client: Client) -> None:
    await publish(chained, frame(1, 5), frame(6, 9))
    older = await take(chained, reports_max=1)
    await work_off(client())

    feed = client()
    tail = await feed.tail()
    assert tail is not None and tail.seq in {5, 9}
    await feed.publish(frame(tail.seq + 1, 12), after=tail)

    assert await feed.tail() == at(12)
    await older.acknowledge()


# Bad days


async def test_it_comes_back_with_all_that_it_has_taken(subject: QueueSubject, client: Client) -> None:
    if not subject.is_durable:
        pytest.skip("the server that stands for Amazon's here keeps all in memory, and cannot come back with it")
    queue = client()
    for n in range(5):
        await publish(queue, frame(10 * n + 1, 10 * n + 10))
        await subject.restart()
        await until_it_answers(queue)
        if queue.is_chained:
            assert await queue.tail() == at(10 * n + 10)
            assert await client().tail() == at(10 * n + 10)

    taken = await work_off(client())

    assert sorted(each.first or 0 for each in taken) == [1, 11, 21, 31, 41]


async def test_a_feed_goes_on_after_a_restart_with_nothing_in_it(
    subject: QueueSubject, chained: Queue, client: Client
) -> None:
    stale = client()
    await publish(stale, frame(1, 2))
    await chained.tail()
    await publish(chained, frame(3, 10))
    await work_off(chained)
    await subject.restart()
    await until_it_answers(chained)

    with pytest.raises((Overtaken, QueueUnavailable)):
        await publish(stale, frame(3, 4))
    await publish(chained, frame(11, 12))

    assert await chained.tail() == at(12)
    assert await work_off(chained) == [frame(11, 12)]


async def test_one_that_was_wiped_takes_frames_again(subject: QueueSubject, client: Client) -> None:
    feed, processor = client(), client()
    await publish(feed, frame(1, 10))
    await (await take(processor)).give_back()
    await subject.wipe()
    await until_it_answers(processor)

    with contextlib.suppress(Overtaken, QueueUnavailable):
        await publish(feed, frame(11, 12))
    assert await feed.tail() in {None, at(12)}
    tail = await feed.tail()
    if tail is None:
        await publish(feed, frame(11, 12))

    assert (await work_off(processor))[-1:] == [frame(11, 12)]


async def test_a_taker_outlives_a_wipe_while_it_waits(subject: QueueSubject, client: Client) -> None:
    processor, feed = client(), client()
    await processor.depth()
    await feed.depth()
    waiting = asyncio.create_task(take_when_possible(processor))
    await asyncio.sleep(0)

    await subject.wipe()
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            with contextlib.suppress(QueueUnavailable, Overtaken):
                await publish(feed, frame(1, 2))
                break

    assert list((await waiting).frames) == [frame(1, 2)]


async def test_out_of_reach_is_said_and_delivers_nothing(subject: QueueSubject, client: Client) -> None:
    queue = client()
    await publish(queue, frame(1, 2))
    delivery = await take(queue)
    await subject.stop()

    for call in (
        queue.tail(),
        queue.depth(),
        queue.publish(frame(3, 4), after=at(2)),
        queue.publish(frame(3, 4), after=None),
        queue.take(reports_max=10, wait_seconds=0.5),
        delivery.acknowledge(),
        client().depth(),
    ):
        with pytest.raises(QueueUnavailable):
            async with asyncio.timeout(SOON_SECONDS):
                await call
    await delivery.give_back()
    await delivery.extend()


async def test_opening_and_closing_succeed_out_of_reach(subject: QueueSubject, client: Client) -> None:
    await subject.stop()

    queue = client()
    await queue.open()
    await queue.close()


async def test_a_full_queue_says_so_until_some_is_worked_off(subject: QueueSubject, client: Client) -> None:
    if not subject.is_bounded:
        pytest.skip("it has no bound")
    queue = client(is_small=True)
    seq = await published_until_full(queue)

    if queue.is_chained:
        assert await queue.tail() == at(seq - 1)
    await work_off(queue)
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            with contextlib.suppress(QueueFull):
                await publish(queue, frame(seq, seq))
                break

    assert await work_off(queue) == [frame(seq, seq)]


async def test_an_onlooker_declares_nothing(subject: QueueSubject, client: Client) -> None:
    queue = client()
    if not isinstance(queue, NatsQueue | SqsQueue):
        pytest.skip("there is nothing to declare")

    assert await queue.frames_waiting() is None
    assert await queue.frames_waiting() is None
    await publish(queue, frame(1, 2))
    assert await queue.frames_waiting() == 1
    await subject.stop()
    with pytest.raises(QueueUnavailable):
        await queue.frames_waiting()

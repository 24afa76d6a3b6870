"""What waits for the queue: how much of it, in which order, what is joined to one frame, and what is taken apart."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from ordertrail.executions.frame_buffer import FrameBuffer, Piece, split_piece
from ordertrail.venues.report_frames import split_reports

# Written down once more on purpose: it is what the queues' own limits were measured against.
MESSAGE_BYTES_MAX = 524_288
BUFFER_BYTES_MAX = 8_388_608
SECONDS_MAX = 5

# Who waits here for something that does not come waits for ever.
pytestmark = pytest.mark.timeout(10)


def report(seq: int, size: int = 9) -> bytes:
    """Of so many bytes."""
    raw = b'{"seq":%d}' % seq
    return raw if size <= len(raw) else b'{"seq":%d,"t":"%s"}' % (seq, b"x" * (size - len(raw) - 7))


def piece(first: int, last: int, *, size: int = 9, is_chained: bool = True) -> Piece:
    """So many reports, each of so many bytes."""
    elements = [report(seq, size) for seq in range(first, last + 1)]
    return Piece(b"[" + b",".join(elements) + b"]", len(elements), first, last, is_chained)


def unnumbered(*elements: bytes, is_chained: bool = False) -> Piece:
    return Piece(b"[" + b",".join(elements) + b"]", len(elements), None, None, is_chained)


async def others_turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def is_held(work: Coroutine[Any, Any, Any], buffer: FrameBuffer) -> bool:
    """Whether it waits, and goes on once what was taken is with the queue."""
    task = asyncio.create_task(work)
    await others_turn()
    if task.done():
        return False
    buffer.done()
    async with asyncio.timeout(SECONDS_MAX):
        await task
    return True


# Back-pressure


async def test_full_buffer_takes_nothing_until_something_is_with_the_queue() -> None:
    one = piece(1, 1)
    buffer = FrameBuffer(bytes_max=2 * len(one.body))
    await buffer.put(one)
    await buffer.put(piece(5, 5))
    assert await buffer.take() == one

    assert await is_held(buffer.put(piece(9, 9)), buffer)


async def test_one_piece_may_go_beyond_what_the_buffer_holds() -> None:
    one = piece(1, 1)
    buffer = FrameBuffer(bytes_max=len(one.body) + 1)
    await buffer.put(one)

    assert not await is_held(buffer.put(piece(5, 99)), buffer)
    next_one = asyncio.create_task(buffer.put(piece(200, 200)))
    assert await buffer.take() == one
    buffer.done()
    await others_turn()
    assert not next_one.done()

    await buffer.take()
    buffer.done()

    async with asyncio.timeout(SECONDS_MAX):
        await next_one


async def test_what_was_taken_takes_room_until_the_queue_has_it() -> None:
    one = piece(1, 1)
    buffer = FrameBuffer(bytes_max=len(one.body))
    await buffer.put(one)
    await buffer.take()

    assert await is_held(buffer.put(piece(5, 5)), buffer)
    assert await buffer.take() == piece(5, 5)
    assert await is_held(buffer.drained(), buffer)


async def test_done_twice_frees_nothing_more() -> None:
    one = piece(1, 1)
    buffer = FrameBuffer(bytes_max=len(one.body))
    await buffer.put(one)
    await buffer.take()
    buffer.done()
    buffer.done()

    await buffer.put(piece(5, 5))
    await buffer.take()

    assert await is_held(buffer.put(piece(9, 9)), buffer)


async def test_a_buffer_holds_eight_mebibytes() -> None:
    buffer = FrameBuffer()
    await buffer.put(Piece(b"x" * (BUFFER_BYTES_MAX - 1), 1, 1, 1, True))

    assert not await is_held(buffer.put(Piece(b"x", 1, 9, 9, True)), buffer)
    await buffer.take()
    assert await is_held(buffer.put(Piece(b"x", 1, 20, 20, True)), buffer)


async def test_all_is_drained_once_the_last_is_with_the_queue() -> None:
    buffer = FrameBuffer()
    await buffer.drained()
    await buffer.put(piece(1, 1))
    await buffer.put(piece(5, 5))
    drained = asyncio.create_task(buffer.drained())

    await buffer.take()
    buffer.done()
    await others_turn()
    assert not drained.done()
    await buffer.take()
    buffer.done()

    async with asyncio.timeout(SECONDS_MAX):
        await drained


async def test_who_takes_waits_for_who_puts() -> None:
    buffer = FrameBuffer()
    taken = asyncio.create_task(buffer.take())
    await asyncio.sleep(0)
    assert not taken.done()

    await buffer.put(piece(1, 3))

    async with asyncio.timeout(SECONDS_MAX):
        assert await taken == piece(1, 3)


# What is joined


async def test_what_follows_is_joined_and_in_its_order() -> None:
    buffer = FrameBuffer()
    for each in (piece(1, 2), piece(3, 3), piece(4, 6), piece(8, 9), piece(10, 10)):
        await buffer.put(each)

    assert [await buffer.take(), await buffer.take()] == [piece(1, 6), piece(8, 10)]
    buffer.done()


async def test_room_of_all_that_was_joined_is_given_back() -> None:
    both = [piece(1, 1), piece(2, 2)]
    buffer = FrameBuffer(bytes_max=sum(len(each.body) for each in both))
    for each in both:
        await buffer.put(each)
    await buffer.take()

    assert await is_held(buffer.put(piece(3, 3)), buffer)
    await buffer.take()
    assert await is_held(buffer.drained(), buffer)


@pytest.mark.parametrize(
    "others",
    [
        (piece(1, 3), piece(4, 5, is_chained=False)),
        (piece(1, 3, is_chained=False), piece(4, 5)),
        (piece(1, 3), piece(3, 5)),
        (piece(1, 3), piece(5, 5)),
        (piece(1, 3), unnumbered(b"{}", is_chained=True)),
        (unnumbered(b"{}", is_chained=True), piece(1, 3)),
        (unnumbered(b"{}"), unnumbered(b"{}")),
    ],
    ids=["unchained", "chained", "again", "hole", "then none", "none then", "no numbers"],
)
async def test_what_does_not_follow_is_a_frame_of_its_own(others: tuple[Piece, Piece]) -> None:
    buffer = FrameBuffer()
    for each in others:
        await buffer.put(each)

    assert (await buffer.take(), await buffer.take()) == others


async def test_a_thousand_reports_are_joined_and_no_more() -> None:
    buffer = FrameBuffer()
    for each in (piece(1, 600), piece(601, 1000), piece(1001, 1001)):
        await buffer.put(each)

    assert [(await buffer.take()).count, (await buffer.take()).count] == [1000, 1]


async def test_as_much_is_joined_as_every_queue_takes_and_no_more() -> None:
    def of_size(seq: int, size: int) -> Piece:
        return piece(seq, seq, size=size - 2)

    buffer = FrameBuffer()
    sizes = [300_000, MESSAGE_BYTES_MAX - 300_000, 300_000, MESSAGE_BYTES_MAX - 299_999]
    for seq, size in enumerate(sizes, 1):
        one = of_size(seq, size)
        assert len(one.body) == size
        await buffer.put(one)

    assert [(p.first, p.last) for p in [await buffer.take() for _ in range(3)]] == [(1, 2), (3, 3), (4, 4)]


# What is taken apart


def in_messages(whole: Piece) -> list[list[int | None]]:
    """The numbers in each; no report is lost, and every queue takes each."""
    pieces = split_piece(whole)
    elements = [element for each in pieces for element in split_reports(each.body)]
    assert sorted(elements, key=repr) == sorted(split_reports(whole.body), key=repr)
    for each in pieces:
        assert len(each.body) <= MESSAGE_BYTES_MAX or each.count == 1
        assert each.is_chained == whole.is_chained
        numbers = [seq for seq, _ in split_reports(each.body)]
        assert each.count == len(numbers)
        assert (each.first, each.last) == ((None, None) if whole.first is None else (numbers[0], numbers[-1]))
    return [[seq for seq, _ in split_reports(each.body)] for each in pieces]


def test_what_every_queue_takes_stays_as_it_came() -> None:
    whole = Piece(b'[ {"seq":1} , %s]' % report(2, MESSAGE_BYTES_MAX - 15), 2, 1, 2, True)
    assert len(whole.body) == MESSAGE_BYTES_MAX

    assert split_piece(whole) == [whole]


def test_what_is_a_byte_too_long_is_taken_apart() -> None:
    whole = Piece(b'[ {"seq":1} , %s]' % report(2, MESSAGE_BYTES_MAX - 14), 2, 1, 2, True)
    assert len(whole.body) == MESSAGE_BYTES_MAX + 1

    assert [each.body for each in split_piece(whole)] == [b'[{"seq":1},%s]' % report(2, MESSAGE_BYTES_MAX - 14)]


def test_reports_that_fill_a_message_to_its_last_byte_are_one() -> None:
    # 511 of 1,024 bytes with their comma, and one that with both brackets leaves nothing.
    elements = [report(seq, 1023) for seq in range(1, 512)] + [report(512, 1022), report(513, 1023)]
    whole = Piece(b"[" + b",".join(elements) + b"]", 513, 1, 513, True)

    assert in_messages(whole) == [list(range(1, 513)), [513]]
    assert len(split_piece(whole)[0].body) == MESSAGE_BYTES_MAX


def test_reports_that_would_be_a_byte_too_long_together_are_two_messages() -> None:
    whole = piece(1, 513, size=1023)

    assert in_messages(whole) == [list(range(1, 512)), [512, 513]]


@pytest.mark.parametrize("is_chained", [True, False])
def test_run_that_was_shuffled_is_taken_apart_in_its_order(is_chained: bool) -> None:
    elements = [report(seq, 200_000) for seq in (3, 1, 5, 2, 4)]
    whole = Piece(b"[" + b",".join(elements) + b"]", 5, 1, 5, is_chained)

    assert in_messages(whole) == [[1, 2], [3, 4], [5]]


def test_what_is_no_run_is_taken_apart_as_it_came() -> None:
    elements = [report(7, 300_000), b"{}", report(2, 300_000), b'{"exec_id":"x"}']

    assert in_messages(unnumbered(*elements)) == [[7, None], [2, None]]


def test_one_report_is_not_taken_apart() -> None:
    whole = Piece(b"[ %s ]" % report(1, 600_000), 1, 1, 1, True)

    assert split_piece(whole) == [whole]


def test_report_that_is_too_long_is_a_piece_of_its_own() -> None:
    elements = [report(1), report(2, 600_000), report(3)]
    whole = Piece(b"[" + b",".join(elements) + b"]", 3, 1, 3, True)

    assert in_messages(whole) == [[1], [2], [3]]


@pytest.mark.parametrize("number", [1, None])
def test_report_that_is_too_long_may_be_the_first(number: int | None) -> None:
    whole = Piece(b"[%s,%s]" % (report(1, 600_000), report(2)), 2, number, number and 2, True)

    assert in_messages(whole) == [[1], [2]]
